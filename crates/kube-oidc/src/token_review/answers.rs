//! What an API server answered about the tokens of one issuer, and one call for all who ask.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};
use tracing::{Instrument as _, field};
use zeroize::Zeroizing;

use super::{ReviewError, ReviewRequest, ReviewStatus, Reviewer, Settings, TokenReview};
use crate::{
    clock::{Clock, Moment},
    error::{BuildError, Refusal, ReviewUnavailable, ReviewUnavailableCause, VerifyError},
    meter::Asked,
    observed::Observed,
    shown::{Cut, chain},
    sync::{Mutex, MutexGuard, spawn, step},
};

/// How long a token that was refused is not asked for again. An API server says no in a passing
/// trouble of its own too.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// How long a token is not asked for again when no answer came: a second is what its caller is told
/// to wait, and an API server in trouble is not asked at the pace of whoever has a token.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// As many tokens as answers are known for.
const MAX_TOKENS: usize = 10_000;

/// As many requests as may wait for answers.
const MAX_WAITING: usize = 1_024;

/// Of an interval, as much at least; the rest is the dice's.
const LEAST_PART: f64 = 0.8;

type Digest = [u8; 32];

/// Whether a token counts.
pub(crate) type Verdict = Result<(), VerifyError>;

/// The answers about the tokens of one issuer. All are for the audiences of one verifier, so a
/// token stands for its audiences too.
pub(crate) struct Answers {
    reviewer: Arc<dyn Reviewer>,
    settings: Settings,
    observed: Arc<Observed>,
    clock: Arc<dyn Clock>,
    /// By the token's SHA-256.
    known: Cache<Digest, Arc<Slot>>,
    places: Arc<Semaphore>,
    /// Whether the log was told that the API server does not answer.
    failing: AtomicBool,
}

/// What a token says itself, after its signature was found good.
pub(crate) struct Expected {
    pub(crate) username: String,
    pub(crate) uid: String,
    pub(crate) audiences: Vec<String>,
}

/// What is known of one token.
#[derive(Default)]
struct Slot {
    known: Mutex<Known>,
    /// That a call came to its end.
    ended: Notify,
}

/// Held by a call. Nobody who waits holds it, who may be one that is not polled any more.
struct Turn {
    slot: Arc<Slot>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

/// A call that did not end yet. One whose runtime stands still may never do so.
#[derive(Clone, Copy)]
struct Call {
    number: u64,
    began: Moment,
}

#[derive(Default)]
struct Known {
    call: Option<Call>,
    /// The last good answer, unless a bad one came after it.
    confirmed: Option<Confirmed>,
    /// The last bad one, unless a good one came after it.
    refused: Option<(Moment, Refusal)>,
    /// When the API server did not answer for the last time, and why, unless it answered since.
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

impl Answers {
    pub(crate) fn new(
        review: &TokenReview,
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
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            failing: AtomicBool::new(false),
        })
    }

    /// What is known of a token. `Pending`: the API server has to be asked, see
    /// [`ask`](Self::ask).
    pub(crate) fn recall(&self, token: &[u8]) -> Poll<Verdict> {
        let now = Moment::now(&*self.clock);
        match self.known.get(&digest_of(token)) {
            Some(slot) => slot.known().verdict(now, self.settings.keep),
            None => Poll::Pending,
        }
    }

    /// Asks about a token. Who comes while it is being asked about gets the same answer.
    pub(crate) async fn ask(self: &Arc<Self>, token: &[u8], expected: Expected) -> Verdict {
        let Ok(runtime) = Handle::try_current() else {
            return Err(ReviewUnavailable::new(ReviewUnavailableCause::NoRuntime).into());
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return self.without_place(token);
        };
        let until = Instant::now() + self.settings.timeout;
        let slot = self.slot(digest_of(token));
        let (rounds, known_away) = {
            let known = slot.known();
            (known.rounds, self.is_known_away(&known, self.now()))
        };
        step();
        let turn = loop {
            // from here on it misses no end
            let ended = slot.ended.notified();
            {
                let (mut known, now) = (slot.known(), self.now());
                if let Poll::Ready(verdict) = known.verdict_after(rounds, now, &self.settings) {
                    return verdict;
                }
                // whoever asked may have come to no end; then it is this one's turn
                if let Some(number) = known.begin_call(now, &self.settings) {
                    break Turn { slot: Arc::clone(&slot), number, _place: place };
                }
            }
            if known_away {
                // nobody waits for an API server that is known to be away, and one is enough to
                // ask it
                return Ok(());
            }
            step();
            if time::timeout_at(until, ended).await.is_err() {
                // as it is for the one that asks
                let kept = slot.known().is_kept(self.now(), self.settings.keep);
                let late = ReviewUnavailable::new(ReviewUnavailableCause::Slow);
                return if kept { Ok(()) } else { Err(late.into()) };
            }
        };
        // it goes on when its caller goes away, who could else have it begun anew without end
        let (answers, token) = (Arc::clone(self), Zeroizing::new(token.to_vec()));
        let asked = spawn(
            &runtime,
            async move { answers.ask_now(turn, &token, &expected).await }.in_current_span(),
        );
        if known_away {
            // what comes of it is kept for whoever comes next
            return Ok(());
        }
        // it ends without a verdict if the reviewer panics
        let failed = ReviewUnavailable::new(ReviewUnavailableCause::Failed);
        asked.await.unwrap_or_else(|_| Err(failed.into()))
    }

    /// Whether a kept answer will do without waiting. That the API server was away an interval ago
    /// says nothing of now, and neither does it once somebody was answered.
    fn is_known_away(&self, known: &Known, now: Moment) -> bool {
        let interval = self.settings.interval;
        self.failing.load(Ordering::Relaxed)
            && known.failed.is_some_and(|(at, _)| now.since(at) < interval)
            && known.is_kept(now, self.settings.keep)
    }

    /// What holds where too many wait: a kept answer, if the API server is known to be away.
    fn without_place(&self, token: &[u8]) -> Verdict {
        let is_kept = |slot: Arc<Slot>| slot.known().is_kept(self.now(), self.settings.keep);
        let away = self.failing.load(Ordering::Relaxed);
        if away && self.known.get(&digest_of(token)).is_some_and(is_kept) {
            return Ok(());
        }
        Err(ReviewUnavailable::new(ReviewUnavailableCause::TooManyWaiting).into())
    }

    async fn ask_now(&self, turn: Turn, token: &[u8], expected: &Expected) -> Verdict {
        let asked_at = self.now();
        let (issuer, cluster) = self.observed.names();
        let span = tracing::info_span!("review_token", issuer, cluster, outcome = field::Empty);
        let started = Instant::now();
        let answer = async {
            match time::timeout(self.settings.timeout, self.call(token, expected)).await {
                Ok(Ok(status)) => match Answer::of(&status, token, expected) {
                    // in a suspend the timer stood still
                    Answer::Confirmed if self.settings.is_late(asked_at, self.now()) => {
                        self.failed(None, token)
                    }
                    answer => answer,
                },
                Ok(Err(error)) => self.failed(Some(&error), token),
                Err(_) => self.failed(None, token),
            }
        };
        let answer = answer.instrument(span.clone()).await;
        let outcome = answer.outcome();
        span.record("outcome", outcome.name());
        self.observed.meter.asked(outcome, started.elapsed());
        if outcome != Asked::Failed && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(issuer, cluster, "the API server answers token reviews again");
        }
        let mut known = turn.slot.known();
        if known.call.is_some_and(|call| call.number == turn.number) {
            known.take(answer, asked_at, self.now(), &self.settings)
        } else {
            // it stood still, and another has asked since
            answer.verdict()
        }
    }

    async fn call(&self, token: &[u8], expected: &Expected) -> Result<ReviewStatus, ReviewError> {
        // a token that was accepted is base64url
        let token = str::from_utf8(token).map_err(|_| ReviewError::new("the token is no text"))?;
        self.reviewer.review(ReviewRequest { token, audiences: &expected.audiences }).await
    }

    /// Tells the log once, and again when it has answered in between.
    fn failed(&self, error: Option<&ReviewError>, token: &[u8]) -> Answer {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let error = error.map_or_else(|| "it takes too long".to_owned(), |error| chain(error));
            let (issuer, cluster) = self.observed.names();
            tracing::error!(
                issuer,
                cluster,
                error = %without_token(&error, token),
                "the API server does not answer token reviews"
            );
        }
        Answer::None(match error {
            Some(_) => ReviewUnavailableCause::Failed,
            None => ReviewUnavailableCause::Slow,
        })
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        MAX_WAITING - self.places.available_permits()
    }

    #[cfg(test)]
    pub(crate) fn take_all_places(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(MAX_WAITING).unwrap();
        Arc::clone(&self.places).try_acquire_many_owned(all).unwrap()
    }

    #[cfg(test)]
    pub(crate) fn is_being_asked(&self, token: &[u8]) -> bool {
        self.slot(digest_of(token)).known().call.is_some()
    }

    fn slot(&self, name: Digest) -> Arc<Slot> {
        let slot = self.known.get_or_insert_with(&name, || Ok::<_, Never>(Arc::default()));
        slot.unwrap_or_else(|never| match never {})
    }

    fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }
}

enum Never {}

/// What came of asking.
enum Answer {
    Confirmed,
    Refused(Refusal),
    None(ReviewUnavailableCause),
}

impl Answer {
    /// Believes an answer only if it is about this token.
    fn of(status: &ReviewStatus, token: &[u8], expected: &Expected) -> Self {
        let is_ours = |audience: &String| expected.audiences.contains(audience);
        Self::Refused(if !status.authenticated || !status.error.is_empty() {
            Refusal::ReviewDenied(without_token(&status.error, token))
        } else if status.username != expected.username || status.uid != expected.uid {
            Refusal::ReviewMismatch("it is about another user")
        } else if !status.audiences.iter().any(is_ours) {
            Refusal::ReviewMismatch("it is for none of our audiences")
        } else {
            return Self::Confirmed;
        })
    }
}

impl Answer {
    fn verdict(self) -> Verdict {
        match self {
            Self::Confirmed => Ok(()),
            Self::Refused(refusal) => Err(refusal.into()),
            Self::None(cause) => Err(ReviewUnavailable::new(cause).into()),
        }
    }

    fn outcome(&self) -> Asked {
        match self {
            Self::Confirmed => Asked::Confirmed,
            Self::Refused(_) => Asked::Refused,
            Self::None(_) => Asked::Failed,
        }
    }
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        // nothing panics while it is held
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.slot.known().call.take_if(|call| call.number == self.number);
        step();
        self.slot.ended.notify_waiters();
    }
}

impl Settings {
    /// Whether what was asked then is nobody's answer any more.
    fn is_late(&self, asked_at: Moment, now: Moment) -> bool {
        now.since(asked_at) >= self.interval.max(self.timeout)
    }
}

impl Known {
    /// What holds now without asking.
    fn verdict(&self, now: Moment, keep: Option<Duration>) -> Poll<Verdict> {
        if let Some((at, refusal)) = &self.refused
            && now.since(*at) < REFUSED_FOR
        {
            return Poll::Ready(Err(refusal.clone().into()));
        }
        let counts =
            self.confirmed.is_some_and(|known| now.since(known.asked_at) < known.counts_for);
        if counts {
            return Poll::Ready(Ok(()));
        }
        match self.failed.filter(|(at, _)| now.since(*at) < ASK_AGAIN) {
            None => Poll::Pending,
            Some(_) if self.is_kept(now, keep) => Poll::Ready(Ok(())),
            Some((_, cause)) => Poll::Ready(Err(ReviewUnavailable::new(cause).into())),
        }
    }

    fn is_kept(&self, now: Moment, keep: Option<Duration>) -> bool {
        let kept_for = |known: Confirmed| keep.is_some_and(|keep| now.since(known.asked_at) < keep);
        self.confirmed.is_some_and(kept_for)
    }

    /// What holds for one who waits since there were so many rounds: also what was confirmed just
    /// now, after a longer time than it counts for.
    fn verdict_after(&self, rounds: u64, now: Moment, settings: &Settings) -> Poll<Verdict> {
        let verdict = self.verdict(now, settings.keep);
        let is_new = |known: Confirmed| now.since(known.answered_at) < ASK_AGAIN;
        let is_confirmed =
            self.rounds > rounds && self.failed.is_none() && self.confirmed.is_some_and(is_new);
        if verdict.is_pending() && is_confirmed { Poll::Ready(Ok(())) } else { verdict }
    }

    /// The number of a call that may begin now, since there is none that may end yet.
    fn begin_call(&mut self, now: Moment, settings: &Settings) -> Option<u64> {
        let may_end = |call: Call| now.since(call.began) < settings.timeout + ASK_AGAIN;
        if self.call.is_some_and(may_end) {
            return None;
        }
        self.calls += 1;
        self.call = Some(Call { number: self.calls, began: now });
        Some(self.calls)
    }

    fn take(
        &mut self,
        answer: Answer,
        asked_at: Moment,
        now: Moment,
        settings: &Settings,
    ) -> Verdict {
        self.rounds += 1;
        match &answer {
            Answer::Confirmed => {
                let part = 1.0 - fastrand::f64() * (1.0 - LEAST_PART);
                let counts_for = settings.interval.mul_f64(part);
                self.confirmed = Some(Confirmed { asked_at, answered_at: now, counts_for });
                self.refused = None;
                self.failed = None;
            }
            Answer::Refused(refusal) => {
                self.confirmed = None;
                self.refused = Some((now, refusal.clone()));
                self.failed = None;
            }
            Answer::None(cause) => {
                self.failed = Some((now, *cause));
                if self.is_kept(now, settings.keep) {
                    return Ok(());
                }
            }
        }
        answer.verdict()
    }
}

fn digest_of(token: &[u8]) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// A text of an API server, fit for a log: escaped, cut, and not at all if it holds a part of the
/// token that is longer than chance has it.
fn without_token(text: &str, token: &[u8]) -> String {
    const PART: usize = 16;
    let shown = Cut(text).to_string();
    let echoes = shown.as_bytes().windows(PART).any(|part| {
        part.iter().all(u8::is_ascii_graphic)
            && token.windows(PART).any(|of_token| of_token == part)
    });
    if echoes { "not shown, since it holds a part of the token".to_owned() } else { shown }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers")
            .field("reviewer", &self.reviewer)
            .field("tokens", &self.known.len())
            .finish_non_exhaustive()
    }
}
