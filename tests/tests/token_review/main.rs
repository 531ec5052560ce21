//! Tokens that an API server is asked about, by kube's own client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod api_server;
mod captured;
mod client;
mod clusters;
mod every_token;
mod grpc;
mod keeping;
mod outage;
mod routes;
mod secrets;
mod waiting;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use kube_client::Config;
use kube_oidc::{
    Issuer, Verifier, VerifierBuilder,
    clock::ManualClock,
    token_review::{ReviewFuture, ReviewRequest, Reviewer, TokenReviewConfig},
};
use kube_oidc_testing::{SigningAlgorithm, TestIssuer, TokenBuilder};
use kube_oidc_tests::{
    HttpServer, TestResponse, builder_for, caller_name, http_client, issuer_for, token_for,
};
use kube_oidc_token_review::KubeReviewer;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tower_kube_oidc::{
    OidcAuthLayer, OidcAuthLayerBuilder, Rejection, RequestHead, RequireTokenReviewLayer,
};

const SECOND: Duration = Duration::from_secs(1);
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// kube's client, with nothing but where to ask.
fn reviewer(cluster: &TestIssuer) -> KubeReviewer {
    KubeReviewer::from_config(Config::new(cluster.base_url().parse().unwrap())).unwrap()
}

/// The same for an API server behind TLS, which knows the service by this token.
fn reviewer_as(cluster: &TestIssuer, token: &str) -> KubeReviewer {
    let pem = cluster.ca_pem().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let mut config = Config::new(cluster.base_url().parse().unwrap());
    config.root_cert = Some(vec![BASE64_STANDARD.decode(pem).unwrap()]);
    config.auth_info.token = Some(token.to_owned().into());
    KubeReviewer::from_config(config).unwrap()
}

/// Waits for answers for as long as a busy machine may take.
fn review(reviewer: impl Reviewer) -> TokenReviewConfig {
    TokenReviewConfig::new(reviewer).timeout(60 * SECOND)
}

fn builder(
    cluster: &TestIssuer,
    review: TokenReviewConfig,
    clock: &ManualClock,
) -> VerifierBuilder {
    builder_for(issuer_for(cluster).with_token_review(review)).clock(clock.clone())
}

/// A clock that stands still, ahead of those by which tokens are minted during a test.
fn clock() -> ManualClock {
    ManualClock::at(SystemTime::now() + 300 * SECOND)
}

fn minted(cluster: &TestIssuer) -> TokenBuilder {
    token_for(cluster).pod("checkout-7f9c")
}

/// What was sent to the API server.
fn sent(cluster: &TestIssuer) -> Vec<Value> {
    let requests =
        cluster.received_requests().into_iter().filter(|request| request.path == REVIEWS);
    requests.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

/// The tokens that the API server was asked about.
fn asked_about(cluster: &TestIssuer) -> Vec<String> {
    let token = |review: Value| review["spec"]["token"].as_str().unwrap().to_owned();
    sent(cluster).into_iter().map(token).collect()
}

/// Says in a header why a request was refused.
fn with_reason(
    rejection: &Rejection,
    _: RequestHead<'_>,
    mut answer: Response<Bytes>,
) -> Response<Bytes> {
    answer.headers_mut().insert("x-reason", HeaderValue::from_static(rejection.reason()));
    answer
}

fn layer_builder(verifier: Verifier) -> OidcAuthLayerBuilder<Verifier> {
    OidcAuthLayer::builder_for(verifier).map_rejection(with_reason)
}

fn layer(verifier: Verifier) -> OidcAuthLayer {
    layer_builder(verifier).build().unwrap()
}

fn required(verifier: &Verifier) -> RequireTokenReviewLayer {
    RequireTokenReviewLayer::builder(verifier).map_rejection(with_reason).build().unwrap()
}

fn routes(verifier: &Verifier) -> Router {
    Router::new()
        .route("/", get(caller_name))
        .route("/reviewed", get(caller_name).layer(required(verifier)))
        .route("/anybody", get(async || "anybody"))
        .route("/reviewed-anybody", get(async || "anybody").layer(required(verifier)))
}

async fn serve(verifier: &Verifier) -> HttpServer {
    serve_behind(layer_builder(verifier.clone()), verifier).await
}

async fn serve_behind(builder: OidcAuthLayerBuilder<Verifier>, verifier: &Verifier) -> HttpServer {
    HttpServer::start(routes(verifier).layer(builder.build().unwrap())).await
}

async fn ask(server: &HttpServer, path: &str, token: &str) -> TestResponse {
    let request = http_client().get(format!("{}{path}", server.url()));
    TestResponse::to(request.header(AUTHORIZATION, format!("Bearer {token}"))).await
}

const GOOD: (u16, Option<&str>) = (200, None);
const DENIED: (u16, Option<&str>) = (401, Some("review_denied"));
const MISMATCH: (u16, Option<&str>) = (401, Some("review_mismatch"));
const UNAVAILABLE: (u16, Option<&str>) = (503, Some("review_unavailable"));
const NO_REVIEWER: (u16, Option<&str>) = (401, Some("no_reviewer"));

/// A reviewer that calls the API server once a permit is added.
#[derive(Debug)]
struct GatedReviewer {
    inner: KubeReviewer,
    permits: Semaphore,
    reached: watch::Sender<usize>,
}

impl GatedReviewer {
    fn new(cluster: &TestIssuer) -> Arc<Self> {
        let (permits, reached) = (Semaphore::new(0), watch::Sender::new(0));
        Arc::new(Self { inner: reviewer(cluster), permits, reached })
    }

    /// Lets so many through.
    fn open(&self, permits: usize) {
        self.permits.add_permits(permits);
    }

    fn reached(&self) -> usize {
        *self.reached.borrow()
    }

    async fn until_reached(&self, count: usize) {
        self.reached.subscribe().wait_for(|reached| *reached >= count).await.unwrap();
    }
}

impl Reviewer for GatedReviewer {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async move {
            self.reached.send_modify(|reached| *reached += 1);
            self.permits.acquire().await.unwrap().forget();
            self.inner.review(request).await
        })
    }
}

type Body = Full<Bytes>;

/// A request for a service that is called in this process.
fn request(token: &str) -> Request<Body> {
    Request::builder()
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::default())
        .unwrap()
}
