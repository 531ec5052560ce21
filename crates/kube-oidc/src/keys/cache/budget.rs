//! How often one issuer is asked for keys: a token bucket, of which each fetch takes one.

use std::time::Duration;

use crate::clock::Moment;

/// The number of fetches that may begin at once. With one more for each cooldown, there are at most
/// five in any three cooldowns.
const BURST: f64 = 3.0;

/// The longest that one fetch takes to be refilled while there are no usable keys: every caller is
/// rejected then, so a longer cooldown protects nothing.
const MAX_REFILL_WITHOUT_KEYS: Duration = Duration::from_secs(10);

/// The fetches that may begin. It starts full.
#[derive(Debug)]
pub(super) struct Budget {
    /// How long one fetch takes to be refilled. `None`: there is no limit.
    cooldown: Option<Duration>,
    /// What was left after the last fetch.
    left: Option<(f64, Moment)>,
}

impl Budget {
    pub(super) fn new(cooldown: Option<Duration>) -> Self {
        Self { cooldown, left: None }
    }

    /// How long it takes until so many fetches may begin.
    pub(super) fn until(&self, count: u8, usable: bool, now: Moment) -> Duration {
        let missing = f64::from(count) - self.left(usable, now);
        self.refill(usable).mul_f64(missing.max(0.0))
    }

    /// Takes one fetch. An operator's is taken even where none is left.
    pub(super) fn take(&mut self, usable: bool, now: Moment) {
        self.left = Some(((self.left(usable, now) - 1.0).max(0.0), now));
    }

    fn left(&self, usable: bool, now: Moment) -> f64 {
        let refill = self.refill(usable);
        match self.left {
            Some((left, at)) if !refill.is_zero() => {
                (left + now.since(at).div_duration_f64(refill)).min(BURST)
            }
            _ => BURST,
        }
    }

    fn refill(&self, usable: bool) -> Duration {
        let cooldown = self.cooldown.unwrap_or_default();
        if usable { cooldown } else { cooldown.min(MAX_REFILL_WITHOUT_KEYS) }
    }
}
