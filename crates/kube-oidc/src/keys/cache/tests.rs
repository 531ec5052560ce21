//! The key cache at work, with an issuer in memory: under paused time, and in runtimes that come
//! and go.

use std::{task::Poll, thread};

use serde_json::{Value, json};
use tokio::task;

use super::*;
use crate::{
    clock::ManualClock,
    issuer::Issuer,
    issuer_name::IssuerUrl,
    keys::source::{Discovery, FetchContext, FetchResponse, Remote},
    testing::{
        FetchReply, ScriptedFetcher, at, clock, in_cluster_issuer, key_set, observed, poll_once,
        public_key, runtime, secs, until,
    },
};

const KEYS: &str = "https://issuer.test/keys";
const MOVED: &str = "https://issuer.test/moved";
const DOCUMENT: &str = "https://issuer.test/.well-known/openid-configuration";

/// Longer than any fetch takes. Paused time passes at once.
const PATIENCE: Duration = secs(4 * 3600);

/// Both clocks follow tokio's, and so stand still while that is paused.
#[derive(Debug)]
struct TokioClock(time::Instant);

impl TokioClock {
    fn start() -> Self {
        Self(time::Instant::now())
    }
}

impl Clock for TokioClock {
    fn wall(&self) -> SystemTime {
        at(1_795_250_000) + self.0.elapsed()
    }

    fn monotonic(&self) -> std::time::Instant {
        time::Instant::now().into_std()
    }
}

pub(super) fn keys(kids: &[&str]) -> FetchResponse {
    let keys: Vec<Value> = kids.iter().map(|kid| public_key(kid)).collect();
    FetchResponse::new(200, key_set(&keys))
}

/// A discovery document that is fresh for an hour.
fn document(jwks_uri: &str) -> FetchResponse {
    plain_document(jwks_uri).with_header("Cache-Control", "max-age=3600")
}

fn plain_document(jwks_uri: &str) -> FetchResponse {
    let document = json!({ "issuer": "https://issuer.test", "jwks_uri": jwks_uri });
    FetchResponse::new(200, document.to_string())
}

pub(super) fn cache_of(remote: Remote, clock: impl Clock, settings: Settings) -> KeyCache {
    KeyCache::new(observed(), remote, Algorithm::ALL.into(), settings, Arc::new(clock))
}

fn remote(fetcher: &Arc<ScriptedFetcher>) -> Remote {
    Remote::known(KEYS.parse().unwrap(), Arc::<ScriptedFetcher>::clone(fetcher))
}

/// A cache under paused time.
fn paused(fetcher: &Arc<ScriptedFetcher>) -> KeyCache {
    paused_with(fetcher, Settings::default())
}

fn paused_with(fetcher: &Arc<ScriptedFetcher>, settings: Settings) -> KeyCache {
    cache_of(remote(fetcher), TokioClock::start(), settings)
}

/// A cache under paused time, with the key `a`.
async fn paused_with_key() -> (Arc<ScriptedFetcher>, KeyCache) {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let cache = paused(&fetcher);
    get(&cache, "a").await.unwrap();
    (fetcher, cache)
}

/// A cache under paused time that reads a discovery document when it is due.
fn discovered(fetcher: &Arc<ScriptedFetcher>) -> KeyCache {
    let url: IssuerUrl = "https://issuer.test".parse().unwrap();
    let names = Arc::new(Issuer::new(url.clone()).names(Arc::new(())));
    let remote = Remote::discovered(&url, names, Arc::<ScriptedFetcher>::clone(fetcher));
    cache_of(remote, TokioClock::start(), Settings::default())
}

/// The same, with the key `a`.
async fn discovered_with_key() -> (Arc<ScriptedFetcher>, KeyCache) {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    fetcher.set(DOCUMENT, document(KEYS));
    let cache = discovered(&fetcher);
    get(&cache, "a").await.unwrap();
    (fetcher, cache)
}

/// As `Issuer::in_cluster` has it: the document is read at each fetch.
fn api_server(fetcher: &Arc<ScriptedFetcher>) -> KeyCache {
    let names = Arc::new(in_cluster_issuer("https://issuer.test").names(Arc::new(())));
    let (document, jwks_uri) = (DOCUMENT.parse().unwrap(), KEYS.parse().unwrap());
    let fetcher = Arc::<ScriptedFetcher>::clone(fetcher);
    let remote = Remote::api_server(&document, jwks_uri, names, observed(), fetcher);
    cache_of(remote, TokioClock::start(), Settings::default())
}

/// A cache in real time, with a clock that is turned by hand.
fn by_hand(fetcher: &Arc<ScriptedFetcher>, fetch_timeout: Duration) -> (KeyCache, ManualClock) {
    let (clock, settings) = (clock(), Settings { fetch_timeout, ..Settings::default() });
    (cache_of(remote(fetcher), clock.clone(), settings), clock)
}

/// Waits for a key.
pub(super) async fn get(cache: &KeyCache, kid: &str) -> Result<(), Missing> {
    let wanted = |keys: &KeySet| keys.find(Some(kid), Algorithm::EdDsa).is_ok();
    cache.wait_for(Some(kid), wanted).await.map(drop)
}

/// Why a key is not available.
async fn cause(cache: &KeyCache, kid: &str) -> KeysUnavailableCause {
    match get(cache, kid).await {
        Err(Missing::Unavailable(unavailable)) => unavailable.cause(),
        other => panic!("{other:?}"),
    }
}

fn spawn_get(cache: &KeyCache, kid: &str) -> task::JoinHandle<Result<(), Missing>> {
    let (cache, kid) = (cache.clone(), kid.to_owned());
    task::spawn(async move { get(&cache, &kid).await })
}

/// Whether the key is there without waiting.
fn has(cache: &KeyCache, kid: &str) -> bool {
    let guard = cache.current(Moment::now(&*cache.0.clock));
    let snapshot = guard.as_ref().and_then(|guard| guard.as_ref());
    snapshot.is_some_and(|set| set.keys().find(Some(kid), Algorithm::EdDsa).is_ok())
}

/// Waits until so many fetches ended.
async fn ended(cache: &KeyCache, count: u64) {
    let mut landed = cache.0.landed.subscribe();
    let enough = landed.wait_for(|ended| *ended >= count);
    time::timeout(PATIENCE, enough).await.expect("a fetch ends").unwrap();
}

fn waiters(cache: &KeyCache) -> usize {
    cache.0.waiting.load(Ordering::SeqCst)
}

/// Lets other tasks run until so many requests wait.
async fn waiting(cache: &KeyCache, count: usize) {
    until(|| waiters(cache) == count).await;
}

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

#[tokio::test(start_paused = true)]
async fn a_known_key_is_there_without_waiting() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let cache = paused(&fetcher);
    assert!(!has(&cache, "a"));
    get(&cache, "a").await.unwrap();
    assert!(has(&cache, "a") && !has(&cache, "b"));
    fetcher.set(KEYS, FetchReply::Hang);
    let unknown = spawn_get(&cache, "b");
    fetcher.began(2).await;
    assert!(has(&cache, "a"), "while others wait for theirs");
    assert_eq!(get(&cache, "a").await, Ok(()));
    unknown.abort();
}

#[tokio::test(start_paused = true)]
async fn a_set_is_refreshed_ahead_in_the_background() {
    let (fetcher, cache) = paused_with_key().await;
    for round in 2..=5 {
        let start = time::Instant::now();
        fetcher.set(KEYS, keys(&[["b", "c"][round % 2]]));
        fetcher.began(round).await;
        let waited = start.elapsed().as_secs_f64();
        // 75 to 85 % of ten minutes
        assert!((449.9..510.1).contains(&waited), "{waited}");
        ended(&cache, round as u64).await;
        assert!(!has(&cache, "a"), "a key that left the set is gone");
        assert!(has(&cache, ["b", "c"][round % 2]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_issuer_decides_on_the_lifetime_within_bounds() {
    for (max_age, from, to) in
        [("1000", 749.9, 850.1), ("5", 44.9, 51.1), ("604800", 2_699.9, 3_060.1)]
    {
        let value = format!("max-age={max_age}");
        let fetcher = ScriptedFetcher::new(
            KEYS,
            FetchReply::Response(keys(&["a"]).with_header("Cache-Control", &value)),
        );
        let cache = paused(&fetcher);
        get(&cache, "a").await.unwrap();
        let start = time::Instant::now();
        fetcher.began(2).await;
        let waited = start.elapsed().as_secs_f64();
        assert!((from..to).contains(&waited), "{max_age}: {waited}");
    }
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn an_unknown_kid_gets_one_refresh_and_its_answer_from_the_new_set() {
    let (fetcher, cache) = paused_with_key().await;
    fetcher.set(KEYS, keys(&["a", "b"]));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(fetcher.count(), 2);
    assert_eq!(get(&cache, "c").await, Err(Missing::UnknownKey));
    assert_eq!(fetcher.count(), 3);
    // all the junk of the cooldown
    for junk in 0..1_000 {
        assert_eq!(get(&cache, &format!("junk-{junk}")).await, Err(Missing::UnknownKey));
    }
    assert_eq!(fetcher.count(), 3);
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_beside_endless_unknown_ones_is_accepted_after_a_cooldown() {
    let (fetcher, cache) = paused_with_key().await;
    for junk in 0..1_000 {
        assert_eq!(get(&cache, &junk.to_string()).await, Err(Missing::UnknownKey));
    }
    fetcher.set(KEYS, keys(&["a", "b"]));
    let (start, before) = (time::Instant::now(), fetcher.count());
    assert_eq!(get(&cache, "b").await, Err(Missing::UnknownKey), "the budget is spent");
    ended(&cache, before as u64 + 1).await;
    let waited = start.elapsed();
    assert!(waited <= secs(10) + Duration::from_millis(10), "{waited:?}");
    assert!(has(&cache, "b"), "without another request");
    assert_eq!(fetcher.count(), before + 1, "exactly one");
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_beside_a_repeated_unknown_one_is_accepted_at_once() {
    let (fetcher, cache) = paused_with_key().await;
    for key in 0..20 {
        for _ in 0..300 {
            assert_eq!(get(&cache, "foreign").await, Err(Missing::UnknownKey));
            time::sleep(Duration::from_millis(100)).await;
        }
        let key = format!("new-{key}");
        fetcher.set(KEYS, keys(&["a", &key]));
        assert_eq!(get(&cache, &key).await, Ok(()), "{key}");
    }
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_that_an_api_server_does_not_list_for_three_seconds_is_accepted_within_ten() {
    let (fetcher, cache) = paused_with_key().await;
    time::sleep(secs(60)).await;
    let start = time::Instant::now();
    let mut is_behind = true;
    while let Err(missing) = get(&cache, "b").await {
        assert_eq!(missing, Missing::UnknownKey);
        time::sleep(Duration::from_millis(100)).await;
        if is_behind && start.elapsed() >= secs(3) {
            is_behind = false;
            fetcher.set(KEYS, keys(&["a", "b"]));
        }
    }
    assert!(start.elapsed() < secs(10), "{:?}", start.elapsed());
}

// rule: rotation-signs
#[tokio::test(start_paused = true)]
async fn suspicious_tokens_take_half_of_the_permits_for_waiters() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let settings = Settings { max_waiting: 4, ..Settings::default() };
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

// rule: rotation-signs
#[tokio::test(start_paused = true)]
async fn suspicious_token_gets_the_set_that_replaces_its_own() {
    let (fetcher, cache) = paused_with_key().await;
    let last = cache.wait_for(Some("a"), |_| true).await.unwrap();
    fetcher.set(KEYS, keys(&["b"]));
    let newer = cache.wait_for_rotation(cache.arrive(), &last).await.expect("a new set");
    assert!(newer.keys().find(Some("b"), Algorithm::EdDsa).is_ok());
    assert!(cache.wait_for_rotation(cache.arrive(), &newer).await.is_none(), "in one cooldown");
    assert!(!cache.may_rotate());
    assert_eq!(fetcher.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_fails_the_last_set_stays_until_it_is_too_old() {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    let cache = paused(&fetcher);
    let start = time::Instant::now();
    get(&cache, "a").await.unwrap();
    fetcher.set(KEYS, FetchReply::status(500));
    ended(&cache, 10).await;
    assert!(has(&cache, "a"));
    assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed);
    let dropped = start + secs(600 + 24 * 3600);
    time::sleep_until(dropped - secs(1)).await;
    assert!(has(&cache, "a"));
    time::sleep_until(dropped + secs(1)).await;
    assert!(!has(&cache, "a"));
    let failed = fetcher.count();
    fetcher.set(KEYS, keys(&["a"]));
    // and recovers by itself
    ended(&cache, failed as u64 + 1).await;
    assert!(has(&cache, "a"));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_asked_until_it_answers() {
    for down in [
        FetchReply::status(500),
        FetchReply::status(302),
        FetchReply::status(404),
        FetchReply::Unreachable,
        keys(&[]).into(),
    ] {
        let fetcher = ScriptedFetcher::new(KEYS, down.clone());
        let cache = paused(&fetcher);
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed, "{down:?}");
        assert_eq!(fetcher.count(), 1, "{down:?}");
        ended(&cache, 3).await;
        fetcher.set(KEYS, keys(&["a"]));
        ended(&cache, fetcher.count() as u64 + 1).await;
        assert!(has(&cache, "a"), "{down:?}");
    }
}

// rule: backoff
#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_and_passed_on() {
    let too_many = FetchResponse::new(429, "").with_header("Retry-After", "45");
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Response(too_many));
    let cache = paused(&fetcher);
    let Err(Missing::Unavailable(unavailable)) = get(&cache, "a").await else { panic!("no 503") };
    let told = unavailable.retry_after();
    assert!((secs(45)..=secs(60)).contains(&told), "no sooner than asked, 60 s at most: {told:?}");
    let start = time::Instant::now();
    fetcher.began(2).await;
    let waited = start.elapsed().as_secs_f64();
    assert!((told.as_secs_f64() - waited).abs() < 0.1, "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_keeps_the_last_set() {
    let secret = r#"{"keys":[{"kty":"oct","kid":"b","k":"c2VjcmV0"}]}"#;
    for body in ["", "<html>", "{}", r#"{"keys":[]}"#, secret] {
        let (fetcher, cache) = paused_with_key().await;
        fetcher.set(KEYS, FetchResponse::new(200, body));
        assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed, "{body}");
        assert!(has(&cache, "a"), "{body}");
    }
}

// rule: waiting-requests
#[tokio::test(start_paused = true)]
async fn who_finds_no_place_to_wait_is_sent_away_at_once() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Hang);
    let settings = Settings { max_waiting: 3, ..Settings::default() };
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

#[tokio::test(start_paused = true)]
async fn discovery_and_keys_together_have_one_timeout() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Delayed(secs(3), keys(&["a"])));
    fetcher.set(DOCUMENT, FetchReply::Delayed(secs(3), plain_document(KEYS)));
    let cache = discovered(&fetcher);
    let start = time::Instant::now();
    assert!(get(&cache, "a").await.is_err());
    assert!(start.elapsed() < secs(6), "{:?}", start.elapsed());
}

/// Both are slow, and together slower than a fetch may take.
// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn slow_document_and_slow_keys_are_read_by_two_fetches_in_turn() {
    for of in [discovered, api_server] {
        let fetcher = ScriptedFetcher::new(KEYS, FetchReply::Delayed(secs(3), keys(&["a"])));
        fetcher.set(DOCUMENT, FetchReply::Delayed(secs(3), plain_document(KEYS)));
        let cache = of(&fetcher);
        let start = time::Instant::now();
        time::timeout(PATIENCE, cache.ready()).await.expect("keys");
        assert!(start.elapsed() < secs(15), "{:?}", start.elapsed());
        // past the lifetime of the document, too
        for _ in 0..120 {
            time::sleep(secs(60)).await;
            assert!(cache.0.machine().fresh(Moment::now(&*cache.0.clock)), "{:?}", start.elapsed());
        }
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn the_document_is_read_again_when_its_key_url_is_gone() {
    for gone in [
        FetchReply::status(404),
        FetchReply::status(410),
        FetchReply::Unreachable,
        FetchReply::Hang,
    ] {
        let (fetcher, cache) = discovered_with_key().await;
        fetcher.set(KEYS, gone.clone());
        fetcher.set(MOVED, keys(&["b"]));
        fetcher.set(DOCUMENT, document(MOVED));
        // the refresh fails, and the retry after it works; the document would be good for longer
        ended(&cache, 3).await;
        assert!(has(&cache, "b"), "{gone:?}");
        assert_eq!(fetcher.urls(), [DOCUMENT, KEYS, KEYS, DOCUMENT, MOVED], "{gone:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn key_that_is_missing_at_the_known_url_is_found_at_a_moved_one() {
    let (fetcher, cache) = discovered_with_key().await;
    // the old URL goes on serving the old set
    fetcher.set(MOVED, keys(&["a", "b"]));
    fetcher.set(DOCUMENT, document(MOVED));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(fetcher.urls(), [DOCUMENT, KEYS, KEYS, DOCUMENT, MOVED]);
    // an ordinary refresh does not read a fresh document again
    ended(&cache, 3).await;
    assert_eq!(fetcher.urls()[5..], [MOVED]);
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn key_that_is_new_at_the_known_url_needs_no_document() {
    let (fetcher, cache) = discovered_with_key().await;
    fetcher.set(KEYS, keys(&["a", "b"]));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(fetcher.urls(), [DOCUMENT, KEYS, KEYS]);
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_whose_server_is_down_leaves_the_last_url_in_use() {
    for down in [
        FetchReply::Unreachable,
        FetchReply::Hang,
        FetchReply::status(429),
        FetchReply::status(500),
        FetchReply::status(503),
    ] {
        let (fetcher, cache) = discovered_with_key().await;
        fetcher.set(DOCUMENT, down.clone());
        // long past the lifetime of the document and of the set
        time::sleep(secs(3 * 24 * 3600)).await;
        assert!(has(&cache, "a"), "{down:?}");
        assert!(!cache.0.machine().is_failing(), "{down:?}");
        fetcher.set(KEYS, keys(&["a", "b"]));
        assert_eq!(get(&cache, "b").await, Ok(()), "{down:?}");
        assert_eq!(get(&cache, "c").await, Err(Missing::UnknownKey), "{down:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_is_gone_or_wrong_ends_the_use_of_the_last_url() {
    let foreign = json!({ "issuer": "https://other.test", "jwks_uri": KEYS }).to_string();
    for wrong in [
        FetchReply::status(404),
        FetchReply::status(410),
        FetchReply::status(301),
        FetchResponse::new(200, foreign).into(),
        FetchResponse::new(200, "<html>").into(),
    ] {
        let (fetcher, cache) = discovered_with_key().await;
        fetcher.set(DOCUMENT, wrong.clone());
        assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed, "{wrong:?}");
        // not when its server is down after that either
        fetcher.set(DOCUMENT, FetchReply::Unreachable);
        let before = fetcher.urls().len();
        time::sleep(secs(60)).await;
        assert!(fetcher.urls().len() > before, "{wrong:?}");
        assert!(!fetcher.urls()[before..].contains(&KEYS.to_owned()), "{wrong:?}");
        assert!(has(&cache, "a"), "{wrong:?}");
        fetcher.set(DOCUMENT, document(KEYS));
        time::sleep(secs(60)).await;
        assert!(!cache.0.machine().is_failing(), "{wrong:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_hangs_leaves_time_to_the_keys() {
    let (fetcher, cache) = discovered_with_key().await;
    fetcher.set(DOCUMENT, FetchReply::Hang);
    fetcher.set(KEYS, FetchReply::Delayed(secs(2), keys(&["a", "b"])));
    time::sleep(secs(3600)).await;
    let failures = cache.0.history().failures;
    assert_eq!((failures, has(&cache, "b")), (0, true));
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_an_abandoned_fetch_read_is_discarded() {
    let (fetcher, cache) = discovered_with_key().await;
    // a fetch that stalls after it has read another document
    fetcher.set(DOCUMENT, document(MOVED));
    fetcher.set(MOVED, keys(&["b"]));
    let shared = &cache.0;
    let context = FetchContext {
        allowed: &shared.allowed,
        freshness: &shared.settings.freshness,
        timeout: shared.settings.fetch_timeout,
        deadline: time::Instant::now() + shared.settings.fetch_timeout,
        clock: &*shared.clock,
        is_forced: true,
        budget_window: None,
    };
    let last = cache.wait_for(None, |_| true).await.unwrap();
    let stalled = shared.source.load(Some(last.keys()), context).await;
    assert!(matches!(stalled.discovery, Discovery::Read(_)));
    let arrival = cache.arrive();
    let abandoned = match shared.machine().refresh(Moment::now(&*shared.clock), arrival) {
        Refresh::Start(flight) => flight,
        other => panic!("{other:?}"),
    };
    shared.machine().give_up(abandoned);
    shared.land(abandoned, Moment::now(&*shared.clock), stalled, None);
    fetcher.set(DOCUMENT, FetchReply::Unreachable);
    cache.refresh().await.unwrap();
    assert!(has(&cache, "a") && !has(&cache, "b"));
    assert_eq!(fetcher.urls().last().map(String::as_str), Some(DOCUMENT), "of the known URL");
}

/// Whatever callers send and an issuer answers, its requests are counted where they arrive.
// rule: fetch-budget
#[tokio::test(start_paused = true)]
async fn issuer_gets_at_most_twelve_requests_in_thirty_seconds() {
    for seed in 0..20 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (fetcher, cache) = discovered_with_key().await;
        for kid in 0..2_000 {
            match dice.u8(..40) {
                0 => fetcher.set(KEYS, FetchReply::status(404)),
                1 => fetcher.set(KEYS, FetchReply::status(500)),
                2 => fetcher.set(KEYS, FetchReply::Hang),
                3..6 => fetcher.set(KEYS, keys(&["a"])),
                6 => fetcher.set(DOCUMENT, document(MOVED)),
                7 => fetcher.set(DOCUMENT, document(KEYS)),
                8 => fetcher.set(DOCUMENT, FetchReply::Unreachable),
                9 => fetcher.set(DOCUMENT, FetchReply::status(404)),
                10 => fetcher.set(MOVED, keys(&["c"])),
                _ => {}
            }
            let _ = get(&cache, &kid.to_string()).await;
            time::sleep(Duration::from_millis(dice.u64(..1_000))).await;
        }
        let requests = fetcher.requests();
        assert!(requests.len() > 100, "{}", requests.len());
        for thirteen in requests.windows(13) {
            let passed = thirteen[12].1 - thirteen[0].1;
            assert!(passed >= secs(30), "{passed:?}, seed {seed}");
        }
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn the_document_is_kept_while_its_key_url_only_fails() {
    let (fetcher, cache) = discovered_with_key().await;
    fetcher.set(KEYS, FetchReply::status(500));
    ended(&cache, 3).await;
    assert_eq!(fetcher.urls(), [DOCUMENT, KEYS, KEYS, KEYS]);
}

// rule: freshness
#[tokio::test(start_paused = true)]
async fn validators_of_a_response_are_never_sent_back() {
    let date = "Sat, 21 Nov 2026 06:47:42 GMT";
    let tagged = |response: FetchResponse| {
        response.with_header("etag", "\"1\"").with_header("last-modified", date)
    };
    let fetcher = ScriptedFetcher::new(KEYS, tagged(keys(&["a"])));
    fetcher.set(DOCUMENT, tagged(plain_document(KEYS)));
    let cache = discovered(&fetcher);
    get(&cache, "a").await.unwrap();
    // by the timer, for an unknown key, after a failure, and for an operator
    ended(&cache, 2).await;
    assert_eq!(get(&cache, "b").await, Err(Missing::UnknownKey));
    fetcher.set(KEYS, FetchReply::status(500));
    cache.refresh().await.unwrap_err();
    fetcher.set(KEYS, tagged(keys(&["a"])));
    ended(&cache, fetcher.count() as u64).await;
    cache.refresh().await.unwrap();
    let requests = fetcher.requests();
    assert!(requests.len() > 5);
    for (request, _) in &requests {
        let conditions: Vec<_> =
            request.headers().filter(|(name, _)| name.starts_with("if-")).collect();
        assert_eq!(conditions, [], "{}", request.url());
    }
}

// rule: freshness
#[tokio::test(start_paused = true)]
async fn not_modified_response_is_a_failure() {
    let fetcher = ScriptedFetcher::new(KEYS, FetchReply::status(304));
    let cache = paused(&fetcher);
    assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed);
    fetcher.set(KEYS, keys(&["a"]).with_header("ETag", "\"1\""));
    ended(&cache, 2).await;
    fetcher.set(KEYS, FetchReply::status(304));
    assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed);
    assert!(has(&cache, "a"));
}

#[tokio::test(start_paused = true)]
async fn background_work_ends_with_the_last_cache() {
    let alive = || Handle::current().metrics().num_alive_tasks();
    for reply in
        [keys(&["a"]).into(), FetchReply::status(500), FetchReply::Delayed(secs(4), keys(&["a"]))]
    {
        let fetcher = ScriptedFetcher::new(KEYS, reply.clone());
        let cache = paused(&fetcher);
        let waiter = spawn_get(&cache, "a");
        fetcher.began(1).await;
        let other = cache.clone();
        drop(cache);
        waiter.abort();
        let _ = waiter.await;
        task::yield_now().await;
        assert_eq!(alive(), 1, "{reply:?}");
        drop(other);
        // a fetch in the air may end first
        time::sleep(secs(5)).await;
        assert_eq!(alive(), 0, "{reply:?}");
        assert_eq!(Arc::strong_count(&fetcher), 1, "{reply:?}");
        assert_eq!(fetcher.count(), 1, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_one_timer_however_many_fetches_requests_start() {
    let (fetcher, cache) = paused_with_key().await;
    for round in 0..5 {
        time::sleep(secs(31)).await;
        let kid = round.to_string();
        fetcher.set(KEYS, keys(&["a", &kid]));
        assert_eq!(get(&cache, &kid).await, Ok(()));
    }
    assert_eq!(fetcher.count(), 6);
    // the timers that were replaced learn it when the fetch that replaced them ends
    for _ in 0..10 {
        task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
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
