//! The names of an issuer: what stands in `iss`, and when it was seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{in_cluster::LearntName, status::NameStatus};

/// Tells an issuer from every other that this process ever trusted, also from one of the same
/// name: one that was removed and added again has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IssuerId(u64);

impl IssuerId {
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The names that the tokens of one issuer may have in `iss`.
pub(crate) struct Names {
    /// Its name, or for a pod's own cluster the address of the API server.
    label: Arc<str>,
    /// Of a pod's own cluster.
    learnt: Option<LearntName>,
    seen: LastSeen,
    also: Vec<AlsoNamed>,
}

struct AlsoNamed {
    name: Arc<str>,
    seen: LastSeen,
}

impl AlsoNamed {
    fn new(name: Arc<str>) -> Self {
        Self { name, seen: LastSeen::default() }
    }
}

impl Names {
    pub(super) fn new(
        label: Arc<str>,
        learnt: Option<LearntName>,
        also_named: &[Arc<str>],
    ) -> Self {
        let also = also_named.iter().cloned().map(AlsoNamed::new).collect();
        Self { label, learnt, seen: LastSeen::default(), also }
    }

    /// For the log, and to tell issuers apart.
    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    pub(crate) fn contain(&self, name: &str) -> bool {
        let own = match &self.learnt {
            None => *self.label == *name,
            Some(learnt) => learnt.is(name),
        };
        own || self.also(name).is_some()
    }

    fn also(&self, name: &str) -> Option<&AlsoNamed> {
        self.also.iter().find(|also| *also.name == *name)
    }

    /// Whether a token may be of both, as far as their names are known.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        let known = |names: &Self| {
            let learnt = names.learnt.as_ref().and_then(LearntName::get);
            let also = names.also.iter().map(|also| also.name.to_string());
            let learnt = learnt.map(|learnt| String::clone(&learnt));
            also.chain(learnt).chain([names.label.to_string()]).collect::<Vec<_>>()
        };
        let others = known(other);
        known(self).iter().any(|name| others.contains(name))
    }

    /// Notes that a token of this name was accepted.
    pub(crate) fn note_seen(&self, name: &str, now: SystemTime) {
        self.also(name).map_or(&self.seen, |also| &also.seen).note(now);
    }

    /// When a token of the name itself was accepted for the last time.
    pub(crate) fn last_seen(&self) -> Option<SystemTime> {
        self.seen.time()
    }

    /// The same of each further name.
    pub(crate) fn also_named(&self) -> Vec<NameStatus> {
        let status = |also: &AlsoNamed| NameStatus {
            name: also.name.to_string(),
            last_seen: also.seen.time(),
        };
        self.also.iter().map(status).collect()
    }

    /// Whether an operator means this issuer: by a name, or by the address of the API server.
    pub(crate) fn answer_to(&self, name: &str) -> bool {
        *self.label == *name || self.contain(name)
    }

    /// The same, and by a name that it had before.
    pub(crate) fn ever_answered_to(&self, name: &str) -> bool {
        self.answer_to(name) || self.learnt.as_ref().is_some_and(|learnt| learnt.was(name))
    }

    /// Whether the name is still to be learnt, so that it may be any.
    pub(crate) fn may_be_any(&self) -> bool {
        self.learnt.as_ref().is_some_and(|learnt| !learnt.is_known())
    }

    /// The name that the API server tells, of a pod's own cluster.
    pub(crate) fn learnt(&self) -> Option<&LearntName> {
        self.learnt.as_ref()
    }

    /// The name for people.
    pub(crate) fn shown(&self) -> String {
        match self.learnt.as_ref().and_then(LearntName::get) {
            Some(learnt) => learnt.to_string(),
            None => self.label.to_string(),
        }
    }
}

/// When a token was accepted for the last time, in seconds since the epoch; 0 for never.
#[derive(Default)]
struct LastSeen(AtomicU64);

impl LastSeen {
    fn note(&self, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // threads share this line of memory, so it is written once in a second only
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    fn time(&self) -> Option<SystemTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
