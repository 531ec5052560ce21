//! The living key set of one issuer: read by every request without a lock that excludes, and
//! refreshed behind their backs.
//!
//! [`machine`] decides, this module carries out: it spawns the fetches, publishes the sets and
//! wakes who waits.

mod budget;
mod changes;
mod events;
mod fetch;
#[cfg(test)]
#[cfg(kube_oidc_shuttle)]
mod interleavings;
mod machine;
#[cfg(test)]
mod machine_tests;
mod missed;
mod settings;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwapOption, Guard};
use tokio::{runtime::Handle, sync::watch, time};

use self::changes::KeyChanges;
use self::fetch::{Airborne, fly};
use self::machine::{Answer, Arrival, Due, Flight, Machine, Refresh, Suspicion};
use self::missed::KeyIdHash;
pub(crate) use self::settings::KeyCacheSettings;
use crate::{
    algorithm::Algorithm,
    clock::{Clock, Moment},
    error::{KeysUnavailable, KeysUnavailableCause},
    keys::{
        set::KeySet,
        source::{FetchedSet, Source},
    },
    observe::{
        Observed,
        status::{FetchFailure, IssuerStatus, KeyState},
    },
    sync::{Mutex, MutexGuard, spawn, step},
};

/// Why a request that waited has no key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The issuer does not have it.
    UnknownKey,
    Unavailable(KeysUnavailable),
}

/// The keys of one issuer that are fetched, and kept fresh.
#[derive(Clone, Debug)]
pub(crate) struct KeyCache(Arc<Shared>);

struct Shared {
    observed: Arc<Observed>,
    source: Source,
    allowed: Arc<[Algorithm]>,
    settings: KeyCacheSettings,
    clock: Arc<dyn Clock>,
    machine: Mutex<Machine>,
    snapshot: ArcSwapOption<Snapshot>,
    /// Counts the flights that ended, to wake who waits for one; the timer listens too.
    landed: watch::Sender<u64>,
    waiting: AtomicUsize,
    /// Of key IDs, so that a caller cannot choose one that is taken for another.
    hasher: RandomState,
    history: Mutex<History>,
    changes: Mutex<KeyChanges>,
}

/// What happened so far, for [`IssuerStatus`].
#[derive(Debug, Default)]
struct History {
    last_success: Option<SystemTime>,
    last_error: Option<FetchFailure>,
    failures: u64,
}

/// A set, and until when it may be used: all that a request with a known key reads.
#[derive(Debug)]
pub(crate) struct Snapshot {
    set: FetchedSet,
    at: Moment,
    lifetime: Duration,
    usable_for: Duration,
    /// The age at which a request looks whether the timer is still alive, in milliseconds.
    look_at_age: AtomicU64,
}

impl Snapshot {
    pub(crate) fn keys(&self) -> &KeySet {
        &self.set.keys
    }
}

impl KeyCache {
    pub(crate) fn new(
        observed: Arc<Observed>,
        source: impl Into<Source>,
        allowed: Arc<[Algorithm]>,
        settings: KeyCacheSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let machine = Mutex::new(Machine::new(settings.clone()));
        Self(Arc::new(Shared {
            observed,
            source: source.into(),
            allowed,
            settings,
            clock,
            machine,
            snapshot: ArcSwapOption::empty(),
            landed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            hasher: RandomState::new(),
            history: Mutex::default(),
            changes: Mutex::default(),
        }))
    }

    /// The set that may be used now, if there is one. Never waits.
    pub(crate) fn current(&self, now: Moment) -> Option<Guard<Option<Arc<Snapshot>>>> {
        let guard = self.0.snapshot.load();
        let snapshot = guard.as_ref()?;
        let age = now.since(snapshot.at);
        if age_in_millis(age) >= snapshot.look_at_age.load(Ordering::Relaxed) {
            self.look_after_the_timer(snapshot, age);
        }
        (age < snapshot.usable_for).then_some(guard)
    }

    /// The same, without looking after the timer: nothing is fetched for it.
    pub(crate) fn peek(&self, now: Moment) -> Option<Guard<Option<Arc<Snapshot>>>> {
        let guard = self.0.snapshot.load();
        let snapshot = guard.as_ref()?;
        (now.since(snapshot.at) < snapshot.usable_for).then_some(guard)
    }

    /// Starts the fetch that is due for a probe that found no usable set. Outside a tokio runtime
    /// nothing starts.
    pub(crate) fn probe(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let due = self.0.machine().probe(Moment::now(&*self.0.clock));
        if let Due::Start(flight) = due {
            self.spawn(&runtime, flight);
        }
    }

    /// Looks into the last set that was fetched, whether it may be used or not; without one,
    /// `false`.
    pub(crate) fn with_last(&self, look: impl FnOnce(&KeySet) -> bool) -> bool {
        self.0.snapshot.load().as_ref().is_some_and(|snapshot| look(snapshot.keys()))
    }

    /// Whether a fetch has ended, with a set or without.
    pub(crate) fn has_answered(&self) -> bool {
        self.0.snapshot.load().is_some() || self.0.machine().is_failing()
    }

    /// Waits until a fetch has ended, with a set or without.
    pub(crate) async fn first_answer(&self) {
        if !self.has_answered() {
            let _ = self.wait_for(None, |_| true).await;
        }
    }

    /// Notes that a request is here which may have to wait.
    pub(crate) fn arrive(&self) -> Arrival {
        self.0.machine().arrive()
    }

    /// Waits until there is a set in which `wanted` finds the key of this ID. Without an ID it is
    /// any set.
    pub(crate) async fn wait_for(
        &self,
        kid: Option<&str>,
        wanted: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<Snapshot>, Missing> {
        let shared = &*self.0;
        let unavailable = |wait, cause| Missing::Unavailable(KeysUnavailable::new(wait, cause));
        let Ok(runtime) = Handle::try_current() else {
            // nothing can be fetched here, so nothing is begun either
            let now = Moment::now(&*self.0.clock);
            let snapshot = self.current(now).and_then(|guard| guard.as_ref().map(Arc::clone));
            return match snapshot.filter(|snapshot| wanted(snapshot.keys())) {
                Some(snapshot) => Ok(snapshot),
                None => Err(unavailable(Duration::ZERO, KeysUnavailableCause::NoRuntime)),
            };
        };
        let (arrival, key) = (self.arrive(), KeyIdHash(shared.hasher.hash_one(kid)));
        let mut place = None;
        let mut deadline = None;
        loop {
            let mut landed = shared.listen();
            match shared.ask(arrival, key, &wanted) {
                Asked::Found(snapshot) => return Ok(snapshot),
                Asked::Machine(Answer::Join) => {}
                Asked::Machine(Answer::Start(flight)) => self.spawn(&runtime, flight),
                Asked::Machine(Answer::UnknownKey) => return Err(Missing::UnknownKey),
                Asked::Machine(Answer::ComeBack(wait)) => {
                    return Err(unavailable(wait, KeysUnavailableCause::FetchFailed));
                }
            }
            if place.is_none() {
                place = shared.take_place(shared.settings.max_waiting);
            }
            if place.is_none() {
                let cause = KeysUnavailableCause::TooManyWaiting;
                return Err(unavailable(shared.settings.fetch_timeout, cause));
            }
            let until = *deadline
                .get_or_insert_with(|| time::Instant::now() + shared.settings.fetch_timeout);
            if time::timeout_at(until, landed.changed()).await.is_err() {
                return Err(unavailable(Duration::ZERO, KeysUnavailableCause::FetchTimedOut));
            }
        }
    }

    /// Whether [`wait_for_rotation`](Self::wait_for_rotation) would wait, as far as is known now.
    pub(crate) fn may_rotate(&self) -> bool {
        if Handle::try_current().is_err() {
            return false;
        }
        let (now, machine) = (Moment::now(&*self.0.clock), self.0.machine());
        machine.may_suspect(now, machine.arrive())
    }

    /// Waits for a set that is newer than `last`, under which a token that came at `arrival` fails
    /// in a way that a rotation explains.
    ///
    /// `None`: no fetch may start for it, or it brought nothing. Such tokens take at most half of
    /// the permits for waiters.
    pub(crate) async fn wait_for_rotation(
        &self,
        arrival: Arrival,
        last: &Arc<Snapshot>,
    ) -> Option<Arc<Snapshot>> {
        let (shared, runtime) = (&*self.0, Handle::try_current().ok()?);
        let _place = shared.take_place(shared.settings.max_waiting / 2)?;
        let mut landed = shared.listen();
        let before = *landed.borrow();
        let suspicion = shared.machine().suspect(Moment::now(&*shared.clock), arrival);
        match suspicion {
            Suspicion::Start(flight) => self.spawn(&runtime, flight),
            Suspicion::Join => {}
            Suspicion::Dismiss => return None,
        }
        let ended = landed.wait_for(|ended| *ended != before);
        time::timeout(shared.settings.fetch_timeout, ended).await.ok()?.ok()?;
        let guard = self.peek(Moment::now(&*shared.clock))?;
        guard.as_ref().filter(|newer| !Arc::ptr_eq(newer, last)).map(Arc::clone)
    }

    /// Fetches a set now, whatever the budget and the back-off, and waits for it. An issuer that
    /// asked to be left alone is.
    pub(crate) async fn refresh(&self) -> Result<(), KeysUnavailable> {
        let shared = &*self.0;
        let runtime = Handle::try_current()
            .map_err(|_| KeysUnavailable::new(Duration::ZERO, KeysUnavailableCause::NoRuntime))?;
        let arrival = shared.machine().arrive();
        loop {
            let mut landed = shared.listen();
            let refresh = shared.machine().refresh(Moment::now(&*shared.clock), arrival);
            match refresh {
                Refresh::Done => return Ok(()),
                Refresh::Join => {}
                Refresh::Start(flight) => self.spawn(&runtime, flight),
                Refresh::ComeBack(wait) => {
                    return Err(KeysUnavailable::new(wait, KeysUnavailableCause::FetchFailed));
                }
            }
            // a flight that cannot land any more lets the next one start, so look again
            let _ = time::timeout(shared.settings.fetch_timeout, landed.changed()).await;
        }
    }

    /// Waits until there is a set that may be used, however long that takes.
    pub(crate) async fn ready(&self) {
        while let Err(missing) = self.wait_for(None, |_| true).await {
            if let Missing::Unavailable(unavailable) = missing {
                time::sleep(unavailable.retry_after()).await;
            }
        }
    }

    /// Adds what is known of the keys to a status.
    pub(crate) fn describe(&self, status: &mut IssuerStatus) {
        let shared = &*self.0;
        let now = Moment::now(&*shared.clock);
        let machine = shared.machine();
        status.state = match (machine.usable(now), machine.fresh(now)) {
            (false, _) => KeyState::Unavailable,
            (true, true) => KeyState::Fresh,
            (true, false) => KeyState::Stale,
        };
        status.next_fetch = machine.until_due(now);
        status.fetches = machine.fetches();
        drop(machine);
        if let Some(snapshot) = &*shared.snapshot.load() {
            status.keys = snapshot.keys().describe();
            let age = now.since(snapshot.at);
            status.age = Some(age);
            status.stale_for = age.saturating_sub(snapshot.lifetime);
        }
        let history = shared.history();
        status.last_success = history.last_success;
        status.last_error.clone_from(&history.last_error);
        status.failures = history.failures;
    }

    fn spawn(&self, runtime: &Handle, flight: Flight) {
        spawn(runtime, fly(Airborne::new(Arc::downgrade(&self.0), flight)));
    }

    /// The timer belongs to a runtime, which may be gone: then the request that notices starts
    /// the refresh, and goes on with the set that there is.
    #[cold]
    fn look_after_the_timer(&self, snapshot: &Snapshot, age: Duration) {
        let Ok(runtime) = Handle::try_current() else { return };
        let again = age_in_millis(age).saturating_add(1_000);
        snapshot.look_at_age.store(again, Ordering::Relaxed);
        let due = self.0.machine().due(Moment::now(&*self.0.clock));
        if let Due::Start(flight) = due {
            self.spawn(&runtime, flight);
        }
    }
}

enum Asked {
    Found(Arc<Snapshot>),
    Machine(Answer),
}

impl Shared {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        // nothing in a critical section panics; if it did, the state would still be sound
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) -> watch::Receiver<u64> {
        step();
        self.landed.subscribe()
    }

    /// A flight has ended: wakes who waits for it.
    fn tell_landing(&self) {
        step();
        self.landed.send_modify(|landed| *landed += 1);
    }

    /// Has whoever listens look again, though nothing has landed.
    fn wake(&self) {
        step();
        self.landed.send_modify(|_| {});
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks into the set and asks the machine in one step, so that no landing comes between.
    fn ask(&self, arrival: Arrival, key: KeyIdHash, wanted: impl Fn(&KeySet) -> bool) -> Asked {
        let now = Moment::now(&*self.clock);
        let mut machine = self.machine();
        let snapshot = self.snapshot.load_full().filter(|_| machine.usable(now));
        if let Some(snapshot) = snapshot.filter(|snapshot| wanted(snapshot.keys())) {
            return Asked::Found(snapshot);
        }
        let before = machine.until_due(now);
        let answer = machine.ask(now, arrival, key);
        let after = machine.until_due(now);
        let is_due_sooner = before.zip(after).is_some_and(|(before, after)| after < before);
        drop(machine);
        if is_due_sooner {
            // the timer sleeps until a later time: wake it
            self.wake();
        }
        Asked::Machine(answer)
    }

    /// Takes a permit to wait, if fewer than `limit` requests wait.
    fn take_place(&self, limit: usize) -> Option<Place<'_>> {
        let place = Place(&self.waiting);
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        (waiting < limit).then_some(place)
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn age_in_millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyCache")
            .field("issuer", &self.observed.issuer)
            .field("snapshot", &self.snapshot.load())
            .finish_non_exhaustive()
    }
}
