//! The key IDs that were looked up lately and not found.

use std::collections::VecDeque;

/// The number of key IDs that are remembered. Callers of a few other clusters use as many; an
/// attacker with more is bounded by the budget of fetches.
const CAPACITY: usize = 8;

/// Distinguishes key IDs from each other, by a hash whose key is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyIdHash(pub(crate) u64);

/// A key ID in here is looked up again only where that leaves a fetch for another one, so that a
/// caller who repeats it does not delay a new key.
#[derive(Debug, Default)]
pub(super) struct MissedKeys(VecDeque<KeyIdHash>);

impl MissedKeys {
    /// Remembers a key ID, and forgets the one that was used least recently if there are too many.
    ///
    /// Returns `true` if it was remembered before.
    pub(super) fn remember(&mut self, key: KeyIdHash) -> bool {
        let known = self.0.iter().position(|missed| *missed == key);
        if let Some(index) = known {
            self.0.remove(index);
        }
        self.0.truncate(CAPACITY - 1);
        self.0.push_front(key);
        known.is_some()
    }
}
