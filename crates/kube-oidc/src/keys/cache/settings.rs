//! The numbers of the key cache.

use std::{ops::RangeInclusive, time::Duration};

use crate::{error::BuildError, keys::source::Freshness};

/// How the keys of an issuer are kept.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
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

impl Default for Settings {
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

impl Settings {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let Freshness { min, max, .. } = self.freshness;
        let bounds = [
            ("fetch_timeout", self.fetch_timeout, MIN..=HOUR, "100 ms to 1 h"),
            ("min_key_set_lifetime", min, MIN..=max, "100 ms to max_key_set_lifetime"),
            ("max_key_set_lifetime", max, MIN..=DAY, "100 ms to 24 h"),
            ("backoff", *self.backoff.start(), MIN..=*self.backoff.end(), "100 ms or more"),
            ("backoff", *self.backoff.end(), MIN..=HOUR, "at most 1 h"),
            ("max_stale", self.max_stale, Duration::ZERO..=30 * DAY, "at most 30 days"),
        ];
        for (name, value, bounds, range) in bounds {
            if !bounds.contains(&value) {
                return Err(BuildError::DurationOutOfRange { name, range });
            }
        }
        let (from, to) = (*self.refresh_at_fraction.start(), *self.refresh_at_fraction.end());
        if !(0.1 <= from && from <= to && to <= 0.95) {
            return Err(BuildError::DurationOutOfRange {
                name: "refresh_at_fraction",
                range: "within 0.1 to 0.95",
            });
        }
        match self.unknown_kid_cooldown {
            Some(cooldown) if !(MIN..=HOUR).contains(&cooldown) => {
                Err(BuildError::DurationOutOfRange {
                    name: "unknown_kid_cooldown",
                    range: "100 ms to 1 h",
                })
            }
            _ => Ok(()),
        }
    }
}
