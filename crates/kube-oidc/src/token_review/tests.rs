mod failing;
mod flood;

use std::{pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::task::JoinHandle;

use super::{outcome::without_token, *};
use crate::{
    clock::{Clock as _, ManualClock},
    error::{Reason, ReviewUnavailableCause, VerifyError},
    testing::{ReviewReply, SECOND, ScriptedReviewer, clock, observed, poll_once, runtime, until},
};

const TOKEN: &str =
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.cccccccccccccccccc";

const UNAVAILABLE: Result<(), Reason> = Err(Reason::ReviewUnavailable);

/// A status that confirms every token of the tests.
pub(super) fn good() -> ReviewStatus {
    ReviewStatus {
        authenticated: true,
        username: "system:serviceaccount:payments:checkout".to_owned(),
        uid: "1c6e".to_owned(),
        audiences: vec!["refunds".to_owned()],
        error: String::new(),
    }
}

fn bad() -> ReviewStatus {
    let error = "[invalid bearer token, Token has been invalidated]".to_owned();
    ReviewStatus { error, ..ReviewStatus::default() }
}

fn expected() -> Expected {
    Expected {
        username: "system:serviceaccount:payments:checkout".to_owned(),
        uid: "1c6e".to_owned(),
        audiences: vec!["orders".to_owned(), "refunds".to_owned()],
    }
}

/// The reviews of one issuer, a reviewer that confirms tokens, and a clock that is turned by hand.
pub(super) struct Reviews {
    pub(super) reviewer: Arc<ScriptedReviewer>,
    pub(super) clock: ManualClock,
    pub(super) answers: Arc<ReviewCache>,
}

impl Reviews {
    pub(super) fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(configure: impl FnOnce(TokenReviewConfig) -> TokenReviewConfig) -> Self {
        let (reviewer, clock) = (ScriptedReviewer::new(good()), clock());
        let config = configure(TokenReviewConfig::new(Arc::clone(&reviewer)));
        let answers = ReviewCache::new(&config, observed(), Arc::new(clock.clone())).unwrap();
        Self { reviewer, clock, answers: Arc::new(answers) }
    }

    /// Reviews whose answers are kept for ten minutes.
    fn keeping() -> Self {
        Self::with(|config| config.stale_if_error(600 * SECOND))
    }
}

/// The verdict about [`TOKEN`].
pub(super) async fn ask(answers: &Arc<ReviewCache>) -> Result<(), Reason> {
    ask_about(answers, TOKEN).await
}

async fn ask_about(answers: &Arc<ReviewCache>, token: &str) -> Result<(), Reason> {
    match answers.recall(token.as_bytes()) {
        Some(verdict) => verdict,
        None => answers.ask(token.as_bytes(), expected()).await,
    }
    .map_err(|error| error.reason())
}

fn spawn_ask(answers: &Arc<ReviewCache>) -> JoinHandle<Result<(), Reason>> {
    let answers = Arc::clone(answers);
    tokio::spawn(async move { ask(&answers).await })
}

#[tokio::test]
async fn request_holds_the_token_and_the_audiences() {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(reviewer.requests(), [(TOKEN.to_owned(), expected().audiences)]);
}

#[tokio::test]
async fn a_good_answer_counts_for_an_interval_and_not_longer() {
    let Reviews { reviewer, clock, answers } = Reviews::new();
    for _ in 0..3 {
        assert_eq!(ask(&answers).await, Ok(()));
    }
    assert_eq!(reviewer.calls(), 1);
    // a fifth of it is the dice's
    clock.advance(SECOND * 95 / 2);
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(reviewer.calls(), 1);
    reviewer.set(bad());
    clock.advance(12 * SECOND + SECOND / 2);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    assert_eq!(reviewer.calls(), 2);
}

// rule: review-match
#[tokio::test]
async fn a_bad_answer_counts_for_five_seconds() {
    let Reviews { reviewer, clock, answers } = Reviews::new();
    reviewer.set(bad());
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    reviewer.set(good());
    clock.advance(SECOND * 499 / 100);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    assert_eq!(reviewer.calls(), 1);
    clock.advance(SECOND / 50);
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(reviewer.calls(), 2);
}

// rule: review-match
#[tokio::test]
async fn only_an_answer_about_this_token_counts() {
    let lie = |change: fn(&mut ReviewStatus)| {
        let mut status = good();
        change(&mut status);
        status.into()
    };
    for (reply, reason) in [
        (lie(|status| status.authenticated = false), Reason::ReviewDenied),
        (lie(|status| status.error = "a passing trouble".to_owned()), Reason::ReviewDenied),
        (lie(|status| status.username.push('x')), Reason::ReviewMismatch),
        (lie(|status| status.username.clear()), Reason::ReviewMismatch),
        (lie(|status| status.uid = "1c6f".to_owned()), Reason::ReviewMismatch),
        (lie(|status| status.uid.clear()), Reason::ReviewMismatch),
        (lie(|status| status.audiences = vec!["vault".to_owned()]), Reason::ReviewMismatch),
        (lie(|status| status.audiences.clear()), Reason::ReviewMismatch),
        (ReviewStatus::default().into(), Reason::ReviewDenied),
        (ReviewReply::Fail, Reason::ReviewUnavailable),
    ] {
        let Reviews { reviewer, answers, .. } = Reviews::new();
        reviewer.set(reply);
        assert_eq!(ask(&answers).await, Err(reason));
    }
}

// rule: review-sharing
#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_call_and_its_answer() {
    for (reply, expected) in [
        (good().into(), Ok(())),
        (bad().into(), Err(Reason::ReviewDenied)),
        (ReviewReply::Fail, UNAVAILABLE),
    ] {
        let Reviews { reviewer, answers, .. } = Reviews::new();
        reviewer.set(reply);
        reviewer.hold();
        let callers: Vec<_> = (0..1_000).map(|_| spawn_ask(&answers)).collect();
        // by then all have come
        until(|| reviewer.calls() >= 1).await;
        reviewer.release();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), expected);
        }
        assert_eq!(reviewer.calls(), 1);
    }
}

// rule: review-sharing
#[tokio::test]
async fn an_asker_who_goes_away_leaves_the_answer_to_the_next() {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    reviewer.hold();
    // who hangs up as soon as the API server is asked does not have it asked anew
    for _ in 0..10 {
        let asker = spawn_ask(&answers);
        until(|| reviewer.calls() >= 1).await;
        asker.abort();
        assert!(asker.await.unwrap_err().is_cancelled());
    }
    assert_eq!(answers.calls_in_flight(), 1);
    let next = spawn_ask(&answers);
    reviewer.release();
    assert_eq!(next.await.unwrap(), Ok(()));
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!((reviewer.calls(), answers.calls_in_flight()), (1, 0));
}

// rule: review-sharing
#[tokio::test(start_paused = true)]
async fn who_waits_and_is_not_polled_holds_nobody_up() {
    let Reviews { reviewer, clock, answers } = Reviews::new();
    reviewer.hold();
    let asker = spawn_ask(&answers);
    until(|| reviewer.calls() >= 1).await;
    let mut idle = [(); 3].map(|()| Box::pin(ask(&answers)));
    for idle in &mut idle {
        assert!(poll_once(idle.as_mut()).is_pending());
    }
    reviewer.release();
    assert_eq!(asker.await.unwrap(), Ok(()));
    let an_hour_passes = async || {
        clock.advance(3_600 * SECOND);
        tokio::time::advance(3_600 * SECOND).await;
    };
    an_hour_passes().await;
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(reviewer.calls(), 2);
    // nor is an answer theirs that is too old for all others, whatever it was
    let [one, two, three] = idle;
    reviewer.set(bad());
    an_hour_passes().await;
    assert_eq!(one.await, Err(Reason::ReviewDenied));
    reviewer.set(good());
    an_hour_passes().await;
    assert_eq!(two.await, Ok(()));
    reviewer.set(ReviewReply::Fail);
    an_hour_passes().await;
    assert_eq!(ask(&answers).await, UNAVAILABLE);
    reviewer.set(good());
    an_hour_passes().await;
    assert_eq!(three.await, Ok(()));
    assert_eq!(reviewer.calls(), 6);
}

/// An answer may count for less time than it took: it is of use to those who waited for it.
#[tokio::test]
async fn who_waited_for_an_answer_gets_it_however_long_it_took() {
    let Reviews { reviewer, clock, answers } =
        Reviews::with(|config| config.cache_ttl(SECOND).timeout(60 * SECOND));
    reviewer.hold();
    let askers = [(); 3].map(|()| spawn_ask(&answers));
    until(|| reviewer.calls() >= 1).await;
    clock.advance(50 * SECOND);
    reviewer.release();
    for asker in askers {
        assert_eq!(asker.await.unwrap(), Ok(()));
    }
    assert_eq!(reviewer.calls(), 1);
    // whoever comes later asks
    reviewer.set(bad());
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
}

/// As one does whose runtime ran a single request to its end, and is not driven any more.
#[test]
fn a_call_that_stands_still_is_not_waited_for_without_end() {
    let Reviews { reviewer, clock, answers } = Reviews::new();
    reviewer.hold();
    let (stalled, driven) = (runtime(), runtime());
    stalled.block_on(async {
        let mut asking = pin!(ask(&answers));
        tokio::select! {
            biased;
            verdict = &mut asking => panic!("{verdict:?}"),
            () = until(|| reviewer.calls() >= 1) => {}
        }
    });
    reviewer.release();
    // it may have been at work until here
    clock.advance(SECOND * 599 / 100);
    driven.block_on(async {
        let waiting = tokio::time::timeout(SECOND / 20, ask(&answers)).await;
        assert!(waiting.is_err(), "{waiting:?}");
        clock.advance(SECOND / 10);
        assert_eq!(ask(&answers).await, Ok(()));
    });
    assert_eq!((reviewer.calls(), answers.calls_in_flight()), (2, 1));
    // what it says in the end is nobody's any more
    reviewer.set(bad());
    stalled.block_on(async {
        until(|| answers.calls_in_flight() == 0).await;
    });
    assert_eq!(driven.block_on(ask(&answers)), Ok(()));
    assert_eq!(reviewer.calls(), 2);
}

/// A timer stands still in a suspend, and what comes after it was said before.
// rule: review-interval
#[tokio::test]
async fn a_good_answer_that_comes_after_a_suspend_is_none() {
    for (reviews, expected) in [
        (Reviews::new(), UNAVAILABLE),
        (Reviews::with(|config| config.stale_if_error(3600 * SECOND)), Ok(())),
    ] {
        let Reviews { reviewer, clock, answers } = reviews;
        assert_eq!(ask(&answers).await, Ok(()));
        clock.advance(60 * SECOND);
        reviewer.hold();
        let askers = [(); 3].map(|()| spawn_ask(&answers));
        until(|| reviewer.calls() >= 2).await;
        clock.set_wall(clock.wall() + 600 * SECOND);
        reviewer.release();
        for asker in askers {
            assert_eq!(asker.await.unwrap(), expected);
        }
        assert_eq!(reviewer.calls(), 2);
        // and a bad one is as bad as it was
        reviewer.hold();
        reviewer.set(bad());
        clock.advance(60 * SECOND);
        let asker = spawn_ask(&answers);
        until(|| reviewer.calls() >= 3).await;
        clock.set_wall(clock.wall() + 600 * SECOND);
        reviewer.release();
        assert_eq!(asker.await.unwrap(), Err(Reason::ReviewDenied));
    }
}

#[tokio::test]
async fn no_more_tokens_are_remembered_than_were_said() {
    let Reviews { answers, .. } = Reviews::new();
    for token in 0..12_000 {
        answers.ask(format!("token {token}").as_bytes(), expected()).await.unwrap();
    }
    let shown = format!("{answers:?}");
    let tokens = shown.split("tokens: ").nth(1).unwrap().split(',').next().unwrap();
    let tokens: usize = tokens.parse().unwrap();
    assert!((9_000..=10_000).contains(&tokens), "{shown}");
}

#[tokio::test]
async fn a_reviewer_that_panics_fails_closed() {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    reviewer.set(ReviewReply::Panic);
    for _ in 0..3 {
        assert_eq!(ask(&answers).await, UNAVAILABLE);
    }
    assert_eq!(answers.calls_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_fails_closed_in_time() {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    reviewer.set(ReviewReply::Hang);
    let began = tokio::time::Instant::now();
    let verdict = answers.ask(TOKEN.as_bytes(), expected()).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    let Err(VerifyError::ReviewUnavailable(unavailable)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(unavailable.cause(), ReviewUnavailableCause::TimedOut);
    assert_eq!(unavailable.retry_after(), SECOND);
}

#[test]
fn outside_a_runtime_nobody_can_be_asked() {
    let Reviews { answers, .. } = Reviews::new();
    let verdict = poll_once(answers.ask(TOKEN.as_bytes(), expected()));
    let Poll::Ready(Err(VerifyError::ReviewUnavailable(why))) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(why.cause(), ReviewUnavailableCause::NoRuntime);
}

// rule: review-match
#[tokio::test]
async fn by_default_no_answer_is_kept_and_none_is_an_error_for_long() {
    let Reviews { reviewer, clock, answers } = Reviews::new();
    assert_eq!(ask(&answers).await, Ok(()));
    reviewer.set(ReviewReply::Fail);
    clock.advance(60 * SECOND);
    assert_eq!(ask(&answers).await, UNAVAILABLE);
    // it is no verdict, and forgotten in a second
    reviewer.set(good());
    clock.advance(SECOND);
    assert_eq!(ask(&answers).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_goes_on_with_the_kept_answer() {
    let Reviews { reviewer, clock, answers } = Reviews::keeping();
    assert_eq!(ask(&answers).await, Ok(()));
    clock.advance(60 * SECOND);
    reviewer.hold();
    let callers: Vec<_> = (0..100).map(|_| spawn_ask(&answers)).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
}

// rule: kept-review
#[tokio::test]
async fn a_refusal_ends_what_was_kept() {
    let Reviews { reviewer, clock, answers } = Reviews::keeping();
    assert_eq!(ask(&answers).await, Ok(()));
    reviewer.set(bad());
    clock.advance(60 * SECOND);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    reviewer.set(ReviewReply::Fail);
    clock.advance(6 * SECOND);
    assert_eq!(ask(&answers).await, UNAVAILABLE);
}

// rule: review-secrets
#[tokio::test]
async fn errors_of_a_review_show_no_part_of_the_response_or_the_token() {
    let Reviews { reviewer, answers, .. } = Reviews::new();
    reviewer.set(ReviewStatus { error: "bad token".to_owned(), ..good() });
    let error = answers.ask(TOKEN.as_bytes(), expected()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("the API server rejects it in a token review"), "{text}");

    let part = &TOKEN[3..23];
    let text =
        without_token(&format!("bad token {part} \n{}", "x".repeat(10_000)), TOKEN.as_bytes());
    assert!(!text.contains(part) && text.contains("not shown"), "{text}");
    let text = without_token(&format!("bad\n{}", "x".repeat(10_000)), TOKEN.as_bytes());
    assert!(text.contains(r"bad\n") && text.len() < 300, "{text}");
    let request = ReviewRequest { token: part, audiences: &[] };
    assert!(!format!("{request:?}").contains(part));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let build = |review: TokenReviewConfig| {
        ReviewCache::new(&review, observed(), Arc::new(clock())).map(|_| ())
    };
    let review = || TokenReviewConfig::new(ScriptedReviewer::new(good()));
    build(review()).unwrap();
    build(review().cache_ttl(SECOND).timeout(SECOND / 10).stale_if_error(SECOND)).unwrap();
    build(review().cache_ttl(3600 * SECOND).stale_if_error(86_400 * SECOND)).unwrap();
    build(review().timeout(60 * SECOND)).unwrap();
    for (review, name) in [
        (review().cache_ttl(SECOND / 2), "the interval of token reviews must be 1 s to 1 h"),
        (review().cache_ttl(3601 * SECOND), "the interval of token reviews must be 1 s to 1 h"),
        (review().timeout(Duration::ZERO), "the timeout of token reviews must be 100 ms to 1 min"),
        (review().timeout(61 * SECOND), "the timeout of token reviews must be 100 ms to 1 min"),
        (review().stale_if_error(59 * SECOND), "stale_if_error must be from the interval to 24 h"),
        (
            review().stale_if_error(86_401 * SECOND),
            "stale_if_error must be from the interval to 24 h",
        ),
    ] {
        assert_eq!(build(review).unwrap_err().to_string(), name);
    }
    build(review().stale_if_error(59 * SECOND).fail_closed()).unwrap();
}
