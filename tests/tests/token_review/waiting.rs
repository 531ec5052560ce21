//! Requests that wait for the API server: they hold nobody up, and pass only if their token is
//! still good when they are through.

use super::*;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
};

use http_body_util::BodyExt as _;
use kube_oidc::{Reason, clock::Clock as _};
use kube_oidc_tests::{ReadyOnce, fast_issuer};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};
use tower::{Service, ServiceBuilder, ServiceExt as _, service_fn, util::BoxCloneService};
use tower_kube_oidc::Verified;

async fn greet(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let who = request.extensions().get::<Verified>().unwrap();
    Ok(Response::new(Body::from(who.namespace().to_owned())))
}

type Guarded = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// What asks, before a service of so many permits: the layer, or a part of its own.
fn guarded(cluster: &TestIssuer, review: &TokenReviewConfig, clock: &ManualClock) -> [Guarded; 2] {
    async fn whole<B>(response: Response<B>) -> Result<Response<Body>, Infallible>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Body::from(body.collect().await.unwrap().to_bytes())))
    }
    let builder = || builder(cluster, review.clone(), clock).leeway(Duration::ZERO);
    let every = builder().require_token_review().build().unwrap();
    let single = builder().build().unwrap();
    let limited = || ServiceBuilder::new().concurrency_limit(1).service(service_fn(greet));
    let every = ServiceBuilder::new().layer(layer(every)).service(limited()).and_then(whole);
    let single = ServiceBuilder::new()
        .layer(layer(single.clone()))
        .layer(required(&single))
        .service(limited())
        .and_then(whole);
    [BoxCloneService::new(every), BoxCloneService::new(single)]
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

async fn status(service: &Guarded, token: &str) -> u16 {
    service.clone().oneshot(request(token)).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn they_hold_no_permit_of_an_inner_limit() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    for service in guarded(&cluster, &review(gate.clone()), &clock) {
        let good = minted(&cluster).mint();
        gate.open(1);
        assert_eq!(status(&service, &good).await, 200);
        let before = gate.reached();
        let mut waiting = Vec::new();
        for _ in 0..100 {
            let token = minted(&cluster).mint();
            let mut asking = Box::pin(service.clone().oneshot(request(&token)));
            assert!(poll_once(&mut asking).is_pending());
            waiting.push(asking);
        }
        for _ in 0..100 {
            assert_eq!(status(&service, &good).await, 200);
        }
        assert!(waiting.iter_mut().all(|asking| poll_once(asking).is_pending()));
        gate.until_reached(before + 100).await;
        // and each is served in the end
        gate.open(100);
        let mut tasks = JoinSet::new();
        for asking in waiting {
            tasks.spawn(asking);
        }
        while let Some(answered) = tasks.join_next().await {
            assert_eq!(answered.unwrap().unwrap().status(), 200);
        }
    }
}

/// A service that counts, and insists on being ready before it is called.
#[derive(Default)]
struct Strict {
    ready: bool,
    called: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, called: Arc::clone(&self.called) }
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being ready");
        self.called.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(Response::new(Body::default())))
    }
}

#[tokio::test]
async fn an_inner_service_that_fails_while_a_request_waits_is_told_of() {
    let (cluster, clock) = (fast_issuer(), clock());
    let verifier = builder(&cluster, review(reviewer(&cluster)), &clock).build().unwrap();
    // so that the review is all that is waited for
    verifier.ready().await;
    let service = ServiceBuilder::new().layer(layer(verifier.clone())).layer(required(&verifier));
    let mut service = service.service(ReadyOnce::new());
    let good = minted(&cluster).mint();
    let waiting = service.ready().await.unwrap().call(request(&good));
    assert_eq!(waiting.await.unwrap_err(), "not ready");
}

#[tokio::test]
async fn the_inner_service_is_ready_when_it_is_called() {
    let (cluster, clock) = (fast_issuer(), clock());
    let verifier = builder(&cluster, review(reviewer(&cluster)), &clock).build().unwrap();
    let inner = Strict::default();
    let called = Arc::clone(&inner.called);
    let mut service = ServiceBuilder::new()
        .layer(layer(verifier.clone()))
        .layer(required(&verifier))
        .service(inner);
    let good = minted(&cluster).mint();
    cluster.delete_pod("gone");
    let gone = minted(&cluster).pod("gone").mint();
    // one that waits, one that need not, one that is refused, which uses no readiness up
    for _ in 0..2 {
        let answered = service.ready().await.unwrap().call(request(&good)).await.unwrap();
        assert_eq!(answered.status(), 200);
    }
    for _ in 0..2 {
        let refused = service.ready().await.unwrap().call(request(&gone)).await.unwrap();
        assert_eq!(refused.status(), 401);
    }
    assert_eq!(service.call(request(&good)).await.unwrap().status(), 200);
    assert_eq!(called.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_token_that_expires_while_its_answer_is_awaited_is_refused() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    let [every, single] = guarded(&cluster, &review(gate.clone()), &clock);
    let verifier = builder(&cluster, review(gate.clone()), &clock)
        .leeway(Duration::ZERO)
        .require_token_review()
        .build()
        .unwrap();
    let soon = clock.wall() + 30 * SECOND;
    let token = minted(&cluster).expires_at(soon).mint();
    let act = async {
        gate.until_reached(3).await;
        clock.advance(31 * SECOND);
        gate.open(10);
    };
    let (every, single, verdict, ()) = tokio::join!(
        every.oneshot(request(&token)),
        single.oneshot(request(&token)),
        verifier.verify(&token),
        act
    );
    for answered in [every.unwrap(), single.unwrap()] {
        assert_eq!(answered.status(), 401);
        assert_eq!(answered.headers()["x-reason"], EXPIRED);
    }
    assert_eq!(verdict.unwrap_err().reason(), Reason::Expired);
}

#[tokio::test]
async fn what_is_taken_back_while_an_answer_is_awaited_is_refused() {
    for every in [true, false] {
        let (cluster, clock) = (fast_issuer(), clock());
        let gate = GatedReviewer::new(&cluster);
        let builder = builder(&cluster, review(gate.clone()), &clock);
        let builder = if every { builder.require_token_review() } else { builder };
        let verifier = builder.build().unwrap();
        let server = serve(&verifier).await;
        let token = minted(&cluster).claim("jti", "leaked").mint();
        let act = async {
            gate.until_reached(1).await;
            verifier.deny_jti("leaked");
            gate.open(10);
        };
        let (answered, verdict, ()) = tokio::join!(
            ask(&server, "/reviewed", &token),
            verifier.verify_with_review(&token),
            act
        );
        assert_eq!(answered.status, 401);
        assert_eq!(verdict.unwrap_err().reason(), Reason::DeniedJti);
    }
}

#[tokio::test]
async fn a_token_that_expires_while_the_service_is_busy_is_refused() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    let verifier =
        builder(&cluster, review(gate.clone()), &clock).leeway(Duration::ZERO).build().unwrap();
    let (done, called) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (until_done, counted) = (Arc::clone(&done), Arc::clone(&called));
    let slow = service_fn(move |_: Request<Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let until_done = Arc::clone(&until_done);
        async move {
            until_done.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Body::default()))
        }
    });
    let service = ServiceBuilder::new()
        .layer(layer(verifier.clone()))
        .layer(required(&verifier))
        .concurrency_limit(1)
        .service(slow);
    let [known, new] = [minted(&cluster).mint(), minted(&cluster).mint()];
    gate.open(1);
    verifier.verify_with_review(&known).await.unwrap();
    // it waits for its answer, while the other one takes the only permit
    let mut waiting = Box::pin(service.clone().oneshot(request(&new)));
    assert!(poll_once(&mut waiting).is_pending());
    let mut busy = Box::pin(service.clone().oneshot(request(&known)));
    assert!(poll_once(&mut busy).is_pending());
    assert_eq!(called.load(Ordering::Relaxed), 1);
    // its answer comes, and the permit does not
    gate.open(1);
    while verifier.verify_with_cached_review(&new).is_none() {
        assert!(poll_once(&mut waiting).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(poll_once(&mut waiting).is_pending());
    clock.advance(3_601 * SECOND);
    done.add_permits(2);
    assert_eq!(busy.await.unwrap().status(), 200);
    let refused = waiting.await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["x-reason"]), (401, &EXPIRED));
    assert_eq!(called.load(Ordering::Relaxed), 1);
}

const EXPIRED: HeaderValue = HeaderValue::from_static("expired");

#[tokio::test]
async fn those_that_go_away_harm_nobody_who_waits() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    for service in guarded(&cluster, &review(gate.clone()), &clock) {
        let token = minted(&cluster).mint();
        let mut waiting: Vec<_> =
            (0..100).map(|_| Box::pin(service.clone().oneshot(request(&token)))).collect();
        for asking in &mut waiting {
            assert!(poll_once(asking).is_pending());
        }
        let mut index = 0;
        waiting.retain(|_| {
            index += 1;
            index % 3 == 0
        });
        gate.open(100);
        for asking in waiting {
            assert_eq!(asking.await.unwrap().status(), 200);
        }
    }
    assert_eq!(cluster.token_reviews(), 2);
}

/// Who asks and hangs up, again and again, with a token that has no answer yet.
#[tokio::test]
async fn callers_who_hang_up_do_not_make_the_api_server_be_asked_anew() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    let verifier =
        builder(&cluster, review(gate.clone()), &clock).require_token_review().build().unwrap();
    let server = serve(&verifier).await;
    let token = minted(&cluster).mint();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let asked = format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(asked.as_bytes()).await.unwrap();
        gate.until_reached(1).await;
    }
    gate.open(100);
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    assert_eq!((gate.reached(), cluster.token_reviews()), (1, 1));
}
