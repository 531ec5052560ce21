//! The key cache at work, with an issuer in memory: under paused time, and in runtimes that come
//! and go.

use std::{
    collections::HashMap,
    future::{self, Future as _},
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    task,
};

use super::*;
use crate::{
    clock::ManualClock,
    issuer::Issuer,
    issuer_name::IssuerUrl,
    keys::source::{
        Discovery, Fetch, FetchContext, FetchError, FetchFuture, FetchRequest, FetchResponse,
        Remote,
    },
};

const KEYS: &str = "https://issuer.test/keys";
const DOCUMENT: &str = "https://issuer.test/.well-known/openid-configuration";

/// Longer than any fetch is away. Paused time passes at once, real time is not waited for.
const PATIENCE: Duration = secs(4 * 3600);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(1_795_250_000)
}

/// Both clocks follow tokio's, and so stand still while that is paused.
#[derive(Debug)]
struct TokioClock(time::Instant);

impl Clock for TokioClock {
    fn wall(&self) -> SystemTime {
        epoch() + self.0.elapsed()
    }

    fn monotonic(&self) -> std::time::Instant {
        time::Instant::now().into_std()
    }
}

/// What a URL does when it is read.
#[derive(Clone, Debug)]
enum Reply {
    Answer(FetchResponse),
    After(Duration, FetchResponse),
    Unreachable,
    Hang,
    Panic,
}

/// An issuer in memory.
#[derive(Debug)]
struct Source {
    replies: Mutex<HashMap<&'static str, Reply>>,
    requests: Mutex<Vec<FetchRequest>>,
    times: Mutex<Vec<time::Instant>>,
    /// As many fetches as began.
    began: watch::Sender<usize>,
}

impl Source {
    fn new(reply: Reply) -> Arc<Self> {
        Arc::new(Self {
            replies: Mutex::new(HashMap::from([(KEYS, reply)])),
            requests: Mutex::default(),
            times: Mutex::default(),
            began: watch::Sender::new(0),
        })
    }

    fn set(&self, reply: Reply) {
        self.set_at(KEYS, reply);
    }

    fn set_at(&self, url: &'static str, reply: Reply) {
        self.replies.lock().unwrap().insert(url, reply);
    }

    fn count(&self) -> usize {
        *self.began.borrow()
    }

    /// Waits until so many fetches began.
    async fn began(&self, count: usize) {
        let mut began = self.began.subscribe();
        let enough = began.wait_for(|began| *began >= count);
        time::timeout(PATIENCE, enough).await.expect("a fetch begins").unwrap();
    }

    /// The URLs that were read.
    fn urls(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|request| request.url().to_owned()).collect()
    }
}

impl Fetch for Source {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        let reply = self.replies.lock().unwrap().get(request.url()).cloned();
        self.requests.lock().unwrap().push(request);
        self.times.lock().unwrap().push(time::Instant::now());
        self.began.send_modify(|count| *count += 1);
        Box::pin(async move {
            match reply.unwrap_or(Reply::Unreachable) {
                Reply::After(wait, response) => {
                    time::sleep(wait).await;
                    Ok(response)
                }
                Reply::Answer(response) => Ok(response),
                Reply::Unreachable => Err(FetchError::new("no route to host")),
                Reply::Hang => future::pending().await,
                Reply::Panic => panic!("a bug in the fetcher"),
            }
        })
    }
}

pub(super) fn keys(kids: &[&str]) -> FetchResponse {
    // the public key of RFC 8037, A.2
    let key = |kid: &&str| {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
    };
    let keys: Vec<Value> = kids.iter().map(key).collect();
    FetchResponse::new(200, json!({ "keys": keys }).to_string())
}

fn good(kids: &[&str]) -> Reply {
    Reply::Answer(keys(kids))
}

fn status(status: u16) -> Reply {
    Reply::Answer(FetchResponse::new(status, ""))
}

pub(super) fn cache_of(remote: Remote, clock: impl Clock, settings: Settings) -> KeyCache {
    let allowed = Algorithm::ALL.into();
    let observed = Observed::new("https://issuer.test".into(), None);
    KeyCache::new(Arc::new(observed), remote, allowed, settings, Arc::new(clock))
}

fn remote(source: &Arc<Source>) -> Remote {
    Remote::known(KEYS.parse().unwrap(), Arc::<Source>::clone(source))
}

/// Under paused time.
fn paused(source: &Arc<Source>) -> KeyCache {
    cache_of(remote(source), TokioClock(time::Instant::now()), Settings::default())
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

/// Lets the others run until so many requests wait.
async fn waiting(cache: &KeyCache, count: usize) {
    for _ in 0..100_000 {
        if cache.0.waiting.load(Ordering::SeqCst) == count {
            return;
        }
        task::yield_now().await;
    }
    panic!("{} wait, not {count}", cache.0.waiting.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_share_one_fetch() {
    let source = Source::new(Reply::After(secs(1), keys(&["a"])));
    let cache = paused(&source);
    assert_eq!(source.count(), 0, "nothing is fetched before the first use");
    let start = time::Instant::now();
    let waiters: Vec<_> = (0..1_000).map(|_| spawn_get(&cache, "a")).collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }
    assert_eq!(source.count(), 1);
    assert_eq!(start.elapsed(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_known_key_is_there_without_waiting() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    assert!(!has(&cache, "a"));
    get(&cache, "a").await.unwrap();
    assert!(has(&cache, "a") && !has(&cache, "b"));
    source.set(Reply::Hang);
    let unknown = spawn_get(&cache, "b");
    source.began(2).await;
    assert!(has(&cache, "a"), "while others wait for theirs");
    assert_eq!(get(&cache, "a").await, Ok(()));
    unknown.abort();
}

#[tokio::test(start_paused = true)]
async fn a_set_is_refreshed_ahead_in_the_background() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    for round in 2..=5 {
        let start = time::Instant::now();
        source.set(good(&[["b", "c"][round % 2]]));
        source.began(round).await;
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
        let source = Source::new(Reply::Answer(keys(&["a"]).with_header("Cache-Control", &value)));
        let cache = paused(&source);
        get(&cache, "a").await.unwrap();
        let start = time::Instant::now();
        source.began(2).await;
        let waited = start.elapsed().as_secs_f64();
        assert!((from..to).contains(&waited), "{max_age}: {waited}");
    }
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn an_unknown_kid_gets_one_refresh_and_its_answer_from_the_new_set() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    source.set(good(&["a", "b"]));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(source.count(), 2);
    assert_eq!(get(&cache, "c").await, Err(Missing::UnknownKey));
    assert_eq!(source.count(), 3);
    // all the junk of the cooldown
    for junk in 0..1_000 {
        assert_eq!(get(&cache, &format!("junk-{junk}")).await, Err(Missing::UnknownKey));
    }
    assert_eq!(source.count(), 3);
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_beside_endless_unknown_ones_is_accepted_after_a_cooldown() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    for junk in 0..1_000 {
        assert_eq!(get(&cache, &junk.to_string()).await, Err(Missing::UnknownKey));
    }
    source.set(good(&["a", "b"]));
    let (start, before) = (time::Instant::now(), source.count());
    assert_eq!(get(&cache, "b").await, Err(Missing::UnknownKey), "the budget is spent");
    ended(&cache, before as u64 + 1).await;
    let waited = start.elapsed();
    assert!(waited <= secs(10) + Duration::from_millis(10), "{waited:?}");
    assert!(has(&cache, "b"), "without another request");
    assert_eq!(source.count(), before + 1, "exactly one");
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_beside_a_repeated_unknown_one_is_accepted_at_once() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    for key in 0..20 {
        for _ in 0..300 {
            assert_eq!(get(&cache, "foreign").await, Err(Missing::UnknownKey));
            time::sleep(Duration::from_millis(100)).await;
        }
        let key = format!("new-{key}");
        source.set(good(&["a", &key]));
        assert_eq!(get(&cache, &key).await, Ok(()), "{key}");
    }
}

// rule: new-key
#[tokio::test(start_paused = true)]
async fn new_key_that_an_api_server_does_not_list_for_three_seconds_is_accepted_within_ten() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    time::sleep(secs(60)).await;
    let start = time::Instant::now();
    let mut is_behind = true;
    while let Err(missing) = get(&cache, "b").await {
        assert_eq!(missing, Missing::UnknownKey);
        time::sleep(Duration::from_millis(100)).await;
        if is_behind && start.elapsed() >= secs(3) {
            is_behind = false;
            source.set(good(&["a", "b"]));
        }
    }
    assert!(start.elapsed() < secs(10), "{:?}", start.elapsed());
}

// rule: rotation-signs
#[tokio::test(start_paused = true)]
async fn suspicious_tokens_take_half_of_the_permits_for_waiters() {
    let source = Source::new(good(&["a"]));
    let settings = Settings { max_waiting: 4, ..Settings::default() };
    let cache = cache_of(remote(&source), TokioClock(time::Instant::now()), settings);
    get(&cache, "a").await.unwrap();
    let last = cache.wait_for(Some("a"), |_| true).await.unwrap();
    source.set(Reply::Hang);
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
    assert_eq!(source.count(), 2);
}

// rule: rotation-signs
#[tokio::test(start_paused = true)]
async fn suspicious_token_gets_the_set_that_replaces_its_own() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    let last = cache.wait_for(Some("a"), |_| true).await.unwrap();
    source.set(good(&["b"]));
    let newer = cache.wait_for_rotation(cache.arrive(), &last).await.expect("a new set");
    assert!(newer.keys().find(Some("b"), Algorithm::EdDsa).is_ok());
    assert!(cache.wait_for_rotation(cache.arrive(), &newer).await.is_none(), "in one cooldown");
    assert!(!cache.may_rotate());
    assert_eq!(source.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_fails_the_last_set_stays_until_it_is_too_old() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    let start = time::Instant::now();
    get(&cache, "a").await.unwrap();
    source.set(status(500));
    ended(&cache, 10).await;
    assert!(has(&cache, "a"));
    assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed);
    let dropped = start + secs(600 + 24 * 3600);
    time::sleep_until(dropped - secs(1)).await;
    assert!(has(&cache, "a"));
    time::sleep_until(dropped + secs(1)).await;
    assert!(!has(&cache, "a"));
    let failed = source.count();
    source.set(good(&["a"]));
    // and recovers by itself
    ended(&cache, failed as u64 + 1).await;
    assert!(has(&cache, "a"));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_asked_until_it_answers() {
    for down in [status(500), status(302), status(404), Reply::Unreachable, good(&[])] {
        let source = Source::new(down.clone());
        let cache = paused(&source);
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed, "{down:?}");
        assert_eq!(source.count(), 1, "{down:?}");
        ended(&cache, 3).await;
        source.set(good(&["a"]));
        ended(&cache, source.count() as u64 + 1).await;
        assert!(has(&cache, "a"), "{down:?}");
    }
}

// rule: backoff
#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_and_passed_on() {
    let too_many = FetchResponse::new(429, "").with_header("Retry-After", "45");
    let source = Source::new(Reply::Answer(too_many));
    let cache = paused(&source);
    let Err(Missing::Unavailable(unavailable)) = get(&cache, "a").await else { panic!("no 503") };
    let told = unavailable.retry_after();
    assert!((secs(45)..=secs(60)).contains(&told), "no sooner than asked, 60 s at most: {told:?}");
    let start = time::Instant::now();
    source.began(2).await;
    let waited = start.elapsed().as_secs_f64();
    assert!((told.as_secs_f64() - waited).abs() < 0.1, "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_bad_answer_keeps_the_last_set() {
    let secret = r#"{"keys":[{"kty":"oct","kid":"b","k":"c2VjcmV0"}]}"#;
    for body in ["", "<html>", "{}", r#"{"keys":[]}"#, secret] {
        let source = Source::new(good(&["a"]));
        let cache = paused(&source);
        get(&cache, "a").await.unwrap();
        source.set(Reply::Answer(FetchResponse::new(200, body)));
        assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed, "{body}");
        assert!(has(&cache, "a"), "{body}");
    }
}

// rule: waiting-requests
#[tokio::test(start_paused = true)]
async fn who_finds_no_place_to_wait_is_sent_away_at_once() {
    let source = Source::new(Reply::Hang);
    let settings = Settings { max_waiting: 3, ..Settings::default() };
    let cache = cache_of(remote(&source), TokioClock(time::Instant::now()), settings);
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
    assert_eq!(source.count(), 1);
}

// rule: waiting-requests
#[tokio::test(start_paused = true)]
async fn a_thousand_and_twenty_four_may_wait() {
    let source = Source::new(Reply::After(secs(1), keys(&["a"])));
    let cache = paused(&source);
    let waiters: Vec<_> = (0..1_024).map(|_| spawn_get(&cache, "a")).collect();
    waiting(&cache, 1_024).await;
    assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::TooManyWaiting);
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_does_not_take_the_fetch_with_it() {
    let source = Source::new(Reply::After(secs(1), keys(&["a"])));
    let cache = paused(&source);
    let waiter = spawn_get(&cache, "a");
    source.began(1).await;
    let other = spawn_get(&cache, "a");
    waiting(&cache, 2).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    assert_eq!(other.await.unwrap(), Ok(()));
    assert_eq!(source.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetcher_that_panics_is_a_failure_and_no_end() {
    let source = Source::new(Reply::Panic);
    let cache = paused(&source);
    let waiters: Vec<_> = (0..10).map(|_| spawn_get(&cache, "a")).collect();
    for waiter in waiters {
        let Err(Missing::Unavailable(unavailable)) = waiter.await.unwrap() else {
            panic!("no 503")
        };
        assert_eq!(unavailable.cause(), KeysUnavailableCause::FetchFailed);
    }
    assert_eq!(source.count(), 1);
    source.set(good(&["a"]));
    // the longest back-off after one failure
    time::sleep(secs(1)).await;
    assert_eq!(get(&cache, "a").await, Ok(()));
    // and when it is there only to be refreshed
    source.set(Reply::Panic);
    source.began(3).await;
    assert!(has(&cache, "a"));
    source.set(good(&["b"]));
    time::sleep(secs(10)).await;
    assert!(has(&cache, "a"), "this request finds that the timer is gone");
    ended(&cache, 4).await;
    assert!(has(&cache, "b"));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_a_fetch_may_take() {
    let source = Source::new(Reply::Hang);
    let cache = paused(&source);
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
    source.set(good(&["a"]));
    ended(&cache, 2).await;
    assert!(has(&cache, "a"), "the cache recovers by itself");
}

#[tokio::test(start_paused = true)]
async fn discovery_and_keys_together_have_one_timeout() {
    let document = json!({ "issuer": "https://issuer.test", "jwks_uri": KEYS }).to_string();
    let document = FetchResponse::new(200, document);
    let source = Source::new(Reply::After(secs(3), keys(&["a"])));
    source.set_at(DOCUMENT, Reply::After(secs(3), document.clone()));
    let cache = discovered(&source);
    let start = time::Instant::now();
    assert!(get(&cache, "a").await.is_err());
    assert!(start.elapsed() < secs(6), "{:?}", start.elapsed());
}

/// Both are slow, and together slower than a fetch may take.
// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn slow_document_and_slow_keys_are_read_by_two_fetches_in_turn() {
    for of in [discovered, api_server] {
        let source = Source::new(Reply::After(secs(3), keys(&["a"])));
        let slow_document = FetchResponse::new(200, document_text(KEYS));
        source.set_at(DOCUMENT, Reply::After(secs(3), slow_document));
        let cache = of(&source);
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

/// As `Issuer::in_cluster` has it: the document is read at each fetch.
fn api_server(source: &Arc<Source>) -> KeyCache {
    let folder = std::env::temp_dir().join(format!("kube-oidc-{}", fastrand::u64(..)));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["ca.crt", "token"] {
        std::fs::write(folder.join(file), "").unwrap();
    }
    let issuer = Issuer::in_cluster_at("https://issuer.test", &folder).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let names = Arc::new(issuer.names(Arc::new(())));
    let observed = Arc::new(Observed::new("https://issuer.test".into(), None));
    let (document, jwks_uri) = (DOCUMENT.parse().unwrap(), KEYS.parse().unwrap());
    let fetcher = Arc::<Source>::clone(source);
    let remote = Remote::api_server(&document, jwks_uri, names, observed, fetcher);
    cache_of(remote, TokioClock(time::Instant::now()), Settings::default())
}

fn discovered(source: &Arc<Source>) -> KeyCache {
    let fetcher = Arc::<Source>::clone(source);
    let url: IssuerUrl = "https://issuer.test".parse().unwrap();
    let names = Arc::new(Issuer::new(url.clone()).names(Arc::new(())));
    let remote = Remote::discovered(&url, names, fetcher);
    cache_of(remote, TokioClock(time::Instant::now()), Settings::default())
}

fn document_text(jwks_uri: &str) -> String {
    json!({ "issuer": "https://issuer.test", "jwks_uri": jwks_uri }).to_string()
}

fn document(jwks_uri: &str) -> Reply {
    let document = FetchResponse::new(200, document_text(jwks_uri));
    Reply::Answer(document.with_header("Cache-Control", "max-age=3600"))
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn the_document_is_read_again_when_its_key_url_is_gone() {
    const MOVED: &str = "https://issuer.test/moved";
    for gone in [status(404), status(410), Reply::Unreachable, Reply::Hang] {
        let source = Source::new(good(&["a"]));
        source.set_at(DOCUMENT, document(KEYS));
        let cache = discovered(&source);
        get(&cache, "a").await.unwrap();
        source.set(gone.clone());
        source.set_at(MOVED, good(&["b"]));
        source.set_at(DOCUMENT, document(MOVED));
        // the refresh fails, and the retry after it works; the document would be good for longer
        ended(&cache, 3).await;
        assert!(has(&cache, "b"), "{gone:?}");
        assert_eq!(source.urls(), [DOCUMENT, KEYS, KEYS, DOCUMENT, MOVED], "{gone:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn key_that_is_missing_at_the_known_url_is_found_at_a_moved_one() {
    const MOVED: &str = "https://issuer.test/moved";
    let source = Source::new(good(&["a"]));
    source.set_at(DOCUMENT, document(KEYS));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    // the old URL goes on serving the old set
    source.set_at(MOVED, good(&["a", "b"]));
    source.set_at(DOCUMENT, document(MOVED));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(source.urls(), [DOCUMENT, KEYS, KEYS, DOCUMENT, MOVED]);
    // an ordinary refresh does not read a fresh document again
    ended(&cache, 3).await;
    assert_eq!(source.urls()[5..], [MOVED]);
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn key_that_is_new_at_the_known_url_needs_no_document() {
    let source = Source::new(good(&["a"]));
    source.set_at(DOCUMENT, document(KEYS));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    source.set(good(&["a", "b"]));
    assert_eq!(get(&cache, "b").await, Ok(()));
    assert_eq!(source.urls(), [DOCUMENT, KEYS, KEYS]);
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_whose_server_is_down_leaves_the_last_url_in_use() {
    for down in [Reply::Unreachable, Reply::Hang, status(429), status(500), status(503)] {
        let source = Source::new(good(&["a"]));
        source.set_at(DOCUMENT, document(KEYS));
        let cache = discovered(&source);
        get(&cache, "a").await.unwrap();
        source.set_at(DOCUMENT, down.clone());
        // long past the lifetime of the document and of the set
        time::sleep(secs(3 * 24 * 3600)).await;
        assert!(has(&cache, "a"), "{down:?}");
        assert!(!cache.0.machine().is_failing(), "{down:?}");
        source.set(good(&["a", "b"]));
        assert_eq!(get(&cache, "b").await, Ok(()), "{down:?}");
        assert_eq!(get(&cache, "c").await, Err(Missing::UnknownKey), "{down:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_is_gone_or_wrong_ends_the_use_of_the_last_url() {
    let foreign = json!({ "issuer": "https://other.test", "jwks_uri": KEYS }).to_string();
    for wrong in [
        status(404),
        status(410),
        status(301),
        Reply::Answer(FetchResponse::new(200, foreign)),
        Reply::Answer(FetchResponse::new(200, "<html>")),
    ] {
        let source = Source::new(good(&["a"]));
        source.set_at(DOCUMENT, document(KEYS));
        let cache = discovered(&source);
        get(&cache, "a").await.unwrap();
        source.set_at(DOCUMENT, wrong.clone());
        assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed, "{wrong:?}");
        // not when its server is down after that either
        source.set_at(DOCUMENT, Reply::Unreachable);
        let before = source.urls().len();
        time::sleep(secs(60)).await;
        assert!(source.urls().len() > before, "{wrong:?}");
        assert!(!source.urls()[before..].contains(&KEYS.to_owned()), "{wrong:?}");
        assert!(has(&cache, "a"), "{wrong:?}");
        source.set_at(DOCUMENT, document(KEYS));
        time::sleep(secs(60)).await;
        assert!(!cache.0.machine().is_failing(), "{wrong:?}");
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_hangs_leaves_time_to_the_keys() {
    let source = Source::new(good(&["a"]));
    source.set_at(DOCUMENT, document(KEYS));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    source.set_at(DOCUMENT, Reply::Hang);
    source.set(Reply::After(secs(2), keys(&["a", "b"])));
    time::sleep(secs(3600)).await;
    let failures = cache.0.history().failures;
    assert_eq!((failures, has(&cache, "b")), (0, true));
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn document_that_an_abandoned_fetch_read_is_discarded() {
    const MOVED: &str = "https://issuer.test/moved";
    let source = Source::new(good(&["a"]));
    source.set_at(DOCUMENT, document(KEYS));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    // a fetch that stalls after it has read another document
    source.set_at(DOCUMENT, document(MOVED));
    source.set_at(MOVED, good(&["b"]));
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
    source.set_at(DOCUMENT, Reply::Unreachable);
    cache.refresh().await.unwrap();
    assert!(has(&cache, "a") && !has(&cache, "b"));
    assert_eq!(source.urls().last().map(String::as_str), Some(DOCUMENT), "of the known URL");
}

/// Whatever callers send and an issuer answers, its requests are counted where they arrive.
// rule: fetch-budget
#[tokio::test(start_paused = true)]
async fn issuer_gets_at_most_twelve_requests_in_thirty_seconds() {
    const MOVED: &str = "https://issuer.test/moved";
    for seed in 0..20 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let source = Source::new(good(&["a"]));
        source.set_at(DOCUMENT, document(KEYS));
        let cache = discovered(&source);
        get(&cache, "a").await.unwrap();
        for kid in 0..2_000 {
            match dice.u8(..40) {
                0 => source.set(status(404)),
                1 => source.set(status(500)),
                2 => source.set(Reply::Hang),
                3..6 => source.set(good(&["a"])),
                6 => source.set_at(DOCUMENT, document(MOVED)),
                7 => source.set_at(DOCUMENT, document(KEYS)),
                8 => source.set_at(DOCUMENT, Reply::Unreachable),
                9 => source.set_at(DOCUMENT, status(404)),
                10 => source.set_at(MOVED, good(&["c"])),
                _ => {}
            }
            let _ = get(&cache, &kid.to_string()).await;
            time::sleep(Duration::from_millis(dice.u64(..1_000))).await;
        }
        let times = source.times.lock().unwrap();
        assert!(times.len() > 100, "{}", times.len());
        for thirteen in times.windows(13) {
            let passed = thirteen[12] - thirteen[0];
            assert!(passed >= secs(30), "{passed:?}, seed {seed}");
        }
    }
}

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn the_document_is_kept_while_its_key_url_only_fails() {
    let source = Source::new(good(&["a"]));
    source.set_at(DOCUMENT, document(KEYS));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    source.set(status(500));
    ended(&cache, 3).await;
    assert_eq!(source.urls(), [DOCUMENT, KEYS, KEYS, KEYS]);
}

// rule: freshness
#[tokio::test(start_paused = true)]
async fn validators_of_a_response_are_never_sent_back() {
    let date = "Sat, 21 Nov 2026 06:47:42 GMT";
    let tagged = |set: FetchResponse| {
        Reply::Answer(set.with_header("etag", "\"1\"").with_header("last-modified", date))
    };
    let source = Source::new(tagged(keys(&["a"])));
    let document = FetchResponse::new(200, document_text(KEYS));
    source.set_at(DOCUMENT, tagged(document));
    let cache = discovered(&source);
    get(&cache, "a").await.unwrap();
    // by the timer, for an unknown key, after a failure, and for an operator
    ended(&cache, 2).await;
    assert_eq!(get(&cache, "b").await, Err(Missing::UnknownKey));
    source.set(status(500));
    cache.refresh().await.unwrap_err();
    source.set(tagged(keys(&["a"])));
    ended(&cache, source.count() as u64).await;
    cache.refresh().await.unwrap();
    let requests = source.requests.lock().unwrap();
    assert!(requests.len() > 5);
    for request in &*requests {
        let conditions: Vec<_> =
            request.headers().filter(|(name, _)| name.starts_with("if-")).collect();
        assert_eq!(conditions, [], "{}", request.url());
    }
}

// rule: freshness
#[tokio::test(start_paused = true)]
async fn not_modified_response_is_a_failure() {
    let source = Source::new(status(304));
    let cache = paused(&source);
    assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed);
    source.set(Reply::Answer(keys(&["a"]).with_header("ETag", "\"1\"")));
    ended(&cache, 2).await;
    source.set(status(304));
    assert_eq!(cause(&cache, "b").await, KeysUnavailableCause::FetchFailed);
    assert!(has(&cache, "a"));
}

#[tokio::test(start_paused = true)]
async fn background_work_ends_with_the_last_cache() {
    let alive = || Handle::current().metrics().num_alive_tasks();
    for reply in [good(&["a"]), status(500), Reply::After(secs(4), keys(&["a"]))] {
        let source = Source::new(reply.clone());
        let cache = paused(&source);
        let waiter = spawn_get(&cache, "a");
        source.began(1).await;
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
        assert_eq!(Arc::strong_count(&source), 1, "{reply:?}");
        assert_eq!(source.count(), 1, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_one_timer_however_many_fetches_requests_start() {
    let source = Source::new(good(&["a"]));
    let cache = paused(&source);
    get(&cache, "a").await.unwrap();
    for round in 0..5 {
        time::sleep(secs(31)).await;
        let kid = round.to_string();
        source.set(good(&["a", &kid]));
        assert_eq!(get(&cache, &kid).await, Ok(()));
    }
    assert_eq!(source.count(), 6);
    // the timers that were replaced learn it when the fetch that replaced them ends
    for _ in 0..10 {
        task::yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
}

/// Real time, with a clock that is turned by hand.
fn by_hand(source: &Arc<Source>, fetch_timeout: Duration) -> (KeyCache, ManualClock) {
    let clock = ManualClock::at(epoch());
    let settings = Settings { fetch_timeout, ..Settings::default() };
    (cache_of(remote(source), clock.clone(), settings), clock)
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Longer than a test may hang: who waits so long has not been woken.
const FOREVER: Duration = secs(60);

#[test]
fn one_cache_serves_several_runtimes_one_after_the_other() {
    let source = Source::new(good(&["0"]));
    let (cache, clock) = by_hand(&source, FOREVER);
    for round in 0..5 {
        let kid = round.to_string();
        source.set(good(&[&kid]));
        assert_eq!(runtime().block_on(get(&cache, &kid)), Ok(()));
        assert!(has(&cache, &kid), "known keys work outside of any runtime");
        clock.advance(secs(31));
    }
    assert_eq!(source.count(), 5);
}

#[test]
fn a_runtime_that_ends_with_a_fetch_in_the_air_keeps_nobody_waiting() {
    let source = Source::new(Reply::Hang);
    let (cache, _) = by_hand(&source, FOREVER);
    for round in 1..=2 {
        runtime().block_on(async {
            let _waiter = spawn_get(&cache, "a");
            source.began(round).await;
        });
    }
    source.set(good(&["a"]));
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()));
    assert_eq!(source.count(), 3);
}

#[test]
fn who_joined_a_fetch_of_a_runtime_that_ends_starts_another() {
    let source = Source::new(Reply::Hang);
    let (cache, _) = by_hand(&source, FOREVER);
    let first = runtime();
    first.block_on(async {
        spawn_get(&cache, "a");
        source.began(1).await;
        waiting(&cache, 1).await;
    });
    thread::scope(|scope| {
        let joined = scope.spawn(|| runtime().block_on(get(&cache, "a")));
        while cache.0.waiting.load(Ordering::SeqCst) != 2 && !joined.is_finished() {
            thread::yield_now();
        }
        source.set(good(&["a"]));
        drop(first);
        assert_eq!(joined.join().unwrap(), Ok(()));
    });
    assert_eq!(source.count(), 2);
}

#[test]
fn a_runtime_that_stands_still_holds_nobody_for_ever() {
    let source = Source::new(Reply::Hang);
    let (cache, clock) = by_hand(&source, Duration::from_millis(50));
    // neither driven nor dropped again while its fetch is in the air
    let still = runtime();
    still.block_on(async {
        spawn_get(&cache, "a");
        source.began(1).await;
    });
    source.set(good(&["a"]));
    runtime().block_on(async {
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchTimedOut);
        clock.advance(Duration::from_millis(1_050));
        assert_eq!(get(&cache, "a").await, Ok(()));
    });
    assert_eq!(source.count(), 2);
}

#[test]
fn a_runtime_that_ends_before_its_fetch_began_holds_nobody_for_ever() {
    let source = Source::new(good(&["a"]));
    let (cache, clock) = by_hand(&source, Duration::from_millis(50));
    runtime().block_on(async {
        let mut asking = Box::pin(get(&cache, "a"));
        // one poll starts the fetch, and the runtime ends before it gets to it
        let polled = future::poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    });
    assert_eq!(source.count(), 0);
    clock.advance(Duration::from_millis(1_050));
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()));
}

#[test]
fn the_request_that_finds_the_timers_runtime_gone_starts_the_refresh() {
    let source = Source::new(good(&["a"]));
    let (cache, clock) = by_hand(&source, secs(5));
    runtime().block_on(get(&cache, "a")).unwrap();
    source.set(good(&["b"]));
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
    let source = Source::new(good(&["a"]));
    let (cache, clock) = by_hand(&source, secs(5));
    runtime().block_on(async {
        get(&cache, "a").await.unwrap();
        clock.set_wall(epoch() + secs(600 + 24 * 3600));
        assert!(!has(&cache, "a"), "judged when it is read");
        assert_eq!(get(&cache, "a").await, Ok(()));
        assert_eq!(source.count(), 2);
        clock.set_wall(epoch() + secs(2 * (600 + 24 * 3600)));
        source.set(status(500));
        assert_eq!(cause(&cache, "a").await, KeysUnavailableCause::FetchFailed);
        assert_eq!(source.count(), 3);
    });
}

#[test]
fn outside_of_a_runtime_nothing_is_fetched_and_nothing_panics() {
    let source = Source::new(good(&["a"]));
    let (cache, _) = by_hand(&source, secs(5));
    let poll = |kid: &str| {
        let mut context = Context::from_waker(Waker::noop());
        pin!(cause(&cache, kid)).poll(&mut context)
    };
    for _ in 0..3 {
        assert_eq!(poll("a"), Poll::Ready(KeysUnavailableCause::NoRuntime));
    }
    assert_eq!(source.count(), 0);
    assert_eq!(runtime().block_on(get(&cache, "a")), Ok(()), "nothing of it is left");
    let known = pin!(get(&cache, "a")).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(known, Poll::Ready(Ok(())));
    assert_eq!(poll("b"), Poll::Ready(KeysUnavailableCause::NoRuntime));
    assert_eq!(cache.0.waiting.load(Ordering::SeqCst), 0);
}

#[test]
fn outside_of_a_runtime_nobody_waits_for_a_fetch_of_another() {
    let source = Source::new(Reply::Hang);
    let (cache, _) = by_hand(&source, secs(5));
    let elsewhere = runtime();
    elsewhere.block_on(async {
        spawn_get(&cache, "a");
        source.began(1).await;
    });
    let mut context = Context::from_waker(Waker::noop());
    let polled = pin!(cause(&cache, "a")).poll(&mut context);
    assert_eq!(polled, Poll::Ready(KeysUnavailableCause::NoRuntime));
}
