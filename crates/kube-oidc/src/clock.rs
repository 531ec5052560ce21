//! Both clocks, injected: wall-clock time for tokens, monotonic time for ages.

#[cfg(target_os = "linux")]
use std::sync::LazyLock;
use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

#[cfg(target_os = "linux")]
use rustix::time::{ClockId, DynamicClockId, clock_gettime, clock_gettime_dynamic};

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

/// The clocks of the operating system; on Linux as of its last tick, a few milliseconds ago at
/// most, which costs a quarter of asking for the very nanosecond.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemClock;

#[cfg(not(target_os = "linux"))]
impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

#[cfg(target_os = "linux")]
impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        if !*HAS_TICKS {
            return SystemTime::now();
        }
        let epoch = SystemTime::UNIX_EPOCH;
        epoch.checked_add(since_start(ClockId::RealtimeCoarse)).unwrap_or(epoch)
    }

    fn monotonic(&self) -> Instant {
        if !*HAS_TICKS {
            return Instant::now();
        }
        let (instant, at) = *REFERENCE;
        let since = since_start(ClockId::MonotonicCoarse).saturating_sub(at);
        instant.checked_add(since).unwrap_or(instant)
    }
}

/// An `Instant`, of which others are made, and what the ticking clock showed then.
#[cfg(target_os = "linux")]
static REFERENCE: LazyLock<(Instant, Duration)> =
    LazyLock::new(|| (Instant::now(), since_start(ClockId::MonotonicCoarse)));

/// Whether the kernel has these clocks. Few have not, and sandboxes may refuse them.
#[cfg(target_os = "linux")]
static HAS_TICKS: LazyLock<bool> = LazyLock::new(|| {
    let clocks = [ClockId::RealtimeCoarse, ClockId::MonotonicCoarse].map(DynamicClockId::Known);
    clocks.into_iter().all(|clock| clock_gettime_dynamic(clock).is_ok())
});

/// What a clock shows; a time before its start counts as its start.
#[cfg(target_os = "linux")]
fn since_start(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap_or_default()
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
    fn the_clocks_of_the_system_show_its_time() {
        let tick = Duration::from_millis(100);
        let (wall, monotonic) = (SystemTime::now(), Instant::now());
        let moment = Moment::now(&SystemClock);
        let apart = |one: Duration| one < tick;
        let wall_apart = moment.wall.duration_since(wall).unwrap_or_else(|early| early.duration());
        assert!(apart(wall_apart), "{wall_apart:?}");
        let monotonic_apart = moment.monotonic.saturating_duration_since(monotonic)
            + monotonic.saturating_duration_since(moment.monotonic);
        assert!(apart(monotonic_apart), "{monotonic_apart:?}");
        let later = Moment::now(&SystemClock);
        assert!(later.monotonic >= moment.monotonic);
    }

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
