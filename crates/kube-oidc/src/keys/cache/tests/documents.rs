//! Discovery documents: when they are read, and what follows from each.

use super::*;
use crate::{
    issuer::Issuer,
    keys::source::{Discovery, FetchContext},
};

/// As `Issuer::in_cluster` has it: the document is read at each fetch.
fn api_server(fetcher: &Arc<ScriptedFetcher>) -> KeyCache {
    let api_server = "https://issuer.test".parse().unwrap();
    let names = Arc::new(Issuer::api_server(api_server, Arc::clone(fetcher)).names(Arc::new(())));
    let (document, jwks_uri) = (DOCUMENT.parse().unwrap(), KEYS.parse().unwrap());
    let fetcher = Arc::<ScriptedFetcher>::clone(fetcher);
    let remote = Remote::api_server(&document, jwks_uri, names, observed(), fetcher);
    cache_of(remote, TokioClock::start(), KeyCacheSettings::default())
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

// rule: moved-keys
#[tokio::test(start_paused = true)]
async fn the_document_is_kept_while_its_key_url_only_fails() {
    let (fetcher, cache) = discovered_with_key().await;
    fetcher.set(KEYS, FetchReply::status(500));
    ended(&cache, 3).await;
    assert_eq!(fetcher.urls(), [DOCUMENT, KEYS, KEYS, KEYS]);
}
