//! What is simulated.

use std::ops::Range;

/// The settings of a simulation. All times are in seconds.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Where the dice begin.
    pub(super) seed: u64,
    /// How many verifiers there are.
    pub(super) instances: usize,
    /// For how long.
    pub(super) seconds: u64,
    /// Within which time all of them start.
    pub(super) starts_within_seconds: u64,
    /// How often a new key is published.
    pub(super) rotates_every_seconds: u64,
    /// How long after that it signs.
    pub(super) signs_after_seconds: u64,
    /// As many requests in a second as the issuer answers; the others get 429.
    pub(super) issuer_limit: u64,
    /// The `Retry-After` of a 429.
    pub(super) retry_after_seconds: u64,
    /// When the issuer is away.
    pub(super) outage: Range<u64>,
    /// How often each instance is asked to verify a token.
    pub(super) asked_every_seconds: u64,
    /// How often each instance gets a token whose key its issuer does not have. `None`: never.
    pub(super) foreign_every_seconds: Option<u64>,
    /// Whether each of those has a key ID of its own, instead of one for each instance.
    pub(super) endless_foreign: bool,
    /// For how long one of two replicas of the issuer does not list a new key.
    pub(super) behind_seconds: u64,
    /// When all instances restart, within `starts_within_seconds`. `None`: never.
    pub(super) restart_at: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            seed: 1,
            instances: 10_000,
            seconds: 7 * 24 * HOUR,
            starts_within_seconds: 60,
            rotates_every_seconds: 24 * HOUR,
            signs_after_seconds: 2 * HOUR,
            issuer_limit: 100,
            retry_after_seconds: 7,
            outage: 84 * HOUR..86 * HOUR,
            asked_every_seconds: HOUR / 2,
            foreign_every_seconds: None,
            endless_foreign: false,
            behind_seconds: 0,
            restart_at: None,
        }
    }
}
