//! `RequireTokenReviewLayer` around one service of a tonic server.

use super::*;
use http_body_util::BodyExt as _;
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{GrpcServer, WhoAmI, fast_issuer, verifier_for};
use tonic::{
    Code, Status,
    server::NamedService,
    service::{LayerExt as _, Routes},
    transport::{Channel, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Service, ServiceExt as _};

/// The same service by another name, which demands nothing.
#[derive(Clone)]
struct Twin<S>(S);

impl<S> NamedService for Twin<S> {
    const NAME: &'static str = "grpc.health.v1.Twin";
}

impl<S, R> Service<Request<R>> for Twin<S>
where
    S: Service<Request<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> S::Future {
        let path = request.uri().path().replace("v1.Twin", "v1.Health");
        *request.uri_mut() = path.parse().unwrap();
        self.0.call(request)
    }
}

async fn serve(verifier: Verifier) -> GrpcServer {
    let reviewed = RequireTokenReviewLayer::new(&verifier).unwrap();
    GrpcServer::start(|incoming| {
        Server::builder()
            .layer(OidcAuthLayer::from(verifier))
            .add_service(reviewed.named_layer(WhoAmI::server()))
            .add_service(Twin(WhoAmI::server()))
            .serve_with_incoming(incoming)
    })
    .await
}

fn asking(cluster: &TestIssuer) -> Verifier {
    builder(cluster, review(reviewer(cluster)), &clock()).build().unwrap()
}

/// Whom the service takes a caller for, or what the call is refused with.
async fn call(server: &GrpcServer, token: &str) -> Result<String, Status> {
    let channel = Channel::from_shared(server.url()).unwrap().connect_lazy();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let value = format!("Bearer {token}");
    request.metadata_mut().insert("authorization", value.parse().unwrap());
    let response = HealthClient::new(channel).check(request).await?;
    Ok(response.metadata().get("x-caller").unwrap().to_str().unwrap().to_owned())
}

async fn call_twin(server: &GrpcServer, token: &str) -> Result<String, Status> {
    let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
    let twin = channel.map_request(|mut request: Request<_>| {
        let uri = request.uri().to_string().replace("v1.Health", "v1.Twin");
        *request.uri_mut() = uri.parse().unwrap();
        request
    });
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    let value = format!("Bearer {token}");
    request.metadata_mut().insert("authorization", value.parse().unwrap());
    let response = HealthClient::new(twin).check(request).await?;
    Ok(response.metadata().get("x-caller").unwrap().to_str().unwrap().to_owned())
}

fn refused(result: Result<String, Status>) -> (Code, String, Option<String>) {
    let status = result.unwrap_err();
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    let pushback = pushback.map(|value| value.to_str().unwrap().to_owned());
    (status.code(), status.message().to_owned(), pushback)
}

const NOT_ACCEPTED: &str = "the token was not accepted";

#[tokio::test]
async fn one_service_demands_it_and_the_other_does_not() {
    let cluster = fast_issuer();
    let server = serve(asking(&cluster)).await;
    let token = minted(&cluster).mint();
    assert_eq!(call_twin(&server, &token).await.unwrap(), "payments/checkout");
    assert_eq!(cluster.token_reviews(), 0);
    assert_eq!(call(&server, &token).await.unwrap(), "payments/checkout");
    assert_eq!(call(&server, &token).await.unwrap(), "payments/checkout");
    assert_eq!(asked_about(&cluster), [token]);
}

#[tokio::test]
async fn who_is_gone_is_unauthenticated_and_silence_is_unavailable() {
    let cluster = fast_issuer();
    let server = serve(asking(&cluster)).await;
    cluster.delete_pod("gone");
    let gone = minted(&cluster).pod("gone").mint();
    let unauthenticated = (Code::Unauthenticated, NOT_ACCEPTED.to_owned(), None);
    assert_eq!(refused(call(&server, &gone).await), unauthenticated);
    assert_eq!(call_twin(&server, &gone).await.unwrap(), "payments/checkout");

    cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    let token = minted(&cluster).mint();
    let unavailable = "the token cannot be reviewed now".to_owned();
    assert_eq!(
        refused(call(&server, &token).await),
        (Code::Unavailable, unavailable, Some("1000".to_owned()))
    );
    assert_eq!(call_twin(&server, &token).await.unwrap(), "payments/checkout");
}

#[tokio::test]
async fn one_that_has_no_reviewer_is_unauthenticated() {
    let (blue, cluster) = (fast_issuer(), fast_issuer());
    let reviewed = issuer_for(&blue).with_cluster("blue").with_token_review(reviewer(&blue));
    let verifier = verifier_for(reviewed);
    let server = serve(verifier.clone()).await;
    // the layer would reject it when it is built
    verifier.add_issuer(issuer_for(&cluster).with_cluster("late")).unwrap();
    let token = minted(&cluster).mint();
    let unauthenticated = (Code::Unauthenticated, NOT_ACCEPTED.to_owned(), None);
    assert_eq!(refused(call(&server, &token).await), unauthenticated);
    assert_eq!(call_twin(&server, &token).await.unwrap(), "payments/checkout");
}

/// Sends a call by HTTP/2, and leaves the answer as it is.
async fn send_raw(url: &str, token: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    client
        .post(format!("{url}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(vec![0; 5])
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_refusal_is_one_block_of_headers() {
    let cluster = fast_issuer();
    let server = serve(asking(&cluster)).await;
    let good = minted(&cluster).mint();
    cluster.delete_pod("gone");
    let gone = minted(&cluster).pod("gone").mint();
    for (silent, token, status) in [(false, &gone, "16"), (true, &good, "14")] {
        if silent {
            cluster.respond_with(Endpoint::TokenReview, MockResponse::new(403, ""));
        }
        let answered: Response<reqwest::Body> = send_raw(&server.url(), token).await.into();
        assert_eq!(answered.status(), 200);
        assert_eq!(answered.headers()["content-type"], "application/grpc");
        assert_eq!(answered.headers()["grpc-status"], status);
        assert_eq!(answered.headers().contains_key("grpc-retry-pushback-ms"), silent);
        let collected = answered.into_body().collect().await.unwrap();
        assert!(collected.trailers().is_none() && collected.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn without_a_layer_nobody_passes_in_no_form_that_a_caller_could_choose() {
    let cluster = fast_issuer();
    let service = RequireTokenReviewLayer::new(&asking(&cluster)).unwrap();
    let service = service.named_layer(WhoAmI::server());
    let server = HttpServer::start(Routes::new(service).into_axum_router()).await;
    let answered = send_raw(&server.url(), &minted(&cluster).mint()).await;
    assert_eq!(answered.status(), 500);
    assert_eq!(cluster.token_reviews(), 0);
}
