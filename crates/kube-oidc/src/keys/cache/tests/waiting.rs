//! Requests that wait for a fetch: how many, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_share_one_fetch() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Delayed(secs(1), keys(&["a"])));
    let cache = paused(&fetcher);
    assert_eq!(fetcher.count(), 0, "nothing is fetched before the first use");
    let start = time::Instant::now();
    let waiters: Vec<_> = (0..1_000).map(|_| spawn_get(&cache, "a")).collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }
    assert_eq!(fetcher.count(), 1);
    assert_eq!(start.elapsed(), secs(1));
}

// rule: rotation-signs
#[tokio::test(start_paused = true)]
async fn suspicious_tokens_take_half_of_the_permits_for_waiters() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let settings = KeyCacheSettings { max_waiting: 4, ..KeyCacheSettings::default() };
    let cache = paused_with(&fetcher, settings);
    get(&cache, "a").await.unwrap();
    let last = cache.wait_for(Some("a"), |_| true).await.unwrap();
    fetcher.set(KEYS, FetchReply::Hang);
    let wait = || {
        let (cache, last, arrival) = (cache.clone(), Arc::clone(&last), cache.arrive());
        task::spawn(async move { cache.wait_for_rotation(arrival, &last).await.is_some() })
    };
    let waiters = [wait(), wait()];
    waiting(&cache, 2).await;
    assert!(!wait().await.unwrap(), "the others are for tokens whose key is unknown");
    let unknown = spawn_get(&cache, "b");
    waiting(&cache, 3).await;
    for waiter in waiters {
        assert!(!waiter.await.unwrap(), "the fetch failed");
    }
    assert!(unknown.await.unwrap().is_err());
    assert!(has(&cache, "a"));
    assert_eq!(fetcher.count(), 2);
}

// rule: waiting-requests
#[tokio::test(start_paused = true)]
async fn who_finds_no_place_to_wait_is_sent_away_at_once() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let settings = KeyCacheSettings { max_waiting: 3, ..KeyCacheSettings::default() };
    let cache = paused_with(&fetcher, settings);
    let start = time::Instant::now();
    let mut waiters: Vec<_> = (0..3).map(|_| spawn_get(&cache, "a")).collect();
    waiting(&cache, 3).await;
    for _ in 0..10 {
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::TooManyWaiting);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // whoever leaves makes room for one
    let gone = waiters.pop().unwrap();
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    waiters.push(spawn_get(&cache, "a"));
    waiting(&cache, 3).await;
    assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::TooManyWaiting);
    for waiter in waiters {
        assert!(matches!(waiter.await.unwrap(), Err(Missing::Unavailable(_))));
    }
    waiting(&cache, 0).await;
    assert_eq!(fetcher.count(), 1);
}

// rule: waiting-requests
#[tokio::test(start_paused = true)]
async fn a_thousand_and_twenty_four_may_wait() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Delayed(secs(1), keys(&["a"])));
    let cache = paused(&fetcher);
    let waiters: Vec<_> = (0..1_024).map(|_| spawn_get(&cache, "a")).collect();
    waiting(&cache, 1_024).await;
    assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::TooManyWaiting);
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_does_not_take_the_fetch_with_it() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Delayed(secs(1), keys(&["a"])));
    let cache = paused(&fetcher);
    let waiter = spawn_get(&cache, "a");
    fetcher.began(1).await;
    let other = spawn_get(&cache, "a");
    waiting(&cache, 2).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    assert_eq!(other.await.unwrap(), Ok(()));
    assert_eq!(fetcher.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetcher_that_panics_is_a_failure_and_no_end() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Panic);
    let cache = paused(&fetcher);
    let waiters: Vec<_> = (0..10).map(|_| spawn_get(&cache, "a")).collect();
    for waiter in waiters {
        let Err(Missing::Unavailable(unavailable)) = waiter.await.unwrap() else {
            panic!("no 503")
        };
        assert_eq!(unavailable.cause(), KeysUnavailableCause::FetchFailed);
    }
    assert_eq!(fetcher.count(), 1);
    fetcher.set(KEYS, keys(&["a"]));
    // the longest back-off after one failure
    time::sleep(secs(1)).await;
    assert_eq!(get(&cache, "a").await, Ok(()));
    // and when it is there only to be refreshed
    fetcher.set(KEYS, FetchReply::Panic);
    fetcher.began(3).await;
    assert!(has(&cache, "a"));
    fetcher.set(KEYS, keys(&["b"]));
    time::sleep(secs(10)).await;
    assert!(has(&cache, "a"), "this request finds that the timer is gone");
    ended(&cache, 4).await;
    assert!(has(&cache, "b"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_fetch_may_take() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let cache = paused(&fetcher);
    let start = time::Instant::now();
    let request = spawn_get(&cache, "a");
    // both times are up at the same moment: the waiter's own, and the fetch's
    let up = |missing| match missing {
        Err(Missing::Unavailable(unavailable)) => matches!(
            unavailable.cause(),
            KeysUnavailableCause::FetchTimedOut | KeysUnavailableCause::FetchFailed
        ),
        _ => false,
    };
    assert!(up(request.await.unwrap()));
    let elapsed = start.elapsed();
    assert!(elapsed >= secs(5) && elapsed < secs(6), "{elapsed:?}");
    fetcher.set(KEYS, keys(&["a"]));
    ended(&cache, 2).await;
    assert!(has(&cache, "a"), "the cache recovers by itself");
}
