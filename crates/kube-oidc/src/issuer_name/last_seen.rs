//! [`LastSeen`]: when a name of an issuer was last in an accepted token.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// When a token was accepted for the last time, in seconds since the epoch; 0 for never.
#[derive(Debug, Default)]
pub(super) struct LastSeen(AtomicU64);

impl LastSeen {
    pub(super) fn note(&self, now: SystemTime) {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // threads share this line of memory, so it is written once a second only
        if self.0.load(Ordering::Relaxed) != now {
            self.0.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn time(&self) -> Option<SystemTime> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// For another name.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
