//! One request through a whole axum router, or through a layer around next to nothing.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, routing::get};
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use kube_oidc::Verifier;
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TokenBuilder};
use serde_json::json;
use tower::{Service, ServiceExt, layer::layer_fn};
use tower_kube_oidc::{Caller, OidcAuthLayer};

use crate::harness::now;

/// The header that carries a token.
pub fn bearer(token: &str) -> HeaderValue {
    format!("Bearer {token}").parse().expect("a header's value")
}

/// A request as all contestants get it.
pub fn request<B: Default>(authorization: &HeaderValue) -> Request<B> {
    Request::builder()
        .uri("/")
        .header(AUTHORIZATION, authorization.clone())
        .body(B::default())
        .expect("a good request")
}

/// Sends one request through a clone of a service, as a server does, and expects 200.
pub fn ask<S, B, R>(service: &S, request: Request<B>) -> Response<R>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
{
    let Ok(response) = now(service.clone().oneshot(request));
    debug_assert_eq!(response.status(), StatusCode::OK);
    response
}

/// Sends requests until one is answered with 200, as keys may still be on their way.
///
/// # Panics
///
/// None is for seconds.
pub async fn until_good<S, B, R>(service: &S, request: impl Fn() -> Request<B>)
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
{
    let mut status = StatusCode::OK;
    for _ in 0..500 {
        status = status_of(service, request()).await;
        if status == StatusCode::OK {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still {status}");
}

/// Makes sure that a service does the work which is measured: one bad thing about a token that
/// would be good, and it is not let through.
///
/// # Panics
///
/// It is.
pub async fn refuses_bad<S, B, R>(
    service: &S,
    request: impl Fn(&HeaderValue) -> Request<B>,
    good: &TokenBuilder,
) where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
{
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    let bad = [
        ("signature", good.clone().forged_by(&stranger)),
        ("iss", good.clone().claim("iss", "https://issuer.example")),
        ("aud", good.clone().claim("aud", json!(["refunds"]))),
        ("exp", good.clone().expired()),
    ];
    for (what, token) in bad {
        let status = status_of(service, request(&bearer(&token.mint()))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "a token with a bad {what}");
    }
}

async fn status_of<S, B, R>(service: &S, request: Request<B>) -> StatusCode
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
{
    let Ok(response) = service.clone().oneshot(request).await;
    response.status()
}

/// What a handler answers when it knows who is asking.
pub fn hello(namespace: &str) -> &'static str {
    black_box(namespace);
    HELLO
}

const HELLO: &str = "hello";

/// A router without a layer.
pub fn plain() -> Router {
    Router::new().route("/", get(async || HELLO))
}

/// The same, behind a layer that does nothing.
pub fn passed_through() -> Router {
    plain().layer(layer_fn(PassThrough))
}

/// The same, behind our layer.
pub fn guarded(verifier: Verifier) -> Router {
    plain().layer(OidcAuthLayer::from(verifier))
}

/// A router behind our layer, whose handler wants the caller.
pub fn ours(verifier: Verifier) -> Router {
    async fn handler(Caller(who): Caller) -> &'static str {
        hello(who.namespace())
    }
    Router::new().route("/", get(handler)).layer(OidcAuthLayer::from(verifier))
}

/// A service that calls the one inside and nothing else.
#[derive(Clone, Debug)]
pub struct PassThrough<S>(S);

impl<S: Service<R>, R> Service<R> for PassThrough<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// A service that answers at once, with nothing.
#[derive(Clone, Copy, Debug)]
pub struct Empty;

impl Service<Request<()>> for Empty {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}
