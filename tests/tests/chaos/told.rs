//! The answers of a site, as the verifier may have taken them.

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};

use kube_oidc::clock::{Clock as _, ManualClock};

use crate::{LIFETIME, MAX_STALE, MILLI};

/// A verifier reads the clock some time before the site does.
pub(crate) const SLACK: Duration = Duration::from_millis(500);

/// The time of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    wall: SystemTime,
    monotonic: Instant,
    at: Instant,
    /// The clock did not jump shortly before: the verifier counts the age from the same time.
    pub(crate) is_steady: bool,
    /// The verifier may have given the fetch up, or may have thrown the answer away.
    pub(crate) is_shaken: bool,
}

impl Given {
    pub(crate) fn now(clock: &ManualClock, last_jump: Instant) -> Self {
        // longer than a fetch takes: this one began after the jump
        let is_steady = last_jump.elapsed() > 200 * MILLI;
        Self {
            wall: clock.wall(),
            monotonic: clock.monotonic(),
            at: Instant::now(),
            is_steady,
            is_shaken: !is_steady,
        }
    }

    /// The clock jumps. A fetch whose last request hangs takes as long as its timeout.
    pub(crate) fn shake(&mut self) {
        self.is_shaken |= self.at.elapsed() < 500 * MILLI;
    }

    pub(crate) fn age(&self, clock: &ManualClock) -> Duration {
        let monotonic = self.monotonic_age(clock);
        let wall = clock.wall().duration_since(self.wall).unwrap_or_default();
        if self.is_steady { wall.max(monotonic) } else { monotonic }
    }

    pub(crate) fn monotonic_age(&self, clock: &ManualClock) -> Duration {
        clock.monotonic().saturating_duration_since(self.monotonic)
    }
}

/// A key set that a site answered with.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) kids: HashSet<String>,
    /// Which URL it was read from.
    pub(crate) path: usize,
    pub(crate) given: Given,
}

/// The key sets that the verifier was told on one visit, the newest last. One of them is in use.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    sets: Vec<Told>,
    /// Whether the first of these answers has arrived, and not only been given.
    arrived: bool,
}

impl Answers {
    /// A fetch begins, so the one before is over.
    pub(crate) fn end_last(&mut self) {
        if self.sets.last().is_some_and(|told| !told.given.is_shaken) {
            let last = self.sets.len() - 1;
            self.sets.drain(..last);
            self.arrived = true;
        }
    }

    /// An operator had all keys fetched: older answers are not in use.
    pub(crate) fn refreshed_since(&mut self, number: u64) {
        self.sets.retain(|told| told.number >= number);
        assert!(!self.sets.is_empty(), "a refresh that fetched nothing");
        self.arrived = true;
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Told> {
        self.sets.last_mut()
    }

    /// Takes an answer. `true`: its keys are others than those of the last one.
    pub(crate) fn push(&mut self, told: Told) -> bool {
        let is_other = self.sets.last().is_none_or(|last| last.kids != told.kids);
        self.sets.push(told);
        is_other
    }

    /// Whether a verifier may have this key.
    pub(crate) fn may_have(&self, kid: &str, clock: &ManualClock, is_still: bool) -> bool {
        self.sets.iter().any(|told| {
            let is_over = is_still && told.given.age(clock) >= LIFETIME + MAX_STALE;
            told.kids.contains(kid) && !is_over
        })
    }

    /// Whether it has, whichever of the answers is in use.
    pub(crate) fn surely_have(&self, kid: &str, clock: &ManualClock) -> bool {
        let holds = |told: &Told| {
            let in_use = told.given.age(clock) + SLACK < LIFETIME + MAX_STALE;
            told.given.is_steady && in_use && told.kids.contains(kid)
        };
        self.arrived && !self.sets.is_empty() && self.sets.iter().all(holds)
    }
}
