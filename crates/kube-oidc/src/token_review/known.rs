//! The state of one token: its last answers, and the call that is in flight.

use std::{sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use super::{
    ReviewSettings,
    outcome::{ReviewOutcome, Verdict, unavailable},
};
use crate::{
    clock::Moment,
    error::{InvalidToken, ReviewUnavailableCause},
    sync::{Mutex, MutexGuard, step},
};

/// How long a token that was refused is not asked for again. An API server says no in a passing
/// trouble of its own too.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// How long a token is not asked for again when no answer came, even if the API server answers for
/// others: a second is also the `Retry-After` of its caller.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The least part of an interval for which an answer counts; the rest is jitter.
const LEAST_PART: f64 = 0.8;

/// A token.
#[derive(Default)]
pub(super) struct Slot {
    known: Mutex<Known>,
    /// That a call came to its end.
    pub(super) ended: Notify,
}

/// A call that has not ended yet. One whose runtime is not driven any more never does.
#[derive(Clone, Copy)]
struct Call {
    number: u64,
    began: Moment,
}

#[derive(Default)]
pub(super) struct Known {
    call: Option<Call>,
    /// The last good answer, unless a bad one came after it.
    confirmed: Option<Confirmed>,
    /// The last bad one, unless a good one came after it.
    refused: Option<(Moment, InvalidToken)>,
    /// The last failed call, unless an answer came after it.
    failed: Option<(Moment, ReviewUnavailableCause)>,
    /// How many calls were begun, and how many came to an end.
    calls: u64,
    rounds: u64,
}

#[derive(Clone, Copy)]
struct Confirmed {
    asked_at: Moment,
    answered_at: Moment,
    /// Jittered.
    counts_for: Duration,
}

impl Slot {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        // nothing panics while it is held
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a call, however it ended, and wakes the requests that wait for it.
    pub(super) fn end_call(&self, number: u64) {
        self.known().call.take_if(|call| call.number == number);
        step();
        self.ended.notify_waiters();
    }
}

impl Known {
    /// Returns the verdict of an answer that still counts.
    pub(super) fn current(&self, now: Moment) -> Option<Verdict> {
        if let Some((at, refusal)) = &self.refused
            && now.since(*at) < REFUSED_FOR
        {
            return Some(Err(refusal.clone().into()));
        }
        self.confirmed
            .is_some_and(|known| now.since(known.asked_at) < known.counts_for)
            .then_some(Ok(()))
    }

    /// Returns `true` if a call that ended after so many `rounds` confirmed the token just now,
    /// even if the answer took longer than it counts for.
    pub(super) fn is_confirmed_since(&self, rounds: u64, now: Moment) -> bool {
        let is_new = |known: Confirmed| now.since(known.answered_at) < RETRY_AFTER;
        self.rounds > rounds && self.failed.is_none() && self.confirmed.is_some_and(is_new)
    }

    /// Returns `true` if the last good answer counts while there is none.
    pub(super) fn is_kept(&self, now: Moment, settings: &ReviewSettings) -> bool {
        let is_kept =
            |known: Confirmed| settings.keep.is_some_and(|keep| now.since(known.asked_at) < keep);
        self.confirmed.is_some_and(is_kept)
    }

    /// Returns the kept answer, or the reason why there is no answer.
    pub(super) fn kept_or(
        &self,
        cause: ReviewUnavailableCause,
        now: Moment,
        settings: &ReviewSettings,
    ) -> Verdict {
        if self.is_kept(now, settings) { Ok(()) } else { unavailable(cause) }
    }

    /// Returns `true` if the token's call is still to come, where overdue tokens are reviewed over
    /// one interval after a recovery. The jitter of its last answer spreads them.
    pub(super) fn is_spared(&self, since_recovery: Duration, settings: &ReviewSettings) -> bool {
        let parts = 1.0 / (1.0 - LEAST_PART);
        let least = settings.cache_ttl.mul_f64(LEAST_PART);
        let turn = |known: Confirmed| known.counts_for.saturating_sub(least).mul_f64(parts);
        self.confirmed.is_some_and(|known| since_recovery < turn(known))
    }

    /// Returns why a call failed within the last second.
    pub(super) fn just_failed(&self, now: Moment) -> Option<ReviewUnavailableCause> {
        self.failed.filter(|(at, _)| now.since(*at) < RETRY_AFTER).map(|(_, cause)| cause)
    }

    pub(super) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Returns `true` if there is a call that may still end.
    pub(super) fn is_in_flight(&self, now: Moment, settings: &ReviewSettings) -> bool {
        let may_end = |call: Call| now.since(call.began) < settings.timeout + RETRY_AFTER;
        self.call.is_some_and(may_end)
    }

    /// Returns the number of a call that begins now.
    pub(super) fn begin_call(&mut self, now: Moment) -> u64 {
        self.calls += 1;
        self.call = Some(Call { number: self.calls, began: now });
        self.calls
    }

    /// Notes the result of a call, unless another one has begun since.
    pub(super) fn take(
        &mut self,
        number: u64,
        answer: ReviewOutcome,
        asked_at: Moment,
        now: Moment,
        settings: &ReviewSettings,
    ) -> Verdict {
        if self.call.is_none_or(|call| call.number != number) {
            return answer.verdict();
        }
        self.rounds += 1;
        match &answer {
            ReviewOutcome::Confirmed => {
                let part = 1.0 - fastrand::f64() * (1.0 - LEAST_PART);
                let counts_for = settings.cache_ttl.mul_f64(part);
                self.confirmed = Some(Confirmed { asked_at, answered_at: now, counts_for });
                self.refused = None;
                self.failed = None;
            }
            ReviewOutcome::Refused(refusal) => {
                self.confirmed = None;
                self.refused = Some((now, refusal.clone()));
                self.failed = None;
            }
            ReviewOutcome::None(cause) => {
                self.failed = Some((now, *cause));
                return self.kept_or(*cause, now, settings);
            }
        }
        answer.verdict()
    }
}
