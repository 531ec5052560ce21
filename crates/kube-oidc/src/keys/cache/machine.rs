//! When to fetch, who waits, and what the others are told: the rules of the key cache as a pure
//! state machine. Events and clock readings go in, decisions come out; nothing here waits, fetches
//! or reads a clock.

use std::time::Duration;

use super::{
    budget::Budget,
    missed::{KeyIdHash, MissedKeys},
    settings::{
        KeyCacheSettings, MAX_BACK_OFF_FOR_CALLERS, MAX_RETRY_AFTER, MAX_RETRY_AFTER_WITHOUT_KEYS,
        MIN_RETRY,
    },
};
use crate::clock::Moment;

/// The number of a fetch. They count up, so a greater one began later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flight(u64);

/// When a request came: after these flights had begun, and before any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival(Flight);

/// What a request that found no key in the set is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Start this fetch, and wait for it.
    Start(Flight),
    /// Wait for the fetch that is in the air.
    Join,
    /// The key does not exist: the set is new enough to say so.
    UnknownKey,
    /// The key may exist. Come back later.
    ComeBack(Duration),
}

/// What a request is to do whose token fails under the key set in a way that a rotation explains: a
/// key was replaced under its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// Start this fetch, and wait for it.
    Start(Flight),
    /// Wait for the fetch that is in the air.
    Join,
    /// The verdict stands.
    Dismiss,
}

/// What an operator who wants a new set is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Start this fetch, and wait for it.
    Start(Flight),
    /// Wait for the fetch that is in the air.
    Join,
    /// There is a set that was fetched since.
    Done,
    /// The fetch failed, or the issuer asked to be left alone.
    ComeBack(Duration),
}

/// What the timer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Start this fetch.
    Start(Flight),
    /// Look again after this time, or when something happens.
    In(Duration),
    /// Nothing is due until something happens.
    Never,
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Landing {
    /// It brought a set.
    Good { lifetime: Duration },
    /// It did not; the issuer may have said when to ask again.
    Failed { retry_after: Option<Duration> },
}

#[derive(Debug)]
pub(crate) struct Machine {
    settings: KeyCacheSettings,
    /// The last flight that began.
    last: Flight,
    in_the_air: Option<InTheAir>,
    set: Option<Set>,
    /// Of the fetches since the last good one.
    failure: Option<Failure>,
    budget: Budget,
    missed: MissedKeys,
    wanted: Wanted,
    /// When a fetch began for a token that a rotation would explain.
    suspected: Option<Moment>,
}

/// Whether a key was rejected as unknown without a fetch of its own, so that one is due as soon as
/// the budget allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    No,
    /// A key that was looked up before.
    Again,
    New,
}

#[derive(Debug)]
struct InTheAir {
    flight: Flight,
    began: Moment,
    is_forced: bool,
}

#[derive(Debug)]
struct Set {
    flight: Flight,
    /// When its fetch began: nothing later is known of it.
    at: Moment,
    lifetime: Duration,
    refresh_after: Duration,
}

#[derive(Debug)]
struct Failure {
    flight: Flight,
    at: Moment,
    count: u32,
    /// How long the issuer asked to be left alone.
    asked: Duration,
    dice: f64,
    /// Whether a token that could pass waits for a key that is unknown.
    is_hurried: bool,
    /// Whether one of these fetches was forced, and so is the next.
    is_forced: bool,
}

impl Machine {
    pub(crate) fn new(settings: KeyCacheSettings) -> Self {
        Self {
            budget: Budget::new(settings.unknown_kid_cooldown),
            settings,
            last: Flight(0),
            in_the_air: None,
            set: None,
            failure: None,
            missed: MissedKeys::default(),
            wanted: Wanted::No,
            suspected: None,
        }
    }

    /// Notes that a request is here which may have to wait.
    pub(crate) fn arrive(&self) -> Arrival {
        Arrival(self.last)
    }

    /// Whether the set may be used: it is fresh, or stale for less than `max_stale`.
    pub(crate) fn usable(&self, now: Moment) -> bool {
        self.set.as_ref().is_some_and(|set| now.since(set.at) < self.usable_for(set))
    }

    /// Decides for a request that came at `arrival` and found no key for its token, in the set
    /// that there is at this moment or because there is none.
    pub(crate) fn ask(&mut self, now: Moment, arrival: Arrival, key: KeyIdHash) -> Answer {
        let usable = self.usable(now);
        if usable && self.is_newer_than(arrival) {
            // fetched after the request came, so the set is the answer
            self.missed.remember(key);
            return Answer::UnknownKey;
        }
        if self.flies(now) {
            return Answer::Join;
        }
        if let Some(failure) = &mut self.failure {
            failure.is_hurried = true;
        }
        if self.failure.is_some() || !usable {
            let wait = self.until_retry(now).max(self.until_allowed(1, now));
            return if wait.is_zero() {
                Answer::Start(self.start_for_caller(now, usable))
            } else {
                Answer::ComeBack(wait)
            };
        }
        let wanted = if self.missed.remember(key) { Wanted::Again } else { Wanted::New };
        if self.until_wanted(wanted, now).is_zero() {
            return Answer::Start(self.start_for_caller(now, true));
        }
        self.wanted = self.wanted.max(wanted);
        Answer::UnknownKey
    }

    /// Decides for a request that came at `arrival`, and whose token fails under the set that there
    /// is in a way that a rotation explains. All of them together start one fetch in a cooldown,
    /// and never take the last one of the budget: most such tokens are forged.
    pub(crate) fn suspect(&mut self, now: Moment, arrival: Arrival) -> Suspicion {
        if !self.may_suspect(now, arrival) {
            return Suspicion::Dismiss;
        }
        if self.flies(now) {
            return Suspicion::Join;
        }
        self.suspected = Some(now);
        Suspicion::Start(self.start_for_caller(now, true))
    }

    /// Whether [`suspect`](Self::suspect) starts or joins a fetch.
    pub(crate) fn may_suspect(&self, now: Moment, arrival: Arrival) -> bool {
        if self.is_newer_than(arrival) {
            return false;
        }
        let cooldown = self.settings.unknown_kid_cooldown.unwrap_or_default();
        let is_over = |suspected| now.since(suspected) >= cooldown;
        let may_start = || {
            self.usable(now)
                && self.failure.is_none()
                && self.suspected.is_none_or(is_over)
                && self.until_allowed(2, now).is_zero()
        };
        self.flies(now) || may_start()
    }

    /// Decides for an operator who came at `arrival` and wants a set that is fetched since then.
    /// Neither back-off nor budget count, only what the issuer asked for.
    pub(crate) fn refresh(&mut self, now: Moment, arrival: Arrival) -> Refresh {
        if self.is_newer_than(arrival) {
            return Refresh::Done;
        }
        if self.flies(now) {
            return Refresh::Join;
        }
        if let Some(failure) = &self.failure {
            let asked = now.left_of(self.obeyed(failure.asked, now), failure.at);
            if failure.flight > arrival.0 || !asked.is_zero() {
                return Refresh::ComeBack(self.until_retry(now));
            }
        }
        Refresh::Start(self.start_for_caller(now, true))
    }

    /// Decides for a probe that found no usable set: as for the timer, which nothing started yet if
    /// no request came before. However often a probe asks, it starts no other fetch.
    pub(crate) fn probe(&mut self, now: Moment) -> Due {
        let is_first = self.set.is_none() && self.failure.is_none() && !self.flies(now);
        if is_first && self.until_allowed(1, now).is_zero() {
            return Due::Start(self.start_for_caller(now, false));
        }
        self.due(now)
    }

    /// Decides for the timer, and for a request that found the set in need of a refresh.
    pub(crate) fn due(&mut self, now: Moment) -> Due {
        match self.until_due(now) {
            None => Due::Never,
            Some(wait) if wait.is_zero() => {
                let is_refresh = self.failure.is_none() && self.wanted == Wanted::No;
                if !is_refresh || self.refreshes_are_paced() {
                    self.budget.take(self.usable(now), now);
                }
                Due::Start(self.start(now, self.wanted > Wanted::No))
            }
            Some(wait) => Due::In(wait),
        }
    }

    /// When a fetch is due, if nothing happens before. `None`: one is in the air, or nobody asked
    /// for keys yet.
    pub(crate) fn until_due(&self, now: Moment) -> Option<Duration> {
        if self.flies(now) {
            return None;
        }
        let allowed = self.until_allowed(1, now);
        Some(match (&self.failure, &self.set) {
            (Some(_), set) => {
                let retry = self.until_retry(now);
                // once there is no usable set, a long Retry-After is cut
                let unusable = set.as_ref().map(|set| now.left_of(self.usable_for(set), set.at));
                let retry = match unusable.filter(|left| !left.is_zero()) {
                    Some(left) => retry.min(left),
                    None => retry,
                };
                retry.max(allowed)
            }
            (None, Some(set)) => {
                let refresh = now.left_of(set.refresh_after, set.at);
                let refresh =
                    if self.refreshes_are_paced() { refresh.max(allowed) } else { refresh };
                refresh.min(self.until_wanted(self.wanted, now))
            }
            (None, None) => return None,
        })
    }

    /// Whether the set is within its lifetime.
    pub(crate) fn fresh(&self, now: Moment) -> bool {
        self.set.as_ref().is_some_and(|set| now.since(set.at) < set.lifetime)
    }

    /// How many fetches were begun.
    pub(crate) fn fetches(&self) -> u64 {
        self.last.0
    }

    /// Takes how a flight ended. `false`: it was given up before, and its answer, which may be
    /// older than what is known by now, must be thrown away.
    ///
    /// `dice` is a random number in `0.0..1.0`, for the jitter.
    pub(crate) fn land(
        &mut self,
        now: Moment,
        flight: Flight,
        landing: Landing,
        dice: f64,
    ) -> bool {
        let Some(landed) = self.in_the_air.take_if(|air| air.flight == flight) else {
            return false;
        };
        match landing {
            Landing::Good { lifetime } => {
                self.failure = None;
                self.wanted = Wanted::No;
                self.set = Some(Set {
                    flight,
                    at: landed.began,
                    lifetime,
                    refresh_after: lifetime.mul_f64(self.refresh_at_fraction(dice)),
                });
            }
            Landing::Failed { retry_after } => {
                let last = self.failure.as_ref();
                self.failure = Some(Failure {
                    flight,
                    at: now,
                    count: last.map_or(0, |last| last.count) + 1,
                    asked: retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
                    dice,
                    is_hurried: last.is_some_and(|last| last.is_hurried),
                    is_forced: landed.is_forced,
                });
            }
        }
        true
    }

    /// Takes that a flight will never land: its runtime is gone.
    pub(crate) fn give_up(&mut self, flight: Flight) {
        self.in_the_air.take_if(|air| air.flight == flight);
    }

    /// Whether this flight is the last one that began.
    pub(crate) fn is_last(&self, flight: Flight) -> bool {
        self.last == flight
    }

    /// Whether a fetch looks for a key that the last set lacks, or an operator wants it.
    pub(crate) fn is_forced(&self, flight: Flight) -> bool {
        self.in_the_air.as_ref().is_some_and(|air| air.flight == flight && air.is_forced)
    }

    /// Whether the last fetch failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// When the timer looks at the set again, counted from the moment that it is as of.
    pub(crate) fn refresh_after(&self) -> Duration {
        self.set.as_ref().map_or(Duration::ZERO, |set| set.refresh_after)
    }

    /// Not for a whole fleet at once.
    fn refresh_at_fraction(&self, dice: f64) -> f64 {
        let (from, to) = self.settings.refresh_at_fraction.clone().into_inner();
        from + (to - from) * dice
    }

    fn start_for_caller(&mut self, now: Moment, is_forced: bool) -> Flight {
        self.budget.take(self.usable(now), now);
        self.start(now, is_forced)
    }

    fn start(&mut self, now: Moment, is_forced: bool) -> Flight {
        self.last = Flight(self.last.0 + 1);
        // what was asked for in vain still is, whatever begins the next
        let is_forced = is_forced || self.failure.as_ref().is_some_and(|last| last.is_forced);
        self.in_the_air = Some(InTheAir { flight: self.last, began: now, is_forced });
        self.last
    }

    fn is_newer_than(&self, arrival: Arrival) -> bool {
        self.set.as_ref().is_some_and(|set| set.flight > arrival.0)
    }

    /// Whether a fetch is in the air that may still land. One whose runtime stands still does
    /// not, and must not keep the others on the ground.
    fn flies(&self, now: Moment) -> bool {
        let longest = self.settings.fetch_timeout.saturating_add(Duration::from_secs(1));
        self.in_the_air.as_ref().is_some_and(|air| now.since(air.began) < longest)
    }

    fn usable_for(&self, set: &Set) -> Duration {
        set.lifetime.saturating_add(self.settings.max_stale)
    }

    /// Whether refreshes wait for the budget, and take from it. Where an operator wants them more
    /// often than the budget allows, they do not.
    fn refreshes_are_paced(&self) -> bool {
        let cooldown = self.settings.unknown_kid_cooldown.unwrap_or_default();
        self.set.as_ref().is_some_and(|set| set.lifetime >= 3 * cooldown)
    }

    /// How long until the budget has so many fetches.
    fn until_allowed(&self, count: u8, now: Moment) -> Duration {
        self.budget.until(count, self.usable(now), now)
    }

    /// How long until a key may be looked up that is not in the set. A key that was looked up before
    /// leaves one fetch for others, and time to an API server that is behind.
    fn until_wanted(&self, wanted: Wanted, now: Moment) -> Duration {
        match wanted {
            Wanted::No => Duration::MAX,
            Wanted::New => self.until_allowed(1, now),
            Wanted::Again => {
                let pause = self.settings.unknown_kid_cooldown.unwrap_or_default() / 2;
                let since = self.set.as_ref().map(|set| now.left_of(pause, set.at));
                since.unwrap_or_default().max(self.until_allowed(2, now))
            }
        }
    }

    /// How long until the back-off after a failed fetch is over.
    fn until_retry(&self, now: Moment) -> Duration {
        let Some(failure) = &self.failure else { return Duration::ZERO };
        let wait = failure.asked + self.jitter(failure, now);
        now.left_of(self.obeyed(wait, now), failure.at)
    }

    /// Full jitter, anything up to a step that doubles; and beyond what was asked for, so that a
    /// fleet that was told the same does not come back at once.
    fn jitter(&self, failure: &Failure, now: Moment) -> Duration {
        let (first, last) = self.settings.backoff.clone().into_inner();
        let is_hurried = failure.is_hurried || !self.usable(now);
        let last = if is_hurried { last.min(MAX_BACK_OFF_FOR_CALLERS) } else { last };
        let step = first.saturating_mul(1 << (failure.count - 1).min(16)).min(last);
        step.max(failure.asked).mul_f64(failure.dice).max(MIN_RETRY)
    }

    /// As much of what an issuer asks for as it gets: less where nobody has keys.
    fn obeyed(&self, wait: Duration, now: Moment) -> Duration {
        let longest = if self.usable(now) { MAX_RETRY_AFTER } else { MAX_RETRY_AFTER_WITHOUT_KEYS };
        wait.min(longest)
    }
}
