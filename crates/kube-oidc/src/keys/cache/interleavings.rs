//! Requests, flights and an operator in the orders that threads seldom have: see `sync.rs`.

use std::sync::atomic::AtomicBool;

use shuttle::future::{JoinHandle, block_on, spawn, yield_now};

use super::{
    tests::{cache_of, get, keys},
    *,
};
use crate::{
    clock::ManualClock,
    keys::source::{Fetch, FetchFuture, FetchRequest, Remote},
    sync::in_many_orders,
    testing::{clock, secs},
};

/// An issuer that lists one key more after a rotation.
///
/// Not a `ScriptedFetcher`, which responds at once: shuttle has to switch tasks during a fetch.
#[derive(Debug, Default)]
struct RotatingIssuer {
    rotated: AtomicBool,
    in_the_air: AtomicUsize,
    fetches: AtomicUsize,
}

impl RotatingIssuer {
    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    fn rotate(&self) {
        self.rotated.store(true, Ordering::SeqCst);
    }
}

impl Fetch for RotatingIssuer {
    fn fetch(&self, _: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async {
            assert_eq!(self.in_the_air.fetch_add(1, Ordering::SeqCst), 0, "two fetches at a time");
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let listed: &[_] =
                if self.rotated.load(Ordering::SeqCst) { &["a", "b"] } else { &["a"] };
            yield_now().await;
            self.in_the_air.fetch_sub(1, Ordering::SeqCst);
            Ok(keys(listed))
        })
    }
}

fn start() -> (Arc<RotatingIssuer>, KeyCache, ManualClock) {
    let (issuer, clock) = (Arc::new(RotatingIssuer::default()), clock());
    let url = "https://issuer.test/keys".parse().unwrap();
    let remote = Remote::known(url, Arc::<RotatingIssuer>::clone(&issuer));
    let cache = cache_of(remote, clock.clone(), KeyCacheSettings::default());
    (issuer, cache, clock)
}

fn wait_for(cache: &KeyCache, kid: &'static str) -> JoinHandle<Result<(), Missing>> {
    let cache = cache.clone();
    spawn(async move { get(&cache, kid).await })
}

#[test]
fn one_flight_wakes_everybody() {
    in_many_orders(|| {
        block_on(async {
            let (issuer, cache, _) = start();
            let waiters = [(); 3].map(|()| wait_for(&cache, "a"));
            for waiter in waiters {
                assert_eq!(waiter.await.unwrap(), Ok(()));
            }
            assert_eq!(issuer.fetches(), 1);
        });
    });
}

#[test]
fn a_new_key_is_found_by_all_who_want_it_and_who_goes_away_takes_nothing_along() {
    in_many_orders(|| {
        block_on(async {
            let (issuer, cache, _) = start();
            assert_eq!(get(&cache, "a").await, Ok(()));
            issuer.rotate();
            let gone = wait_for(&cache, "b");
            let waiters = [(); 2].map(|()| wait_for(&cache, "b"));
            let operator = spawn({
                let cache = cache.clone();
                async move { cache.refresh().await }
            });
            gone.abort();
            for waiter in waiters {
                assert_eq!(waiter.await.unwrap(), Ok(()));
            }
            assert_eq!(operator.await.unwrap(), Ok(()));
            // the first, one for the unknown key, and one for the operator
            assert!(issuer.fetches() <= 3, "{} fetches", issuer.fetches());
        });
    });
}

#[test]
fn who_waits_while_an_issuer_rotates_is_told_what_it_then_lists() {
    in_many_orders(|| {
        block_on(async {
            let (issuer, cache, _) = start();
            let waiters = ["a", "b", "b"].map(|kid| wait_for(&cache, kid));
            let rotation = spawn({
                let (issuer, cache) = (Arc::clone(&issuer), cache.clone());
                async move {
                    issuer.rotate();
                    // whatever flight it joins, the one that counts began after this
                    cache.refresh().await.unwrap();
                    assert_eq!(get(&cache, "b").await, Ok(()));
                }
            });
            let [a, b, also_b] = waiters;
            assert_eq!(a.await.unwrap(), Ok(()));
            for waiter in [b, also_b] {
                let result = waiter.await.unwrap();
                assert!(matches!(result, Ok(()) | Err(Missing::UnknownKey)), "{result:?}");
            }
            rotation.await.unwrap();
        });
    });
}

#[test]
fn a_flight_that_is_lost_is_flown_by_the_next() {
    in_many_orders(|| {
        block_on(async {
            let (issuer, cache, _) = start();
            let lost = spawn({
                let cache = cache.clone();
                async move {
                    let arrival = cache.0.machine().arrive();
                    let asked = cache.0.ask(arrival, KeyIdHash(0), |_| false);
                    if let Asked::Machine(Answer::Start(flight)) = asked {
                        let airborne = Airborne::new(Arc::downgrade(&cache.0), flight);
                        yield_now().await;
                        drop(airborne);
                    }
                }
            });
            let waiters = [(); 2].map(|()| wait_for(&cache, "a"));
            for waiter in waiters {
                assert_eq!(waiter.await.unwrap(), Ok(()));
            }
            lost.await.unwrap();
            assert_eq!(issuer.fetches(), 1);
        });
    });
}

#[test]
fn a_timer_and_the_requests_that_look_after_it_start_one_flight() {
    in_many_orders(|| {
        block_on(async {
            let (issuer, cache, clock) = start();
            assert_eq!(get(&cache, "a").await, Ok(()));
            issuer.rotate();
            // stale, and still good
            clock.advance(KeyCacheSettings::default().freshness.default + secs(60));
            let looks = [(); 3].map(|()| {
                let (cache, clock) = (cache.clone(), clock.clone());
                spawn(async move { cache.current(Moment::now(&clock)).is_some() })
            });
            let waiter = wait_for(&cache, "b");
            for look in looks {
                assert!(look.await.unwrap(), "it goes on with what there is");
            }
            assert_eq!(waiter.await.unwrap(), Ok(()));
            assert_eq!(issuer.fetches(), 2);
        });
    });
}
