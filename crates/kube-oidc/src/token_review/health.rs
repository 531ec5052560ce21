//! Whether the API server of an issuer answers token reviews, and when calls begin while it does
//! not: a state machine that reads no clock.

use std::time::Duration;

use crate::{clock::Moment, error::ReviewUnavailableCause};

/// The failed calls in a row that mean failing.
const FAILING_AFTER: u32 = 2;

/// The time from one probe to the next. A caller of a token without an answer is asked to wait for
/// as long.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// The maximum duration of a probe, so that one that was lost does not hold up the next.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Each time that this many calls have failed in a row, a probe may take the whole timeout: an API
/// server that needs longer than [`PROBE_TIMEOUT`] answers as well.
const PATIENT_EVERY: u32 = 30;

/// The time after the last failed call in which reviews count as failing. Nothing is known of an
/// API server that was not called for longer.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// The time from one line of the log about failed calls to the next.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The calls about all tokens of one issuer.
#[derive(Default)]
pub(super) struct Health {
    /// Since the last response.
    failures: u32,
    last_failure: Option<(Moment, ReviewUnavailableCause)>,
    /// The start of the last probe, or when reviews began to fail.
    paced_from: Option<Moment>,
    is_probing: bool,
    /// The first response after reviews were failing.
    recovered_at: Option<Moment>,
    last_logged: Option<Moment>,
    /// The log has a line about the failures since the last response.
    is_logged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    /// Calls begin when tokens need them.
    Answering,
    /// No call begins but probes, of which one may begin now if `is_probe_due`.
    Failing { cause: ReviewUnavailableCause, is_probe_due: bool },
}

impl Health {
    /// Returns the state. `timeout` is the maximum duration of a call.
    pub(super) fn state(&self, now: Moment, timeout: Duration) -> State {
        let Some((failed_at, cause)) = self.last_failure else { return State::Answering };
        let since_paced = self.paced_from.map_or(Duration::MAX, |from| now.since(from));
        // a probe whose runtime is not driven any more never ends
        let is_probing = self.is_probing && since_paced < timeout + PROBE_EVERY;
        let is_known = is_probing || now.since(failed_at) < KNOWN_FOR;
        if self.failures < FAILING_AFTER || !is_known {
            return State::Answering;
        }
        State::Failing { cause, is_probe_due: !is_probing && since_paced >= PROBE_EVERY }
    }

    /// Begins a probe that is due, and returns its timeout.
    pub(super) fn begin_probe(&mut self, now: Moment, timeout: Duration) -> Option<Duration> {
        let State::Failing { is_probe_due: true, .. } = self.state(now, timeout) else {
            return None;
        };
        self.paced_from = Some(now);
        self.is_probing = true;
        let is_patient = self.failures.is_multiple_of(PATIENT_EVERY);
        Some(if is_patient { timeout } else { timeout.min(PROBE_TIMEOUT) })
    }

    /// Ends the probe that began then, however it ended.
    pub(super) fn end_probe(&mut self, began: Moment) {
        self.is_probing &= self.paced_from != Some(began);
    }

    /// Notes a failed call, and returns `true` if the log should have a line about it.
    pub(super) fn failed(
        &mut self,
        cause: ReviewUnavailableCause,
        now: Moment,
        timeout: Duration,
    ) -> bool {
        if self.state(now, timeout) == State::Answering {
            self.paced_from = Some(now);
        }
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some((now, cause));
        let was_logged =
            self.is_logged || self.last_logged.is_some_and(|at| now.since(at) < LOG_EVERY);
        if !was_logged {
            self.last_logged = Some(now);
            self.is_logged = true;
        }
        !was_logged
    }

    /// Notes a response, and returns `true` if the log should have a line about the recovery.
    pub(super) fn answered(&mut self, now: Moment) -> bool {
        let recovered = self.failures >= FAILING_AFTER;
        if recovered {
            self.recovered_at = Some(now);
        }
        self.failures = 0;
        self.last_failure = None;
        std::mem::take(&mut self.is_logged) && recovered
    }

    /// Returns the time since reviews were failing.
    pub(super) fn since_recovery(&self, now: Moment) -> Option<Duration> {
        self.recovered_at.map(|at| now.since(at))
    }
}

#[cfg(test)]
mod tests {
    use ReviewUnavailableCause::{RequestFailed, TimedOut};

    use super::*;
    use crate::{
        clock::ManualClock,
        testing::{SECOND, clock, secs},
    };

    const TIMEOUT: Duration = secs(5);

    struct ClockedHealth {
        health: Health,
        clock: ManualClock,
    }

    impl ClockedHealth {
        fn new() -> Self {
            Self { health: Health::default(), clock: clock() }
        }

        fn now(&self) -> Moment {
            Moment::now(&self.clock)
        }

        fn fails(&mut self) -> bool {
            self.health.failed(RequestFailed, self.now(), TIMEOUT)
        }

        fn is_answered(&mut self) -> bool {
            self.health.answered(self.now())
        }

        fn state(&self) -> State {
            self.health.state(self.now(), TIMEOUT)
        }

        fn begin_probe(&mut self) -> Option<Duration> {
            self.health.begin_probe(self.now(), TIMEOUT)
        }

        fn is_failing(&self) -> bool {
            self.state() != State::Answering
        }
    }

    #[test]
    fn second_failure_in_a_row_is_failing() {
        let mut reviews = ClockedHealth::new();
        assert!(!reviews.is_failing());
        for _ in 0..3 {
            reviews.fails();
            assert!(!reviews.is_failing());
            reviews.is_answered();
        }
        reviews.fails();
        reviews.health.failed(TimedOut, reviews.now(), TIMEOUT);
        assert_eq!(reviews.state(), State::Failing { cause: TimedOut, is_probe_due: false });
        assert_eq!(reviews.health.since_recovery(reviews.now()), None);
        reviews.is_answered();
        assert_eq!(reviews.state(), State::Answering);
        reviews.clock.advance(SECOND);
        assert_eq!(reviews.health.since_recovery(reviews.now()), Some(SECOND));
    }

    #[test]
    fn probes_are_a_second_apart_and_one_at_a_time() {
        let mut reviews = ClockedHealth::new();
        reviews.fails();
        reviews.fails();
        assert_eq!(reviews.begin_probe(), None);
        for _ in 0..5 {
            reviews.clock.advance(SECOND);
            let began = reviews.now();
            assert_eq!(reviews.begin_probe(), Some(SECOND));
            reviews.clock.advance(SECOND * 9 / 10);
            assert_eq!(reviews.begin_probe(), None, "one is in flight");
            reviews.fails();
            reviews.health.end_probe(began);
            assert_eq!(reviews.begin_probe(), None, "it is too early");
            reviews.clock.advance(SECOND / 10);
            let began = reviews.now();
            assert_eq!(reviews.begin_probe(), Some(SECOND));
            reviews.fails();
            reviews.health.end_probe(began);
        }
    }

    #[test]
    fn probe_that_never_ends_is_replaced_and_ends_no_other() {
        let mut reviews = ClockedHealth::new();
        reviews.fails();
        reviews.fails();
        reviews.clock.advance(SECOND);
        let lost = reviews.now();
        assert!(reviews.begin_probe().is_some());
        reviews.clock.advance(SECOND * 59 / 10);
        assert_eq!(reviews.begin_probe(), None);
        reviews.clock.advance(SECOND / 10);
        assert!(reviews.begin_probe().is_some());
        reviews.clock.advance(2 * SECOND);
        reviews.health.end_probe(lost);
        assert_eq!(reviews.begin_probe(), None);
    }

    #[test]
    fn some_probes_may_take_the_whole_timeout() {
        let mut reviews = ClockedHealth::new();
        let mut patient = Vec::new();
        for failures in 0..90 {
            match reviews.begin_probe() {
                Some(TIMEOUT) => patient.push(failures),
                limit => assert!(limit.is_none_or(|limit| limit == SECOND)),
            }
            let began = reviews.now();
            reviews.fails();
            reviews.health.end_probe(began);
            reviews.clock.advance(SECOND);
        }
        assert_eq!(patient, [30, 60]);
    }

    #[test]
    fn failures_without_calls_for_a_minute_are_not_failing() {
        let mut reviews = ClockedHealth::new();
        reviews.fails();
        reviews.fails();
        reviews.clock.advance(59 * SECOND);
        assert!(reviews.is_failing());
        reviews.clock.advance(SECOND);
        assert!(!reviews.is_failing());
        reviews.fails();
        assert_eq!(reviews.state(), State::Failing { cause: RequestFailed, is_probe_due: false });
    }

    #[test]
    fn log_has_one_line_for_failures_and_one_for_the_recovery() {
        let mut reviews = ClockedHealth::new();
        assert!(reviews.fails(), "the first says why");
        for _ in 0..1_000 {
            assert!(!reviews.fails());
            reviews.clock.advance(SECOND);
        }
        assert!(reviews.is_answered());
        assert!(!reviews.is_answered());
        reviews.clock.advance(SECOND);
        assert!(reviews.fails());
        assert!(!reviews.is_answered(), "reviews were not failing");
    }

    #[test]
    fn log_has_no_line_for_each_of_alternating_states() {
        let mut reviews = ClockedHealth::new();
        let mut lines = 0;
        for _ in 0..600 {
            lines += usize::from(reviews.fails()) + usize::from(reviews.fails());
            lines += usize::from(reviews.is_answered());
            reviews.clock.advance(SECOND / 10);
        }
        assert_eq!(lines, 2);
        // an outage that lasts has its line later
        for _ in 0..10 {
            lines += usize::from(reviews.fails());
            reviews.clock.advance(SECOND);
        }
        assert!(reviews.is_answered());
        assert_eq!(lines, 3);
    }
}
