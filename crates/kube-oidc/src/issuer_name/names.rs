//! The names of an issuer: the values of `iss` in its tokens, and when each was seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use super::{
    last_seen::LastSeen,
    learned::{Change, LearnedNames},
};
use crate::{clock::Moment, observe::status::AliasStatus};

/// Distinguishes an issuer from every other that this process ever trusted, also from one of the
/// same name: an issuer that was removed and added again has another ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IssuerId(u64);

impl IssuerId {
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The names of one issuer: configured names, and names that its API server reported.
#[derive(Debug)]
pub(crate) struct Names {
    /// The name, or for `in_cluster` the address of the API server.
    label: Arc<str>,
    /// The name itself comes first, unless it is learned.
    configured: Vec<ConfiguredName>,
    /// Of `in_cluster` only.
    learned: Option<LearnedNames>,
}

#[derive(Debug)]
struct ConfiguredName {
    name: Arc<str>,
    seen: LastSeen,
}

/// Where an issuer has a name from. A configured name outranks a learned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Learned,
    Configured,
}

/// A name that an issuer has now.
pub(crate) struct Held<'a> {
    pub(crate) claim: Claim,
    /// How long the name stays valid, as far as is known now.
    pub(crate) left: Duration,
    seen: &'a LastSeen,
}

impl Held<'_> {
    /// Notes that a token of this name was accepted.
    pub(crate) fn note_seen(&self, now: SystemTime) {
        self.seen.note(now);
    }
}

impl Names {
    pub(crate) fn configured(name: &Arc<str>, aliases: &[Arc<str>]) -> Self {
        let names = [name].into_iter().chain(aliases);
        Self { label: Arc::clone(name), configured: names.map(configured).collect(), learned: None }
    }

    pub(crate) fn learned(label: &Arc<str>, aliases: &[Arc<str>], names: LearnedNames) -> Self {
        let configured = aliases.iter().map(configured).collect();
        Self { label: Arc::clone(label), configured, learned: Some(names) }
    }

    /// For logs, metrics, and the status, and to distinguish issuers. It never changes.
    pub(crate) fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The name, if the issuer has it now.
    #[inline]
    pub(crate) fn find(&self, name: &str, now: Moment) -> Option<Held<'_>> {
        if let Some(configured) = self.find_configured(name) {
            let seen = &configured.seen;
            return Some(Held { claim: Claim::Configured, left: Duration::MAX, seen });
        }
        let (left, seen) = self.learned.as_ref()?.find(name, now)?;
        Some(Held { claim: Claim::Learned, left, seen })
    }

    #[inline]
    fn find_configured(&self, name: &str) -> Option<&ConfiguredName> {
        self.configured.iter().find(|configured| *configured.name == *name)
    }

    pub(crate) fn is_configured(&self, name: &str) -> bool {
        self.find_configured(name).is_some()
    }

    pub(crate) fn contain(&self, name: &str, now: Moment) -> bool {
        self.find(name, now).is_some()
    }

    /// Whether the issuer has a name by this claim now.
    pub(crate) fn contain_by(&self, claim: Claim, name: &str, now: Moment) -> bool {
        let is_configured = self.is_configured(name);
        match claim {
            Claim::Configured => is_configured,
            Claim::Learned => {
                let is_learned = |names: &LearnedNames| names.find(name, now).is_some();
                !is_configured && self.learned.as_ref().is_some_and(is_learned)
            }
        }
    }

    /// Whether no name is learned yet, so that it may be any.
    pub(crate) fn may_be_any(&self) -> bool {
        self.learned.as_ref().is_some_and(|learned| learned.current().is_none())
    }

    /// Whether the issuer has this name, or had it, as far as former names are remembered.
    pub(crate) fn ever_contained(&self, name: &str) -> bool {
        self.is_configured(name)
            || self.learned.as_ref().is_some_and(|learned| learned.remember(name))
    }

    /// Whether an API server may report this name, and never did, as far as names are remembered.
    pub(crate) fn may_learn(&self, name: &str) -> bool {
        self.learned.is_some() && !self.ever_contained(name)
    }

    /// Changes whenever [`ever_contained`](Self::ever_contained) may answer something else.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.learned.as_ref().map_or(0, LearnedNames::version)
    }

    /// Whether both are configured with one name, or for one API server.
    pub(crate) fn overlap(&self, other: &Self) -> bool {
        let names = |names: &Self| {
            let configured = names.configured.iter().map(|configured| Arc::clone(&configured.name));
            configured.chain([Arc::clone(&names.label)]).collect::<Vec<_>>()
        };
        let others = names(other);
        names(self).iter().any(|name| others.contains(name))
    }

    /// Whether an operator means this issuer: by a name, or by the address of the API server.
    pub(crate) fn answer_to(&self, name: &str, now: Moment) -> bool {
        *self.label == *name || self.contain(name, now)
    }

    /// The same, also by a former name.
    pub(crate) fn ever_answered_to(&self, name: &str) -> bool {
        *self.label == *name || self.ever_contained(name)
    }

    /// Takes the name that a discovery document reports. `None`: names are not learned here.
    pub(crate) fn learn(&self, name: &str, now: Moment) -> Option<Change> {
        Some(self.learned.as_ref()?.learn(&self.label, name, now))
    }

    /// The name that the API server reported last. `None`: names are not learned here, or none was.
    pub(crate) fn reported(&self) -> Option<Arc<str>> {
        self.learned.as_ref().and_then(LearnedNames::current)
    }

    /// The current name for people.
    pub(crate) fn shown(&self) -> Arc<str> {
        self.reported().unwrap_or_else(|| Arc::clone(&self.label))
    }

    /// When a token of the current name was accepted for the last time.
    pub(crate) fn last_seen(&self, now: Moment) -> Option<SystemTime> {
        self.find(&self.shown(), now)?.seen.time()
    }

    /// The other names that the issuer has now.
    pub(crate) fn others(&self, now: Moment) -> Vec<AliasStatus> {
        let configured = self.configured.iter().map(|configured| Arc::clone(&configured.name));
        let learned = self.learned.iter().flat_map(LearnedNames::all);
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in configured.chain(learned) {
            if name != self.shown() && !names.contains(&name) {
                names.push(name);
            }
        }
        let status = |name: Arc<str>| {
            let held = self.find(&name, now)?;
            Some(AliasStatus {
                name: name.to_string(),
                last_seen: held.seen.time(),
                valid_for: Some(held.left).filter(|left| *left < Duration::MAX),
            })
        };
        names.into_iter().filter_map(status).collect()
    }
}

fn configured(name: &Arc<str>) -> ConfiguredName {
    ConfiguredName { name: Arc::clone(name), seen: LastSeen::default() }
}
