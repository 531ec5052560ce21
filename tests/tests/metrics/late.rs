//! Requests that end in another way than was decided at first, and such as nobody waits for.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use kube_oidc::{Verifier, clock::ManualClock};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{Busy, issuer_for};
use tokio::{sync::Notify, time::timeout};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_kube_oidc::{OidcAuthLayer, ResponseBody};

use crate::{
    deployment::turn,
    scrape::{Scrape, series},
};

const LONG: Duration = Duration::from_secs(30);

/// How long before its expiry a token comes, and so how often the layer looks whether it is over.
const MOMENT: Duration = Duration::from_millis(200);

/// A clock that stands still a moment before a token expires.
struct Countdown {
    issuer: TestIssuer,
    clock: ManualClock,
    expiry: SystemTime,
}

impl Countdown {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs() + 60);
        Self { issuer: TestIssuer::start(), clock: ManualClock::at(expiry - MOMENT), expiry }
    }

    fn layer(&self) -> OidcAuthLayer {
        let builder = Verifier::builder(issuer_for(&self.issuer));
        let builder = builder.audience("orders").leeway(Duration::ZERO).clock(self.clock.clone());
        let builder = OidcAuthLayer::builder_for(builder.build().unwrap());
        builder.end_streams_at_expiry().build().unwrap()
    }

    fn request(&self) -> Request<()> {
        let token = self.issuer.token().audience("orders").expires_at(self.expiry).mint();
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        request.body(()).unwrap()
    }

    fn turn_back(&self) {
        self.clock.set_wall(self.expiry - MOMENT);
    }

    fn finish(&self) {
        self.clock.set_wall(self.expiry);
    }
}

/// What was counted of requests since.
fn requests_since(before: &Scrape) -> Vec<(String, String, f64)> {
    let growth = Scrape::of(&[]).growth_since(before).into_iter();
    let requests = growth.filter(|((name, _), _)| name == "kube_oidc_requests_total");
    requests.map(|((_, l), count)| (l["outcome"].clone(), l["reason"].clone(), count)).collect()
}

fn counted(outcome: &str, reason: &str) -> (String, String, f64) {
    (outcome.to_owned(), reason.to_owned(), 1.0)
}

#[tokio::test]
async fn one_whose_token_expires_before_it_is_answered_is_counted_as_refused_too() {
    let _turn = turn().await;
    let countdown = Countdown::new();
    let layer = countdown.layer();
    let told = Arc::new(Notify::new());
    // the first waits for keys, then for a clone to be ready; the second for an answer
    for waits_for in ["a clone", "an answer"] {
        countdown.turn_back();
        let before = Scrape::of(&[]);
        let busy = Busy::telling(&told);
        let service = ServiceBuilder::new().layer(layer.clone()).service(busy);
        let call = service.oneshot(countdown.request());
        let both = async {
            tokio::join!(call, async {
                told.notified().await;
                countdown.finish();
            })
        };
        let (response, ()) = timeout(LONG, both).await.unwrap();
        assert_eq!(response.unwrap().status(), StatusCode::UNAUTHORIZED);
        let both = [counted("rejected", "expired"), counted("verified", "none")];
        assert_eq!(requests_since(&before), both, "it waits for {waits_for}");
    }
}

#[tokio::test]
async fn one_whose_answer_has_begun_is_no_refusal() {
    let _turn = turn().await;
    let countdown = Countdown::new();
    let before = Scrape::of(&[]);
    let inner = service_fn(async |_: Request<()>| {
        let never = tokio_stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>();
        Ok::<_, Infallible>(Response::new(StreamBody::new(never)))
    });
    let service = ServiceBuilder::new().layer(countdown.layer()).service(inner);
    let response = service.oneshot(countdown.request()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    countdown.finish();
    let mut body: ResponseBody<_> = response.into_body();
    assert!(timeout(LONG, body.frame()).await.unwrap().unwrap().is_err());
    assert_eq!(requests_since(&before), [counted("verified", "none")]);
}

#[tokio::test]
async fn one_that_nobody_waits_for_any_more_is_not_counted() {
    let _turn = turn().await;
    let countdown = Countdown::new();
    let before = Scrape::of(&[]);
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = ServiceBuilder::new().layer(countdown.layer()).service(inner);
    // the keys are not here at once
    let call = service.clone().oneshot(countdown.request());
    timeout(Duration::ZERO, call).await.unwrap_err();
    let response = timeout(LONG, service.oneshot(countdown.request())).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(requests_since(&before), [counted("verified", "none")]);
    let misses = series("kube_oidc_token_cache_lookups_total", &[("result", "miss")]);
    assert_eq!(Scrape::of(&[]).growth_since(&before)[&misses], 2.0);
}
