//! `require_token_review`, in front of an axum server: how often the API server is asked, and for how
//! long its answer counts.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::middleware::{self, Next};
use kube_oidc::clock::Clock as _;
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::fast_issuer;
use tokio::task::JoinSet;

async fn every(builder: VerifierBuilder) -> HttpServer {
    serve(&builder.require_token_review().build().unwrap()).await
}

// rule: review-interval
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_with_one_token_ask_once() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    let verifier =
        builder(&cluster, review(gate.clone()), &clock).require_token_review().build().unwrap();
    verifier.ready().await;
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let count = move |request, next: Next| {
        counted.fetch_add(1, Ordering::Relaxed);
        next.run(request)
    };
    let app = routes(&verifier).layer(layer(verifier)).layer(middleware::from_fn(count));
    let server = HttpServer::start(app).await;
    let token = minted(&cluster).mint();

    let mut requests = JoinSet::new();
    for _ in 0..10 {
        // streams of ten connections, so that nobody's limit of open files is met
        let client = reqwest::Client::builder().http2_prior_knowledge().no_proxy().build().unwrap();
        for _ in 0..100 {
            let request = client.get(server.url()).header(AUTHORIZATION, format!("Bearer {token}"));
            requests.spawn(TestResponse::to(request));
        }
    }
    while came.load(Ordering::Relaxed) < 1_000 {
        tokio::task::yield_now().await;
    }
    gate.open(1_000);
    while let Some(answered) = requests.join_next().await {
        let answered = answered.unwrap();
        assert_eq!((answered.status, answered.body.as_str()), (200, "payments/checkout"));
    }
    assert_eq!((gate.reached(), cluster.token_reviews()), (1, 1));
    // nor do those that come after
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    assert_eq!(cluster.token_reviews(), 1);
}

/// The pods of a fleet, each with a token.
fn fleet(cluster: &TestIssuer) -> Vec<String> {
    let mint = |pod| minted(cluster).pod("of-the-fleet").claim("jti", format!("{pod}")).mint();
    (0..100).map(mint).collect()
}

// rule: review-interval
#[tokio::test]
async fn a_deleted_pod_is_refused_within_an_interval() {
    // whether the token itself is remembered or not
    for token_cache in [10_000, 0] {
        let (cluster, clock) = (fast_issuer(), clock());
        let review = review(reviewer(&cluster));
        let server = every(builder(&cluster, review, &clock).token_cache(token_cache)).await;
        let (fleet, other) = (fleet(&cluster), minted(&cluster).pod("stays").mint());
        for token in fleet.iter().chain([&other]) {
            assert_eq!(ask(&server, "/", token).await.outcome(), GOOD);
        }
        assert_eq!(cluster.token_reviews(), 101);
        cluster.delete_pod("of-the-fleet");
        // four fifths of an interval are anybody's
        clock.advance(48 * SECOND);
        for token in &fleet {
            assert_eq!(ask(&server, "/", token).await.outcome(), GOOD);
        }
        assert_eq!(cluster.token_reviews(), 101);
        // at its end nobody is left, however the dice fell
        clock.advance(12 * SECOND);
        for token in &fleet {
            let answered = ask(&server, "/", token).await;
            assert_eq!(answered.outcome(), DENIED);
            assert_eq!(
                answered.header("www-authenticate"),
                Some(
                    "Bearer realm=\"kubernetes\", error=\"invalid_token\", \
                     error_description=\"the token was not accepted\""
                )
            );
            assert_eq!(answered.header("retry-after"), None);
        }
        assert_eq!(cluster.token_reviews(), 201);
        assert_eq!(ask(&server, "/", &other).await.outcome(), GOOD);
    }
}

#[tokio::test]
async fn the_tokens_of_a_fleet_are_not_asked_for_at_once() {
    let (cluster, clock) = (fast_issuer(), clock());
    let server = every(builder(&cluster, review(reviewer(&cluster)), &clock)).await;
    let fleet = fleet(&cluster);
    let mut before = 0;
    for (seconds, least, most) in [(0, 100, 100), (54, 1, 99), (6, 1, 99)] {
        clock.advance(seconds * SECOND);
        for token in &fleet {
            assert_eq!(ask(&server, "/", token).await.outcome(), GOOD);
        }
        let asked = cluster.token_reviews() - before;
        assert!((least..=most).contains(&asked), "{asked} after {seconds} s");
        before += asked;
    }
    assert_eq!(before, 200, "each a second time within an interval");
}

#[tokio::test]
async fn a_refusal_counts_for_five_seconds() {
    let (cluster, clock) = (fast_issuer(), clock());
    let server = every(builder(&cluster, review(reviewer(&cluster)), &clock)).await;
    let token = minted(&cluster).mint();
    cluster.delete_service_account("payments", "checkout");
    for (milliseconds, reviews) in [(0, 1), (0, 1), (4_999, 1), (1, 2), (4_999, 2), (1, 3)] {
        clock.advance(Duration::from_millis(milliseconds));
        assert_eq!(ask(&server, "/", &token).await.outcome(), DENIED);
        assert_eq!(cluster.token_reviews(), reviews);
    }
}

#[tokio::test]
async fn an_answer_counts_from_when_it_was_asked_for() {
    let (cluster, clock) = (fast_issuer(), clock());
    let gate = GatedReviewer::new(&cluster);
    let server = every(builder(&cluster, review(gate.clone()), &clock)).await;
    let token = minted(&cluster).mint();
    let first = async {
        gate.until_reached(1).await;
        // the API server takes its time, in which a pod may be deleted
        clock.advance(40 * SECOND);
        gate.open(10);
    };
    let (answered, ()) = tokio::join!(ask(&server, "/", &token), first);
    assert_eq!(answered.outcome(), GOOD);
    cluster.delete_pod("checkout-7f9c");
    clock.advance(20 * SECOND);
    assert_eq!(ask(&server, "/", &token).await.outcome(), DENIED);
}

#[tokio::test]
async fn a_clock_that_is_set_back_prolongs_nothing() {
    let (cluster, clock) = (fast_issuer(), clock());
    let server = every(builder(&cluster, review(reviewer(&cluster)), &clock)).await;
    let token = minted(&cluster).issued_at(SystemTime::now() - 600 * SECOND).mint();
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    cluster.delete_pod("checkout-7f9c");
    clock.advance(60 * SECOND);
    clock.set_wall(SystemTime::now() - 300 * SECOND);
    assert_eq!(ask(&server, "/", &token).await.outcome(), DENIED);
}

/// A machine that was suspended: its monotonic clock stood still.
// rule: review-interval
#[tokio::test]
async fn what_was_answered_before_a_suspend_is_asked_again() {
    for keeps in [false, true] {
        let (cluster, clock) = (fast_issuer(), clock());
        let review = review(reviewer(&cluster));
        let review = if keeps { review.stale_if_error(600 * SECOND) } else { review };
        let server = every(builder(&cluster, review, &clock)).await;
        let token = minted(&cluster).mint();
        assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
        if keeps {
            cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
        } else {
            cluster.delete_pod("checkout-7f9c");
        }
        clock.set_wall(clock.wall() + 600 * SECOND);
        let expected = if keeps { UNAVAILABLE } else { DENIED };
        assert_eq!(ask(&server, "/", &token).await.outcome(), expected);
    }
}

/// A client's tasks and connections end with the runtime that they were made in.
#[test]
fn one_verifier_asks_from_several_runtimes_one_after_the_other() {
    let (cluster, clock) = (fast_issuer(), clock());
    let builder = builder(&cluster, review(reviewer(&cluster)), &clock);
    let verifier = builder.require_token_review().build().unwrap();
    let token = minted(&cluster).mint();
    for reviews in 1..=3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(verifier.verify(&token)).unwrap();
        assert_eq!(cluster.token_reviews(), reviews);
        drop(runtime);
        clock.advance(60 * SECOND);
    }
}

// rule: review-scope
#[tokio::test]
async fn what_fails_the_other_checks_is_never_asked_about() {
    let (cluster, clock) = (fast_issuer(), clock());
    let server = every(builder(&cluster, review(reviewer(&cluster)), &clock)).await;
    let stranger = kube_oidc_testing::SigningKey::generate(SigningAlgorithm::Es256);
    let good = minted(&cluster).mint();
    for token in [
        "garbage".to_owned(),
        format!("{good}x"),
        minted(&cluster).expired().mint(),
        minted(&cluster).signature("x").mint(),
        minted(&cluster).forged_by(&stranger).mint(),
        minted(&cluster).claim("iss", "https://b.example").mint(),
        cluster.token().audience("vault").mint(),
    ] {
        assert_eq!(ask(&server, "/", &token).await.status, 401);
    }
    assert_eq!(cluster.token_reviews(), 0);
    assert_eq!(ask(&server, "/", &good).await.outcome(), GOOD);
}
