//! What a layer can be told beside what it expects of tokens: whom it lets pass, where the token
//! is, and who hears of it.

mod hooks;
mod layers;
mod optional;
mod report_only;
mod secrets;
mod token_header;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
    routing::{any, get},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, TE, WWW_AUTHENTICATE},
};
use http_body_util::BodyExt as _;
use kube_oidc::clock::ManualClock;
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    HttpServer, Log, TestResponse, bearer, builder_for, layer_builder_for, token_for,
};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_kube_oidc::{
    AuthorizeLayer, Caller, OidcAuthLayer, OidcAuthLayerBuilder, Outcome, Passed, Policy,
    Rejection, Rule, ServiceAccountClaims, Verified, Verifier, VerifyError, in_namespace,
};
use tracing::Instrument as _;

type Builder = OidcAuthLayerBuilder<Verifier>;

/// Sets a mode.
type Mode = fn(Builder) -> Builder;

const REQUIRED: Mode = |builder| builder;
const OPTIONAL: Mode = Builder::optional;
const REPORT_ONLY: Mode = Builder::dangerous_report_only;
const OPEN: Mode = |builder| builder.add_open_path("/look");

/// Begins a layer with keys of its own, which are still to be fetched.
fn builder(issuer: &TestIssuer) -> Builder {
    layer_builder_for(issuer).realm("shop")
}

/// Begins a layer that is narrowed to another audience of its verifier.
fn narrowed(issuer: &TestIssuer) -> Builder {
    let verifier = builder_for(issuer).add_audience("refunds").build().unwrap();
    OidcAuthLayer::builder_for(verifier).realm("shop").narrow_audiences(["refunds"])
}

fn layer(issuer: &TestIssuer) -> OidcAuthLayer {
    builder(issuer).build().unwrap()
}

fn good(issuer: &TestIssuer) -> String {
    bearer(token_for(issuer).mint())
}

const BASIC: &str = "Basic dXNlcjpwYXNz";

/// Says what a handler finds.
async fn look(request: Request) -> Json<Value> {
    let extensions = request.extensions();
    let passed = extensions.get::<Passed>();
    let how = |passed: &Passed| {
        let flags = [passed.is_open_path(), passed.is_anonymous(), passed.is_report_only()];
        match flags {
            [true, false, _] => "open path",
            [false, true, false] => "anonymous",
            [false, false, true] => "report only",
            other => panic!("it passed in one way: {other:?}"),
        }
    };
    let values = |name: &str| -> Vec<String> {
        let values = request.headers().get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let shown = request.headers().iter();
    let shown: Value = shown.map(|(name, value)| (name.as_str(), format!("{value:?}"))).collect();
    Json(json!({
        "caller": extensions.get::<Verified>().map(|who| who.subject().to_owned()),
        "passed": passed.map(how),
        "would be": passed.and_then(Passed::would_be_rejected).map(Rejection::reason),
        "authorization": values("authorization"),
        "x-workload-token": values("x-workload-token"),
        "shown": shown,
    }))
}

async fn subject(Caller(who): Caller) -> String {
    who.subject().to_owned()
}

async fn perhaps(caller: Option<Caller>) -> String {
    caller.map_or("nobody".to_owned(), |Caller(who)| who.subject().to_owned())
}

fn routes() -> Router {
    Router::new()
        .route("/look", any(look))
        .route("/caller", get(subject))
        .route("/maybe", get(perhaps))
}

fn app(builder: Builder) -> Router {
    routes().layer(builder.build().unwrap())
}

type Headers<'a> = &'a [(&'a str, &'a str)];

fn request(path: &str, headers: Headers<'_>) -> Request {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn send(app: &Router, request: Request) -> TestResponse {
    TestResponse::read(app.clone().oneshot(request).await.unwrap()).await
}

async fn ask(app: &Router, path: &str, headers: Headers<'_>) -> TestResponse {
    send(app, request(path, headers)).await
}

async fn with(app: &Router, path: &str, authorization: &[&str]) -> TestResponse {
    let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
    ask(app, path, &headers).await
}

const CHECKOUT: &str = "system:serviceaccount:payments:checkout";

/// Values of `Authorization` that are refused wherever a token counts, with status and reason.
fn broken(issuer: &TestIssuer) -> Vec<(Vec<String>, u16, &'static str)> {
    let minted = || issuer.token().audience("orders");
    let stranger = SigningKey::generate(SigningAlgorithm::Es256).with_kid("stranger");
    let (one, basic) = (|value: &str| vec![value.to_owned()], BASIC.to_owned());
    vec![
        (one("Bearer"), 400, "invalid_request"),
        (one("bearer"), 400, "invalid_request"),
        (one("Bearer "), 400, "invalid_request"),
        (one("Bearer a b"), 400, "invalid_request"),
        (one("Bearer a, Bearer b"), 400, "invalid_request"),
        (one("Bearer \"a\""), 400, "invalid_request"),
        (vec![good(issuer), good(issuer)], 400, "invalid_request"),
        (vec![good(issuer), basic.clone()], 400, "invalid_request"),
        (vec![basic.clone(), good(issuer)], 400, "invalid_request"),
        // none of the two is ours; of two headers nobody says which one counts
        (vec![basic.clone(), basic], 400, "invalid_request"),
        (one("Bearer garbage"), 401, "malformed"),
        (one(&format!("{}x", good(issuer))), 401, "malformed"),
        (one(&bearer(minted().expired().mint())), 401, "expired"),
        (one(&bearer(issuer.token().audience("vault").mint())), 401, "audience"),
        (one(&bearer(issuer.token().mint())), 401, "audience"),
        (one(&bearer(minted().claim("iss", "https://b.example").mint())), 401, "unknown_issuer"),
        (one(&bearer(minted().header("alg", "none").mint())), 401, "algorithm"),
        (one(&bearer(minted().signature("x").mint())), 401, "signature"),
        (one(&bearer(minted().forged_by(&stranger).mint())), 401, "signature"),
        (one(&bearer(minted().signed_by(&stranger).mint())), 401, "unknown_key"),
    ]
}

fn borrowed(values: &[String]) -> Vec<&str> {
    values.iter().map(String::as_str).collect()
}

/// Without keys, and never to get any.
fn go_silent(issuer: &TestIssuer) {
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
}

const NAMED: &str = "x-workload-token";

fn named(issuer: &TestIssuer) -> Builder {
    builder(issuer).token_header(HeaderName::from_static(NAMED))
}

/// Asks, and finds the lines that were logged for it, by a span of its own.
async fn logged(
    log: &Log,
    app: &Router,
    path: &str,
    authorization: &[&str],
) -> (TestResponse, Vec<String>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let id = NUMBER.fetch_add(1, Ordering::Relaxed);
    let answered = with(app, path, authorization).instrument(tracing::info_span!("mode", id)).await;
    (answered, log.lines_with(&[&format!("mode{{id={id}}}")]))
}
