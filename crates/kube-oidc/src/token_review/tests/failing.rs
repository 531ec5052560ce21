//! Calls that fail: one, or all of them.

use std::task::{Context, Poll, Waker};

use super::*;

/// Answers about any token, as it is set to.
#[derive(Debug)]
struct ApiServer {
    mode: Mutex<Mode>,
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Confirms,
    Rejects,
    Fails,
    Hangs,
    /// Confirms after 3 s.
    Slow,
}

use Mode::{Confirms, Fails, Hangs, Rejects, Slow};

impl ApiServer {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mode: Mutex::new(Confirms),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        })
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// The calls since the last time.
    fn take_calls(&self) -> usize {
        self.calls.swap(0, Ordering::SeqCst)
    }
}

struct InFlight<'a>(&'a ApiServer);

impl<'a> InFlight<'a> {
    fn new(api_server: &'a ApiServer) -> Self {
        api_server.calls.fetch_add(1, Ordering::SeqCst);
        let in_flight = api_server.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        api_server.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        Self(api_server)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Reviewer for ApiServer {
    fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
        Box::pin(async move {
            let _in_flight = InFlight::new(self);
            tokio::task::yield_now().await;
            let mode = *self.mode.lock().unwrap();
            match mode {
                Confirms => Ok(good()),
                Rejects => Ok(bad()),
                Fails => Err(ReviewError::new("connection refused")),
                Hangs => std::future::pending().await,
                Slow => {
                    tokio::time::sleep(3 * SECOND).await;
                    Ok(good())
                }
            }
        })
    }
}

struct World {
    api_server: Arc<ApiServer>,
    clock: ManualClock,
    answers: Arc<Answers>,
}

impl World {
    fn new(settings: impl FnOnce(TokenReviewConfig) -> TokenReviewConfig) -> Self {
        let (api_server, clock) = (ApiServer::new(), clock());
        let answers = answers(settings(TokenReviewConfig::new(api_server.clone())), &clock);
        Self { api_server, clock, answers }
    }

    /// One that keeps its answers for ten minutes.
    fn keeping() -> Self {
        Self::new(|review| review.stale_if_error(600 * SECOND))
    }

    async fn ask(&self, token: &str) -> Result<(), Reason> {
        let verdict = match self.answers.recall(token.as_bytes()) {
            Some(verdict) => verdict,
            None => self.answers.ask(token.as_bytes(), expected()).await,
        };
        verdict.map_err(|error| error.reason())
    }

    /// A verdict without waiting.
    fn ask_at_once(&self, token: &str) -> Result<(), Reason> {
        let asking = std::pin::pin!(self.ask(token));
        match asking.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// Lets two calls fail.
    async fn fail(&self) {
        self.api_server.set(Fails);
        for token in ["failing 1", "failing 2"] {
            assert_eq!(self.ask(token).await, UNAVAILABLE);
        }
        self.api_server.take_calls();
    }

    /// Lets a probe that has begun come to its end.
    async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.api_server.in_flight.load(Ordering::SeqCst), 0);
    }
}

const UNAVAILABLE: Result<(), Reason> = Err(Reason::ReviewUnavailable);

// rule: review-failing
#[tokio::test]
async fn two_failed_calls_in_a_row_are_failing_for_all_tokens() {
    let world = World::keeping();
    assert_eq!(world.ask("kept").await, Ok(()));
    world.clock.advance(60 * SECOND);
    world.fail().await;
    assert_eq!(world.ask_at_once("kept"), Ok(()));
    for token in 0..100 {
        assert_eq!(world.ask_at_once(&format!("new {token}")), UNAVAILABLE);
    }
    world.settle().await;
    assert_eq!(world.api_server.calls(), 0);
}

// rule: review-failing
#[tokio::test]
async fn response_between_two_failed_calls_is_not_failing() {
    let world = World::new(|review| review);
    for (mode, verdict) in [(Confirms, Ok(())), (Rejects, Err(Reason::ReviewDenied))] {
        for _ in 0..5 {
            world.clock.advance(60 * SECOND);
            world.api_server.set(Fails);
            assert_eq!(world.ask("one").await, UNAVAILABLE);
            world.api_server.set(mode);
            assert_eq!(world.ask("another").await, verdict);
        }
    }
    assert_eq!(world.api_server.calls(), 20);
}

// rule: review-failing
#[tokio::test]
async fn response_of_any_kind_ends_failing() {
    for (mode, verdict) in [(Confirms, Ok(())), (Rejects, Err(Reason::ReviewDenied))] {
        let world = World::new(|review| review);
        world.fail().await;
        world.api_server.set(mode);
        world.clock.advance(SECOND);
        // it begins the probe
        assert_eq!(world.ask_at_once("token"), UNAVAILABLE);
        world.settle().await;
        assert_eq!(world.ask_at_once("token"), verdict);
        assert_eq!(world.ask("another").await, verdict);
        assert_eq!(world.api_server.calls(), 2);
    }
}

// rule: review-probe
#[tokio::test]
async fn while_failing_one_call_begins_each_second() {
    let world = World::keeping();
    assert_eq!(world.ask("kept").await, Ok(()));
    world.clock.advance(60 * SECOND);
    world.fail().await;
    for second in 0..100 {
        for quarter in 0..4 {
            for token in ["kept", "a", "b", "c"] {
                let expected = if token == "kept" { Ok(()) } else { UNAVAILABLE };
                assert_eq!(world.ask_at_once(token), expected, "{second} {quarter}");
            }
            world.settle().await;
            assert_eq!(world.api_server.calls(), second, "{quarter}");
            world.clock.advance(SECOND / 4);
        }
    }
}

// rule: review-probe
#[tokio::test(start_paused = true)]
async fn while_failing_a_lost_probe_is_given_up_after_a_second() {
    let world = World::new(|review| review);
    world.fail().await;
    world.api_server.most_in_flight.store(0, Ordering::SeqCst);
    world.api_server.set(Hangs);
    for second in 1..=20 {
        world.clock.advance(SECOND);
        for token in 0..10 {
            assert_eq!(world.ask_at_once(&format!("new {token}")), UNAVAILABLE);
        }
        tokio::time::sleep(SECOND + SECOND / 100).await;
        world.settle().await;
        assert_eq!(world.api_server.calls(), second);
    }
    assert_eq!(world.api_server.most_in_flight.load(Ordering::SeqCst), 1);
    world.api_server.set(Confirms);
    world.clock.advance(SECOND);
    assert_eq!(world.ask_at_once("new"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.ask_at_once("new"), Ok(()));
}

// rule: review-probe
#[tokio::test(start_paused = true)]
async fn slow_answers_end_failing_too() {
    let world = World::new(|review| review);
    world.fail().await;
    world.api_server.set(Slow);
    let mut tenths = 0;
    while world.ask_at_once("token") == UNAVAILABLE {
        world.clock.advance(SECOND / 10);
        tokio::time::sleep(SECOND / 10).await;
        tenths += 1;
        assert!(tenths < 400);
    }
    assert_eq!(world.ask_at_once("token"), Ok(()));
}

// rule: review-recovery
#[tokio::test]
async fn overdue_tokens_are_reviewed_over_one_interval_after_recovery() {
    const TOKENS: usize = 500;
    let world = World::keeping();
    for token in 0..TOKENS {
        assert_eq!(world.ask(&format!("{token}")).await, Ok(()));
    }
    world.clock.advance(60 * SECOND);
    world.fail().await;
    world.clock.advance(SECOND);
    world.api_server.set(Confirms);
    assert_eq!(world.ask_at_once("probe"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.api_server.take_calls(), 1);
    let mut all = 0;
    for tenth in 1..=10 {
        world.clock.advance(6 * SECOND);
        for token in 0..TOKENS {
            assert_eq!(world.ask(&format!("{token}")).await, Ok(()));
        }
        let calls = world.api_server.take_calls();
        // the first ones are due again at the earliest after four fifths
        if tenth <= 8 {
            assert!((TOKENS / 40..TOKENS / 4).contains(&calls), "{calls} in tenth {tenth}");
        }
        all += calls;
    }
    assert!(all >= TOKENS, "{all}");
}

// rule: review-recovery
#[tokio::test]
async fn token_rejected_during_the_outage_is_found_within_an_interval_of_recovery() {
    let world = World::keeping();
    for token in 0..100 {
        assert_eq!(world.ask(&format!("{token}")).await, Ok(()));
    }
    world.clock.advance(60 * SECOND);
    world.fail().await;
    world.clock.advance(SECOND);
    world.api_server.set(Rejects);
    assert_eq!(world.ask_at_once("probe"), UNAVAILABLE);
    world.settle().await;
    world.clock.advance(60 * SECOND);
    for token in 0..100 {
        assert_eq!(world.ask(&format!("{token}")).await, Err(Reason::ReviewDenied));
    }
}

// rule: review-failing
#[tokio::test]
async fn failure_older_than_a_minute_is_not_relied_on() {
    for (mode, verdict) in [(Confirms, Ok(())), (Rejects, Err(Reason::ReviewDenied))] {
        let world = World::keeping();
        assert_eq!(world.ask("kept").await, Ok(()));
        world.clock.advance(60 * SECOND);
        world.fail().await;
        world.clock.advance(60 * SECOND);
        world.api_server.set(mode);
        assert_eq!(world.ask("kept").await, verdict);
    }
    // the first failed call after it is enough
    let world = World::new(|review| review);
    world.fail().await;
    world.clock.advance(60 * SECOND);
    assert_eq!(world.ask("one").await, UNAVAILABLE);
    assert_eq!(world.ask_at_once("another"), UNAVAILABLE);
    assert_eq!(world.api_server.calls(), 1);
}

#[tokio::test]
async fn probe_of_a_stopped_runtime_is_replaced() {
    let world = World::new(|review| review);
    world.fail().await;
    world.clock.advance(SECOND);
    world.api_server.set(Confirms);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // its probe is not even polled
            let _inside = runtime.enter();
            assert_eq!(world.ask_at_once("token"), UNAVAILABLE);
            // and is dropped with the runtime
        });
    });
    assert_eq!(world.api_server.calls(), 0);
    world.clock.advance(SECOND);
    assert_eq!(world.ask_at_once("token"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.ask_at_once("token"), Ok(()));
}

#[tokio::test]
async fn probe_of_a_stalled_runtime_is_replaced() {
    let world = World::new(|review| review);
    world.fail().await;
    world.clock.advance(SECOND);
    world.api_server.set(Confirms);
    let stalled = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        let _inside = stalled.enter();
        assert_eq!(world.ask_at_once("token"), UNAVAILABLE);
    }
    world.clock.advance(5 * SECOND);
    assert_eq!(world.ask_at_once("another"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.api_server.calls(), 0);
    world.clock.advance(SECOND);
    assert_eq!(world.ask_at_once("another"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.ask_at_once("another"), Ok(()));
    stalled.shutdown_background();
}

/// As where a webhook of the API server fails for the tokens of one namespace.
// rule: review-match
#[tokio::test]
async fn token_whose_calls_alone_fail_is_called_about_once_a_second() {
    let world = World::new(|review| review);
    for second in 1..=5 {
        world.api_server.set(Fails);
        for _ in 0..100 {
            assert_eq!(world.ask("failing").await, UNAVAILABLE);
        }
        world.api_server.set(Confirms);
        assert_eq!(world.ask(&format!("good {second}")).await, Ok(()));
        assert_eq!(world.api_server.take_calls(), 2);
        world.clock.advance(SECOND);
    }
}

// rule: kept-review
#[tokio::test]
async fn kept_answer_counts_from_the_last_good_one_and_ends_with_its_limit() {
    let world = World::keeping();
    assert_eq!(world.ask("kept").await, Ok(()));
    world.clock.advance(60 * SECOND);
    world.fail().await;
    for second in 61..700 {
        world.clock.advance(SECOND);
        let expected = if second < 600 { Ok(()) } else { UNAVAILABLE };
        assert_eq!(world.ask_at_once("kept"), expected, "{second}");
        world.settle().await;
    }
    world.api_server.set(Confirms);
    world.clock.advance(SECOND);
    assert_eq!(world.ask_at_once("kept"), UNAVAILABLE);
    world.settle().await;
    assert_eq!(world.ask_at_once("kept"), Ok(()));
}

// rule: review-permits
#[tokio::test]
async fn kept_answer_and_probe_need_no_permit() {
    let world = World::keeping();
    assert_eq!(world.ask("kept").await, Ok(()));
    world.clock.advance(60 * SECOND);
    // others may take all permits on purpose, which is no reason to go on with a kept answer
    let permits = world.answers.take_all_permits();
    assert_eq!(world.ask_at_once("kept"), UNAVAILABLE);
    drop(permits);
    world.fail().await;
    let _permits = world.answers.take_all_permits();
    assert_eq!(world.ask_at_once("kept"), Ok(()));
    world.clock.advance(SECOND);
    world.api_server.set(Rejects);
    assert_eq!(world.ask_at_once("kept"), Ok(()));
    world.settle().await;
    assert_eq!(world.ask_at_once("kept"), Err(Reason::ReviewDenied));
}
