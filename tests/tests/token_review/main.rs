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
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use kube_client::Config;
use kube_oidc::{
    Issuer, Verifier, VerifierBuilder,
    clock::ManualClock,
    token_review::{ReviewFuture, ReviewRequest, Reviewer, TokenReviewConfig},
};
use kube_oidc_testing::{SigningAlgorithm, TestIssuer, TokenBuilder};
use kube_oidc_tests::HttpServer;
use kube_oidc_token_review::KubeReviewer;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tower_kube_oidc::{Caller, OidcAuthLayer, Rejection, RequestHead, RequireTokenReviewLayer};

const SECOND: Duration = Duration::from_secs(1);
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A cluster that is quick to start: its issuer is its API server too.
fn cluster() -> TestIssuer {
    TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start()
}

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

fn issuer(cluster: &TestIssuer) -> Issuer {
    Issuer::new(cluster.url().parse().unwrap())
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
    Verifier::builder(issuer(cluster).with_token_review(review))
        .audience("orders")
        .clock(clock.clone())
}

/// A clock that stands still, ahead of those by which tokens are minted during a test.
fn clock() -> ManualClock {
    ManualClock::at(SystemTime::now() + 300 * SECOND)
}

fn minted(cluster: &TestIssuer) -> TokenBuilder {
    cluster.token().audience("orders").service_account("payments", "checkout").pod("checkout-7f9c")
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

fn layer(verifier: Verifier) -> OidcAuthLayer {
    OidcAuthLayer::from(verifier).map_rejection(with_reason)
}

fn required() -> RequireTokenReviewLayer {
    RequireTokenReviewLayer::new().map_rejection(with_reason)
}

async fn name(Caller(who): Caller) -> String {
    format!("{}/{}", who.namespace(), who.service_account().name())
}

fn routes() -> Router {
    Router::new()
        .route("/", get(name))
        .route("/reviewed", get(name).layer(required()))
        .route("/anybody", get(async || "anybody"))
        .route("/reviewed-anybody", get(async || "anybody").layer(required()))
}

async fn serve(layer: OidcAuthLayer) -> HttpServer {
    HttpServer::start(routes().layer(layer)).await
}

/// One for all tests, each of which has a runtime of its own: so no connection is left over.
fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
    });
    CLIENT.clone()
}

#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status, and why it is that one.
    fn why(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-reason"))
    }
}

async fn receive(request: reqwest::RequestBuilder) -> Answered {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answered { status, headers, body: response.text().await.unwrap() }
}

async fn ask(server: &HttpServer, path: &str, token: &str) -> Answered {
    let request = client().get(format!("{}{path}", server.url()));
    receive(request.header(AUTHORIZATION, format!("Bearer {token}"))).await
}

const GOOD: (u16, Option<&str>) = (200, None);
const DENIED: (u16, Option<&str>) = (401, Some("review_denied"));
const MISMATCH: (u16, Option<&str>) = (401, Some("review_mismatch"));
const UNAVAILABLE: (u16, Option<&str>) = (503, Some("review_unavailable"));
const NO_REVIEWER: (u16, Option<&str>) = (401, Some("no_reviewer"));

/// Asks the API server as soon as it is let to.
#[derive(Debug)]
struct Gated {
    inner: KubeReviewer,
    permits: Semaphore,
    reached: watch::Sender<usize>,
}

impl Gated {
    fn before(cluster: &TestIssuer) -> Arc<Self> {
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

impl Reviewer for Gated {
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
