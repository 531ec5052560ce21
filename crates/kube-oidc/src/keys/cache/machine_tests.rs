//! The rules of the key cache, one by one.

#[cfg(test)]
mod model;

use std::time::Duration;

use super::{
    machine::{Answer, Arrival, Due, Flight, Landing, Machine, Refresh, Suspicion},
    missed::KeyIdHash,
    settings::KeyCacheSettings,
};
use crate::{
    clock::{Clock, ManualClock, Moment},
    testing::{SECOND, clock, secs},
};

const LIFETIME: Duration = secs(600);
const DAY: Duration = secs(24 * 3600);

/// A machine, and the clock that is shown to it.
struct ClockedMachine {
    machine: Machine,
    clock: ManualClock,
    /// The key ID of the next request.
    next: u64,
}

impl ClockedMachine {
    fn new() -> Self {
        Self::with(KeyCacheSettings::default())
    }

    fn with(settings: KeyCacheSettings) -> Self {
        Self { machine: Machine::new(settings), clock: clock(), next: 0 }
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

    /// The answer to a request that comes now, with a key ID that no request had before.
    fn ask(&mut self) -> Answer {
        let arrival = self.machine.arrive();
        self.ask_again(arrival)
    }

    /// The same, for a request that came before.
    fn ask_again(&mut self, arrival: Arrival) -> Answer {
        self.next += 1;
        self.ask_for(self.next, arrival)
    }

    /// The answer to a request with this key ID.
    fn ask_for(&mut self, key: u64, arrival: Arrival) -> Answer {
        self.machine.ask(self.now(), arrival, KeyIdHash(key))
    }

    /// The answer to a request with this key ID that comes now.
    fn repeat(&mut self, key: u64) -> Answer {
        let arrival = self.machine.arrive();
        self.ask_for(key, arrival)
    }

    /// The answer to a request that comes now, whose token a rotation would explain.
    fn suspect(&mut self) -> Suspicion {
        let arrival = self.machine.arrive();
        let expected = self.machine.may_suspect(self.now(), arrival);
        let suspicion = self.machine.suspect(self.now(), arrival);
        assert_eq!(suspicion != Suspicion::Dismiss, expected);
        suspicion
    }

    /// Takes all that the budget has.
    fn spend(&mut self) {
        while let Answer::Start(flight) = self.ask() {
            assert!(self.land_good(flight));
        }
    }

    fn due(&mut self) -> Due {
        self.machine.due(self.now())
    }

    fn probe(&mut self) -> Due {
        self.machine.probe(self.now())
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
        self.miss_key(1_000);
    }

    /// The same, for this one.
    fn miss_key(&mut self, key: u64) {
        let arrival = self.machine.arrive();
        let Answer::Start(flight) = self.ask_for(key, arrival) else { panic!("no fetch") };
        assert!(self.land_good(flight));
        assert_eq!(self.ask_for(key, arrival), Answer::UnknownKey);
    }
}

#[test]
fn the_first_request_starts_one_flight_and_the_others_join() {
    let mut cache = ClockedMachine::new();
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

// rule: readiness-fetch
#[test]
fn probe_starts_the_first_fetch_and_then_what_the_timer_would() {
    let mut cache = ClockedMachine::new();
    let Due::Start(first) = cache.probe() else { panic!("no fetch") };
    for _ in 0..1_000 {
        assert_eq!(cache.probe(), Due::Never, "one is in the air");
    }
    assert!(cache.land_failed(first, None, 0.5));
    // the first step of the backoff is a second, and half of it by the dice
    let Due::In(wait) = cache.due() else { panic!("a fetch") };
    assert_eq!(wait, SECOND / 2);
    for _ in 0..1_000 {
        assert_eq!(cache.probe(), Due::In(wait));
    }
    cache.clock.advance(wait);
    let Due::Start(second) = cache.probe() else { panic!("no retry") };
    assert_eq!(cache.due(), Due::Never, "the timer starts none beside it");
    assert!(cache.land_good(second));
    let Due::In(wait) = cache.due() else { panic!("a fetch") };
    assert_eq!(cache.probe(), Due::In(wait));
}

#[test]
fn probes_of_runtimes_that_end_keep_the_budget() {
    let mut cache = ClockedMachine::new();
    for _ in 0..3 {
        let Due::Start(gone) = cache.probe() else { panic!("no fetch") };
        cache.machine.give_up(gone);
    }
    assert_eq!(cache.probe(), Due::Never);
    cache.clock.advance(secs(10));
    assert!(matches!(cache.probe(), Due::Start(_)));
}

#[test]
fn a_fresh_set_is_refreshed_at_about_four_fifths_of_its_lifetime() {
    for (dice, seconds) in [(0.0, 450), (0.5, 480), (1.0, 510)] {
        let mut cache = ClockedMachine::new();
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
    let mut cache = ClockedMachine::new();
    let flight = cache.start();
    cache.clock.advance(secs(4));
    assert!(cache.land_good(flight));
    assert_eq!(cache.due(), Due::In(secs(476)));
}

#[test]
fn an_unknown_kid_starts_one_flight_whose_set_is_the_answer() {
    let mut cache = ClockedMachine::with_set();
    let arrival = cache.machine.arrive();
    let Answer::Start(flight) = cache.ask_again(arrival) else { panic!("no fetch") };
    assert_eq!(cache.ask(), Answer::Join);
    assert!(cache.usable(), "known keys stay usable meanwhile");
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask_again(arrival), Answer::UnknownKey);
}

#[test]
fn a_set_fetched_by_the_timer_after_the_request_came_is_its_answer() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(500));
    let arrival = cache.machine.arrive();
    let flight = cache.start_due();
    assert!(cache.land_good(flight));
    assert_eq!(cache.ask_for(7, arrival), Answer::UnknownKey);
    assert_eq!(cache.repeat(7), Answer::UnknownKey, "it was looked up");
}

// rule: key-set-age
#[test]
fn a_clock_that_is_set_back_does_not_refill_the_budget() {
    let mut cache = ClockedMachine::with_set();
    cache.spend();
    cache.set_wall_back(secs(100));
    cache.clock.advance(secs(9));
    assert_eq!(cache.ask(), Answer::UnknownKey);
    cache.clock.advance(SECOND);
    cache.start();
}

// rule: fresh-fetch
#[test]
fn who_joined_an_earlier_flight_may_start_one_more() {
    let mut cache = ClockedMachine::new();
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
fn who_joined_a_flight_for_another_unknown_kid_may_start_one_more_within_the_budget() {
    let mut cache = ClockedMachine::with_set();
    let mut flight = cache.start();
    for is_left in [true, false] {
        let late = cache.machine.arrive();
        assert_eq!(cache.ask_again(late), Answer::Join);
        assert!(cache.land_good(flight));
        match cache.ask_again(late) {
            Answer::Start(next) if is_left => flight = next,
            Answer::UnknownKey if !is_left => {}
            other => panic!("{other:?}"),
        }
    }
}

// rule: new-key
#[test]
fn endless_unknown_key_ids_start_one_fetch_in_a_cooldown() {
    let mut cache = ClockedMachine::with_set();
    cache.spend();
    assert_eq!(cache.machine.fetches(), 3, "a burst of three");
    for fetches in 4..100 {
        for _ in 0..10 {
            assert_eq!(cache.ask(), Answer::UnknownKey);
            cache.clock.advance(Duration::from_millis(999));
        }
        assert!(matches!(cache.due(), Due::In(wait) if wait <= Duration::from_millis(10)));
        cache.clock.advance(Duration::from_millis(10));
        // by the timer, without another request
        let flight = cache.start_due();
        assert!(cache.machine.is_forced(flight));
        assert!(cache.land_good(flight));
        assert_eq!(cache.machine.fetches(), fetches);
    }
}

// rule: new-key
#[test]
fn repeated_unknown_key_ids_leave_a_fetch_to_a_new_one() {
    for foreign in 1..=3 {
        let mut cache = ClockedMachine::with_set();
        for second in 0..600 {
            cache.clock.advance(SECOND);
            if let Due::Start(flight) = cache.due() {
                assert!(cache.land_good(flight));
            }
            for key in 1_000..1_000 + foreign {
                let arrival = cache.machine.arrive();
                if let Answer::Start(flight) = cache.ask_for(key, arrival) {
                    assert!(cache.land_good(flight));
                    assert_eq!(cache.ask_for(key, arrival), Answer::UnknownKey);
                }
            }
            // a new key signs at any time, and no other does in the next half minute
            if second % 30 == 29 {
                let flight = cache.start();
                assert!(cache.land_good(flight));
            }
        }
        let fetches = cache.machine.fetches();
        assert!(fetches <= 3 + 60, "{foreign}: {fetches} fetches in ten minutes");
    }
}

// rule: new-key
#[test]
fn key_id_that_an_api_server_does_not_list_yet_is_looked_up_again_after_half_a_cooldown() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(60));
    cache.miss_key(7);
    cache.clock.advance(SECOND);
    assert_eq!(cache.repeat(7), Answer::UnknownKey);
    assert_eq!(cache.due(), Due::In(secs(4)));
    cache.clock.advance(secs(4));
    let flight = cache.start_due();
    assert!(cache.machine.is_forced(flight));
    assert!(cache.land_good(flight));
    assert!(matches!(cache.due(), Due::In(wait) if wait > secs(60)), "the only one");
}

// rule: new-key
#[test]
fn key_ids_that_were_not_looked_up_lately_are_forgotten() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(60));
    cache.miss_key(7);
    for key in 0..8 {
        cache.clock.advance(secs(60));
        cache.miss_key(100 + key);
    }
    cache.clock.advance(SECOND);
    assert!(matches!(cache.repeat(7), Answer::Start(_)), "as if it were new");
}

// rule: fetch-budget
#[test]
fn budget_holds_after_the_very_first_fetch_too() {
    let mut cache = ClockedMachine::new();
    cache.miss();
    assert_eq!(cache.repeat(1_000), Answer::UnknownKey);
}

// rule: new-key
#[test]
fn refresh_serves_a_key_id_that_waits_for_the_budget() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(470));
    cache.spend();
    cache.clock.advance(secs(10));
    let flight = cache.start_due();
    assert!(cache.land_good(flight));
    assert!(matches!(cache.due(), Due::In(wait) if wait > secs(60)));
}

// rule: fetch-budget
#[test]
fn refreshes_more_often_than_the_budget_allows_are_not_held_up() {
    // a file, which is read every ten seconds, beside endless unknown key IDs
    let mut cache = ClockedMachine::new();
    let file = Landing::Good { lifetime: secs(10) };
    let flight = cache.start();
    assert!(cache.machine.land(cache.now(), flight, file, 0.5));
    let mut ages = Vec::new();
    for _ in 0..1_000 {
        let began = cache.now();
        while !matches!(cache.machine.until_due(cache.now()), Some(Duration::ZERO)) {
            if let Answer::Start(flight) = cache.ask() {
                assert!(cache.machine.land(cache.now(), flight, file, 0.5));
            }
            cache.clock.advance(Duration::from_millis(100));
        }
        ages.push(cache.now().since(began));
        let flight = cache.start_due();
        assert!(cache.machine.land(cache.now(), flight, file, 0.5));
    }
    assert!(ages.iter().all(|age| *age <= secs(9)), "{:?}", ages.iter().max());
}

// rule: rotation-signs
#[test]
fn suspicious_tokens_start_one_fetch_in_a_cooldown() {
    let mut cache = ClockedMachine::with_set();
    for _ in 0..50 {
        cache.clock.advance(secs(10));
        if let Due::Start(flight) = cache.due() {
            assert!(cache.land_good(flight));
            cache.clock.advance(secs(10));
        }
        let Suspicion::Start(flight) = cache.suspect() else { panic!("no fetch") };
        assert!(cache.machine.is_forced(flight));
        assert_eq!(cache.suspect(), Suspicion::Join);
        assert!(cache.land_good(flight));
        for _ in 0..9 {
            assert_eq!(cache.suspect(), Suspicion::Dismiss);
            cache.clock.advance(SECOND);
        }
        assert_eq!(cache.suspect(), Suspicion::Dismiss);
    }
}

// rule: rotation-signs
#[test]
fn suspicious_tokens_never_take_the_last_fetch() {
    let mut cache = ClockedMachine::with_set();
    let flight = cache.start();
    assert!(cache.land_good(flight));
    assert_eq!(cache.suspect(), Suspicion::Dismiss, "one is left");
    let flight = cache.start();
    assert!(cache.land_good(flight));
    assert_eq!(cache.suspect(), Suspicion::Dismiss, "none is left");
    cache.clock.advance(secs(20));
    assert!(matches!(cache.suspect(), Suspicion::Start(_)));
}

// rule: rotation-signs
#[test]
fn suspicious_tokens_start_nothing_while_fetches_fail() {
    let mut cache = ClockedMachine::with_set();
    let Suspicion::Start(flight) = cache.suspect() else { panic!("no fetch") };
    assert!(cache.land_failed(flight, None, 1.0));
    cache.clock.advance(secs(30));
    assert_eq!(cache.suspect(), Suspicion::Dismiss);
    // and none without keys, where the token waits for keys anyway
    let mut cache = ClockedMachine::new();
    assert_eq!(cache.suspect(), Suspicion::Dismiss);
}

// rule: rotation-signs
#[test]
fn set_that_is_newer_than_a_suspicious_token_is_its_answer() {
    let mut cache = ClockedMachine::with_set();
    let arrival = cache.machine.arrive();
    let flight = cache.start();
    assert!(cache.land_good(flight));
    assert_eq!(cache.machine.suspect(cache.now(), arrival), Suspicion::Dismiss);
}

#[test]
fn after_a_failure_requests_are_told_when_to_come_back() {
    for with_set in [false, true] {
        let mut cache = if with_set { ClockedMachine::with_set() } else { ClockedMachine::new() };
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

// rule: backoff
#[test]
fn a_failure_is_not_the_tokens_fault_while_the_budget_is_spent() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(470));
    cache.spend();
    cache.clock.advance(secs(10));
    let flight = cache.start_due();
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.ask(), Answer::ComeBack(secs(10)), "when the budget has a fetch again");
    cache.clock.advance(secs(10));
    let flight = cache.start();
    assert!(cache.land_good(flight));
    assert!(matches!(cache.due(), Due::In(wait) if wait > secs(60)));
}

// rule: fetch-budget
#[test]
fn a_failure_in_between_does_not_forget_that_a_kid_was_looked_for() {
    let mut cache = ClockedMachine::with_set();
    let mut flight = cache.start();
    for _ in 0..3 {
        assert!(cache.machine.is_forced(flight));
        assert!(cache.land_failed(flight, None, 0.0));
        cache.clock.advance(10 * SECOND);
        // the timer is first, before anybody asks again
        flight = cache.start_due();
    }
    assert!(cache.machine.is_forced(flight));
    assert!(cache.land_good(flight));
    cache.clock.advance(secs(480));
    let flight = cache.start_due();
    assert!(!cache.machine.is_forced(flight), "an ordinary refresh");
}

// rule: fetch-budget
#[test]
fn fetches_that_fail_keep_the_budget() {
    // the shortest back-off of all
    for with_set in [false, true] {
        let mut cache = if with_set { ClockedMachine::with_set() } else { ClockedMachine::new() };
        let before = cache.machine.fetches();
        let mut waited = Duration::ZERO;
        let flight = cache.start();
        assert!(cache.land_failed(flight, None, 0.0));
        while waited < secs(300) {
            match cache.due() {
                Due::Start(flight) => assert!(cache.land_failed(flight, None, 0.0)),
                Due::In(wait) => {
                    cache.clock.advance(wait);
                    waited += wait;
                }
                Due::Never => panic!("{with_set}"),
            }
        }
        let fetches = cache.machine.fetches() - before;
        assert!(fetches <= 3 + 30, "{with_set}: {fetches} fetches in five minutes");
    }
}

// rule: backoff
#[test]
fn callers_who_wait_shorten_the_backoff_to_ten_seconds() {
    // without keys in any case
    let mut cache = ClockedMachine::new();
    for _ in 0..10 {
        let flight = cache.start();
        assert!(cache.land_failed(flight, None, 1.0));
        assert!(matches!(cache.due(), Due::In(wait) if wait <= secs(10)));
        cache.clock.advance(secs(10));
    }
    // with keys, once a key is wanted that is unknown
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(480));
    let mut flight = cache.start_due();
    for _ in 0..7 {
        assert!(cache.land_failed(flight, None, 1.0));
        cache.clock.advance(secs(60));
        flight = cache.start_due();
    }
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.due(), Due::In(secs(60)));
    cache.clock.advance(secs(2));
    assert_eq!(cache.ask(), Answer::ComeBack(secs(8)));
    assert_eq!(cache.due(), Due::In(secs(8)));
    // what the issuer asks for is honored all the same
    cache.clock.advance(secs(8));
    let flight = cache.start_due();
    assert!(cache.land_failed(flight, Some(secs(40)), 0.0));
    assert_eq!(cache.ask(), Answer::ComeBack(Duration::from_millis(40_100)));
}

#[test]
fn budget_rejects_nobody_once_the_set_is_dropped_or_a_fetch_failed() {
    // a set that ages faster than the budget is refilled
    let settings = KeyCacheSettings { max_stale: secs(10), ..KeyCacheSettings::default() };
    for dropped in [false, true] {
        let mut cache = ClockedMachine::with(settings.clone());
        let arrival = cache.machine.arrive();
        let flight = cache.start();
        let short = Landing::Good { lifetime: secs(10) };
        assert!(cache.machine.land(cache.now(), flight, short, 0.0));
        assert_eq!(cache.ask_for(7, arrival), Answer::UnknownKey);
        assert_eq!(cache.repeat(7), Answer::UnknownKey);
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
        assert!(matches!(cache.repeat(7), Answer::Start(_)));
    }
}

// rule: backoff
#[test]
fn retries_backoff_from_one_second_to_sixty() {
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(480));
    // two of them wait for the budget
    for seconds in [1, 2, 7, 10, 16, 32, 60, 60, 60] {
        let flight = cache.start_due();
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

// rule: backoff
#[test]
fn the_backoff_has_full_jitter_but_never_less_than_a_tenth_of_a_second() {
    for (dice, first, second) in [(0.0, 100, 100), (0.05, 100, 100), (0.5, 500, 1_000)] {
        let mut cache = ClockedMachine::new();
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
fn many_failures_do_not_overflow_the_backoff() {
    let mut cache = ClockedMachine::new();
    for _ in 0..100 {
        let flight = cache.start();
        assert!(cache.land_failed(flight, None, 1.0));
        cache.clock.advance(secs(60));
    }
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    assert_eq!(cache.due(), Due::In(secs(10)));
}

// rule: backoff
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
        let mut cache = if with_set { ClockedMachine::with_set() } else { ClockedMachine::new() };
        let flight = cache.start();
        assert!(cache.land_failed(flight, Some(secs(asked)), dice));
        assert_eq!(cache.due(), Due::In(secs(granted)), "{with_set}, {asked}");
        assert_eq!(cache.ask(), Answer::ComeBack(secs(granted)), "{with_set}, {asked}");
        cache.clock.advance(secs(granted));
        cache.start();
    }
}

// rule: backoff
#[test]
fn a_long_retry_after_is_cut_when_the_set_is_dropped() {
    let mut cache = ClockedMachine::with_set();
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
    let mut cache = ClockedMachine::with_set();
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
    let mut cache = ClockedMachine::with_set();
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

// rule: key-set-age
#[test]
fn a_forward_jump_past_max_stale_gets_one_fetch_before_anybody_is_sent_away() {
    for failing in [false, true] {
        let mut cache = ClockedMachine::with_set();
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
        let answer = cache.ask_again(arrival);
        assert!(matches!(answer, Answer::ComeBack(_)), "{failing}: {answer:?}");
    }
}

// rule: key-set-age
#[test]
fn a_wall_clock_set_back_does_not_keep_a_set_young() {
    let mut cache = ClockedMachine::with_set();
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
    let mut cache = ClockedMachine::with_set();
    cache.miss();
    let later = |cache: &ClockedMachine, by| cache.clock.set_wall(cache.clock.wall() + by);
    later(&cache, secs(30));
    let flight = cache.start();
    assert!(cache.land_failed(flight, None, 1.0));
    later(&cache, SECOND);
    let flight = cache.start();
    assert!(cache.land_good(flight));
    later(&cache, secs(480));
    cache.start_due();
}

// rule: moved-keys
#[test]
fn what_lands_after_it_was_given_up_is_thrown_away() {
    let mut cache = ClockedMachine::new();
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
    let mut cache = ClockedMachine::new();
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
    let mut cache = ClockedMachine::with_set();
    cache.clock.advance(secs(480));
    let dead = cache.start_due();
    assert_eq!(cache.due(), Due::Never);
    cache.clock.advance(secs(6));
    assert!(cache.start_due() > dead);
}

#[test]
fn a_flight_that_was_given_up_is_no_failure() {
    let mut cache = ClockedMachine::with_set();
    let gone = cache.start();
    cache.machine.give_up(gone);
    assert!(!cache.machine.is_failing());
    cache.start();
}
