//! The key cache at work, with a scripted issuer under paused time.

mod documents;
mod runtimes;
mod waiting;

use serde_json::{Value, json};
use tokio::task;

use super::*;
use crate::{
    issuer_name::{IssuerUrl, Names},
    keys::source::{FetchResponse, Remote},
    testing::{FetchReply, ScriptedFetcher, at, key_set, observed, public_key, secs, until},
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

pub(super) fn cache_of(remote: Remote, clock: impl Clock, settings: KeyCacheSettings) -> KeyCache {
    KeyCache::new(observed(), remote, Algorithm::ALL.into(), settings, Arc::new(clock))
}

fn remote(fetcher: &Arc<ScriptedFetcher>) -> Remote {
    Remote::known(KEYS.parse().unwrap(), Arc::<ScriptedFetcher>::clone(fetcher))
}

/// A cache under paused time.
fn paused(fetcher: &Arc<ScriptedFetcher>) -> KeyCache {
    paused_with(fetcher, KeyCacheSettings::default())
}

fn paused_with(fetcher: &Arc<ScriptedFetcher>, settings: KeyCacheSettings) -> KeyCache {
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
    let names = Arc::new(Names::configured(&url.shared_text(), &[]));
    let fetcher = Arc::<ScriptedFetcher>::clone(fetcher);
    let remote = Remote::discovered(url.discovery_url(), url.transport(), names, fetcher);
    cache_of(remote, TokioClock::start(), KeyCacheSettings::default())
}

/// The same, with the key `a`.
async fn discovered_with_key() -> (Arc<ScriptedFetcher>, KeyCache) {
    let fetcher = ScriptedFetcher::new(KEYS, keys(&["a"]));
    fetcher.set(DOCUMENT, document(KEYS));
    let cache = discovered(&fetcher);
    get(&cache, "a").await.unwrap();
    (fetcher, cache)
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
        let keys = keys(&["a"]).with_header("Cache-Control", &value);
        let fetcher = ScriptedFetcher::new(KEYS, keys);
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
    let fetcher = ScriptedFetcher::new(KEYS, too_many);
    let cache = paused(&fetcher);
    let Err(Missing::Unavailable(unavailable)) = get(&cache, "a").await else { panic!("no 503") };
    let retry_after = unavailable.retry_after();
    assert!((secs(45)..=secs(60)).contains(&retry_after), "{retry_after:?}");
    let start = time::Instant::now();
    fetcher.began(2).await;
    let waited = start.elapsed().as_secs_f64();
    assert!((retry_after.as_secs_f64() - waited).abs() < 0.1, "{waited}");
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
