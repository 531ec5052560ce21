use std::time::{Duration, SystemTime};

use crate::clock::ManualClock;

pub(crate) const SECOND: Duration = secs(1);

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The time that is so many seconds after the epoch.
pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(seconds)
}

/// A clock in November 2026.
pub(crate) fn clock() -> ManualClock {
    ManualClock::at(at(1_795_250_000))
}
