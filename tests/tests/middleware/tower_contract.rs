//! The layer as a tower service: readiness, waiting, and the permits of an inner limit.

use std::{
    cell::Cell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use kube_oidc::{
    KeySource,
    source::{FetchError, FetchResponse},
};
use kube_oidc_testing::{SigningKey, TestIssuer};
use kube_oidc_tests::{
    ReadyOnce, ScriptedFetcher, builder_for, issuer_with, layer_builder_for, layer_for, token_for,
};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_kube_oidc::{OidcAuthLayer, ServiceAccountClaims, Verified};

type Body = Full<Bytes>;

/// An issuer whose keys come as often as there are permits, and a layer that trusts it.
fn gated(permits: usize) -> (TestIssuer, OidcAuthLayer, Arc<Semaphore>) {
    let issuer = TestIssuer::start();
    let permits = Arc::new(Semaphore::new(permits));
    let (gate, keys) = (Arc::clone(&permits), issuer.key_set().to_string());
    let fetcher = ScriptedFetcher::new(move |_| {
        let (gate, keys) = (Arc::clone(&gate), keys.clone());
        async move {
            gate.acquire().await.map_err(|_| FetchError::new("closed"))?.forget();
            Ok(FetchResponse::new(200, keys))
        }
    });
    let trusted = issuer_with(&issuer, KeySource::jwks(issuer.jwks_uri()).via(fetcher));
    let verifier = builder_for(trusted).fetch_timeout(Duration::from_secs(60)).build().unwrap();
    (issuer, OidcAuthLayer::from(verifier), permits)
}

fn request(token: &str) -> Request<Body> {
    Request::builder()
        .header("authorization", format!("Bearer {token}"))
        .body(Body::default())
        .unwrap()
}

async fn greet(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let who = request.extensions().get::<Verified<ServiceAccountClaims>>().unwrap();
    Ok(Response::new(Body::from(who.namespace().to_owned())))
}

// rule: waiting-requests
#[tokio::test]
async fn requests_that_wait_for_keys_hold_no_permit_of_an_inner_limit() {
    for (limit, asking) in [(1, 100), (64, 10_000)] {
        // one set is handed out; the refresh that junk asks for hangs
        let (issuer, layer, _permits) = gated(1);
        let service =
            ServiceBuilder::new().layer(layer).concurrency_limit(limit).service(service_fn(greet));
        let good = token_for(&issuer).mint();
        let ask = |token: String| service.clone().oneshot(request(&token));
        assert_eq!(ask(good.clone()).await.unwrap().status(), StatusCode::OK);

        let key = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
        let mut hanging = Vec::new();
        let mut turned_away = 0;
        for index in 0..asking {
            let key = key.clone().with_kid(&format!("junk-{index}"));
            let junk = issuer.token().audience("orders").signed_by(&key).mint();
            let mut future = Box::pin(ask(junk));
            match poll_once(&mut future) {
                Poll::Pending => hanging.push(future),
                Poll::Ready(response) => {
                    assert_eq!(response.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
                    turned_away += 1;
                }
            }
        }
        // as many as may wait for keys that do not come, wait; the others are told at once
        assert_eq!(hanging.len(), asking.min(1_024));
        assert_eq!(turned_away, asking - hanging.len());
        for _ in 0..100 {
            assert_eq!(ask(good.clone()).await.unwrap().status(), StatusCode::OK);
        }
        // and they wait still
        assert!(hanging.iter_mut().all(|future| poll_once(future).is_pending()));
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_request_that_waited_is_handed_on_once_the_keys_are_there() {
    let (issuer, layer, permits) = gated(0);
    let service =
        ServiceBuilder::new().layer(layer).concurrency_limit(1).service(service_fn(greet));
    let token = token_for(&issuer).mint();
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        tasks.spawn(service.clone().oneshot(request(&token)));
    }
    permits.add_permits(1);
    while let Some(answer) = tasks.join_next().await {
        let body = answer.unwrap().unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.to_bytes(), "payments");
    }
    assert_eq!(permits.available_permits(), 0);
}

/// A service that counts, and insists on being ready before it is called.
#[derive(Default)]
struct Strict {
    ready: bool,
    clones_called: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, clones_called: Arc::clone(&self.clones_called) }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = std::future::Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.clones_called.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(Body::default())))
    }
}

#[tokio::test]
async fn the_inner_service_is_ready_when_it_is_called() {
    let (issuer, layer, permits) = gated(0);
    let inner = Strict::default();
    let called = Arc::clone(&inner.clones_called);
    let mut service = ServiceBuilder::new().layer(layer).service(inner);
    let token = issuer.token().audience("orders").mint();

    // waits, so a clone is called; it must be made ready first
    let waiting = service.ready().await.unwrap().call(request(&token));
    permits.add_permits(1);
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
    let response = service.ready().await.unwrap().call(request(&token)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    // a refusal does not use readiness up
    let refused = service.ready().await.unwrap().call(request("garbage")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(service.call(request(&token)).await.unwrap().status(), StatusCode::OK);
    assert_eq!(called.load(Ordering::Relaxed), 3);
}

// rule: waiting-requests
#[tokio::test]
async fn a_request_that_waits_leaves_the_permit_that_was_taken_for_it() {
    let (issuer, layer, permits) = gated(0);
    let inner = ServiceBuilder::new().concurrency_limit(1).service(service_fn(greet));
    // as a buffer drives it: one that is never dropped
    let mut service = ServiceBuilder::new().layer(layer).service(inner);
    let token = token_for(&issuer).mint();
    let waiting = service.ready().await.unwrap().call(request(&token));
    permits.add_permits(1);
    let answered = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    let response = answered.expect("it waits for a permit that nobody uses").unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let response = service.ready().await.unwrap().call(request(&token)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn errors_of_the_inner_service_pass_through() {
    #[derive(Clone)]
    struct Failing(bool);
    impl Service<Request<Body>> for Failing {
        type Response = Response<Body>;
        type Error = &'static str;
        type Future = std::future::Ready<Result<Response<Body>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(if self.0 { Err("not ready") } else { Ok(()) })
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Err("failed"))
        }
    }
    let (issuer, layer, _permits) = gated(1);
    let token = issuer.token().audience("orders").mint();
    for (fails_when_ready, expected) in [(true, "not ready"), (false, "failed")] {
        let service = ServiceBuilder::new().layer(layer.clone()).service(Failing(fails_when_ready));
        assert_eq!(service.oneshot(request(&token)).await.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn an_inner_service_that_fails_while_a_request_waits_is_told_of() {
    let (issuer, layer, permits) = gated(0);
    let mut service = ServiceBuilder::new().layer(layer).service(ReadyOnce::new());
    let token = issuer.token().audience("orders").mint();
    let waiting = service.ready().await.unwrap().call(request(&token));
    permits.add_permits(1);
    assert_eq!(waiting.await.unwrap_err(), "not ready");
}

#[tokio::test]
async fn a_body_knows_its_length_and_its_end() {
    use http_body::Body as _;

    let (issuer, layer, _permits) = gated(1);
    let service = ServiceBuilder::new().layer(layer).service(service_fn(greet));
    let good = token_for(&issuer).mint();
    for token in [good.as_str(), "garbage"] {
        let mut body = service.clone().oneshot(request(token)).await.unwrap().into_body();
        assert!(!body.is_end_stream());
        let promised = body.size_hint().exact().unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(frame.len() as u64, promised);
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.frame().await.is_none());
    }
}

/// A body that is not `Send`.
type LocalBody = Pin<Box<dyn http_body::Body<Data = Bytes, Error = Infallible>>>;

/// A body that counts its frames.
fn local_body(text: &'static str, frames: &Rc<Cell<usize>>) -> LocalBody {
    let frames = Rc::clone(frames);
    Box::pin(Full::from(text).map_frame(move |frame| {
        frames.set(frames.get() + 1);
        frame
    }))
}

#[tokio::test]
async fn nothing_around_the_layer_has_to_be_send() {
    let issuer = TestIssuer::start();
    let ending = layer_builder_for(&issuer).end_streams_at_expiry().build().unwrap();
    for layer in [layer_for(&issuer), ending] {
        let frames = Rc::new(Cell::new(0));
        let counting = Rc::clone(&frames);
        let service =
            ServiceBuilder::new().layer(layer).service_fn(move |request: Request<LocalBody>| {
                let frames = Rc::clone(&counting);
                async move {
                    let asked = request.into_body().collect().await.unwrap().to_bytes();
                    if asked == "fail" {
                        return Err(Rc::<str>::from("failed"));
                    }
                    Ok(Response::new(local_body("hello", &frames)))
                }
            });
        let send = |text, token: &str| {
            let request = request(token).map(|_| local_body(text, &frames));
            Box::pin(service.clone().oneshot(request))
        };
        let good = token_for(&issuer).mint();
        // the first request waits for keys
        for waits in [true, false] {
            let mut future = send("greet", &good);
            if waits {
                assert!(poll_once(&mut future).is_pending());
            }
            let body = future.await.unwrap().into_body();
            assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        }
        assert!(matches!(send("fail", &good).await, Err(error) if &*error == "failed"));
        assert_eq!(frames.get(), 5, "three requests and two responses");
        let rejected = send("greet", "garbage").await.unwrap();
        assert_eq!(rejected.status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_request_that_is_dropped_while_it_waits_harms_nobody() {
    let (issuer, layer, permits) = gated(0);
    let service = ServiceBuilder::new().layer(layer).service(service_fn(greet));
    let token = issuer.token().audience("orders").mint();
    let ask = || service.clone().oneshot(request(&token));
    // the one that started the fetch, and many that joined
    let mut futures: Vec<_> = (0..100).map(|_| Box::pin(ask())).collect();
    for future in &mut futures {
        assert!(poll_once(future).is_pending());
    }
    let mut index = 0;
    futures.retain(|_| {
        index += 1;
        index % 3 == 0
    });
    permits.add_permits(1);
    for future in futures {
        assert_eq!(future.await.unwrap().status(), StatusCode::OK);
    }
}

#[test]
fn layers_outside_can_make_an_empty_answer() {
    // as CorsLayer does for a preflight
    fn is_default<S, R>(_: &S)
    where
        S: Service<Request<Body>, Response = Response<R>>,
        R: Default + http_body::Body,
    {
        assert_eq!(R::default().size_hint().exact(), Some(0));
        assert!(R::default().is_end_stream());
    }
    let (_issuer, layer, _permits) = gated(0);
    is_default(&ServiceBuilder::new().layer(layer).service(service_fn(greet)));
}
