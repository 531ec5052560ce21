//! Calls that fail: one, or all of them.

use super::*;

impl Reviews {
    async fn ask(&self, token: &str) -> Result<(), Reason> {
        ask_about(&self.answers, token).await
    }

    /// A verdict without waiting.
    fn ask_at_once(&self, token: &str) -> Result<(), Reason> {
        match poll_once(self.ask(token)) {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => panic!("the request waits"),
        }
    }

    /// Lets two calls fail.
    async fn fail(&self) {
        self.reviewer.set(ReviewReply::Fail);
        for token in ["failing 1", "failing 2"] {
            assert_eq!(self.ask(token).await, UNAVAILABLE);
        }
        self.reviewer.take_calls();
    }

    /// Lets a probe that has begun come to its end.
    async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.reviewer.in_flight(), 0);
    }
}

// rule: review-failing
#[tokio::test]
async fn two_failed_calls_in_a_row_are_failing_for_all_tokens() {
    let reviews = Reviews::keeping();
    assert_eq!(reviews.ask("kept").await, Ok(()));
    reviews.clock.advance(60 * SECOND);
    reviews.fail().await;
    assert_eq!(reviews.ask_at_once("kept"), Ok(()));
    for token in 0..100 {
        assert_eq!(reviews.ask_at_once(&format!("new {token}")), UNAVAILABLE);
    }
    reviews.settle().await;
    assert_eq!(reviews.reviewer.calls(), 0);
}

// rule: review-failing
#[tokio::test]
async fn response_between_two_failed_calls_is_not_failing() {
    let reviews = Reviews::new();
    for (status, verdict) in [(good(), Ok(())), (bad(), Err(Reason::ReviewDenied))] {
        for _ in 0..5 {
            reviews.clock.advance(60 * SECOND);
            reviews.reviewer.set(ReviewReply::Fail);
            assert_eq!(reviews.ask("one").await, UNAVAILABLE);
            reviews.reviewer.set(status.clone());
            assert_eq!(reviews.ask("another").await, verdict);
        }
    }
    assert_eq!(reviews.reviewer.calls(), 20);
}

// rule: review-failing
#[tokio::test]
async fn response_of_any_kind_ends_failing() {
    for (status, verdict) in [(good(), Ok(())), (bad(), Err(Reason::ReviewDenied))] {
        let reviews = Reviews::new();
        reviews.fail().await;
        reviews.reviewer.set(status.clone());
        reviews.clock.advance(SECOND);
        // it begins the probe
        assert_eq!(reviews.ask_at_once("token"), UNAVAILABLE);
        reviews.settle().await;
        assert_eq!(reviews.ask_at_once("token"), verdict);
        assert_eq!(reviews.ask("another").await, verdict);
        assert_eq!(reviews.reviewer.calls(), 2);
    }
}

// rule: review-probe
#[tokio::test]
async fn while_failing_one_call_begins_each_second() {
    let reviews = Reviews::keeping();
    assert_eq!(reviews.ask("kept").await, Ok(()));
    reviews.clock.advance(60 * SECOND);
    reviews.fail().await;
    for second in 0..100 {
        for quarter in 0..4 {
            for token in ["kept", "a", "b", "c"] {
                let expected = if token == "kept" { Ok(()) } else { UNAVAILABLE };
                assert_eq!(reviews.ask_at_once(token), expected, "{second} {quarter}");
            }
            reviews.settle().await;
            assert_eq!(reviews.reviewer.calls(), second, "{quarter}");
            reviews.clock.advance(SECOND / 4);
        }
    }
}

// rule: review-probe
#[tokio::test(start_paused = true)]
async fn while_failing_a_lost_probe_is_given_up_after_a_second() {
    let reviews = Reviews::new();
    reviews.fail().await;
    reviews.reviewer.take_most_in_flight();
    reviews.reviewer.set(ReviewReply::Hang);
    for second in 1..=20 {
        reviews.clock.advance(SECOND);
        for token in 0..10 {
            assert_eq!(reviews.ask_at_once(&format!("new {token}")), UNAVAILABLE);
        }
        tokio::time::sleep(SECOND + SECOND / 100).await;
        reviews.settle().await;
        assert_eq!(reviews.reviewer.calls(), second);
    }
    assert_eq!(reviews.reviewer.take_most_in_flight(), 1);
    reviews.reviewer.set(good());
    reviews.clock.advance(SECOND);
    assert_eq!(reviews.ask_at_once("new"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.ask_at_once("new"), Ok(()));
}

// rule: review-probe
#[tokio::test(start_paused = true)]
async fn slow_answers_end_failing_too() {
    let reviews = Reviews::new();
    reviews.fail().await;
    reviews.reviewer.set(ReviewReply::Delayed(3 * SECOND, good()));
    let mut tenths = 0;
    while reviews.ask_at_once("token") == UNAVAILABLE {
        reviews.clock.advance(SECOND / 10);
        tokio::time::sleep(SECOND / 10).await;
        tenths += 1;
        assert!(tenths < 400);
    }
    assert_eq!(reviews.ask_at_once("token"), Ok(()));
}

// rule: review-recovery
#[tokio::test]
async fn overdue_tokens_are_reviewed_over_one_interval_after_recovery() {
    const TOKENS: usize = 500;
    let reviews = Reviews::keeping();
    for token in 0..TOKENS {
        assert_eq!(reviews.ask(&format!("{token}")).await, Ok(()));
    }
    reviews.clock.advance(60 * SECOND);
    reviews.fail().await;
    reviews.clock.advance(SECOND);
    reviews.reviewer.set(good());
    assert_eq!(reviews.ask_at_once("probe"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.reviewer.take_calls(), 1);
    let mut all = 0;
    for tenth in 1..=10 {
        reviews.clock.advance(6 * SECOND);
        for token in 0..TOKENS {
            assert_eq!(reviews.ask(&format!("{token}")).await, Ok(()));
        }
        let calls = reviews.reviewer.take_calls();
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
    let reviews = Reviews::keeping();
    for token in 0..100 {
        assert_eq!(reviews.ask(&format!("{token}")).await, Ok(()));
    }
    reviews.clock.advance(60 * SECOND);
    reviews.fail().await;
    reviews.clock.advance(SECOND);
    reviews.reviewer.set(bad());
    assert_eq!(reviews.ask_at_once("probe"), UNAVAILABLE);
    reviews.settle().await;
    reviews.clock.advance(60 * SECOND);
    for token in 0..100 {
        assert_eq!(reviews.ask(&format!("{token}")).await, Err(Reason::ReviewDenied));
    }
}

// rule: review-failing
#[tokio::test]
async fn failure_older_than_a_minute_is_not_relied_on() {
    for (status, verdict) in [(good(), Ok(())), (bad(), Err(Reason::ReviewDenied))] {
        let reviews = Reviews::keeping();
        assert_eq!(reviews.ask("kept").await, Ok(()));
        reviews.clock.advance(60 * SECOND);
        reviews.fail().await;
        reviews.clock.advance(60 * SECOND);
        reviews.reviewer.set(status.clone());
        assert_eq!(reviews.ask("kept").await, verdict);
    }
    // the first failed call after it is enough
    let reviews = Reviews::new();
    reviews.fail().await;
    reviews.clock.advance(60 * SECOND);
    assert_eq!(reviews.ask("one").await, UNAVAILABLE);
    assert_eq!(reviews.ask_at_once("another"), UNAVAILABLE);
    assert_eq!(reviews.reviewer.calls(), 1);
}

#[tokio::test]
async fn probe_of_a_stopped_runtime_is_replaced() {
    let reviews = Reviews::new();
    reviews.fail().await;
    reviews.clock.advance(SECOND);
    reviews.reviewer.set(good());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = runtime();
            // its probe is not even polled
            let _inside = runtime.enter();
            assert_eq!(reviews.ask_at_once("token"), UNAVAILABLE);
            // and is dropped with the runtime
        });
    });
    assert_eq!(reviews.reviewer.calls(), 0);
    reviews.clock.advance(SECOND);
    assert_eq!(reviews.ask_at_once("token"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.ask_at_once("token"), Ok(()));
}

#[tokio::test]
async fn probe_of_a_stalled_runtime_is_replaced() {
    let reviews = Reviews::new();
    reviews.fail().await;
    reviews.clock.advance(SECOND);
    reviews.reviewer.set(good());
    let stalled = runtime();
    {
        let _inside = stalled.enter();
        assert_eq!(reviews.ask_at_once("token"), UNAVAILABLE);
    }
    reviews.clock.advance(5 * SECOND);
    assert_eq!(reviews.ask_at_once("another"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.reviewer.calls(), 0);
    reviews.clock.advance(SECOND);
    assert_eq!(reviews.ask_at_once("another"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.ask_at_once("another"), Ok(()));
    stalled.shutdown_background();
}

/// As where a webhook of the API server fails for the tokens of one namespace.
// rule: review-match
#[tokio::test]
async fn token_whose_calls_alone_fail_is_called_about_once_a_second() {
    let reviews = Reviews::new();
    for second in 1..=5 {
        reviews.reviewer.set(ReviewReply::Fail);
        for _ in 0..100 {
            assert_eq!(reviews.ask("failing").await, UNAVAILABLE);
        }
        reviews.reviewer.set(good());
        assert_eq!(reviews.ask(&format!("good {second}")).await, Ok(()));
        assert_eq!(reviews.reviewer.take_calls(), 2);
        reviews.clock.advance(SECOND);
    }
}

// rule: kept-review
#[tokio::test]
async fn kept_answer_counts_from_the_last_good_one_and_ends_with_its_limit() {
    let reviews = Reviews::keeping();
    assert_eq!(reviews.ask("kept").await, Ok(()));
    reviews.clock.advance(60 * SECOND);
    reviews.fail().await;
    for second in 61..700 {
        reviews.clock.advance(SECOND);
        let expected = if second < 600 { Ok(()) } else { UNAVAILABLE };
        assert_eq!(reviews.ask_at_once("kept"), expected, "{second}");
        reviews.settle().await;
    }
    reviews.reviewer.set(good());
    reviews.clock.advance(SECOND);
    assert_eq!(reviews.ask_at_once("kept"), UNAVAILABLE);
    reviews.settle().await;
    assert_eq!(reviews.ask_at_once("kept"), Ok(()));
}

// rule: review-permits
#[tokio::test]
async fn kept_answer_and_probe_need_no_permit() {
    let reviews = Reviews::keeping();
    assert_eq!(reviews.ask("kept").await, Ok(()));
    reviews.clock.advance(60 * SECOND);
    // others may take all permits on purpose, which is no reason to go on with a kept answer
    let permits = reviews.answers.take_all_permits();
    assert_eq!(reviews.ask_at_once("kept"), UNAVAILABLE);
    drop(permits);
    reviews.fail().await;
    let _permits = reviews.answers.take_all_permits();
    assert_eq!(reviews.ask_at_once("kept"), Ok(()));
    reviews.clock.advance(SECOND);
    reviews.reviewer.set(bad());
    assert_eq!(reviews.ask_at_once("kept"), Ok(()));
    reviews.settle().await;
    assert_eq!(reviews.ask_at_once("kept"), Err(Reason::ReviewDenied));
}
