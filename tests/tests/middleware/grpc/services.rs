//! Several services behind one layer: HTTP beside gRPC, and policies for some.

use std::task::{Context, Poll};

use super::{
    form::{Form, form},
    *,
};
use axum::{
    Router,
    routing::{get, post},
};
use http::{StatusCode, Uri};
use kube_oidc_tests::{HttpServer, bearer, caller_name, layer_builder_for, layer_for};
use tonic::{
    server::NamedService,
    service::{LayerExt as _, Routes},
};
use tower::Service;
use tower_kube_oidc::{AuthorizeLayer, in_namespace};

#[tokio::test]
async fn one_port_serves_both_http_and_grpc() {
    let issuer = TestIssuer::start();
    let app = Router::new()
        .route("/", get(caller_name))
        .route("/", post(caller_name))
        .merge(Routes::new(WhoAmI::server()).into_axum_router())
        .layer(layer_for(&issuer));
    let server = HttpServer::start(app).await;
    let good = good(&issuer);

    let grpc = client(server.url());
    assert_eq!(caller(&grpc, &[&good]).await, "payments/checkout");
    assert_refused(&grpc, &[], Code::Unauthenticated, NO_CREDENTIALS).await;

    for http in versions() {
        for request in [http.get(server.url()), http.post(server.url())] {
            let refused = request.try_clone().unwrap();
            assert_eq!(form(refused, 401, "").await, Form::Http);
            let response = request.header("authorization", &good).send().await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.text().await.unwrap(), "payments/checkout");
        }
        // what does not exist is nobody's business without a token
        let unknown = |path: &str| {
            let request = http.post(format!("{}{path}", server.url())).header("te", "trailers");
            request.header("content-type", "application/grpc")
        };
        for path in ["/grpc.health.v1.Health/Unheard", "/test.Unheard/Of"] {
            assert_eq!(form(unknown(path), 0, "16").await, Form::Grpc);
            let response = unknown(path).header("authorization", &good).send().await.unwrap();
            assert_eq!(response.headers()["grpc-status"], "12");
        }
    }
}

/// A service by another name, so that a server can have it twice.
#[derive(Clone)]
struct Twin<S>(S);

impl<S> NamedService for Twin<S> {
    const NAME: &'static str = "test.Twin";
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Twin<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        self.0.call(renamed(request, Self::NAME, "grpc.health.v1.Health"))
    }
}

fn renamed(mut request: http::Request<Body>, from: &str, to: &str) -> http::Request<Body> {
    let mut parts = request.uri().clone().into_parts();
    let path = parts.path_and_query.unwrap().as_str().replace(from, to);
    parts.path_and_query = Some(path.parse().unwrap());
    *request.uri_mut() = Uri::from_parts(parts).unwrap();
    request
}

fn twin_client(server: &GrpcServer) -> Client {
    let channel = Channel::from_shared(server.url()).unwrap().connect_lazy();
    let twin = channel
        .map_request(|request| renamed(request, "grpc.health.v1.Health", "test.Twin"))
        .map_err(Into::into);
    HealthClient::new(BoxCloneService::new(twin))
}

#[tokio::test]
async fn a_policy_around_one_service_leaves_the_others_alone() {
    let issuer = TestIssuer::start();
    let auth = layer_for(&issuer);
    let admins = AuthorizeLayer::only(in_namespace("admins")).unwrap();
    let server = GrpcServer::start(|incoming| {
        Server::builder()
            .layer(auth)
            .add_service(admins.named_layer(WhoAmI::server()))
            .add_service(Twin(WhoAmI::server()))
            .serve_with_incoming(incoming)
    })
    .await;
    let (guarded, open) = (client(server.url()), twin_client(&server));

    let admin = issuer.token().audience("orders").service_account("admins", "root").mint();
    assert_eq!(caller(&guarded, &[&bearer(&admin)]).await, "admins/root");
    assert_eq!(caller(&open, &[&bearer(&admin)]).await, "admins/root");

    let checkout = good(&issuer);
    assert_refused(&guarded, &[&checkout], Code::PermissionDenied, DENIED).await;
    assert_eq!(caller(&open, &[&checkout]).await, "payments/checkout");

    for client in [&guarded, &open] {
        assert_refused(client, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
        assert_refused(client, &["Bearer x"], Code::Unauthenticated, NOT_ACCEPTED).await;
    }
}

#[tokio::test]
async fn a_policy_without_a_caller_lets_nobody_pass() {
    let issuer = TestIssuer::start();
    let allow = AuthorizeLayer::only(in_namespace("payments")).unwrap();
    let app = Routes::new(allow.named_layer(WhoAmI::server())).into_axum_router();
    // nobody looked at the call
    let server = HttpServer::start(app.clone()).await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let call = http2.post(format!("{}/grpc.health.v1.Health/Check", server.url()));
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    let answered = call.header("authorization", good(&issuer)).send().await.unwrap();
    assert_eq!(answered.status(), 500, "in no form that a caller could choose");
    // nobody makes it
    let server =
        HttpServer::start(app.layer(layer_builder_for(&issuer).optional().build().unwrap())).await;
    let optional = client(server.url());
    assert_refused(&optional, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    assert_eq!(caller(&optional, &[&good(&issuer)]).await, "payments/checkout");
}
