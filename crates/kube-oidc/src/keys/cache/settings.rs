//! The numbers of the key cache.

use std::{ops::RangeInclusive, time::Duration};

use crate::{error::BuildError, keys::source::Freshness};

/// How the keys of an issuer are kept.
#[derive(Clone, Debug)]
pub(crate) struct KeyCacheSettings {
    pub(crate) freshness: Freshness,
    /// How long one fetch takes to come back into the budget. `None`: there is no budget.
    pub(crate) unknown_kid_cooldown: Option<Duration>,
    /// How long one fetch, of document and set together, and whoever waits for it may take.
    pub(crate) fetch_timeout: Duration,
    /// How long past its lifetime a set is used while its issuer does not answer.
    pub(crate) max_stale: Duration,
    /// At which part of its lifetime a set is refreshed: somewhere in between, by the dice.
    pub(crate) refresh_at_fraction: RangeInclusive<f64>,
    /// The first and the last step of the back-off after failed fetches.
    pub(crate) backoff: RangeInclusive<Duration>,
    /// As many requests as may wait for keys.
    pub(crate) max_waiting: usize,
}

/// The shortest delay before a retry, whatever the dice say.
pub(crate) const MIN_RETRY: Duration = Duration::from_millis(100);
/// The longest `Retry-After` that is obeyed while there is a usable set.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The longest `Retry-After` that is obeyed while there is none.
pub(crate) const MAX_RETRY_AFTER_WITHOUT_KEYS: Duration = Duration::from_secs(60);

/// The longest step of the back-off while callers wait: there are no usable keys, or a token that
/// could pass needs one that is unknown.
pub(crate) const MAX_BACK_OFF_FOR_CALLERS: Duration = Duration::from_secs(10);

/// Anything shorter is a mistake, and would ask the issuer without a pause.
const MIN: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for KeyCacheSettings {
    fn default() -> Self {
        Self {
            freshness: Freshness {
                min: Duration::from_secs(60),
                max: Duration::from_secs(3600),
                default: Duration::from_secs(600),
            },
            unknown_kid_cooldown: Some(Duration::from_secs(10)),
            fetch_timeout: Duration::from_secs(5),
            max_stale: DAY,
            refresh_at_fraction: 0.75..=0.85,
            backoff: Duration::from_secs(1)..=Duration::from_secs(60),
            max_waiting: 1024,
        }
    }
}

impl KeyCacheSettings {
    /// The settings that are out of their ranges.
    pub(crate) fn faults(&self) -> impl Iterator<Item = BuildError> {
        let Freshness { min, max, .. } = self.freshness;
        let (from, to) = (*self.refresh_at_fraction.start(), *self.refresh_at_fraction.end());
        let cooldown = self.unknown_kid_cooldown.unwrap_or(MIN);
        let within = |bounds: RangeInclusive<Duration>, value| bounds.contains(&value);
        let settings = [
            (within(MIN..=HOUR, self.fetch_timeout), "fetch_timeout", "100 ms to 1 h"),
            (within(MIN..=max, min), "min_key_set_lifetime", "100 ms to max_key_set_lifetime"),
            (within(MIN..=DAY, max), "max_key_set_lifetime", "100 ms to 24 h"),
            (within(MIN..=*self.backoff.end(), *self.backoff.start()), "backoff", "100 ms or more"),
            (within(MIN..=HOUR, *self.backoff.end()), "backoff", "at most 1 h"),
            (self.max_stale <= 30 * DAY, "max_stale", "at most 30 days"),
            (within(MIN..=HOUR, cooldown), "unknown_kid_cooldown", "100 ms to 1 h"),
            (0.1 <= from && from <= to && to <= 0.95, "refresh_at_fraction", "within 0.1 to 0.95"),
        ];
        let faults = settings.into_iter().filter(|(is_valid, ..)| !is_valid);
        faults.map(|(_, name, range)| BuildError::DurationOutOfRange { name, range })
    }
}
