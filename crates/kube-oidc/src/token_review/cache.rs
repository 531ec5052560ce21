//! The answers of an API server about the tokens of one issuer, and the calls that get them.

use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use tokio::{
    runtime::Handle,
    time::{self, Instant},
};
use tracing::{Instrument as _, field};
use zeroize::Zeroizing;

use super::{
    ReviewError, ReviewRequest, ReviewSettings, ReviewStatus, Reviewer, TokenReviewConfig,
    health::{Health, State},
    known::{Known, Slot},
    outcome::{Expected, ReviewOutcome, Verdict, unavailable, without_token},
    permits::{Permit, Permits},
};
use crate::{
    clock::{Clock, Moment},
    error::{BuildError, ReviewUnavailableCause},
    observe::{Observed, display::chain},
    sync::{Mutex, MutexGuard, spawn, step},
};

/// The tokens whose answers are cached.
const MAX_TOKENS: usize = 10_000;

/// The calls that may be in flight, each about another token.
const MAX_CALLS: usize = 1_024;

type Digest = [u8; 32];

/// The answers about the tokens of one issuer. All are for the audiences of one verifier, so a
/// token stands for its audiences too.
pub(crate) struct ReviewCache {
    reviewer: Arc<dyn Reviewer>,
    settings: ReviewSettings,
    observed: Arc<Observed>,
    clock: Arc<dyn Clock>,
    /// By the token's SHA-256.
    known: Cache<Digest, Arc<Slot>>,
    permits: Arc<Permits>,
    health: Mutex<Health>,
}

/// What a request does whose token has no current answer.
enum Step {
    /// It is over.
    End(Verdict),
    /// It is over, and a probe with its token is due.
    EndAndProbe(Verdict),
    /// It needs the answer of a call.
    Call,
}

/// Held by a call. No request holds it, since a request may be one that is not polled any more.
struct Turn {
    answers: Arc<ReviewCache>,
    slot: Arc<Slot>,
    number: u64,
    timeout: Duration,
    kind: Kind,
}

enum Kind {
    Call { _permit: Permit },
    Probe { began: Moment },
}

impl ReviewCache {
    pub(crate) fn new(
        review: &TokenReviewConfig,
        observed: Arc<Observed>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        review.settings.check()?;
        Ok(Self {
            reviewer: Arc::clone(&review.reviewer),
            settings: review.settings,
            observed,
            clock,
            known: Cache::new(MAX_TOKENS),
            permits: Permits::new(MAX_CALLS),
            health: Mutex::default(),
        })
    }

    /// Returns the verdict on a token. `Pending`: the API server has to be called, see
    /// [`ask`](Self::ask).
    pub(crate) fn recall(&self, token: &[u8]) -> Option<Verdict> {
        let now = self.now();
        let step = match self.known.get(&digest_of(token)) {
            Some(slot) => self.step(&slot.known(), now),
            None => self.step(&Known::default(), now),
        };
        match step {
            Step::End(verdict) => Some(verdict),
            Step::EndAndProbe(_) | Step::Call => None,
        }
    }

    /// Calls the API server about a token. Requests that come while a call is in flight get the
    /// same answer.
    pub(crate) async fn ask(self: &Arc<Self>, token: &[u8], expected: Expected) -> Verdict {
        let Ok(runtime) = Handle::try_current() else {
            return unavailable(ReviewUnavailableCause::NoRuntime);
        };
        let until = Instant::now() + self.settings.timeout;
        let slot = self.slot(digest_of(token));
        let rounds = slot.known().rounds();
        step();
        let (turn, verdict) = loop {
            // from here on it misses no end
            let ended = slot.ended.notified();
            match self.next(&slot, rounds, &expected.username) {
                Next::End(verdict) => return verdict,
                Next::Begin(turn, verdict) => break (turn, verdict),
                Next::Wait => {}
            }
            step();
            if time::timeout_at(until, ended).await.is_err() {
                // as it is for the request that began the call
                let known = slot.known();
                return known.kept_or(ReviewUnavailableCause::TimedOut, self.now(), &self.settings);
            }
        };
        // it goes on when its caller goes away, who could else have it begun anew without end
        let token = Zeroizing::new(token.to_vec());
        let call =
            spawn(&runtime, async move { turn.call(&token, &expected).await }.in_current_span());
        match verdict {
            Some(verdict) => verdict,
            // it ends without a verdict if the reviewer panics
            None => {
                call.await.unwrap_or_else(|_| unavailable(ReviewUnavailableCause::RequestFailed))
            }
        }
    }

    /// What a request does now that waits since there were so many `rounds`.
    fn next(self: &Arc<Self>, slot: &Arc<Slot>, rounds: u64, subject: &str) -> Next {
        let (mut known, now) = (slot.known(), self.now());
        if known.current(now).is_none() && known.is_confirmed_since(rounds, now) {
            return Next::End(Ok(()));
        }
        let is_in_flight = known.is_in_flight(now, &self.settings);
        let (kind, timeout, verdict) = match self.step(&known, now) {
            Step::End(verdict) => return Next::End(verdict),
            Step::EndAndProbe(verdict) if is_in_flight => return Next::End(verdict),
            Step::EndAndProbe(verdict) => {
                let Some(timeout) = self.health().begin_probe(now, self.settings.timeout) else {
                    return Next::End(verdict);
                };
                (Kind::Probe { began: now }, timeout, Some(verdict))
            }
            Step::Call if is_in_flight => return Next::Wait,
            Step::Call => {
                let Some(permit) = self.permits.try_acquire(subject) else {
                    return Next::End(unavailable(ReviewUnavailableCause::TooManyWaiting));
                };
                (Kind::Call { _permit: permit }, self.settings.timeout, None)
            }
        };
        let number = known.begin_call(now);
        let (answers, slot) = (Arc::clone(self), Arc::clone(slot));
        Next::Begin(Turn { answers, slot, number, timeout, kind }, verdict)
    }

    /// What a request does whose token is in this state.
    fn step(&self, known: &Known, now: Moment) -> Step {
        if let Some(verdict) = known.current(now) {
            return Step::End(verdict);
        }
        let settings = &self.settings;
        let health = self.health();
        if let State::Failing { cause, is_probe_due } = health.state(now, settings.timeout) {
            let verdict = known.kept_or(cause, now, settings);
            return if is_probe_due { Step::EndAndProbe(verdict) } else { Step::End(verdict) };
        }
        let is_spared = |since| known.is_spared(since, settings) && known.is_kept(now, settings);
        if health.since_recovery(now).is_some_and(is_spared) {
            return Step::End(Ok(()));
        }
        match known.just_failed(now) {
            Some(cause) => Step::End(known.kept_or(cause, now, settings)),
            None => Step::Call,
        }
    }

    async fn call(&self, token: &[u8], expected: &Expected) -> Result<ReviewStatus, ReviewError> {
        // a token that was accepted is base64url
        let token = str::from_utf8(token).map_err(|_| ReviewError::new("the token is no text"))?;
        self.reviewer.review(ReviewRequest { token, audiences: &expected.audiences }).await
    }

    /// Notes a failed call, of which the log has one line, however many fail.
    fn failed(&self, error: Option<&ReviewError>, token: &[u8]) -> ReviewOutcome {
        let cause = match error {
            Some(_) => ReviewUnavailableCause::RequestFailed,
            None => ReviewUnavailableCause::TimedOut,
        };
        if self.health().failed(cause, self.now(), self.settings.timeout) {
            let error = error.map_or_else(|| "no answer in time".to_owned(), |error| chain(error));
            let (issuer, cluster) = self.observed.names();
            tracing::error!(
                issuer,
                cluster,
                error = %without_token(&error, token),
                "failed to review tokens"
            );
        }
        ReviewOutcome::None(cause)
    }

    fn answered(&self) {
        if self.health().answered(self.now()) {
            let (issuer, cluster) = self.observed.names();
            tracing::info!(issuer, cluster, "token reviews are answered again");
        }
    }

    #[cfg(test)]
    pub(super) fn calls_in_flight(&self) -> usize {
        self.permits.in_use()
    }

    #[cfg(test)]
    pub(super) fn take_all_permits(&self) -> Vec<Permit> {
        self.permits.take_all()
    }

    fn slot(&self, name: Digest) -> Arc<Slot> {
        let slot = self.known.get_or_insert_with(&name, || Ok::<_, Never>(Arc::default()));
        slot.unwrap_or_else(|never| match never {})
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        // nothing panics while it is held
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }
}

enum Never {}

enum Next {
    End(Verdict),
    Wait,
    /// The request waits for this call, unless it has a verdict without.
    Begin(Turn, Option<Verdict>),
}

impl Turn {
    async fn call(self, token: &[u8], expected: &Expected) -> Verdict {
        let answers = &*self.answers;
        let (settings, asked_at) = (&answers.settings, answers.now());
        let (issuer, cluster) = answers.observed.names();
        let span = tracing::info_span!("review_token", issuer, cluster, outcome = field::Empty);
        let started = Instant::now();
        let answer = async {
            match time::timeout(self.timeout, answers.call(token, expected)).await {
                Ok(Ok(status)) => match ReviewOutcome::of(&status, expected) {
                    // in a suspend the timer stood still
                    ReviewOutcome::Confirmed if settings.is_late(asked_at, answers.now()) => {
                        answers.failed(None, token)
                    }
                    answer => {
                        answers.answered();
                        answer
                    }
                },
                Ok(Err(error)) => answers.failed(Some(&error), token),
                Err(_) => answers.failed(None, token),
            }
        };
        let answer = answer.instrument(span.clone()).await;
        let outcome = answer.outcome();
        span.record("outcome", outcome.name());
        answers.observed.meter.asked(outcome, started.elapsed());
        self.slot.known().take(self.number, answer, asked_at, answers.now(), settings)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Kind::Probe { began } = self.kind {
            self.answers.health().end_probe(began);
        }
        self.slot.end_call(self.number);
    }
}

impl ReviewSettings {
    /// Returns `true` if the answer of a call that began then is too old to count.
    fn is_late(&self, asked_at: Moment, now: Moment) -> bool {
        now.since(asked_at) >= self.cache_ttl.max(self.timeout)
    }
}

fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

impl fmt::Debug for ReviewCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewCache")
            .field("reviewer", &self.reviewer)
            .field("tokens", &self.known.len())
            .finish_non_exhaustive()
    }
}
