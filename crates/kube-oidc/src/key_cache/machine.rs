//! When to fetch, who waits, and what the others are told: the rules of the key cache as a pure
//! state machine. Events and clock readings go in, decisions come out; nothing here waits, fetches
//! or reads a clock.

use std::time::Duration;

use super::settings::{MAX_RETRY_AFTER, MAX_RETRY_AFTER_WITHOUT_KEYS, MIN_RETRY, Settings};
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
    settings: Settings,
    /// The last flight that began.
    last: Flight,
    in_the_air: Option<InTheAir>,
    set: Option<Set>,
    /// Of the fetches since the last good one.
    failure: Option<Failure>,
    /// When the last set was fetched that lacked a `kid` for which it was fetched.
    missed: Option<Moment>,
    /// A `kid` was refused during the cooldown: one fetch is due at its end.
    armed: bool,
}

#[derive(Debug)]
struct InTheAir {
    flight: Flight,
    began: Moment,
    for_unknown_kid: bool,
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
    retry_in: Duration,
    /// How long the issuer asked to be left alone.
    asked: Duration,
    /// One of these fetches was made for a `kid`, and so is the next.
    for_unknown_kid: bool,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            last: Flight(0),
            in_the_air: None,
            set: None,
            failure: None,
            missed: None,
            armed: false,
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
    pub(crate) fn ask(&mut self, now: Moment, arrival: Arrival) -> Answer {
        let usable = self.usable(now);
        if let Some(set) = self.set.as_ref().filter(|set| usable && set.flight > arrival.0) {
            // fetched after the request came, so it is the answer, and it counts as a fetch that
            // was made for an unknown kid
            self.missed = Some(set.at);
            return Answer::UnknownKey;
        }
        if self.flies(now) {
            return Answer::Join;
        }
        if let Some(wait) = self.until_retry(now) {
            return Answer::ComeBack(wait);
        }
        if usable && self.failure.is_none() && self.cooldown_left(now).is_some() {
            self.armed = true;
            return Answer::UnknownKey;
        }
        Answer::Start(self.start(now, usable))
    }

    /// Decides for an operator who came at `arrival` and wants a set that is fetched since then.
    /// Neither back-off nor cooldown count, only what the issuer asked for.
    pub(crate) fn refresh(&mut self, now: Moment, arrival: Arrival) -> Refresh {
        if self.set.as_ref().is_some_and(|set| set.flight > arrival.0) {
            return Refresh::Done;
        }
        if self.flies(now) {
            return Refresh::Join;
        }
        if let Some(failure) = &self.failure {
            let asked = now.left_of(self.obeyed(failure.asked, now), failure.at);
            if failure.flight > arrival.0 || !asked.is_zero() {
                return Refresh::ComeBack(self.until_retry(now).unwrap_or_default());
            }
        }
        Refresh::Start(self.start(now, false))
    }

    /// Decides for the timer, and for a request that found the set in need of a refresh.
    pub(crate) fn due(&mut self, now: Moment) -> Due {
        match self.until_due(now) {
            None => Due::Never,
            Some(wait) if wait.is_zero() => Due::Start(self.start(now, self.armed)),
            Some(wait) => Due::In(wait),
        }
    }

    /// When a fetch is due, if nothing happens before. `None`: one is in the air, or nobody asked
    /// for keys yet.
    pub(crate) fn until_due(&self, now: Moment) -> Option<Duration> {
        if self.flies(now) {
            return None;
        }
        Some(match (&self.failure, &self.set) {
            (Some(_), set) => {
                let retry = self.until_retry(now).unwrap_or_default();
                // once there is no usable set, a long Retry-After is cut
                let unusable = set.as_ref().map(|set| now.left_of(self.usable_for(set), set.at));
                match unusable.filter(|left| !left.is_zero()) {
                    Some(left) => retry.min(left),
                    None => retry,
                }
            }
            (None, Some(set)) => {
                let refresh = now.left_of(set.refresh_after, set.at);
                let cooldown = self.cooldown_left(now).unwrap_or_default();
                if self.armed { refresh.min(cooldown) } else { refresh }
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
                self.armed = false;
                if landed.for_unknown_kid {
                    self.missed = Some(landed.began);
                }
                self.set = Some(Set {
                    flight,
                    at: landed.began,
                    lifetime,
                    refresh_after: lifetime.mul_f64(self.refresh_at(dice)),
                });
            }
            Landing::Failed { retry_after } => {
                let count = self.failure.as_ref().map_or(0, |failure| failure.count) + 1;
                let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                // beyond what was asked for, so that a fleet that was told the same does not
                // come back at once
                let retry_in = asked + self.back_off(count, dice).max(asked.mul_f64(dice));
                let for_unknown_kid = landed.for_unknown_kid;
                self.failure =
                    Some(Failure { flight, at: now, count, retry_in, asked, for_unknown_kid });
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

    /// Whether a fetch is due at the end of the cooldown.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed
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
    fn refresh_at(&self, dice: f64) -> f64 {
        let (from, to) = self.settings.refresh_at.clone().into_inner();
        from + (to - from) * dice
    }

    /// Full jitter: anything up to a step that doubles.
    fn back_off(&self, count: u32, dice: f64) -> Duration {
        let (first, last) = self.settings.back_off.clone().into_inner();
        let step = first.saturating_mul(1 << (count - 1).min(16)).min(last);
        step.mul_f64(dice).max(MIN_RETRY)
    }

    fn start(&mut self, now: Moment, for_unknown_kid: bool) -> Flight {
        self.last = Flight(self.last.0 + 1);
        // what was asked for in vain still is, whoever begins the next
        let for_unknown_kid =
            for_unknown_kid || self.failure.as_ref().is_some_and(|failure| failure.for_unknown_kid);
        self.in_the_air = Some(InTheAir { flight: self.last, began: now, for_unknown_kid });
        self.last
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

    fn until_retry(&self, now: Moment) -> Option<Duration> {
        let failure = self.failure.as_ref()?;
        let wait = now.left_of(self.obeyed(failure.retry_in, now), failure.at);
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// As much of what an issuer asks for as it gets: less where nobody has keys.
    fn obeyed(&self, wait: Duration, now: Moment) -> Duration {
        let longest = if self.usable(now) { MAX_RETRY_AFTER } else { MAX_RETRY_AFTER_WITHOUT_KEYS };
        wait.min(longest)
    }

    fn cooldown_left(&self, now: Moment) -> Option<Duration> {
        let left = now.left_of(self.settings.unknown_kid_cooldown?, self.missed?);
        Some(left).filter(|left| !left.is_zero())
    }
}
