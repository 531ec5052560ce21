mod failing;
mod flood;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;

use super::{answer::without_token, *};
use crate::{
    clock::{Clock as _, ManualClock},
    error::{Reason, ReviewUnavailableCause, VerifyError},
    observe::Observed,
};

const TOKEN: &[u8] =
    b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.cccccccccccccccccc";

/// Answers what it is told to, in turn, and then the last again; each answer needs a permit.
#[derive(Debug)]
struct Scripted {
    script: Mutex<VecDeque<Result<ReviewStatus, &'static str>>>,
    calls: AtomicUsize,
    permits: Semaphore,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Result<ReviewStatus, &'static str>>) -> Arc<Self> {
        let script = Mutex::new(script.into_iter().collect());
        Arc::new(Self { script, calls: AtomicUsize::new(0), permits: Semaphore::new(1_000) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn now_says(&self, answer: Result<ReviewStatus, &'static str>) {
        *self.script.lock().unwrap() = [answer].into();
    }
}

impl Reviewer for Scripted {
    fn review<'a>(&'a self, request: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            assert_eq!(request.token().as_bytes(), TOKEN);
            assert_eq!(request.audiences(), ["orders", "refunds"]);
            self.permits.acquire().await.unwrap().forget();
            // as one over a network, it has no answer at once
            tokio::task::yield_now().await;
            let mut script = self.script.lock().unwrap();
            let answer =
                if script.len() > 1 { script.pop_front() } else { script.front().cloned() };
            answer.unwrap().map_err(ReviewError::new)
        })
    }
}

fn observed() -> Arc<Observed> {
    Arc::new(Observed::new("https://issuer.example".into(), None))
}

pub(super) fn clock() -> ManualClock {
    ManualClock::at(SystemTime::now())
}

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

pub(super) fn answers(review: impl Into<TokenReviewConfig>, clock: &ManualClock) -> Arc<Answers> {
    Arc::new(Answers::new(&review.into(), observed(), Arc::new(clock.clone())).unwrap())
}

pub(super) async fn ask(answers: &Arc<Answers>) -> Result<(), Reason> {
    match answers.recall(TOKEN) {
        Some(verdict) => verdict,
        None => answers.ask(TOKEN, expected()).await,
    }
    .map_err(|error| error.reason())
}

const SECOND: Duration = Duration::from_secs(1);

/// Lets others go on until something is so, and not without end where it never is.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if is_so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never is");
}

#[tokio::test]
async fn a_good_answer_counts_for_an_interval_and_not_longer() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    let answers = answers(api_server.clone(), &clock);
    for _ in 0..3 {
        assert_eq!(ask(&answers).await, Ok(()));
    }
    assert_eq!(api_server.calls(), 1);
    // a fifth of it is the dice's
    clock.advance(SECOND * 95 / 2);
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(api_server.calls(), 1);
    api_server.now_says(Ok(bad()));
    clock.advance(12 * SECOND + SECOND / 2);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    assert_eq!(api_server.calls(), 2);
}

// rule: review-match
#[tokio::test]
async fn a_bad_answer_counts_for_five_seconds() {
    let (api_server, clock) = (Scripted::new([Ok(bad()), Ok(good())]), clock());
    let answers = answers(api_server.clone(), &clock);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    clock.advance(SECOND * 499 / 100);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    assert_eq!(api_server.calls(), 1);
    clock.advance(SECOND / 50);
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(api_server.calls(), 2);
}

// rule: review-match
#[tokio::test]
async fn only_an_answer_about_this_token_counts() {
    let lie = |change: fn(&mut ReviewStatus)| {
        let mut status = good();
        change(&mut status);
        Ok(status)
    };
    for (answer, reason) in [
        (lie(|status| status.authenticated = false), Reason::ReviewDenied),
        (lie(|status| status.error = "a passing trouble".to_owned()), Reason::ReviewDenied),
        (lie(|status| status.username.push('x')), Reason::ReviewMismatch),
        (lie(|status| status.username.clear()), Reason::ReviewMismatch),
        (lie(|status| status.uid = "1c6f".to_owned()), Reason::ReviewMismatch),
        (lie(|status| status.uid.clear()), Reason::ReviewMismatch),
        (lie(|status| status.audiences = vec!["vault".to_owned()]), Reason::ReviewMismatch),
        (lie(|status| status.audiences.clear()), Reason::ReviewMismatch),
        (Ok(ReviewStatus::default()), Reason::ReviewDenied),
        (Err("connection refused"), Reason::ReviewUnavailable),
    ] {
        let api_server = Scripted::new([answer]);
        let answers = answers(api_server, &clock());
        assert_eq!(ask(&answers).await, Err(reason));
    }
}

// rule: review-sharing
#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_call_and_its_answer() {
    for (answer, expected) in [
        (Ok(good()), Ok(())),
        (Ok(bad()), Err(Reason::ReviewDenied)),
        (Err("connection refused"), Err(Reason::ReviewUnavailable)),
    ] {
        let api_server = Scripted::new([answer]);
        api_server.permits.forget_permits(1_000);
        let answers = answers(api_server.clone(), &clock());
        let callers: Vec<_> = (0..1_000)
            .map(|_| {
                let answers = Arc::clone(&answers);
                tokio::spawn(async move { ask(&answers).await })
            })
            .collect();
        // by then all have come
        until(|| api_server.calls() >= 1).await;
        api_server.permits.add_permits(1_000);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), expected);
        }
        assert_eq!(api_server.calls(), 1);
    }
}

// rule: review-sharing
#[tokio::test]
async fn an_asker_who_goes_away_leaves_the_answer_to_the_next() {
    let api_server = Scripted::new([Ok(good())]);
    api_server.permits.forget_permits(1_000);
    let answers = answers(api_server.clone(), &clock());
    let spawn = || {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move { ask(&answers).await })
    };
    // who hangs up as soon as the API server is asked does not have it asked anew
    for _ in 0..10 {
        let asker = spawn();
        until(|| api_server.calls() >= 1).await;
        asker.abort();
        assert!(asker.await.unwrap_err().is_cancelled());
    }
    assert_eq!(answers.calls_in_flight(), 1);
    let next = spawn();
    api_server.permits.add_permits(1);
    assert_eq!(next.await.unwrap(), Ok(()));
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!((api_server.calls(), answers.calls_in_flight()), (1, 0));
}

// rule: review-sharing
#[tokio::test(start_paused = true)]
async fn who_waits_and_is_not_polled_holds_nobody_up() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    api_server.permits.forget_permits(1_000);
    let answers = answers(api_server.clone(), &clock);
    let asker = {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move { ask(&answers).await })
    };
    until(|| api_server.calls() >= 1).await;
    let mut idle = [(); 3].map(|()| Box::pin(ask(&answers)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for idle in &mut idle {
        assert!(idle.as_mut().poll(&mut context).is_pending());
    }
    api_server.permits.add_permits(1_000);
    assert_eq!(asker.await.unwrap(), Ok(()));
    let an_hour_passes = async || {
        clock.advance(3_600 * SECOND);
        tokio::time::advance(3_600 * SECOND).await;
    };
    an_hour_passes().await;
    assert_eq!(ask(&answers).await, Ok(()));
    assert_eq!(api_server.calls(), 2);
    // nor is an answer theirs that is too old for all others, whatever it was
    let [one, two, three] = idle;
    api_server.now_says(Ok(bad()));
    an_hour_passes().await;
    assert_eq!(one.await, Err(Reason::ReviewDenied));
    api_server.now_says(Ok(good()));
    an_hour_passes().await;
    assert_eq!(two.await, Ok(()));
    api_server.now_says(Err("it is away"));
    an_hour_passes().await;
    assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
    api_server.now_says(Ok(good()));
    an_hour_passes().await;
    assert_eq!(three.await, Ok(()));
    assert_eq!(api_server.calls(), 6);
}

/// An answer may count for less time than it took: it is of use to those who waited for it.
#[tokio::test]
async fn who_waited_for_an_answer_gets_it_however_long_it_took() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    api_server.permits.forget_permits(1_000);
    let review = TokenReviewConfig::new(api_server.clone()).cache_ttl(SECOND).timeout(60 * SECOND);
    let answers = answers(review, &clock);
    let askers = [(); 3].map(|()| {
        let answers = Arc::clone(&answers);
        tokio::spawn(async move { ask(&answers).await })
    });
    until(|| api_server.calls() >= 1).await;
    clock.advance(50 * SECOND);
    api_server.permits.add_permits(1_000);
    for asker in askers {
        assert_eq!(asker.await.unwrap(), Ok(()));
    }
    assert_eq!(api_server.calls(), 1);
    // whoever comes later asks
    api_server.now_says(Ok(bad()));
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
}

/// As one does whose runtime ran a single request to its end, and is not driven any more.
#[test]
fn a_call_that_stands_still_is_not_waited_for_without_end() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    api_server.permits.forget_permits(1_000);
    let answers = answers(api_server.clone(), &clock);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (stalled, driven) = (runtime(), runtime());
    stalled.block_on(async {
        let mut asking = std::pin::pin!(ask(&answers));
        tokio::select! {
            biased;
            verdict = &mut asking => panic!("{verdict:?}"),
            () = until(|| api_server.calls() >= 1) => {}
        }
    });
    api_server.permits.add_permits(1_000);
    // it may have been at work until here
    clock.advance(SECOND * 599 / 100);
    driven.block_on(async {
        let waiting = tokio::time::timeout(SECOND / 20, ask(&answers)).await;
        assert!(waiting.is_err(), "{waiting:?}");
        clock.advance(SECOND / 10);
        assert_eq!(ask(&answers).await, Ok(()));
    });
    assert_eq!((api_server.calls(), answers.calls_in_flight()), (2, 1));
    // what it says in the end is nobody's any more
    api_server.now_says(Ok(bad()));
    stalled.block_on(async {
        until(|| answers.calls_in_flight() == 0).await;
    });
    assert_eq!(driven.block_on(ask(&answers)), Ok(()));
    assert_eq!(api_server.calls(), 2);
}

/// A timer stands still in a suspend, and what comes after it was said before.
// rule: review-interval
#[tokio::test]
async fn a_good_answer_that_comes_after_a_suspend_is_none() {
    for (keep, expected) in [(None, Err(Reason::ReviewUnavailable)), (Some(3600), Ok(()))] {
        let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
        let review = TokenReviewConfig::new(api_server.clone());
        let review = keep.map_or(review.clone(), |keep| review.stale_if_error(keep * SECOND));
        let answers = answers(review, &clock);
        assert_eq!(ask(&answers).await, Ok(()));
        clock.advance(60 * SECOND);
        api_server.permits.forget_permits(1_000);
        let askers = [(); 3].map(|()| {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move { ask(&answers).await })
        });
        until(|| api_server.calls() >= 2).await;
        clock.set_wall(clock.wall() + 600 * SECOND);
        api_server.permits.add_permits(1_000);
        for asker in askers {
            assert_eq!(asker.await.unwrap(), expected);
        }
        assert_eq!(api_server.calls(), 2);
        // and a bad one is as bad as it was
        api_server.permits.forget_permits(1_000);
        api_server.now_says(Ok(bad()));
        clock.advance(60 * SECOND);
        let asker = Arc::clone(&answers);
        let asker = tokio::spawn(async move { ask(&asker).await });
        until(|| api_server.calls() >= 3).await;
        clock.set_wall(clock.wall() + 600 * SECOND);
        api_server.permits.add_permits(1_000);
        assert_eq!(asker.await.unwrap(), Err(Reason::ReviewDenied));
    }
}

#[tokio::test]
async fn no_more_tokens_are_remembered_than_were_said() {
    #[derive(Debug)]
    struct Always;
    impl Reviewer for Always {
        fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
            Box::pin(std::future::ready(Ok(good())))
        }
    }
    let answers = answers(Always, &clock());
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
    #[derive(Debug)]
    struct Panicking;
    impl Reviewer for Panicking {
        fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
            Box::pin(async { panic!("a fault of the reviewer's") })
        }
    }
    let answers = answers(Panicking, &clock());
    for _ in 0..3 {
        assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
    }
    assert_eq!(answers.calls_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_fails_closed_in_time() {
    let api_server = Scripted::new([Ok(good())]);
    api_server.permits.forget_permits(1_000);
    let answers = answers(api_server, &clock());
    let began = tokio::time::Instant::now();
    let verdict = answers.ask(TOKEN, expected()).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    let Err(VerifyError::ReviewUnavailable(unavailable)) = verdict else { panic!("{verdict:?}") };
    assert_eq!(unavailable.cause(), ReviewUnavailableCause::TimedOut);
    assert_eq!(unavailable.retry_after(), SECOND);
}

#[test]
fn outside_a_runtime_nobody_can_be_asked() {
    let answers = answers(Scripted::new([Ok(good())]), &clock());
    let waker = std::task::Waker::noop();
    let asked = std::pin::pin!(answers.ask(TOKEN, expected()));
    let verdict = asked.poll(&mut std::task::Context::from_waker(waker));
    let std::task::Poll::Ready(Err(VerifyError::ReviewUnavailable(why))) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(why.cause(), ReviewUnavailableCause::NoRuntime);
}

// rule: review-match
#[tokio::test]
async fn by_default_no_answer_is_kept_and_none_is_an_error_for_long() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    let answers = answers(api_server.clone(), &clock);
    assert_eq!(ask(&answers).await, Ok(()));
    api_server.now_says(Err("connection refused"));
    clock.advance(60 * SECOND);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
    // it is no verdict, and forgotten in a second
    api_server.now_says(Ok(good()));
    clock.advance(SECOND);
    assert_eq!(ask(&answers).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_goes_on_with_the_kept_answer() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    let review = TokenReviewConfig::new(api_server.clone()).stale_if_error(600 * SECOND);
    let answers = answers(review, &clock);
    assert_eq!(ask(&answers).await, Ok(()));
    clock.advance(60 * SECOND);
    api_server.permits.forget_permits(1_000);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let answers = Arc::clone(&answers);
            tokio::spawn(async move { ask(&answers).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
}

// rule: kept-review
#[tokio::test]
async fn a_refusal_ends_what_was_kept() {
    let (api_server, clock) = (Scripted::new([Ok(good())]), clock());
    let review = TokenReviewConfig::new(api_server.clone()).stale_if_error(600 * SECOND);
    let answers = answers(review, &clock);
    assert_eq!(ask(&answers).await, Ok(()));
    api_server.now_says(Ok(bad()));
    clock.advance(60 * SECOND);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewDenied));
    api_server.now_says(Err("connection refused"));
    clock.advance(6 * SECOND);
    assert_eq!(ask(&answers).await, Err(Reason::ReviewUnavailable));
}

// rule: review-secrets
#[tokio::test]
async fn errors_of_a_review_show_no_part_of_the_response_or_the_token() {
    let mut status = good();
    status.error = "bad token".to_owned();
    let answers = answers(Scripted::new([Ok(status)]), &clock());
    let error = answers.ask(TOKEN, expected()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("the API server rejects it in a token review"), "{text}");

    let part = std::str::from_utf8(&TOKEN[3..23]).unwrap();
    let text = without_token(&format!("bad token {part} \n{}", "x".repeat(10_000)), TOKEN);
    assert!(!text.contains(part) && text.contains("not shown"), "{text}");
    let text = without_token(&format!("bad\n{}", "x".repeat(10_000)), TOKEN);
    assert!(text.contains(r"bad\n") && text.len() < 300, "{text}");
    let request = ReviewRequest { token: part, audiences: &[] };
    assert!(!format!("{request:?}").contains(part));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let build = |review: TokenReviewConfig| {
        Answers::new(&review, observed(), Arc::new(clock())).map(|_| ())
    };
    let review = || TokenReviewConfig::new(Scripted::new([Ok(good())]));
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
