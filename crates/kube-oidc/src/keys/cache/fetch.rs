//! A fetch on its way, and the timer that it becomes.

use std::sync::{Arc, Weak, atomic::AtomicU64};

use tokio::time;
use tracing::{Instrument as _, field};

use super::{
    Shared, Snapshot, age_in_millis,
    machine::{Due, Flight, Landing, Machine},
};
use crate::{
    clock::Moment,
    keys::source::{Discovery, FetchContext, LoadError, LoadOutcome, Loaded},
    observe::meter::Fetched,
    sync::step,
};

impl Shared {
    /// Fetches once, and takes what comes of it.
    async fn fetch(&self, mut airborne: Airborne) {
        let began = Moment::now(&*self.clock);
        let (started, timeout) = (time::Instant::now(), self.settings.fetch_timeout);
        let last = self.snapshot.load_full();
        let context = FetchContext {
            allowed: &self.allowed,
            freshness: &self.settings.freshness,
            timeout,
            deadline: started + timeout,
            clock: &*self.clock,
            is_forced: self.machine().is_forced(airborne.flight),
            budget_window: self.settings.unknown_kid_cooldown.map(|cooldown| 3 * cooldown),
        };
        let (issuer, cluster) = self.observed.names();
        let span = tracing::info_span!("fetch_keys", issuer, cluster, outcome = field::Empty);
        let before = last.as_ref().map(|snapshot| snapshot.keys());
        let loaded = self.source.load(before, context).instrument(span.clone()).await;
        airborne.down = true;
        let outcome = if loaded.result.is_ok() { Fetched::Updated } else { Fetched::Failed };
        span.record("outcome", outcome.name());
        self.observed.meter.fetched(outcome, started.elapsed());
        self.land(airborne.flight, began, loaded, last.as_deref());
    }

    pub(super) fn land(
        &self,
        flight: Flight,
        began: Moment,
        loaded: LoadOutcome,
        last: Option<&Snapshot>,
    ) {
        let landing = match &loaded.result {
            Ok(loaded) => Landing::Good { lifetime: loaded.lifetime },
            Err(error) => Landing::Failed { retry_after: error.retry_after() },
        };
        let now = Moment::now(&*self.clock);
        let mut machine = self.machine();
        let was_failing = machine.is_failing();
        if machine.land(now, flight, landing, fastrand::f64()) {
            self.source.note(loaded.discovery);
            match loaded.result {
                Ok(loaded) => {
                    self.history().last_success = Some(began.wall);
                    let snapshot = self.publish(loaded, began, &machine);
                    drop(machine);
                    self.log_success(&snapshot, last, was_failing);
                }
                Err(error) => {
                    let usable = machine.usable(now);
                    drop(machine);
                    self.note_failure(&error, was_failing, usable);
                }
            }
        }
        self.tell_landing();
    }

    fn publish(&self, loaded: Loaded, began: Moment, machine: &Machine) -> Arc<Snapshot> {
        // the timer gets a little time to be first
        let look_at_age = machine.refresh_after().saturating_add(self.settings.fetch_timeout);
        let snapshot = Arc::new(Snapshot {
            set: loaded.set,
            at: began,
            lifetime: loaded.lifetime,
            usable_for: loaded.lifetime.saturating_add(self.settings.max_stale),
            look_at_age: AtomicU64::new(age_in_millis(look_at_age)),
        });
        step();
        self.snapshot.store(Some(Arc::clone(&snapshot)));
        snapshot
    }
}

/// Fetches, then stays as the timer until a later flight takes over or the last verifier is gone.
pub(super) async fn fly(mut airborne: Airborne) {
    loop {
        let (cache, flight) = (airborne.cache.clone(), airborne.flight);
        {
            let Some(shared) = cache.upgrade() else { return };
            shared.fetch(airborne).await;
        }
        airborne = match next_flight(&cache, flight).await {
            Some(next) => Airborne::new(cache, next),
            None => return,
        };
    }
}

/// Waits until a fetch is due. `None`: this timer is no longer needed.
async fn next_flight(cache: &Weak<Shared>, flight: Flight) -> Option<Flight> {
    loop {
        let (due, mut landed) = {
            let shared = cache.upgrade()?;
            let landed = shared.listen();
            let mut machine = shared.machine();
            if !machine.is_last(flight) {
                return None;
            }
            (machine.due(Moment::now(&*shared.clock)), landed)
        };
        // closed when the last verifier is gone
        let closed = match due {
            Due::Start(next) => return Some(next),
            Due::In(wait) => {
                matches!(time::timeout(wait, landed.changed()).await, Ok(Err(_)))
            }
            Due::Never => landed.changed().await.is_err(),
        };
        if closed {
            return None;
        }
    }
}

/// A flight that has not landed. Dropped in the air, because its runtime ended, before its first
/// step even, or because its fetcher panicked, it tells those who wait.
pub(super) struct Airborne {
    cache: Weak<Shared>,
    flight: Flight,
    down: bool,
}

impl Airborne {
    pub(super) fn new(cache: Weak<Shared>, flight: Flight) -> Self {
        Self { cache, flight, down: false }
    }
}

impl Drop for Airborne {
    fn drop(&mut self) {
        let Some(shared) = self.cache.upgrade().filter(|_| !self.down) else { return };
        if std::thread::panicking() {
            let now = Moment::now(&*shared.clock);
            let result = Err(LoadError::Panicked);
            let outcome = LoadOutcome { result, discovery: Discovery::Unchanged };
            shared.land(self.flight, now, outcome, None);
        } else {
            shared.machine().give_up(self.flight);
            shared.tell_landing();
        }
    }
}
