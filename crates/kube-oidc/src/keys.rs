//! The keys of one issuer, wherever they come from.

use crate::{
    key_cache::{KeyCache, Missing},
    key_set::KeySet,
    status::{IssuerStatus, KeyState},
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
    pub(crate) fn with_current<R>(&self, look: impl FnOnce(Option<&KeySet>) -> R) -> R {
        match self {
            Self::Fixed(keys) => look(Some(keys)),
            Self::Fetched(cache) => {
                let guard = cache.current();
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

    /// Waits until there is a set in which `wanted` finds what it looks for, and shows it.
    pub(crate) async fn wait_for<R>(
        &self,
        wanted: impl Fn(&KeySet) -> bool + Send + Sync,
        look: impl FnOnce(&KeySet) -> R + Send,
    ) -> Result<R, Missing> {
        match self {
            Self::Fixed(keys) if wanted(keys) => Ok(look(keys)),
            Self::Fixed(_) => Err(Missing::UnknownKey),
            Self::Fetched(cache) => Ok(look(cache.wait_for(wanted).await?.keys())),
        }
    }
}
