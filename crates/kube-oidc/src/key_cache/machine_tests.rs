//! The rules of the key cache, one by one, and under random sequences of events.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{
    machine::{Answer, Arrival, Due, Flight, Landing, Machine, Refresh},
    settings::Settings,
};
use crate::clock::{Clock, ManualClock, Moment};

const SECOND: Duration = Duration::from_secs(1);
const LIFETIME: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A machine, and the clock that is shown to it.
struct Cache {
    machine: Machine,
    clock: ManualClock,
}

impl Cache {
    fn new() -> Self {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + secs(1_795_250_000));
        Self { machine: Machine::new(Settings::default()), clock }
    }

    /// With a set that is as of now.
    fn with_set() -> Self {
        let mut cache = Self::new();
        cache.refresh();
        cache
    }

    fn now(&self) -> Moment {
        Moment::now(&self.clock)
    }

    fn set_wall_back(&self, by: Duration) {
        self.clock.set_wall(self.clock.wall() - by);
    }

    fn usable(&self) -> bool {
        self.machine.usable(self.now())
    }

    /// What a request is told that comes now.
    fn ask(&mut self) -> Answer {
        let arrival = self.machine.arrive();
        self.ask_again(arrival)
    }

    /// What a request is told that came before.
    fn ask_again(&mut self, arrival: Arrival) -> Answer {
        self.machine.ask(self.now(), arrival)
    }

    fn due(&mut self) -> Due {
        self.machine.due(self.now())
    }

    /// A request starts a fetch.
    fn start(&mut self) -> Flight {
        match self.ask() {
            Answer::Start(flight) => flight,
            other => panic!("{other:?} instead of a fetch"),
        }
    }

    /// The timer starts a fetch.
    fn start_due(&mut self) -> Flight {
        match self.due() {
            Due::Start(flight) => flight,
            other => panic!("{other:?} instead of a fetch"),
        }
    }

    fn land_good(&mut self, flight: Flight) -> bool {
        self.machine.land(self.now(), flight, Landing::Good { lifetime: LIFETIME }, 0.5)
    }

    fn land_failed(&mut self, flight: Flight, retry_after: Option<Duration>, dice: f64) -> bool {
        self.machine.land(self.now(), flight, Landing::Failed { retry_after }, dice)
    }

    /// One fetch that works, without a request that would look for a key in its set.
    fn refresh(&mut self) {
        let flight = self.start();
        assert!(self.land_good(flight));
    }

    /// One fetch for an unknown `kid`, in vain.
    fn miss(&mut self) {
        let arrival = self.machine.arrive();
        let Answer::Start(flight) = self.ask_again(arrival) else { panic!("no fetch") };
        assert!(self.land_good(flight));
        assert_eq!(self.ask_again(arrival), Answer::UnknownKey);
    }
}

#[test]
fn the_first_request_starts_one_flight_and_the_others_join() {
    let mut cache = Cache::new();
    assert_eq!(cache.due(), Due::Never, "nothing is fetched before the first use");
    let flight = cache.start();
    for _ in 0..1_000 {
        assert_eq!(cache.ask(), Answer::Join);
    }
    assert_eq!(cache.due(), Due::Never);
    assert!(!cache.usable());
    assert!(cache.land_good(flight));
    assert!(cache.usable());
    assert!(cache.machine.is_last(flight));
}

#[test]
fn a_fresh_set_is_refreshed_at_about_four_fifths_of_its_lifetime() {
    for (dice, seconds) in [(0.0, 450), (0.5, 480), (1.0, 510)] {
        let mut cache = Cache::new();
        let flight = cache.start();
        assert!(cache.machine.land(
            cache.now(),
            flight,
            Landing::Good { lifetime: LIFETIME },
            dice
        ));
        let Due::In(wait) = cache.due() else { panic!("a refresh of a new set") };
        assert!(wait.abs_diff(secs(seconds)) < Duration::from_millis(1), "{dice}: {wait:?}");
        assert_eq!(cache.machine.refresh_after(), wait);
        cache.clock.advance(secs(seconds - 1));
        assert!(matches!(cache.due(), Due::In(wait) if wait <= secs(2)), "{dice}");
        cache.clock.advance(secs(2));
        cache.start_due();
    }
}

#[test]
fn the_age_of_a_set_counts_from_the_start_of_its_fetch() {
    let mut cache = Cache::new();
    let flight = cache.start();
    cache.clock.advance(secs(4));
    assert!(cache.land_good(flight));
    assert_eq!(cache.due(), Due::In(secs(476)));
}

#[test]
fn an_unknown_kid_starts_one_flight_whose_set_is_the_answer() {
    let mut cache = Cache::with_set();
    let arrival = cache.machine.arrive();
    let Answer::Start(flight) = cache.ask_again(arrival) else { panic!("no fetch") };
    assert_eq!(cache.ask(), Answer::Join);
    assert!(cache.usable(), "known keys stay usable meanwhile");
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask_again(arrival), Answer::UnknownKey);
}

#[test]
fn a_set_fetched_by_the_timer_after_the_request_came_is_its_answer() {
    let mut cache = Cache::with_set();
    cache.clock.advance(secs(500));
    let arrival = cache.machine.arrive();
    let flight = cache.start_due();
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask_again(arrival), Answer::UnknownKey);
    assert_eq!(cache.ask(), Answer::UnknownKey, "it counts as a fetch for an unknown kid");
}

#[test]
fn a_clock_that_is_set_back_does_not_shorten_a_cooldown() {
    let mut cache = Cache::with_set();
    cache.miss();
    let arrival = cache.machine.arrive();
    cache.set_wall_back(secs(100));
    cache.clock.advance(secs(10));
    let Refresh::Start(flight) = cache.machine.refresh(cache.now(), arrival) else {
        panic!("no fetch")
    };
    assert!(cache.land_good(flight));
    // fetched since it came, so it counts as a fetch for an unknown kid, and as the last one
    assert_eq!(cache.ask_again(arrival), Answer::UnknownKey);
    cache.clock.advance(secs(29));
    assert_eq!(cache.ask(), Answer::UnknownKey);
    cache.clock.advance(secs(1));
    cache.start();
}

#[test]
fn who_joined_an_earlier_flight_may_start_one_more() {
    let mut cache = Cache::new();
    let first = cache.start();
    // the first fetch may have read the set before the key of this one was in it
    let late = cache.machine.arrive();
    assert_eq!(cache.ask_again(late), Answer::Join);
    assert!(cache.land_good(first));
    let Answer::Start(second) = cache.ask_again(late) else { panic!("no second fetch") };
    assert!(cache.land_good(second));
    assert_eq!(cache.ask_again(late), Answer::UnknownKey);
}

#[test]
fn who_joined_a_flight_for_another_unknown_kid_starts_none_within_the_budget() {
    let mut cache = Cache::with_set();
    let flight = cache.start();
    let late = cache.machine.arrive();
    assert_eq!(cache.ask_again(late), Answer::Join);
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask_again(late), Answer::UnknownKey);
}

#[test]
fn unknown_kids_are_refused_for_thirty_seconds_after_a_good_fetch() {
    let mut cache = Cache::with_set();
    cache.miss();
    for _ in 0..30 {
        assert_eq!(cache.ask(), Answer::UnknownKey);
        cache.clock.advance(Duration::from_millis(999));
    }
    cache.clock.advance(Duration::from_millis(30));
    cache.start();
}

#[test]
fn the_cooldown_holds_after_the_very_first_fetch_too() {
    let mut cache = Cache::new();
    cache.miss();
    assert_eq!(cache.ask(), Answer::UnknownKey);
}

#[test]
fn a_refused_kid_arms_exactly_one_refresh_at_the_end_of_the_cooldown() {
    let mut cache = Cache::with_set();
    cache.miss();
    assert_eq!(cache.due(), Due::In(secs(480)), "nobody was refused yet");
    cache.clock.advance(secs(10));
    assert_eq!(cache.ask(), Answer::UnknownKey);
    assert_eq!(cache.ask(), Answer::UnknownKey);
    assert_eq!(cache.due(), Due::In(secs(20)));
    cache.clock.advance(secs(20));
    let flight = cache.start_due();
    assert_eq!(cache.due(), Due::Never);
    assert!(cache.land_good(flight));
    assert_eq!(cache.due(), Due::In(secs(480)), "it was the only one");
    assert_eq!(cache.ask(), Answer::UnknownKey, "and it began a cooldown of its own");
}

#[test]
fn a_refresh_ahead_disarms_the_one_of_the_cooldown() {
    let mut cache = Cache::with_set();
    cache.clock.advance(secs(470));
    cache.miss();
    cache.clock.advance(secs(20));
    assert_eq!(cache.ask(), Answer::UnknownKey);
    assert_eq!(cache.due(), Due::In(secs(10)));
    cache.clock.advance(secs(10));
    let flight = cache.start_due();
    assert!(cache.land_good(flight));
    assert_eq!(cache.due(), Due::In(secs(480)));
}

#[test]
fn after_a_failure_requests_are_told_when_to_come_back() {
    for with_set in [false, true] {
        let mut cache = if with_set { Cache::with_set() } else { Cache::new() };
        let arrival = cache.machine.arrive();
        let flight = cache.start();
        assert!(cache.land_failed(flight, None, 1.0));
        assert!(cache.machine.is_failing());
        assert_eq!(cache.ask_again(arrival), Answer::ComeBack(SECOND), "{with_set}");
        assert_eq!(cache.ask(), Answer::ComeBack(SECOND), "{with_set}");
        assert_eq!(cache.due(), Due::In(SECOND), "{with_set}");
        cache.clock.advance(Duration::from_millis(400));
        assert_eq!(cache.ask(), Answer::ComeBack(Duration::from_millis(600)), "{with_set}");
        cache.clock.advance(Duration::from_millis(600));
        let flight = cache.start_due();
        assert_eq!(cache.ask(), Answer::Join, "{with_set}");
        assert!(cache.land_good(flight));
        assert!(!cache.machine.is_failing());
    }
}

#[test]
fn a_failure_within_the_cooldown_is_not_the_tokens_fault() {
    let mut cache = Cache::with_set();
    cache.clock.advance(secs(470));
    cache.miss();
    cache.clock.advance(secs(5));
    assert_eq!(cache.ask(), Answer::UnknownKey);
    cache.clock.advance(secs(25));
    let flight = cache.start_due();
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.ask(), Answer::ComeBack(SECOND));
    cache.clock.advance(SECOND);
    let flight = cache.start();
    assert!(cache.land_good(flight));
    assert_eq!(cache.due(), Due::In(secs(480)));
}

#[test]
fn a_failure_in_between_does_not_forget_that_a_kid_was_looked_for() {
    let mut cache = Cache::with_set();
    let mut flight = cache.start();
    for _ in 0..3 {
        assert!(cache.land_failed(flight, None, 0.0));
        cache.clock.advance(10 * SECOND);
        // the timer is first, before anybody asks again
        flight = cache.start_due();
    }
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask(), Answer::UnknownKey);
}

#[test]
fn a_cooldown_says_nothing_once_the_set_is_dropped_or_a_fetch_failed() {
    // a set that ages faster than the cooldown passes
    let settings = Settings { max_stale: secs(10), ..Settings::default() };
    for dropped in [false, true] {
        let mut cache = Cache { machine: Machine::new(settings.clone()), ..Cache::new() };
        let arrival = cache.machine.arrive();
        let flight = cache.start();
        assert!(cache.machine.land(cache.now(), flight, Landing::Good { lifetime: secs(10) }, 0.0));
        assert_eq!(cache.ask_again(arrival), Answer::UnknownKey);
        assert_eq!(cache.ask(), Answer::UnknownKey);
        if dropped {
            cache.clock.advance(secs(20));
            assert!(!cache.usable());
        } else {
            cache.clock.advance(secs(8));
            let refresh = cache.start_due();
            assert!(cache.land_failed(refresh, None, 1.0));
            cache.clock.advance(SECOND);
            assert!(cache.usable());
        }
        cache.start();
    }
}

#[test]
fn retries_back_off_from_one_second_to_sixty() {
    let mut cache = Cache::with_set();
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
        let flight = if seconds == 1 { cache.start() } else { cache.start_due() };
        assert!(cache.land_failed(flight, None, 1.0));
        assert_eq!(cache.due(), Due::In(secs(seconds)));
        cache.clock.advance(secs(seconds));
    }
    // good again, and the next failure begins anew
    let flight = cache.start_due();
    assert!(cache.land_good(flight));
    cache.clock.advance(secs(30));
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.due(), Due::In(SECOND));
}

#[test]
fn the_back_off_has_full_jitter_but_never_less_than_a_tenth_of_a_second() {
    for (dice, first, second) in [(0.0, 100, 100), (0.05, 100, 100), (0.5, 500, 1_000)] {
        let mut cache = Cache::new();
        for expected in [first, second] {
            let flight = cache.start();
            assert!(cache.land_failed(flight, None, dice));
            let expected = Duration::from_millis(expected);
            assert_eq!(cache.due(), Due::In(expected), "{dice}");
            cache.clock.advance(expected);
        }
    }
}

#[test]
fn many_failures_do_not_overflow_the_back_off() {
    let mut cache = Cache::new();
    for _ in 0..100 {
        let flight = cache.start();
        assert!(cache.land_failed(flight, None, 1.0));
        cache.clock.advance(secs(60));
    }
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.due(), Due::In(secs(60)));
}

#[test]
fn retry_after_is_obeyed_within_bounds() {
    // with a set or without, asked for, the dice, granted: never less than what was asked for,
    // and up to twice as much, so that a fleet does not come back at once
    for (with_set, asked, dice, granted) in [
        (true, 0, 1.0, 1),
        (true, 10, 0.5, 15),
        (true, 10, 1.0, 20),
        (true, 3_600, 0.0, 3_600),
        (true, 3_601, 1.0, 3_600),
        (true, u64::MAX, 1.0, 3_600),
        (false, 0, 1.0, 1),
        (false, 7, 1.0, 14),
        (false, 60, 0.0, 60),
        (false, 61, 1.0, 60),
        (false, u64::MAX, 1.0, 60),
    ] {
        let mut cache = if with_set { Cache::with_set() } else { Cache::new() };
        let flight = cache.start();
        assert!(cache.land_failed(flight, Some(secs(asked)), dice));
        assert_eq!(cache.due(), Due::In(secs(granted)), "{with_set}, {asked}");
        assert_eq!(cache.ask(), Answer::ComeBack(secs(granted)), "{with_set}, {asked}");
        cache.clock.advance(secs(granted));
        cache.start();
    }
}

#[test]
fn a_long_retry_after_is_cut_when_the_set_is_dropped() {
    let mut cache = Cache::with_set();
    // two minutes before it is dropped
    cache.clock.advance(secs(86_400 + 600 - 120));
    let flight = cache.start();
    assert!(cache.land_failed(flight, Some(secs(3_600)), 1.0));
    cache.clock.advance(secs(119));
    assert!(cache.usable());
    assert!(matches!(cache.ask(), Answer::ComeBack(_)), "obeyed while there is a set");
    cache.clock.advance(SECOND);
    assert!(!cache.usable());
    // without a set, a minute after the failure is enough
    cache.start();
}

#[test]
fn a_set_is_used_until_max_stale_past_its_lifetime() {
    let mut cache = Cache::with_set();
    cache.clock.advance(LIFETIME);
    let flight = cache.start_due();
    assert!(cache.land_failed(flight, None, 1.0));
    assert!(cache.usable());
    cache.clock.advance(secs(86_399));
    assert!(cache.usable());
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    cache.clock.advance(SECOND);
    assert!(!cache.usable());
}

#[test]
fn a_dropped_set_never_says_that_a_key_is_unknown() {
    let mut cache = Cache::with_set();
    cache.miss();
    let arrival = cache.machine.arrive();
    cache.clock.advance(LIFETIME + DAY);
    let flight = match cache.ask_again(arrival) {
        Answer::Start(flight) => flight,
        other => panic!("{other:?}"),
    };
    assert_eq!(cache.ask(), Answer::Join);
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.ask_again(arrival), Answer::ComeBack(SECOND));
}

#[test]
fn a_forward_jump_past_max_stale_gets_one_fetch_before_anybody_is_sent_away() {
    for failing in [false, true] {
        let mut cache = Cache::with_set();
        if failing {
            let flight = cache.start();
            assert!(cache.land_failed(flight, Some(secs(3_600)), 1.0));
        }
        // suspended: the monotonic clock stood still
        cache.clock.set_wall(cache.clock.wall() + LIFETIME + DAY);
        assert!(!cache.usable());
        let arrival = cache.machine.arrive();
        let flight = cache.start();
        assert_eq!(cache.ask(), Answer::Join);
        assert!(cache.land_failed(flight, None, 1.0));
        let told = cache.ask_again(arrival);
        assert!(matches!(told, Answer::ComeBack(_)), "{failing}: {told:?}");
    }
}

#[test]
fn a_wall_clock_set_back_does_not_keep_a_set_young() {
    let mut cache = Cache::with_set();
    cache.miss();
    cache.set_wall_back(30 * DAY);
    assert_eq!(cache.due(), Due::In(secs(480)));
    cache.clock.advance(secs(31));
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    cache.set_wall_back(DAY);
    assert_eq!(cache.ask(), Answer::ComeBack(SECOND));
    cache.clock.advance(LIFETIME + DAY);
    assert!(!cache.usable());
}

#[test]
fn a_monotonic_clock_that_stands_still_does_not_stop_a_span() {
    let mut cache = Cache::with_set();
    cache.miss();
    let later = |cache: &Cache, by| cache.clock.set_wall(cache.clock.wall() + by);
    later(&cache, secs(30));
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    later(&cache, SECOND);
    let flight = cache.start();
    assert!(cache.land_good(flight));
    later(&cache, secs(480));
    cache.start_due();
}

#[test]
fn what_lands_after_it_was_given_up_is_thrown_away() {
    let mut cache = Cache::new();
    let gone = cache.start();
    cache.machine.give_up(gone);
    assert!(!cache.land_good(gone));
    assert!(!cache.usable());
    let next = cache.start();
    assert!(next > gone);
    assert!(!cache.land_failed(gone, None, 1.0));
    assert!(!cache.machine.is_failing());
    // giving up what is gone does not take the next one down
    cache.machine.give_up(gone);
    assert_eq!(cache.ask(), Answer::Join);
    assert!(cache.land_good(next));
    assert!(!cache.land_good(next), "once");
}

#[test]
fn a_dead_flight_keeps_nobody_on_the_ground() {
    let mut cache = Cache::new();
    let dead = cache.start();
    cache.clock.advance(Duration::from_millis(5_999));
    assert_eq!(cache.ask(), Answer::Join);
    cache.clock.advance(Duration::from_millis(1));
    let next = cache.start();
    assert!(!cache.machine.is_last(dead));
    assert!(!cache.land_good(dead), "its answer may be older than what is known by now");
    assert_eq!(cache.ask(), Answer::Join);
    assert!(cache.land_good(next));
}

#[test]
fn a_dead_refresh_is_started_again_by_the_timer() {
    let mut cache = Cache::with_set();
    cache.clock.advance(secs(480));
    let dead = cache.start_due();
    assert_eq!(cache.due(), Due::Never);
    cache.clock.advance(secs(6));
    assert!(cache.start_due() > dead);
}

#[test]
fn a_flight_that_was_given_up_is_no_failure() {
    let mut cache = Cache::with_set();
    let gone = cache.start();
    cache.machine.give_up(gone);
    assert!(!cache.machine.is_failing());
    cache.start();
}

/// What may happen to a machine.
#[derive(Clone, Debug)]
enum Event {
    /// A request comes, asks, and waits where it is told to.
    Come,
    /// One of those who came asks again.
    AskAgain(prop::sample::Index),
    /// An operator wants a new set.
    Operator,
    /// One of them who waits looks again.
    OperatorAgain(prop::sample::Index),
    Timer,
    LandGood {
        lifetime: u64,
        dice: f64,
    },
    LandFailed {
        retry_after: Option<u64>,
        dice: f64,
    },
    /// Something lands that was given up or replaced.
    LandLate(prop::sample::Index),
    GiveUp,
    Pass {
        millis: u64,
    },
    /// Somebody sets the clock, forth or back.
    SetWall {
        by: i64,
    },
}

fn calm_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Come),
        4 => any::<prop::sample::Index>().prop_map(Event::AskAgain),
        3 => Just(Event::Timer),
        3 => (60..=3_600_u64, 0.0..1.0).prop_map(|(lifetime, dice)| Event::LandGood { lifetime, dice }),
        6 => prop_oneof![0..2_000_u64, 0..40_000_u64, 0..2_000_000_u64]
            .prop_map(|millis| Event::Pass { millis }),
    ]
}

fn operator_event() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::Operator), any::<prop::sample::Index>().prop_map(Event::OperatorAgain),]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => calm_event(),
        4 => operator_event(),
        3 => (prop::option::of(0..5_000_u64), 0.0..1.0)
            .prop_map(|(retry_after, dice)| Event::LandFailed { retry_after, dice }),
        1 => any::<prop::sample::Index>().prop_map(Event::LandLate),
        1 => Just(Event::GiveUp),
        1 => prop_oneof![-100..100_i64, -200_000..200_000_i64].prop_map(|by| Event::SetWall { by }),
    ]
}

/// What is known of a flight from outside.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    InTheAir,
    Good,
    Failed,
    Lost,
}

/// Who began a flight.
#[derive(Clone, Copy, PartialEq)]
enum Cause {
    /// With a usable set: for a kid that is not in it.
    UnknownKid,
    /// Without one.
    NoSet,
    /// At the end of a lifetime, or of a cooldown in which a kid was refused.
    Timer {
        armed: bool,
    },
    Operator,
}

/// What a failed flight asks of those after it.
struct Failure {
    index: usize,
    at: Moment,
    /// By the issuer.
    asked: Duration,
    /// By the back-off too.
    wait: Duration,
}

/// All that happened, seen from outside.
struct World {
    cache: Cache,
    /// Each flight, when it began, why, and its fate.
    flights: Vec<(Flight, Moment, Cause, Fate)>,
    /// Requests that came, and how many flights had begun by then.
    came: Vec<(Arrival, usize)>,
    /// And operators.
    operators: Vec<(Arrival, usize)>,
    /// The last flight that brought a set, and how long that lives.
    set: Option<(usize, Duration)>,
    /// The last flight after that, if it failed, and how many did.
    failure: Option<Failure>,
    failures: u32,
    /// When the last set was fetched that lacked a kid for which it was fetched.
    missed: Option<Moment>,
    /// A kid was refused since the last set came, without a fetch of its own.
    armed: bool,
}

impl World {
    fn new() -> Self {
        Self {
            cache: Cache::new(),
            flights: Vec::new(),
            came: Vec::new(),
            operators: Vec::new(),
            set: None,
            failure: None,
            failures: 0,
            missed: None,
            armed: false,
        }
    }

    fn in_the_air(&self) -> Option<usize> {
        self.flights.iter().position(|(.., fate)| *fate == Fate::InTheAir)
    }

    /// How old the set is, and how long it lives.
    fn age(&self) -> Option<(Duration, Duration)> {
        let (index, lifetime) = self.set?;
        Some((self.cache.now().since(self.flights[index].1), lifetime))
    }

    /// A set is used for its lifetime and a day.
    fn usable(&self) -> bool {
        self.age().is_some_and(|(age, lifetime)| age < lifetime + DAY)
    }

    /// Of what an issuer asks for, an hour is obeyed, and a minute where nobody has keys.
    fn obeyed(&self, wait: Duration) -> Duration {
        wait.min(if self.usable() { secs(3_600) } else { secs(60) })
    }

    fn cooldown_is_over(&self) -> bool {
        self.missed.is_none_or(|missed| self.cache.now().since(missed) >= secs(30))
    }

    fn began(&mut self, flight: Flight, cause: Cause) {
        let now = self.cache.now();
        if let Some(index) = self.in_the_air() {
            let (_, began, _, fate) = &mut self.flights[index];
            assert!(now.since(*began) >= secs(6), "two flights in the air");
            *fate = Fate::Lost;
        }
        assert!(self.flights.iter().all(|(earlier, ..)| *earlier < flight));
        if let Some(failure) = &self.failure {
            let waited = now.since(failure.at);
            let wait = if cause == Cause::Operator { failure.asked } else { failure.wait };
            let wait = self.obeyed(wait);
            assert!(waited >= wait, "{waited:?} after a failure, and not {wait:?}");
        } else {
            match cause {
                Cause::UnknownKid => {
                    assert!(self.cooldown_is_over(), "two fetches for unknown kids in a cooldown");
                }
                Cause::NoSet => assert!(!self.usable()),
                Cause::Timer { armed } => {
                    let (age, lifetime) = self.age().expect("nobody asked for keys yet");
                    let is_due = age >= lifetime.mul_f64(0.75);
                    assert!(is_due || armed && self.cooldown_is_over(), "nothing is due");
                }
                Cause::Operator => {}
            }
        }
        self.flights.push((flight, now, cause, Fate::InTheAir));
    }

    fn ask(&mut self, arrival: Arrival, flights_before: usize) {
        let usable = self.cache.usable();
        assert_eq!(usable, self.usable());
        let failing = self.cache.machine.is_failing();
        match self.cache.ask_again(arrival) {
            Answer::Start(flight) => {
                self.began(flight, if usable { Cause::UnknownKid } else { Cause::NoSet });
            }
            Answer::Join => assert!(self.in_the_air().is_some()),
            Answer::UnknownKey => {
                assert!(usable, "only a usable set can say so");
                // a failing issuer may have published the key; but what was fetched for this
                // very request has answered it
                let fetched_since = self.set.filter(|(index, _)| *index >= flights_before);
                if let Some((index, _)) = fetched_since {
                    self.missed = Some(self.flights[index].1);
                } else {
                    assert!(!failing, "a key is unknown while fetches fail");
                    self.armed = true;
                }
            }
            Answer::ComeBack(wait) => {
                assert!(failing);
                assert!(!wait.is_zero() && wait <= secs(3_600));
            }
        }
    }

    /// Neither cooldown nor back-off count for an operator, who fetches once.
    fn refresh(&mut self, arrival: Arrival, flights_before: usize) {
        let fetched_since = self.set.is_some_and(|(index, _)| index >= flights_before);
        let failed_since = self.failure.as_ref().is_some_and(|last| last.index >= flights_before);
        match self.cache.machine.refresh(self.cache.now(), arrival) {
            Refresh::Start(flight) => {
                assert!(!fetched_since && !failed_since, "an operator who fetches twice");
                self.began(flight, Cause::Operator);
            }
            Refresh::Join => assert!(!fetched_since && self.in_the_air().is_some()),
            Refresh::Done => assert!(fetched_since),
            Refresh::ComeBack(wait) => {
                assert!(!fetched_since && wait <= secs(3_600));
                let failure = self.failure.as_ref().expect("a failure");
                let left = self.cache.now().left_of(self.obeyed(failure.asked), failure.at);
                assert!(failed_since || !left.is_zero() && wait >= left, "sent away for nothing");
            }
        }
    }

    fn land(&mut self, index: usize, landing: Landing, dice: f64) {
        let (flight, began, cause, fate) = self.flights[index];
        let now = self.cache.now();
        let taken = self.cache.machine.land(now, flight, landing, dice);
        assert_eq!(taken, fate == Fate::InTheAir);
        if !taken {
            return;
        }
        match landing {
            Landing::Good { lifetime } => {
                self.flights[index].3 = Fate::Good;
                if matches!(cause, Cause::UnknownKid | Cause::Timer { armed: true }) {
                    self.missed = Some(began);
                }
                self.set = Some((index, lifetime));
                self.armed = false;
                (self.failure, self.failures) = (None, 0);
            }
            Landing::Failed { retry_after } => {
                self.flights[index].3 = Fate::Failed;
                // anything up to a step that doubles, and a part of what was asked for
                let step = secs(1 << self.failures.min(6)).min(secs(60));
                let asked = retry_after.unwrap_or_default().min(secs(3_600));
                let jitter = step.max(asked).mul_f64(dice).max(Duration::from_millis(100));
                self.failure = Some(Failure { index, at: now, asked, wait: asked + jitter });
                self.failures += 1;
            }
        }
        assert_eq!(self.cache.machine.is_failing(), self.failure.is_some());
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Come => {
                let came = (self.cache.machine.arrive(), self.flights.len());
                self.came.push(came);
                self.ask(came.0, came.1);
            }
            Event::AskAgain(who) => {
                if !self.came.is_empty() {
                    let (arrival, flights_before) = *who.get(&self.came);
                    self.ask(arrival, flights_before);
                }
            }
            Event::Operator => {
                let came = (self.cache.machine.arrive(), self.flights.len());
                self.operators.push(came);
                self.refresh(came.0, came.1);
            }
            Event::OperatorAgain(who) => {
                if !self.operators.is_empty() {
                    let (arrival, flights_before) = *who.get(&self.operators);
                    self.refresh(arrival, flights_before);
                }
            }
            Event::Timer => match self.cache.due() {
                Due::Start(flight) => self.began(flight, Cause::Timer { armed: self.armed }),
                Due::In(wait) => assert!(!wait.is_zero()),
                Due::Never => assert!(self.in_the_air().is_some() || self.set.is_none()),
            },
            Event::LandGood { lifetime, dice } => {
                if let Some(index) = self.in_the_air() {
                    self.land(index, Landing::Good { lifetime: secs(*lifetime) }, *dice);
                }
            }
            Event::LandFailed { retry_after, dice } => {
                if let Some(index) = self.in_the_air() {
                    let retry_after = retry_after.map(Duration::from_secs);
                    self.land(index, Landing::Failed { retry_after }, *dice);
                }
            }
            Event::LandLate(which) => {
                if !self.flights.is_empty() {
                    let index = which.index(self.flights.len());
                    if self.flights[index].3 != Fate::InTheAir {
                        self.land(index, Landing::Good { lifetime: LIFETIME }, 0.5);
                    }
                }
            }
            Event::GiveUp => {
                if let Some(index) = self.in_the_air() {
                    self.cache.machine.give_up(self.flights[index].0);
                    self.flights[index].3 = Fate::Lost;
                }
            }
            Event::Pass { millis } => self.cache.clock.advance(Duration::from_millis(*millis)),
            Event::SetWall { by } => {
                let wall = self.cache.clock.wall();
                let by_how_much = secs(by.unsigned_abs());
                let forth = *by >= 0;
                self.cache.clock.set_wall(if forth {
                    wall + by_how_much
                } else {
                    wall - by_how_much
                });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_fetches_keep_their_budget(
        events in prop::collection::vec(any_event(), 1..200),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
    }

    #[test]
    fn a_healthy_issuer_is_asked_at_most_twice_in_a_cooldown(
        events in prop::collection::vec(calm_event(), 1..200),
    ) {
        let mut world = World::new();
        for event in &events {
            // it answers within the timeout of a fetch
            if let (Event::Pass { millis }, Some(index)) = (event, world.in_the_air()) {
                let in_the_air = world.cache.now().since(world.flights[index].1);
                if in_the_air + Duration::from_millis(*millis) >= secs(5) {
                    world.land(index, Landing::Good { lifetime: LIFETIME }, 0.5);
                }
            }
            world.happen(event);
        }
        for three in world.flights.windows(3) {
            prop_assert!(three[2].1.since(three[0].1) >= secs(30));
        }
    }
}
