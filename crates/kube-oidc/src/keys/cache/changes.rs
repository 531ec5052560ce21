//! The keys that an issuer gained and lost, for the log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    clock::Moment,
    keys::set::{Key, KeySet},
    observe::display::Shown,
};

/// The number of names that one line shows.
const MAX_NAMES: usize = 8;

/// The number of removed keys that are remembered.
const MAX_REMOVED: usize = 16;

/// How often a line about changes is written: several API servers may serve different sets in turn.
const PAUSE: Duration = Duration::from_secs(60);

/// The keys of the last line, and the ones that were removed.
#[derive(Debug, Default)]
pub(super) struct KeyChanges {
    logged: Vec<Arc<Key>>,
    logged_at: Option<Moment>,
    /// The most recent one comes first.
    removed: VecDeque<RemovedKey>,
}

#[derive(Debug)]
struct RemovedKey {
    key: Arc<Key>,
    /// Whether the log has a line that the key is listed again.
    is_logged: bool,
}

/// The changes since the last line, as lists of names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) added: String,
    pub(super) removed: String,
}

impl KeyChanges {
    /// Takes a new set, and returns the changes that the log should have.
    pub(super) fn note(&mut self, set: &KeySet, now: Moment) -> Option<Change> {
        let is_first = self.logged_at.is_none();
        if !is_first && self.logged_at.is_some_and(|at| now.since(at) < PAUSE) {
            return None;
        }
        let new: Vec<_> = set.keys().cloned().collect();
        let missing = |from: &[Arc<Key>], keys: &[Arc<Key>]| -> Vec<Arc<Key>> {
            let is_in = |key: &&Arc<Key>| !from.iter().any(|other| other.is_same(key));
            keys.iter().filter(is_in).cloned().collect()
        };
        let (added, removed) = (missing(&self.logged, &new), missing(&new, &self.logged));
        if added.is_empty() && removed.is_empty() {
            return None;
        }
        self.logged = new;
        self.logged_at = Some(now);
        (!is_first).then(|| Change { added: names(&added), removed: names(&removed) })
    }

    /// Notes the keys that `last` has and `set` lacks, and returns the names of removed keys that
    /// are listed again, once for each key.
    pub(super) fn note_removed(&mut self, set: &KeySet, last: &KeySet) -> Vec<String> {
        for key in last.keys().filter(|key| !set.has_numbers_of(key)) {
            if !self.removed.iter().any(|removed| removed.key.has_numbers_of(key)) {
                self.removed.truncate(MAX_REMOVED - 1);
                self.removed.push_front(RemovedKey { key: Arc::clone(key), is_logged: false });
            }
        }
        let mut again = Vec::new();
        for removed in self.removed.iter_mut().filter(|removed| !removed.is_logged) {
            if set.has_numbers_of(&removed.key) {
                removed.is_logged = true;
                again.push(name(&removed.key));
            }
        }
        again
    }
}

fn names(keys: &[Arc<Key>]) -> String {
    let mut names: Vec<_> = keys.iter().take(MAX_NAMES).map(|key| name(key)).collect();
    if keys.len() > MAX_NAMES {
        names.push(format!("{} more", keys.len() - MAX_NAMES));
    }
    names.join(", ")
}

fn name(key: &Key) -> String {
    key.kid().map_or_else(|| "(no kid)".to_owned(), |kid| Shown(kid).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        algorithm::Algorithm,
        testing::{Signer, clock, key_set},
    };

    fn set(keys: &[(&str, &Signer)]) -> KeySet {
        let keys: Vec<_> = keys.iter().map(|(kid, key)| key.named(kid)).collect();
        KeySet::parse(key_set(&keys).as_bytes(), Algorithm::ALL, None).unwrap().0
    }

    fn change(added: &str, removed: &str) -> Change {
        Change { added: added.to_owned(), removed: removed.to_owned() }
    }

    // rule: key-changes
    #[test]
    fn changes_of_alternating_sets_are_logged_once_a_minute() {
        let (clock, one, two) = (clock(), Signer::ed25519(), Signer::ed25519());
        let mut changes = KeyChanges::default();
        let (old, new) = (set(&[("a", &one)]), set(&[("a", &one), ("b\n", &two)]));
        let mut note = |set: &KeySet| changes.note(set, Moment::now(&clock));
        assert_eq!(note(&old), None, "the first set is no change");
        assert_eq!(note(&new), None, "within a minute");
        clock.advance(PAUSE);
        assert_eq!(note(&new), Some(change(r#""b\n""#, "")));
        for _ in 0..5 {
            clock.advance(PAUSE / 10);
            assert_eq!(note(&old), None);
            clock.advance(PAUSE / 20);
            assert_eq!(note(&new), None);
        }
        clock.advance(PAUSE);
        assert_eq!(note(&new), None, "as the last line has it");
        assert_eq!(note(&set(&[("c", &one)])), Some(change(r#""c""#, r#""a", "b\n""#)));
    }

    // rule: key-changes
    #[test]
    fn line_names_at_most_eight_keys() {
        let (clock, one, two) = (clock(), Signer::ed25519(), Signer::ed25519());
        let mut changes = KeyChanges::default();
        changes.note(&set(&[("first", &one)]), Moment::now(&clock));
        clock.advance(PAUSE);
        let kids: Vec<String> = (0..20).map(|index| format!("k{index:02}")).collect();
        let many: Vec<_> = kids.iter().map(|kid| (kid.as_str(), &two)).collect();
        let change = changes.note(&set(&many), Moment::now(&clock)).unwrap();
        assert!(change.added.ends_with(r#""k07", 12 more"#), "{}", change.added);
    }

    // rule: key-changes
    #[test]
    fn removed_key_that_is_listed_again_is_logged_once() {
        let (one, two) = (Signer::ed25519(), Signer::ed25519());
        let mut changes = KeyChanges::default();
        let (old, new) = (set(&[("a", &one), ("b", &two)]), set(&[("b", &two)]));
        assert_eq!(changes.note_removed(&new, &old), [""; 0]);
        assert_eq!(changes.note_removed(&new, &new), [""; 0]);
        // by another name as well
        assert_eq!(changes.note_removed(&set(&[("b", &two), ("z", &one)]), &new), [r#""a""#]);
        for _ in 0..3 {
            assert_eq!(changes.note_removed(&new, &old), [""; 0]);
            assert_eq!(changes.note_removed(&old, &new), [""; 0]);
        }
    }
}
