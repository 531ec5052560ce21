//! gRPC: who is answered in it, and how.

use std::{
    convert::Infallible,
    future::{Pending, pending},
    mem::replace,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_oidc::clock::ManualClock;
use kube_oidc_testing::{Answer, Endpoint, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{GrpcServer, HttpServer, WhoAmI};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::timeout,
};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tonic::{
    Code, Request, Status,
    body::Body,
    server::NamedService,
    service::{LayerExt as _, Routes},
    transport::{Channel, Server},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt as _, util::BoxCloneService};
use tower_kube_oidc::{
    Allow, Answers, Caller, Issuer, OidcAuthLayer, Rejection, Verifier, in_namespace,
};

/// Far more than anything here takes, and less than the layer would take to look at a clock that
/// it is not to wait for.
const LONG: Duration = Duration::from_secs(9);

const NO_CREDENTIALS: &str = "a bearer token is needed";
const MALFORMED: &str = "there is not exactly one readable bearer token";
const NOT_ACCEPTED: &str = "the token was not accepted";
const EXPIRED: &str = "the token has expired";
const OTHER_AUDIENCE: &str = "the token is for another audience";
const DENIED: &str = "the caller is not allowed to do this";
const NO_KEYS: &str = "the keys to check the token with are not available";
const MISCONFIGURED: &str = "the service is not set up to check tokens";

fn layer(issuer: &TestIssuer) -> OidcAuthLayer {
    OidcAuthLayer::new(issuer.url().parse().unwrap()).audience("orders")
}

fn good(issuer: &TestIssuer) -> String {
    let token = issuer.token().audience("orders").service_account("payments", "checkout");
    bearer(&token.mint())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
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

/// tonic's own, through what makes gRPC-Web of it.
fn web_client(server: &GrpcServer) -> Client {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let web = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .map_err(Into::into)
        .layer(GrpcWebClientLayer::new())
        .service(http);
    HealthClient::with_origin(BoxCloneService::new(web), server.url().parse().unwrap())
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

#[tokio::test]
async fn calls_without_exactly_one_bearer_token_are_unauthenticated() {
    let issuer = TestIssuer::start();
    let server = serve(layer(&issuer)).await;
    let client = client(server.url());
    let good = good(&issuer);
    assert_eq!(caller(&client, &[&good]).await, "payments/checkout");
    for (sent, message) in [
        (&[][..], NO_CREDENTIALS),
        (&["Basic dXNlcjpwYXNz"], NO_CREDENTIALS),
        (&["Bearer"], MALFORMED),
        (&["Bearer a b"], MALFORMED),
        (&["Bearer \"a\""], MALFORMED),
        (&[&good, &good], MALFORMED),
        (&[&good, "Basic dXNlcjpwYXNz"], MALFORMED),
    ] {
        assert_refused(&client, sent, Code::Unauthenticated, message).await;
    }
}

#[tokio::test]
async fn calls_with_a_bad_token_are_unauthenticated() {
    let issuer = TestIssuer::start();
    let server = serve(layer(&issuer)).await;
    let client = client(server.url());
    let minted = || issuer.token().audience("orders");
    let padded = |bytes: usize| minted().claim("padding", "x".repeat(bytes)).mint();
    assert_eq!(caller(&client, &[&bearer(&padded(8 * 1024))]).await, "default/default");
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    for (token, message) in [
        ("garbage".to_owned(), NOT_ACCEPTED),
        ("a".repeat(17 * 1024), NOT_ACCEPTED),
        (padded(17 * 1024), NOT_ACCEPTED),
        (minted().signature("x").mint(), NOT_ACCEPTED),
        (minted().forged_by(&stranger).mint(), NOT_ACCEPTED),
        (minted().signed_by(&stranger).mint(), NOT_ACCEPTED),
        (minted().header("alg", "none").mint(), NOT_ACCEPTED),
        (minted().claim("iss", "https://evil.example").mint(), NOT_ACCEPTED),
        (minted().claim("nbf", 9_999_999_999_u64).mint(), NOT_ACCEPTED),
        (minted().claim("sub", "system:admin").mint(), NOT_ACCEPTED),
        (minted().expired().mint(), EXPIRED),
        (issuer.token().audience("vault").mint(), OTHER_AUDIENCE),
        // what is said of a token needs its signature to be good
        (minted().expired().signature("x").mint(), NOT_ACCEPTED),
        (issuer.token().audience("vault").signature("x").mint(), NOT_ACCEPTED),
    ] {
        assert_refused(&client, &[&bearer(&token)], Code::Unauthenticated, message).await;
    }
}

#[tokio::test]
async fn calls_that_need_keys_which_are_not_here_are_unavailable() {
    let (down, failing) = (TestIssuer::start(), TestIssuer::start());
    down.go_down();
    failing.answer(Endpoint::Keys, Answer::new(500, ""));
    for issuer in [down, failing] {
        let server = serve(layer(&issuer)).await;
        let client = client(server.url());
        let status = refusal(&client, &[&good(&issuer)]).await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
        assert!((1_000..=60_000).contains(&pushback), "{pushback}");

        // what needs no keys is as ever, and nobody is asked to come back
        let status = refusal(&client, &[]).await;
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, NO_CREDENTIALS));
        assert!(status.metadata().get("grpc-retry-pushback-ms").is_none());
        let expired = issuer.token().audience("orders").expired().mint();
        assert_refused(&client, &[&bearer(&expired)], Code::Unauthenticated, NOT_ACCEPTED).await;
    }
}

#[tokio::test]
async fn a_layer_that_is_set_up_wrong_is_an_internal_error() {
    let issuer = TestIssuer::start();
    let layer = OidcAuthLayer::new(issuer.url().parse().unwrap()).audience("");
    let server = serve(layer).await;
    let client = client(server.url());
    for sent in [&[][..], &["Bearer"], &["Bearer garbage"], &[&good(&issuer)]] {
        assert_refused(&client, sent, Code::Internal, MISCONFIGURED).await;
    }
}

#[tokio::test]
async fn a_handler_without_the_layer_has_no_caller() {
    let issuer = TestIssuer::start();
    let server = GrpcServer::start(|incoming| {
        Server::builder().add_service(WhoAmI::server()).serve_with_incoming(incoming)
    })
    .await;
    let client = client(server.url());
    assert_refused(&client, &[], Code::Internal, MISCONFIGURED).await;
    assert_refused(&client, &[&good(&issuer)], Code::Internal, MISCONFIGURED).await;
}

#[tokio::test]
async fn a_handler_behind_optional_credentials_may_have_no_caller() {
    let issuer = TestIssuer::start();
    let server = serve(layer(&issuer).optional()).await;
    let client = client(server.url());
    // it is the handler that refuses, and it says the same as the layer would
    assert_refused(&client, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    assert_refused(&client, &["Bearer"], Code::Unauthenticated, MALFORMED).await;
    assert_refused(&client, &["Bearer garbage"], Code::Unauthenticated, NOT_ACCEPTED).await;
    assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
}

/// Sends a request by HTTP/2, and leaves the answer as it is.
async fn send_raw(
    server: &GrpcServer,
    authorization: &str,
) -> http::Response<hyper::body::Incoming> {
    let stream = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("{}/grpc.health.v1.Health/Check", server.url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", authorization)
        // an empty message, uncompressed
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_refusal_is_one_block_of_headers() {
    let issuer = TestIssuer::start();
    let server = serve(layer(&issuer)).await;

    let answered = send_raw(&server, &good(&issuer)).await;
    assert_eq!(answered.headers()["x-caller"], "payments/checkout");
    assert!(!answered.body().is_end_stream(), "an answer has a body");
    let collected = answered.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");

    let minted = || issuer.token().audience("orders").service_account("secretive", "whisperer");
    let missing = || minted().claim("jti", "0f7a1c9e-confidential");
    for (token, message) in [
        (missing().expired().mint(), EXPIRED),
        (missing().signature("x").mint(), NOT_ACCEPTED),
        (missing().header("kid", "unheard-of").mint(), NOT_ACCEPTED),
        (issuer.token().audience("vault-of-others").mint(), OTHER_AUDIENCE),
        ("not/a+token=".to_owned(), NOT_ACCEPTED),
    ] {
        let refused = send_raw(&server, &bearer(&token)).await;
        assert_eq!((refused.status(), refused.version()), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(refused.headers()["content-type"], "application/grpc");
        assert_eq!(refused.headers()["grpc-status"], "16");
        assert_eq!(refused.headers()["grpc-message"], message);
        let mut names: Vec<&str> = refused.headers().keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "date", "grpc-message", "grpc-status"]);

        let shown = format!("{:?}", refused.headers());
        let claims = ["secretive", "whisperer", "confidential", "unheard-of", "vault-of-others"];
        for part in token.split('.').chain(claims) {
            assert!(!shown.contains(part), "{part} is in {shown}");
        }
        // the headers end the stream: there is not even an empty frame of data
        assert!(refused.body().is_end_stream());
        let collected = refused.into_body().collect().await.unwrap();
        assert!(collected.trailers().is_none());
        assert!(collected.to_bytes().is_empty());
    }
}

/// In which form a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Http,
    Grpc,
    Web,
    WebText,
}

/// Sends a request, and looks at all that makes the form of its refusal.
async fn form(request: reqwest::RequestBuilder, status: u16, code: &str) -> Form {
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let form = match header("content-type").unwrap() {
        "application/problem+json" => Form::Http,
        "application/grpc" => Form::Grpc,
        "application/grpc-web" => Form::Web,
        "application/grpc-web-text" => Form::WebText,
        other => panic!("{other}"),
    };
    if form == Form::Http {
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(header("www-authenticate").is_some(), status < 500);
        assert_eq!(header("grpc-status"), None);
        assert_eq!(response.json::<Value>().await.unwrap()["status"], json!(status));
    } else {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header("www-authenticate"), None);
        assert_eq!(header("grpc-status"), Some(code));
        assert!(header("grpc-message").is_some());
        assert!(response.bytes().await.unwrap().is_empty());
    }
    form
}

/// A client for each version of HTTP.
fn versions() -> [reqwest::Client; 2] {
    let builder = || reqwest::Client::builder().no_proxy();
    [builder().http1_only(), builder().http2_prior_knowledge()].map(|b| b.build().unwrap())
}

/// A request with these headers, of which each may be missing.
fn request(
    client: &reqwest::Client,
    server: &GrpcServer,
    method: Method,
    content_type: &str,
    te: &str,
) -> reqwest::RequestBuilder {
    let mut request = client.request(method, format!("{}/test.Any/Call", server.url()));
    for (name, value) in [("content-type", content_type), ("te", te)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    request
}

#[tokio::test]
async fn only_what_is_surely_grpc_is_answered_so() {
    let issuer = TestIssuer::start();
    let server = serve(layer(&issuer)).await;
    let (post, get, put) = (Method::POST, Method::GET, Method::PUT);
    for client in versions() {
        for (method, content_type, te, expected) in [
            (&post, "application/grpc", "trailers", Form::Grpc),
            (&post, "application/grpc+proto", "trailers", Form::Grpc),
            (&post, "application/grpc+json", "trailers", Form::Grpc),
            (&post, "Application/GRPC+proto; x=y", "trailers", Form::Grpc),
            (&post, "application/grpc ;x=y", "trailers", Form::Grpc),
            (&post, "application/grpc", "", Form::Http),
            (&post, "application/grpc+proto", "", Form::Http),
            (&get, "application/grpc", "trailers", Form::Http),
            (&put, "application/grpc", "trailers", Form::Http),
            (&post, "application/grpcx", "trailers", Form::Http),
            (&post, "application/grpc-webx", "trailers", Form::Http),
            (&post, "application/grpc-web-textx", "trailers", Form::Http),
            (&post, "application/grpc-web-text-x", "trailers", Form::Http),
            (&post, "application/grpc-foo", "trailers", Form::Http),
            (&post, "application/grpc/x", "trailers", Form::Http),
            (&post, "application/json", "trailers", Form::Http),
            (&post, "application/json, application/grpc", "trailers", Form::Http),
            (&post, "application/json; application/grpc", "trailers", Form::Http),
            (&post, "text/application/grpc", "trailers", Form::Http),
            (&post, "grpc", "trailers", Form::Http),
            (&post, "", "trailers", Form::Http),
            (&post, "", "", Form::Http),
            (&post, "application/grpc-web", "", Form::Web),
            (&post, "application/grpc-web+proto", "", Form::Web),
            (&post, "Application/gRPC-Web+proto; x=y", "", Form::Web),
            (&post, "application/grpc-web", "trailers", Form::Web),
            (&post, "application/grpc-web-text", "", Form::WebText),
            (&post, "application/grpc-web-text+proto", "", Form::WebText),
            (&get, "application/grpc-web", "", Form::Http),
            (&get, "application/grpc-web-text", "", Form::Http),
        ] {
            let request = request(&client, &server, method.clone(), content_type, te);
            let shown = format!("{method} {content_type:?} {te:?}");
            assert_eq!(form(request, 401, "16").await, expected, "{shown}");
        }
    }
    // HTTP/2 knows no other `te`
    let [client, _] = versions();
    for (te, expected) in [
        ("Trailers", Form::Grpc),
        ("gzip;q=0.5, trailers", Form::Grpc),
        ("gzip", Form::Http),
        ("xtrailers", Form::Http),
        ("trailers-x", Form::Http),
    ] {
        let request = request(&client, &server, post.clone(), "application/grpc", te);
        assert_eq!(form(request, 401, "16").await, expected, "{te}");
    }
}

#[tokio::test]
async fn the_form_of_answers_can_be_set() {
    let issuer = TestIssuer::start();
    let http = serve(layer(&issuer).answers(Answers::Http)).await;
    let wrong = OidcAuthLayer::new(issuer.url().parse().unwrap()).audience("");
    let wrong = serve(wrong.answers(Answers::Http)).await;
    let grpc = serve(layer(&issuer).answers(Answers::Grpc)).await;
    for client in versions() {
        for content_type in
            ["application/grpc", "application/grpc-web", "application/grpc-web-text"]
        {
            let perfect = |server| request(&client, server, Method::POST, content_type, "trailers");
            assert_eq!(form(perfect(&http), 401, "").await, Form::Http);
            assert_eq!(form(perfect(&wrong), 500, "").await, Form::Http);
        }
        for (method, content_type, expected) in [
            (Method::GET, "", Form::Grpc),
            (Method::POST, "application/json", Form::Grpc),
            (Method::POST, "application/grpc", Form::Grpc),
            (Method::POST, "application/grpc-web", Form::Web),
            (Method::POST, "application/grpc-web-text", Form::WebText),
        ] {
            let request = request(&client, &grpc, method, content_type, "");
            assert_eq!(form(request, 0, "16").await, expected, "{content_type}");
        }
    }
}

#[tokio::test]
async fn a_policys_answers_have_a_form_of_their_own() {
    let issuer = TestIssuer::start();
    let serve = async |answers| {
        let nobody = Allow::only(in_namespace("nowhere")).answers(answers).build().unwrap();
        let layer = layer(&issuer);
        GrpcServer::start(|incoming| {
            let mut server = Server::builder().accept_http1(true).layer(layer).layer(nobody);
            server.add_service(WhoAmI::server()).serve_with_incoming(incoming)
        })
        .await
    };
    for (answers, of_grpc, of_json) in [
        (Answers::Detect, Form::Grpc, Form::Http),
        (Answers::Http, Form::Http, Form::Http),
        (Answers::Grpc, Form::Grpc, Form::Grpc),
    ] {
        let server = serve(answers).await;
        for client in versions() {
            for (content_type, expected) in
                [("application/grpc", of_grpc), ("application/json", of_json)]
            {
                let request = request(&client, &server, Method::POST, content_type, "trailers");
                let request = request.header("authorization", good(&issuer));
                assert_eq!(form(request, 403, "7").await, expected, "{answers:?}");
            }
        }
    }
}

/// Servers that speak gRPC-Web, with the layer inside of what translates it and outside.
async fn web_servers(layer: &OidcAuthLayer, ticks: &watch::Sender<i32>) -> [GrpcServer; 2] {
    let server = || Server::builder().accept_http1(true);
    let service = || WhoAmI::ticking(ticks);
    let inside = GrpcServer::start(|incoming| {
        let mut server = server().layer(GrpcWebLayer::new()).layer(layer.clone());
        server.add_service(service()).serve_with_incoming(incoming)
    });
    let outside = GrpcServer::start(|incoming| {
        let mut server = server().layer(layer.clone()).layer(GrpcWebLayer::new());
        server.add_service(service()).serve_with_incoming(incoming)
    });
    [inside.await, outside.await]
}

#[tokio::test]
async fn grpc_web_works_with_the_layer_on_either_side_of_the_translation() {
    let (issuer, down) = (TestIssuer::start(), TestIssuer::start());
    down.go_down();
    let ticks = watch::Sender::new(0);
    for server in web_servers(&layer(&issuer), &ticks).await {
        let client = web_client(&server);
        assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
        let expired = bearer(&issuer.token().audience("orders").expired().mint());
        for (sent, message) in [
            (&[][..], NO_CREDENTIALS),
            (&["Bearer"], MALFORMED),
            (&["Bearer garbage"], NOT_ACCEPTED),
            (&[&expired], EXPIRED),
        ] {
            assert_refused(&client, sent, Code::Unauthenticated, message).await;
        }
        // gRPC proper goes by the same port
        let client = self::client(server.url());
        assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
        assert_refused(&client, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    }
    for server in web_servers(&layer(&down), &ticks).await {
        let status = refusal(&web_client(&server), &[&good(&down)]).await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
        assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
    }
}

#[tokio::test]
async fn grpc_web_as_text_works_with_the_layer_on_either_side_of_the_translation() {
    let issuer = TestIssuer::start();
    let servers = web_servers(&layer(&issuer), &watch::Sender::new(0)).await;
    for server in &servers {
        for client in versions() {
            let ask = async |token: Option<String>| {
                let url = format!("{}/grpc.health.v1.Health/Check", server.url());
                let mut request = client
                    .post(url)
                    .header("content-type", "application/grpc-web-text+proto")
                    .header("accept", "application/grpc-web-text+proto")
                    // an empty message, uncompressed
                    .body(BASE64_STANDARD.encode([0; 5]));
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let content_type = response.headers()["content-type"].to_str().unwrap();
                assert!(content_type.starts_with("application/grpc-web-text"), "{content_type}");
                let headers = response.headers().clone();
                (headers, response.text().await.unwrap())
            };
            let (headers, body) = ask(Some(good(&issuer))).await;
            assert_eq!(headers["x-caller"], "payments/checkout");
            let (message, trailers) = body.split_at(8);
            assert_eq!(BASE64_STANDARD.decode(message).unwrap(), [0; 5]);
            let trailers = BASE64_STANDARD.decode(trailers).unwrap();
            assert_eq!(trailers[0], 0x80);
            assert!(String::from_utf8(trailers[5..].to_vec()).unwrap().contains("grpc-status:0"));

            for sent in [None, Some("Bearer garbage".to_owned())] {
                let (headers, body) = ask(sent).await;
                assert_eq!(headers["grpc-status"], "16");
                assert_eq!(body, "");
            }
        }
    }
}

async fn name(Caller(who): Caller) -> String {
    format!("{}/{}", who.namespace(), who.service_account().name())
}

#[tokio::test]
async fn one_port_serves_both_http_and_grpc() {
    let issuer = TestIssuer::start();
    let app = Router::new()
        .route("/", get(name))
        .route("/", post(name))
        .merge(Routes::new(WhoAmI::server()).into_axum_router())
        .layer(layer(&issuer));
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
    let auth = layer(&issuer);
    let admins = Allow::only(in_namespace("admins")).build().unwrap();
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
    let allow = Allow::only(in_namespace("payments")).build().unwrap();
    let app = Routes::new(allow.named_layer(WhoAmI::server())).into_axum_router();
    // nobody looked at the call
    let server = HttpServer::start(app.clone()).await;
    let http2 = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
    let call = http2.post(format!("{}/grpc.health.v1.Health/Check", server.url()));
    let call = call.header("content-type", "application/grpc").header("te", "trailers");
    let answered = call.header("authorization", good(&issuer)).send().await.unwrap();
    assert_eq!(answered.status(), 500, "in no form that a caller could choose");
    // nobody makes it
    let server = HttpServer::start(app.layer(layer(&issuer).optional())).await;
    let optional = client(server.url());
    assert_refused(&optional, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    assert_eq!(caller(&optional, &[&good(&issuer)]).await, "payments/checkout");
}

/// How long before its expiry a token comes, and so how often the layer looks whether it is over.
const MOMENT: Duration = Duration::from_millis(200);

/// A clock that stands still a moment before a token expires, for a verifier without leeway.
struct Countdown<'a> {
    issuer: &'a TestIssuer,
    clock: ManualClock,
    expiry: SystemTime,
}

impl<'a> Countdown<'a> {
    fn of(issuer: &'a TestIssuer) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        Self { issuer, clock: ManualClock::at(expiry), expiry }
    }

    fn layer(&self) -> OidcAuthLayer {
        let builder = Verifier::builder(Issuer::new(self.issuer.url().parse().unwrap()));
        let builder = builder.audience("orders").leeway(Duration::ZERO).clock(self.clock.clone());
        OidcAuthLayer::from(builder.build().unwrap())
    }

    /// A token that expires in a moment; those before it have expired.
    fn token(&mut self) -> String {
        self.expiry += Duration::from_secs(60);
        self.clock.set_wall(self.expiry - MOMENT);
        bearer(&self.issuer.token().audience("orders").expires_at(self.expiry).mint())
    }

    fn finish(&self) {
        self.clock.set_wall(self.expiry);
    }

    /// Waits until a later call has ended, so that an earlier one would have if it was to.
    async fn give_time(&mut self, ending: &mut Client) {
        let mut later = soon(ending.watch(call(&[&self.token()]))).await.unwrap().into_inner();
        self.finish();
        while let Ok(message) = soon(later.message()).await {
            assert!(message.is_some());
        }
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("in time")
}

fn number(message: Result<Option<HealthCheckResponse>, Status>) -> i32 {
    message.unwrap().expect("a message").status
}

#[tokio::test]
async fn a_grpc_call_ends_when_its_token_expires_if_that_was_asked_for() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let layer = countdown.layer();
    let ending = serve_ticks(layer.clone().end_streams_at_expiry(), &ticks).await;
    let lasting = serve_ticks(layer, &ticks).await;
    let (mut ending, mut lasting) = (client(ending.url()), client(lasting.url()));
    let token = countdown.token();
    // the first call waits for keys, the others find them here
    let mut ended = soon(ending.watch(call(&[&token]))).await.unwrap().into_inner();
    let mut open = soon(lasting.watch(call(&[&token]))).await.unwrap().into_inner();
    for tick in [0, 1] {
        // the first one is there already
        ticks.send_if_modified(|now| replace(now, tick) != tick);
        assert_eq!(number(soon(ended.message()).await), tick);
        assert_eq!(number(soon(open.message()).await), tick);
    }
    assert_eq!(ticks.receiver_count(), 2);

    countdown.finish();
    let end = soon(ended.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unauthenticated, EXPIRED));
    assert_eq!(ticks.receiver_count(), 1, "the stream of the service is dropped");
    assert_refused(&ending, &[&token], Code::Unauthenticated, EXPIRED).await;
    assert_refused(&lasting, &[&token], Code::Unauthenticated, EXPIRED).await;

    // what was not to end goes on
    countdown.give_time(&mut ending).await;
    ticks.send_replace(2);
    assert_eq!(number(soon(open.message()).await), 2);
}

#[tokio::test]
async fn a_grpc_call_that_is_not_answered_ends_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let server = serve_ticks(countdown.layer().end_streams_at_expiry(), &ticks).await;
    let mut arrived = ticks.subscribe();
    // the first call waits for keys, the second finds them here
    for _ in 0..2 {
        let (mut client, token) = (client(server.url()), countdown.token());
        let never = client.check(call_of(WhoAmI::NEVER, &[&token]));
        let (unanswered, ()) = soon(async {
            tokio::join!(never, async {
                arrived.changed().await.unwrap();
                countdown.finish();
            })
        })
        .await;
        let status = unanswered.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, EXPIRED));
    }
}

#[tokio::test]
async fn a_grpc_web_stream_ends_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let layer = countdown.layer().end_streams_at_expiry();
    let [inside, outside] = web_servers(&layer, &watch::Sender::new(7)).await;
    let token = countdown.token();
    let open = async |server| {
        let mut stream = web_client(server).watch(call(&[&token])).await.unwrap().into_inner();
        assert_eq!(number(stream.message().await), 7);
        stream
    };
    let (mut inside, mut outside) = (soon(open(&inside)).await, soon(open(&outside)).await);
    countdown.finish();
    // inside of the translation it is gRPC, whose end can be told
    let status = soon(inside.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, EXPIRED));
    // outside it breaks off, and does not seem whole
    assert!(soon(outside.message()).await.is_err());
}

#[tokio::test]
async fn an_http_answer_breaks_off_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let serve = async |layer: OidcAuthLayer| {
        let (receiver, arrived) = (ticks.subscribe(), ticks.clone());
        let stream = async move || {
            let ticks = WatchStream::new(receiver.clone());
            axum::body::Body::from_stream(ticks.map(|tick| Ok::<_, Infallible>(tick.to_string())))
        };
        let never = async move || {
            arrived.send_replace(-1);
            pending::<StatusCode>().await
        };
        let app = Router::new().route("/stream", get(stream)).route("/never", get(never));
        HttpServer::start(app.layer(layer)).await
    };
    let layer = countdown.layer();
    let ending = serve(layer.clone().end_streams_at_expiry()).await;
    let lasting = serve(layer).await;
    let [client, _] = versions();
    let ask = async |server: &HttpServer, path: &str, token: &str| {
        let request = client.get(format!("{}{path}", server.url()));
        soon(request.header("authorization", token).send()).await.unwrap()
    };
    let token = countdown.token();
    let mut ended = ask(&ending, "/stream", &token).await;
    let mut open = ask(&lasting, "/stream", &token).await;
    for tick in [0, 1] {
        ticks.send_if_modified(|now| replace(now, tick) != tick);
        assert_eq!(soon(ended.chunk()).await.unwrap().unwrap(), tick.to_string());
        assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), tick.to_string());
    }
    countdown.finish();
    assert!(soon(ended.chunk()).await.is_err(), "a clean end would make half a body seem whole");

    let (mut arrived, token) = (ticks.subscribe(), countdown.token());
    let (unanswered, ()) = tokio::join!(ask(&ending, "/never", &token), async {
        soon(arrived.changed()).await.unwrap();
        countdown.finish();
    });
    assert_eq!(unanswered.status(), StatusCode::UNAUTHORIZED);
    let challenge = unanswered.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.ends_with(&format!("error_description=\"{EXPIRED}\"")), "{challenge}");

    // what was not to end had as much time to
    assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), "-1");
    ticks.send_replace(2);
    assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn a_body_that_is_no_grpc_breaks_off_whatever_the_form_of_answers() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let layer = countdown.layer().end_streams_at_expiry().answers(Answers::Grpc);
    let stream = async || {
        let begun = tokio_stream::once(Ok::<_, Infallible>("begun"));
        axum::body::Body::from_stream(begun.chain(tokio_stream::pending()))
    };
    let server = HttpServer::start(Router::new().route("/", get(stream)).layer(layer)).await;
    for client in versions() {
        let request = client.get(server.url()).header("authorization", countdown.token());
        let mut response = soon(request.send()).await.unwrap();
        assert_eq!(soon(response.chunk()).await.unwrap().unwrap(), "begun");
        countdown.finish();
        let version = response.version();
        assert!(soon(response.chunk()).await.is_err(), "it seems whole by {version:?}");
    }
}

#[tokio::test]
async fn a_layer_that_only_reports_ends_nothing() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let layer = countdown.layer().end_streams_at_expiry();
    let reporting = serve_ticks(layer.clone().dangerous_report_only(), &ticks).await;
    let ending = serve_ticks(layer, &ticks).await;
    let request = call(&[&countdown.token()]);
    let mut open = soon(client(reporting.url()).watch(request)).await.unwrap().into_inner();
    assert_eq!(number(soon(open.message()).await), 0);
    countdown.finish();
    countdown.give_time(&mut client(ending.url())).await;
    ticks.send_replace(1);
    assert_eq!(number(soon(open.message()).await), 1);
}

#[tokio::test]
async fn a_handler_says_when_to_come_back_as_the_layer_would() {
    let issuer = TestIssuer::start();
    issuer.go_down();
    let server = serve(layer(&issuer).dangerous_report_only()).await;
    let status = refusal(&client(server.url()), &[&good(&issuer)]).await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some(), "{status:?}");
}

/// A service that is ready once and never answers. It tells when it is called, and when a clone
/// of it is asked to be ready, which it never is.
struct Busy {
    ready: bool,
    told: Arc<Notify>,
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        Self { ready: false, told: Arc::clone(&self.told) }
    }
}

impl Service<http::Request<Full<Bytes>>> for Busy {
    type Response = http::Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.told.notify_one();
        Poll::Pending
    }

    fn call(&mut self, _: http::Request<Full<Bytes>>) -> Self::Future {
        self.told.notify_one();
        pending()
    }
}

#[tokio::test]
async fn a_call_ends_when_its_token_expires_even_if_the_service_is_busy() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let told = Arc::new(Notify::new());
    let layer = countdown.layer().end_streams_at_expiry();
    // the first waits for keys, then for a clone to be ready; the second for an answer
    for _ in 0..2 {
        let busy = Busy { ready: true, told: Arc::clone(&told) };
        let mut service = ServiceBuilder::new().layer(layer.clone()).service(busy);
        let request = http::Request::builder().header("authorization", countdown.token());
        let waiting = service.ready().await.unwrap().call(request.body(Full::default()).unwrap());
        let (response, ()) = soon(async {
            tokio::join!(waiting, async {
                told.notified().await;
                countdown.finish();
            })
        })
        .await;
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let rejection = response.extensions().get::<Rejection>();
        assert!(matches!(rejection, Some(Rejection::ExpiredMeanwhile)), "{rejection:?}");
    }
}
