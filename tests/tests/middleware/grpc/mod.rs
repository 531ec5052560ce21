//! gRPC: who is answered in it, and how.

mod expiry;
mod form;
mod refusals;
mod services;
mod web;

use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{GrpcServer, WhoAmI, bearer, token_for};
use tokio::sync::watch;
use tonic::{
    Code, Request, Status,
    body::Body,
    transport::{Channel, Server},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{BoxError, ServiceExt as _, util::BoxCloneService};
use tower_kube_oidc::OidcAuthLayer;

const NO_CREDENTIALS: &str = "a bearer token is needed";
const MALFORMED: &str = "there is not exactly one readable bearer token";
const NOT_ACCEPTED: &str = "the token was not accepted";
const EXPIRED: &str = "the token has expired";
const OTHER_AUDIENCE: &str = "the token is for another audience";
const DENIED: &str = "the caller is not allowed to do this";
const NO_KEYS: &str = "the keys to check the token with are not available";
const MISCONFIGURED: &str = "the service is not set up to check tokens";

fn good(issuer: &TestIssuer) -> String {
    let token = token_for(issuer);
    bearer(token.mint())
}

/// A server of one service, which takes HTTP/1.1 too and headers that are as large as they like.
async fn serve(layer: OidcAuthLayer) -> GrpcServer {
    serve_ticks(layer, &watch::Sender::new(0)).await
}

async fn serve_ticks(layer: OidcAuthLayer, ticks: &watch::Sender<i32>) -> GrpcServer {
    let server = Server::builder().http2_max_header_list_size(1 << 20).accept_http1(true);
    let service = WhoAmI::ticking(ticks);
    GrpcServer::start(|incoming| {
        server.layer(layer).add_service(service).serve_with_incoming(incoming)
    })
    .await
}

type Client = HealthClient<BoxCloneService<http::Request<Body>, http::Response<Body>, BoxError>>;

/// tonic's own.
fn client(url: String) -> Client {
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    HealthClient::new(BoxCloneService::new(channel.map_err(Into::into)))
}

fn call(authorization: &[&str]) -> Request<HealthCheckRequest> {
    call_of("", authorization)
}

fn call_of(service: &str, authorization: &[&str]) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest { service: service.to_owned() });
    for value in authorization {
        request.metadata_mut().append("authorization", value.parse().unwrap());
    }
    request
}

/// What a call is refused with, be it unary or streaming.
async fn refusal(client: &Client, authorization: &[&str]) -> Status {
    let unary = client.clone().check(call(authorization)).await.unwrap_err();
    let streaming = client.clone().watch(call(authorization)).await.unwrap_err();
    assert_eq!((unary.code(), unary.message()), (streaming.code(), streaming.message()));
    unary
}

async fn assert_refused(client: &Client, authorization: &[&str], code: Code, message: &str) {
    let status = refusal(client, authorization).await;
    assert_eq!((status.code(), status.message()), (code, message));
}

/// Whom the service takes a caller for, be the call unary or streaming.
async fn caller(client: &Client, authorization: &[&str]) -> String {
    let unary = client.clone().check(call(authorization)).await.unwrap();
    let streaming = client.clone().watch(call(authorization)).await.unwrap();
    let name = |metadata: &tonic::metadata::MetadataMap| {
        metadata.get("x-caller").unwrap().to_str().unwrap().to_owned()
    };
    let who = name(unary.metadata());
    assert_eq!(name(streaming.metadata()), who);
    assert!(streaming.into_inner().message().await.unwrap().is_some());
    who
}

/// A client for each version of HTTP.
fn versions() -> [reqwest::Client; 2] {
    let builder = || reqwest::Client::builder().no_proxy();
    [builder().http1_only(), builder().http2_prior_knowledge()].map(|b| b.build().unwrap())
}
