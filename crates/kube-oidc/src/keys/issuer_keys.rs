//! The keys of one issuer, wherever they come from.

use crate::{
    clock::Moment,
    keys::{cache::KeyCache, set::KeySet},
    observe::status::{IssuerStatus, KeyState},
};

#[derive(Debug)]
pub(crate) enum Keys {
    /// A set that was given.
    Fixed(KeySet),
    /// A set that is fetched and kept fresh.
    Fetched(KeyCache),
}

impl Keys {
    /// Shows the set that may be used now, or `None`. Never waits.
    #[inline]
    pub(crate) fn with_current<R>(
        &self,
        now: Moment,
        look: impl FnOnce(Option<&KeySet>) -> R,
    ) -> R {
        match self {
            Self::Fixed(keys) => look(Some(keys)),
            Self::Fetched(cache) => {
                let guard = cache.current(now);
                look(guard.as_ref().and_then(|guard| guard.as_ref()).map(|set| set.keys()))
            }
        }
    }

    /// The same, for who only wants to know: nothing is fetched for it.
    pub(crate) fn peek<R>(&self, now: Moment, look: impl FnOnce(Option<&KeySet>) -> R) -> R {
        match self {
            Self::Fixed(keys) => look(Some(keys)),
            Self::Fetched(cache) => {
                let guard = cache.peek(now);
                look(guard.as_ref().and_then(|guard| guard.as_ref()).map(|set| set.keys()))
            }
        }
    }

    /// The set that is fetched, if it is one.
    pub(crate) fn cache(&self) -> Option<&KeyCache> {
        match self {
            Self::Fixed(_) => None,
            Self::Fetched(cache) => Some(cache),
        }
    }

    /// Adds what is known of the keys to a status.
    pub(crate) fn describe(&self, status: &mut IssuerStatus) {
        match self {
            Self::Fixed(keys) => {
                status.state = KeyState::Fresh;
                status.keys = keys.describe();
            }
            Self::Fetched(cache) => cache.describe(status),
        }
    }

    /// Whether a key that is not there may come.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self, Self::Fetched(_))
    }

    /// Looks into the last set that is known, usable or not; without one, `false`.
    pub(crate) fn with_last(&self, look: impl FnOnce(&KeySet) -> bool) -> bool {
        match self {
            Self::Fixed(keys) => look(keys),
            Self::Fetched(cache) => cache.with_last(look),
        }
    }

    /// The name of a key that is in both, where both are given.
    pub(crate) fn shared_with(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => {
                let key = one.shared_with(other)?;
                Some(key.kid().unwrap_or("without a kid").to_owned())
            }
            _ => None,
        }
    }
}
