//! An API server that fails for a while, in real time: how long requests take, how often the API
//! server is called, and when reviews are back.

use super::*;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use kube_oidc::token_review::{ReviewError, ReviewStatus};
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{builder_for, fast_issuer, issuer_for};
use tokio::{task::JoinSet, time::sleep};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

const TOKENS: usize = 200;
const CONNECTIONS: usize = 16;

/// A reviewer that records when calls began, and when they failed.
#[derive(Debug)]
struct RecordingReviewer {
    inner: KubeReviewer,
    began: Mutex<Vec<Instant>>,
    failed: Mutex<Vec<Instant>>,
}

impl RecordingReviewer {
    async fn note(&self, request: ReviewRequest<'_>) -> Result<ReviewStatus, ReviewError> {
        /// A call that is given up has failed as well.
        struct Call<'a>(&'a RecordingReviewer);
        impl Drop for Call<'_> {
            fn drop(&mut self) {
                self.0.failed.lock().unwrap().push(Instant::now());
            }
        }
        self.began.lock().unwrap().push(Instant::now());
        let call = Call(self);
        let status = self.inner.review(request).await?;
        std::mem::forget(call);
        Ok(status)
    }

    fn began_between(&self, from: Instant, to: Instant) -> usize {
        let began = self.began.lock().unwrap();
        began.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

impl Reviewer for RecordingReviewer {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(self.note(request))
    }
}

#[derive(Clone, Copy, Debug)]
enum Outage {
    /// Connections are accepted, and nothing is answered; not even later.
    Hangs,
    /// No connection is accepted.
    Refuses,
}

#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
struct Measured {
    requests: usize,
    p99: Duration,
    slowest: Duration,
    calls: usize,
    lasted: Duration,
    recovery: Duration,
    /// In each tenth of the interval after it.
    calls_after_recovery: Vec<usize>,
}

async fn measure(outage: Outage, interval: Duration, lasts: Duration) -> Measured {
    let cluster = fast_issuer();
    let noting = Arc::new(RecordingReviewer {
        inner: reviewer(&cluster),
        began: Mutex::default(),
        failed: Mutex::default(),
    });
    let review = TokenReviewConfig::new(noting.clone())
        .cache_ttl(interval)
        .timeout(SECOND)
        .stale_if_error(600 * SECOND);
    let verifier = builder_for(issuer_for(&cluster).with_token_review(review))
        .require_token_review()
        .build()
        .unwrap();
    let layer = OidcAuthLayer::from(verifier.clone());
    let ok =
        service_fn(async |_| Ok::<_, std::convert::Infallible>(Response::new(Body::default())));
    let service = ServiceBuilder::new().layer(layer).service(ok);
    let mint = |jti| minted(&cluster).claim("jti", format!("{jti}")).mint();
    let tokens: Arc<Vec<String>> = Arc::new((0..TOKENS).map(mint).collect());
    for token in &*tokens {
        verifier.verify(token).await.unwrap();
    }

    match outage {
        Outage::Hangs => cluster.respond_with(Endpoint::TokenReview, MockResponse::hang()),
        Outage::Refuses => cluster.stop(),
    }
    sleep(interval).await;
    let (next, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (service, tokens) = (service.clone(), Arc::clone(&tokens));
        let (next, stop) = (Arc::clone(&next), Arc::clone(&stop));
        connections.spawn(async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let token = &tokens[next.fetch_add(1, Ordering::Relaxed) % TOKENS];
                let began = Instant::now();
                let answered = service.clone().oneshot(request(token)).await.unwrap();
                assert_eq!(answered.status(), 200);
                took.push((began, began.elapsed()));
                sleep(SECOND / 200).await;
            }
            took
        });
    }
    let known = loop {
        if let Some(second) = noting.failed.lock().unwrap().get(1) {
            break *second;
        }
        sleep(SECOND / 1_000).await;
    };
    sleep(lasts).await;

    match outage {
        Outage::Hangs => cluster.reset_response(Endpoint::TokenReview),
        Outage::Refuses => cluster.restart(),
    }
    let over = Instant::now();
    let new = minted(&cluster).claim("jti", "new").mint();
    while verifier.verify(&new).await.is_err() {
        sleep(SECOND / 1_000).await;
    }
    let recovered = Instant::now();
    sleep(interval).await;
    stop.store(true, Ordering::Relaxed);
    let took = connections.join_all().await.concat();
    let mut took: Vec<_> =
        took.into_iter().filter(|(began, _)| *began > known).map(|(_, took)| took).collect();
    took.sort_unstable();
    let tenth = |number| recovered + interval * number / 10;
    Measured {
        requests: took.len(),
        p99: took[took.len() * 99 / 100],
        slowest: took[took.len() - 1],
        calls: noting.began_between(known, over),
        lasted: over - known,
        recovery: recovered - over,
        calls_after_recovery: (0..10)
            .map(|number| noting.began_between(tenth(number), tenth(number + 1)))
            .collect(),
    }
}

// rule: review-probe
#[tokio::test(flavor = "multi_thread")]
async fn outage_slows_no_request_down_and_ends_within_a_second() {
    let hangs = tokio::spawn(measure(Outage::Hangs, SECOND, 3 * SECOND + SECOND / 2));
    let refuses = tokio::spawn(measure(Outage::Refuses, SECOND, 3 * SECOND + SECOND / 2));
    for measured in [hangs.await.unwrap(), refuses.await.unwrap()] {
        assert!(measured.p99 <= SECOND / 20, "{measured:?}");
        assert!(SECOND * u32::try_from(measured.calls).unwrap() <= measured.lasted, "{measured:?}");
        // a request that begins the call may come a moment later
        assert!(measured.recovery <= SECOND + SECOND / 10, "{measured:?}");
        assert!(
            measured.calls_after_recovery.iter().all(|calls| *calls < TOKENS / 2),
            "{measured:?}"
        );
    }
}
