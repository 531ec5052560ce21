//! While the API server does not answer: nobody passes, or those whom it took before, for a while.

use super::*;
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::fast_issuer;

/// A server in front of which the API server fell silent after it took a token.
struct Silent {
    cluster: TestIssuer,
    clock: ManualClock,
    verifier: Verifier,
    server: HttpServer,
    token: String,
}

impl Silent {
    async fn after_a_good_answer(
        review: impl FnOnce(TokenReviewConfig) -> TokenReviewConfig,
    ) -> Self {
        let (cluster, clock) = (fast_issuer(), clock());
        let review = review(super::review(reviewer(&cluster)));
        let verifier = builder(&cluster, review, &clock)
            .leeway(Duration::ZERO)
            .require_token_review()
            .build()
            .unwrap();
        let server = serve(&verifier).await;
        let token = minted(&cluster).mint();
        assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
        cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
        Self { cluster, clock, verifier, server, token }
    }

    async fn ask(&self) -> TestResponse {
        ask(&self.server, "/", &self.token).await
    }
}

fn ten_minutes(review: TokenReviewConfig) -> TokenReviewConfig {
    review.stale_if_error(600 * SECOND)
}

fn a_day(review: TokenReviewConfig) -> TokenReviewConfig {
    review.stale_if_error(24 * 3600 * SECOND)
}

#[tokio::test]
async fn nobody_passes_unless_the_last_answer_is_kept() {
    for closed in [Silent::after_a_good_answer(|review| review).await, {
        Silent::after_a_good_answer(|review| ten_minutes(review).fail_closed()).await
    }] {
        closed.clock.advance(48 * SECOND);
        assert_eq!(closed.ask().await.outcome(), GOOD);
        closed.clock.advance(12 * SECOND);
        for _ in 0..2 {
            let answered = closed.ask().await;
            assert_eq!(answered.outcome(), UNAVAILABLE);
            assert_eq!(answered.header("retry-after"), Some("1"));
        }
    }
}

#[tokio::test]
async fn a_kept_answer_counts_from_when_it_was_given() {
    let silent = Silent::after_a_good_answer(ten_minutes).await;
    let other = minted(&silent.cluster).service_account("batch", "nightly").mint();
    for (milliseconds, expected) in [
        (60_000, GOOD),
        (60_000, GOOD),
        // no use of it prolongs it
        (479_999, GOOD),
        (1, UNAVAILABLE),
        (60_000, UNAVAILABLE),
    ] {
        silent.clock.advance(Duration::from_millis(milliseconds));
        assert_eq!(silent.ask().await.outcome(), expected, "after {milliseconds} ms more");
        // one that it never took is not kept
        assert_eq!(ask(&silent.server, "/", &other).await.outcome(), UNAVAILABLE);
    }
    silent.cluster.reset_response(Endpoint::TokenReview);
    silent.clock.advance(SECOND);
    // the first request begins a call that is not waited for
    while silent.ask().await.outcome() == UNAVAILABLE {}
    assert_eq!(silent.ask().await.outcome(), GOOD);
}

#[tokio::test]
async fn a_kept_answer_is_asked_for_again_once_in_a_second() {
    let silent = Silent::after_a_good_answer(ten_minutes).await;
    silent.clock.advance(60 * SECOND);
    for _ in 0..3 {
        assert_eq!(silent.ask().await.outcome(), GOOD);
    }
    assert_eq!(silent.cluster.token_reviews(), 2);
    // now somebody else asks behind them, and the next one hears of it
    silent.cluster.reset_response(Endpoint::TokenReview);
    silent.cluster.delete_pod("checkout-7f9c");
    silent.clock.advance(SECOND);
    while silent.ask().await.outcome() == GOOD {
        assert!(silent.cluster.token_reviews() <= 3);
    }
    assert_eq!(silent.ask().await.outcome(), DENIED);
    assert_eq!(silent.cluster.token_reviews(), 3);
    // and what was kept is gone
    silent.cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    silent.clock.advance(5 * SECOND);
    assert_eq!(silent.ask().await.outcome(), UNAVAILABLE);
}

#[tokio::test]
async fn a_kept_answer_is_not_taken_for_that_of_an_api_server_which_is_back() {
    // nobody came for a while, or somebody else has heard of it since
    for (other_was_answered, seconds) in [(false, 60), (true, 2)] {
        let silent = Silent::after_a_good_answer(a_day).await;
        silent.clock.advance(60 * SECOND);
        assert_eq!(silent.ask().await.outcome(), GOOD);
        silent.cluster.reset_response(Endpoint::TokenReview);
        silent.cluster.delete_pod("checkout-7f9c");
        silent.clock.advance(seconds * SECOND);
        if other_was_answered {
            let other = minted(&silent.cluster).service_account("batch", "nightly").mint();
            assert_eq!(ask(&silent.server, "/", &other).await.outcome(), GOOD);
        }
        assert_eq!(silent.ask().await.outcome(), DENIED, "{seconds}");
    }
}

// rule: kept-review-end
#[tokio::test]
async fn a_kept_answer_does_not_outlive_the_token() {
    let silent = Silent::after_a_good_answer(a_day).await;
    silent.clock.advance(3_000 * SECOND);
    assert_eq!(silent.ask().await.outcome(), GOOD);
    silent.clock.advance(400 * SECOND);
    assert_eq!(silent.ask().await.outcome(), (401, Some("expired")));
}

// rule: kept-review-end
#[tokio::test]
async fn a_kept_answer_does_not_outlive_the_key() {
    let silent = Silent::after_a_good_answer(a_day).await;
    silent.clock.advance(60 * SECOND);
    assert_eq!(silent.ask().await.outcome(), GOOD);
    silent.cluster.rotate();
    silent.cluster.drop_old_keys();
    silent.verifier.refresh_keys().await.unwrap();
    assert_eq!(silent.ask().await.outcome(), (401, Some("unknown_key")));
}

#[tokio::test]
async fn a_kept_answer_does_not_outlive_what_an_operator_takes_back() {
    type Act = fn(&Silent);
    let acts: [(Act, &str); 3] = [
        (
            |silent| {
                let kid = silent.cluster.signing_key().kid().to_owned();
                silent.verifier.distrust_key(silent.cluster.url(), &kid);
            },
            "distrusted_key",
        ),
        (|silent| silent.verifier.deny_jti("leaked"), "denied_jti"),
        (|silent| assert!(silent.verifier.remove_issuer(silent.cluster.url())), "unknown_issuer"),
    ];
    for (act, reason) in acts {
        let mut silent = Silent::after_a_good_answer(a_day).await;
        silent.cluster.reset_response(Endpoint::TokenReview);
        silent.token = minted(&silent.cluster).claim("jti", "leaked").mint();
        assert_eq!(silent.ask().await.outcome(), GOOD);
        silent.cluster.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
        silent.clock.advance(60 * SECOND);
        assert_eq!(silent.ask().await.outcome(), GOOD);
        act(&silent);
        assert_eq!(silent.ask().await.outcome(), (401, Some(reason)));
    }
}
