//! Runtimes that end or stall, and clocks that jump.

use std::{task::Poll, thread};

use super::*;
use crate::{
    clock::ManualClock,
    testing::{clock, poll_once, runtime},
};

/// A cache in real time, with a clock that is turned by hand.
fn by_hand(fetcher: &Arc<ScriptedFetcher>, fetch_timeout: Duration) -> (KeyCache, ManualClock) {
    let (clock, settings) =
        (clock(), KeyCacheSettings { fetch_timeout, ..KeyCacheSettings::default() });
    (cache_of(remote(fetcher), clock.clone(), settings), clock)
}

/// Longer than a test may hang: who waits so long has not been woken.
const FOREVER: Duration = secs(60);

#[test]
fn one_cache_serves_several_runtimes_one_after_the_other() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["0"]));
    let (cache, clock) = by_hand(&fetcher, FOREVER);
    for round in 0..5 {
        let kid = round.to_string();
        fetcher.set(KEYS, keys(&[&kid]));
        assert_eq!(runtime().block_on(get(&cache, &kid)), Ok(()));
        assert!(has(&cache, &kid), "known keys work outside of any runtime");
        clock.advance(secs(31));
    }
    assert_eq!(fetcher.count(), 5);
}

#[test]
fn a_runtime_that_ends_with_a_fetch_in_the_air_keeps_nobody_waiting() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let (cache, _) = by_hand(&fetcher, FOREVER);
    for round in 1..=2 {
        runtime().block_on(async {
            let _waiter = spawn_get(&cache, "a");
            fetcher.began(round).await;
        });
    }
    fetcher.set(KEYS, keys(&["a"]));
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()));
    assert_eq!(fetcher.count(), 3);
}

#[test]
fn who_joined_a_fetch_of_a_runtime_that_ends_starts_another() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let (cache, _) = by_hand(&fetcher, FOREVER);
    let first = runtime();
    first.block_on(async {
        spawn_get(&cache, "a");
        fetcher.began(1).await;
        waiting(&cache, 1).await;
    });
    thread::scope(|scope| {
        let joined = scope.spawn(|| runtime().block_on(get(&cache, "a")));
        while waiters(&cache) != 2 && !joined.is_finished() {
            thread::yield_now();
        }
        fetcher.set(KEYS, keys(&["a"]));
        drop(first);
        assert_eq!(joined.join().unwrap(), Ok(()));
    });
    assert_eq!(fetcher.count(), 2);
}

#[test]
fn a_runtime_that_stands_still_holds_nobody_for_ever() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let (cache, clock) = by_hand(&fetcher, Duration::from_millis(50));
    // neither driven nor dropped again while its fetch is in the air
    let still = runtime();
    still.block_on(async {
        spawn_get(&cache, "a");
        fetcher.began(1).await;
    });
    fetcher.set(KEYS, keys(&["a"]));
    runtime().block_on(async {
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchTimedOut);
        clock.advance(Duration::from_millis(1_050));
        assert_eq!(get(&cache, "a").await, Ok(()));
    });
    assert_eq!(fetcher.count(), 2);
}

#[test]
fn a_runtime_that_ends_before_its_fetch_began_holds_nobody_for_ever() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let (cache, clock) = by_hand(&fetcher, Duration::from_millis(50));
    runtime().block_on(async {
        // one poll starts the fetch, and the runtime ends before it gets to it
        assert!(poll_once(get(&cache, "a")).is_pending());
    });
    assert_eq!(fetcher.count(), 0);
    clock.advance(Duration::from_millis(1_050));
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()));
}

#[test]
fn the_request_that_finds_the_timers_runtime_gone_starts_the_refresh() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let (cache, clock) = by_hand(&fetcher, secs(5));
    runtime().block_on(get(&cache, "a")).unwrap();
    fetcher.set(KEYS, keys(&["b"]));
    // 85 % of the lifetime, and the time in which the timer would have been first
    clock.advance(secs(516));
    assert!(has(&cache, "a"), "outside of a runtime nothing can be fetched, and nothing breaks");
    clock.advance(secs(2));
    runtime().block_on(async {
        assert!(has(&cache, "a"), "it goes on with the set that there is");
        time::timeout(FOREVER, ended(&cache, 2)).await.expect("a refresh");
        assert!(has(&cache, "b"));
    });
}

#[test]
fn a_clock_that_jumps_past_max_stale_gets_one_fetch() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let (cache, clock) = by_hand(&fetcher, secs(5));
    runtime().block_on(async {
        get(&cache, "a").await.unwrap();
        let past_max_stale = secs(600 + 24 * 3600);
        clock.set_wall(clock.wall() + past_max_stale);
        assert!(!has(&cache, "a"), "judged when it is read");
        assert_eq!(get(&cache, "a").await, Ok(()));
        assert_eq!(fetcher.count(), 2);
        clock.set_wall(clock.wall() + past_max_stale);
        fetcher.set(KEYS, FetchReply::status(500));
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed);
        assert_eq!(fetcher.count(), 3);
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_fetched_and_nothing_panics() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let (cache, _) = by_hand(&fetcher, secs(5));
    let no_runtime = Poll::Ready(KeysUnavailableCause::NoRuntime);
    for _ in 0..3 {
        assert_eq!(poll_once(cause(&cache, "a")), no_runtime);
    }
    assert_eq!(fetcher.count(), 0);
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()), "nothing of it is left");
    assert_eq!(poll_once(get(&cache, "a")), Poll::Ready(Ok(())));
    assert_eq!(poll_once(cause(&cache, "b")), no_runtime);
    assert_eq!(waiters(&cache), 0);
}

#[test]
fn outside_of_a_runtime_nobody_waits_for_a_fetch_of_another() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let (cache, _) = by_hand(&fetcher, secs(5));
    let elsewhere = runtime();
    elsewhere.block_on(async {
        spawn_get(&cache, "a");
        fetcher.began(1).await;
    });
    let cause = poll_once(cause(&cache, "a"));
    assert_eq!(cause, Poll::Ready(KeysUnavailableCause::NoRuntime));
}
