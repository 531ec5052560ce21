//! Both clocks, injected: wall-clock time for tokens, monotonic time for ages.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

/// Where a verifier reads the time from. [`SystemClock`] is the default.
///
/// Token times (`exp`, `nbf`, `iat`) are judged by [`wall`](Clock::wall). The age of a key set is
/// the greater of what both clocks say has passed: `Instant` stands still while a Linux machine
/// is suspended, and wall-clock time may be set back.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day.
    fn wall(&self) -> SystemTime;
    /// A time that never goes back.
    fn monotonic(&self) -> Instant;
}

/// The clocks of the operating system: [`SystemTime::now`] and [`Instant::now`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moment {
    pub(crate) wall: SystemTime,
    pub(crate) monotonic: Instant,
}

impl Moment {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { wall: clock.wall(), monotonic: clock.monotonic() }
    }

    /// The time of day, in whole seconds since the epoch.
    pub(crate) fn seconds(self) -> u64 {
        seconds(self.wall)
    }

    /// How long ago `earlier` was: the greater of what both clocks say, negative counted as zero.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let wall = self.wall.duration_since(earlier.wall).unwrap_or_default();
        wall.max(self.monotonic.saturating_duration_since(earlier.monotonic))
    }

    /// What is left at this moment of a span that began at `start`; zero once it is over.
    pub(crate) fn left_of(self, span: Duration, start: Self) -> Duration {
        span.saturating_sub(self.since(start))
    }
}

/// Whole seconds since the epoch, as token times have them.
pub(crate) fn seconds(wall: SystemTime) -> u64 {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A clock that stands still until it is turned by hand: for tests.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use kube_oidc::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_250_000));
/// let seen_by_the_verifier = clock.clone();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(seen_by_the_verifier.wall(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_250_060));
/// ```
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct ManualClock(std::sync::Arc<std::sync::Mutex<Moment>>);

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock that shows `wall`.
    #[must_use]
    pub fn at(wall: SystemTime) -> Self {
        Self(std::sync::Arc::new(std::sync::Mutex::new(Moment { wall, monotonic: Instant::now() })))
    }

    /// Moves both clocks forth.
    pub fn advance(&self, by: Duration) {
        let mut moment = self.lock();
        moment.wall += by;
        moment.monotonic += by;
    }

    /// Sets the wall clock, forth or back, as an operator or a time server may; the monotonic
    /// clock does not move.
    pub fn set_wall(&self, wall: SystemTime) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Moment> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn wall(&self) -> SystemTime {
        self.lock().wall
    }

    fn monotonic(&self) -> Instant {
        self.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_is_never_behind_a_reading_before_it() {
        for _ in 0..1_000 {
            let (wall, monotonic) = (SystemTime::now(), Instant::now());
            let moment = Moment::now(&SystemClock);
            assert!(moment.monotonic >= monotonic);
            // unless the clock was set back in between
            let behind = wall.duration_since(moment.wall).unwrap_or_default();
            assert!(behind.is_zero() || behind > Duration::from_millis(100), "{behind:?}");
        }
    }

    // rule: key-set-age
    #[test]
    fn age_is_the_greater_of_both_clocks_and_never_negative() {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000));
        let start = Moment::now(&clock);
        clock.advance(Duration::from_secs(5));
        assert_eq!(Moment::now(&clock).since(start), Duration::from_secs(5));
        // suspended: the wall clock went on alone
        clock.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(1_100));
        assert_eq!(Moment::now(&clock).since(start), Duration::from_secs(100));
        // set back: the monotonic clock still counts
        clock.set_wall(SystemTime::UNIX_EPOCH);
        assert_eq!(Moment::now(&clock).since(start), Duration::from_secs(5));
        assert_eq!(start.since(Moment::now(&clock)), Duration::from_secs(1_000));
    }
}
