//! The names that an API server reports for its issuer, which `in_cluster` follows.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::last_seen::LastSeen;
use crate::clock::Moment;

/// How long a former name stays valid after a discovery document last named it.
pub(crate) const DEFAULT_FORMER_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many names are remembered, the current one included: an API server that reports a new name
/// each time fills neither the memory nor the log.
const MAX_NAMES: usize = 8;

/// Names that come and go within this time are not news.
const NEWS_AFTER: Duration = Duration::from_secs(60 * 60);

/// Keeps what it knows by the names of issuers, and hears of each new one.
pub(crate) trait NameListener: fmt::Debug + Send + Sync {
    /// The issuer with this label has this name from now on.
    fn note_name(&self, label: &str, name: &str);
}

#[cfg(test)]
impl NameListener for () {
    fn note_name(&self, _label: &str, _name: &str) {}
}

/// The names of one issuer in one verifier.
#[derive(Debug)]
pub(crate) struct LearnedNames {
    former_for: Duration,
    /// The one named last comes first, and is the current one.
    names: ArcSwap<Vec<LearnedName>>,
    /// One for each remembered name, kept apart so that readers need no second load.
    seen: [LastSeen; MAX_NAMES],
    /// Counts the names that were ever new.
    version: AtomicU32,
    /// Held while `names` is changed.
    changing: Mutex<()>,
    /// Distrusted keys stay distrusted when a name is forgotten.
    listener: Arc<dyn NameListener>,
}

#[derive(Clone, Debug)]
struct LearnedName {
    name: Arc<str>,
    last_named: Moment,
    /// Its place in `seen`.
    place: usize,
}

/// The effect of a reported name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The name was valid already.
    None,
    /// The first name.
    First,
    /// The name was not valid before, and replaces this one.
    Replaced {
        former: Arc<str>,
        /// How long the replaced name stays valid.
        valid_for: Duration,
        /// Whether names change so often that the log is spared.
        is_flood: bool,
    },
}

impl LearnedNames {
    pub(crate) fn new(former_for: Duration, listener: Arc<dyn NameListener>) -> Self {
        Self {
            former_for,
            names: ArcSwap::default(),
            seen: Default::default(),
            version: AtomicU32::new(0),
            changing: Mutex::default(),
            listener,
        }
    }

    pub(super) fn current(&self) -> Option<Arc<str>> {
        self.names.load().first().map(|current| Arc::clone(&current.name))
    }

    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.names.load().iter().map(|known| Arc::clone(&known.name)).collect()
    }

    /// How long a name stays valid, if it is valid now.
    pub(super) fn find(&self, name: &str, now: Moment) -> Option<(Duration, &LastSeen)> {
        let names = self.names.load();
        let index = names.iter().position(|known| *known.name == *name)?;
        let left = if index == 0 { Duration::MAX } else { self.left_of(&names[index], now) };
        (!left.is_zero()).then(|| (left, &self.seen[names[index].place]))
    }

    /// Whether this is the current name or a former one, valid or not.
    pub(super) fn remember(&self, name: &str) -> bool {
        self.names.load().iter().any(|known| *known.name == *name)
    }

    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    fn left_of(&self, former: &LearnedName, now: Moment) -> Duration {
        now.left_of(self.former_for, former.last_named)
    }

    /// Takes the name that a discovery document reports: it is the current one from now on.
    pub(super) fn learn(&self, label: &str, name: &str, now: Moment) -> Change {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names = Vec::clone(&self.names.load());
        let known = names.iter().position(|known| *known.name == *name);
        let is_valid =
            known.is_some_and(|index| index == 0 || !self.left_of(&names[index], now).is_zero());
        let former = names.first().cloned();
        // the name itself, or the one that makes room for it
        let replaced = match known {
            Some(index) => Some(names.remove(index)),
            None if names.len() == MAX_NAMES => names.pop(),
            None => None,
        };
        let learned = match &replaced {
            Some(same) if known.is_some() => LearnedName { last_named: now, ..same.clone() },
            _ => {
                let place = replaced.as_ref().map_or(names.len(), |forgotten| forgotten.place);
                self.seen[place].reset();
                LearnedName { name: name.into(), last_named: now, place }
            }
        };
        names.insert(0, learned);
        self.names.store(Arc::new(names));
        if known.is_none() {
            // after the store, so that a reader of the new version finds the new name
            self.version.fetch_add(1, Ordering::Release);
            self.listener.note_name(label, name);
        }
        match former {
            None => Change::First,
            Some(_) if is_valid => Change::None,
            Some(former) => Change::Replaced {
                valid_for: self.left_of(&former, now),
                is_flood: replaced.is_some_and(|name| now.since(name.last_named) < NEWS_AFTER),
                former: former.name,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::ManualClock,
        testing::{SECOND, clock},
    };

    const LABEL: &str = "https://10.96.0.1";
    const DAY: Duration = DEFAULT_FORMER_FOR;

    fn left(names: &LearnedNames, name: &str, clock: &ManualClock) -> Option<Duration> {
        names.find(name, Moment::now(clock)).map(|(left, _)| left)
    }

    // rule: issuer-migration
    #[test]
    fn former_name_ends_a_day_after_it_was_named_last() {
        let (names, clock) = (LearnedNames::new(DAY, Arc::new(())), clock());
        let learn = |name| names.learn(LABEL, name, Moment::now(&clock));
        assert_eq!(left(&names, "old", &clock), None);
        assert_eq!(learn("old"), Change::First);
        clock.advance(7 * DAY);
        assert_eq!(left(&names, "old", &clock), Some(Duration::MAX), "the current name");
        assert_eq!(learn("old"), Change::None);
        clock.advance(DAY / 3);
        let replaced = |former: &str, valid_for| Change::Replaced {
            former: former.into(),
            valid_for,
            is_flood: false,
        };
        assert_eq!(learn("new"), replaced("old", 2 * DAY / 3));
        assert_eq!(left(&names, "new", &clock), Some(Duration::MAX));
        // named in turn, as by two API servers, both stay valid and are no news
        for _ in 0..3 {
            for name in ["old", "new"] {
                clock.advance(DAY / 3);
                assert_eq!(learn(name), Change::None);
            }
        }
        assert_eq!(left(&names, "old", &clock), Some(2 * DAY / 3));
        clock.advance(DAY / 3);
        assert_eq!(left(&names, "old", &clock), Some(DAY / 3));
        clock.advance(DAY / 3);
        assert_eq!(left(&names, "old", &clock), None);
        assert!(names.remember("old"));
        assert_eq!(learn("old"), replaced("new", DAY / 3));
    }

    #[test]
    fn former_name_without_time_ends_at_once() {
        let (names, clock) = (LearnedNames::new(Duration::ZERO, Arc::new(())), clock());
        names.learn(LABEL, "old", Moment::now(&clock));
        names.learn(LABEL, "new", Moment::now(&clock));
        assert_eq!(left(&names, "old", &clock), None);
        assert_eq!(left(&names, "new", &clock), Some(Duration::MAX));
        assert!(names.remember("old"));
    }

    // rule: name-flood
    #[test]
    fn new_name_each_time_fills_neither_memory_nor_log() {
        let (names, clock) = (LearnedNames::new(DAY, Arc::new(())), clock());
        let mut news = 0;
        for index in 0..100 {
            clock.advance(SECOND);
            let change = names.learn(LABEL, &index.to_string(), Moment::now(&clock));
            news += usize::from(matches!(change, Change::Replaced { is_flood: false, .. }));
            assert!(names.all().len() <= MAX_NAMES);
        }
        assert_eq!(news, MAX_NAMES - 1);
        assert_eq!(names.version(), 100);
        let places: std::collections::BTreeSet<usize> =
            names.names.load().iter().map(|name| name.place).collect();
        assert_eq!(places.len(), MAX_NAMES, "each name is seen for itself");
        // two names in turn are no news either
        let names = LearnedNames::new(Duration::ZERO, Arc::new(()));
        for index in 0..100 {
            clock.advance(SECOND);
            let change = names.learn(LABEL, ["old", "new"][index % 2], Moment::now(&clock));
            if index > 1 {
                assert!(matches!(change, Change::Replaced { is_flood: true, .. }), "{change:?}");
            }
        }
    }
}
