//! What really reaches an issuer, counted by the issuer, over TCP.

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use kube_oidc::{KeySource, KeysUnavailableCause, Reason, Verifier, VerifyError};
use kube_oidc_testing::{Endpoint, MockResponse, SigningKey, TestIssuer};
use kube_oidc_tests::{HttpServer, Judge as _, builder_for, issuer_with, token_for, verifier_for};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_kube_oidc::OidcAuthLayer;

/// Verifies a token many times at once, and counts the ones that were accepted.
async fn at_once(verifier: &Verifier, tokens: impl IntoIterator<Item = String>) -> usize {
    let mut tasks = JoinSet::new();
    for token in tokens {
        let verifier = verifier.clone();
        tasks.spawn(async move { verifier.judge(&token).await.is_ok() });
    }
    tasks.join_all().await.into_iter().filter(|accepted| *accepted).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_cause_one_fetch() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    assert_eq!(issuer.received_requests().len(), 0, "nothing is fetched before the first use");
    let good = token_for(&issuer).mint();
    let accepted = at_once(&verifier, (0..1_000).map(|_| good.clone())).await;
    assert_eq!(accepted, 1_000);
    assert_eq!((issuer.discovery_fetches(), issuer.key_fetches()), (1, 1));
}

// rule: new-key
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_tokens_of_a_new_key_cause_one_fetch() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let old = token_for(&issuer).mint();
    assert!(verifier.judge(&old).await.is_ok());
    issuer.rotate();
    let new = token_for(&issuer).mint();
    assert_eq!(at_once(&verifier, (0..100).map(|_| new.clone())).await, 100);
    assert_eq!(issuer.key_fetches(), 2);
    // the old key is still published
    assert!(verifier.judge(&old).await.is_ok());
    assert_eq!(issuer.key_fetches(), 2);
}

// rule: fetch-budget
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_unknown_kids_cause_a_few_fetches() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let good = token_for(&issuer).mint();
    assert!(verifier.judge(&good).await.is_ok());
    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    let junk = (0..10_000).map(|index| {
        let key = stranger.clone().with_kid(&format!("junk-{index}"));
        issuer.token().audience("orders").signed_by(&key).mint()
    });
    let before = resident_kilobytes();
    let began = std::time::Instant::now();
    let (accepted, mut times) =
        tokio::join!(at_once(&verifier, junk), timed(&verifier, &good, 1_000));
    assert_eq!(accepted, 0);
    let budget = 3 + began.elapsed().as_secs() / 10;
    assert!(issuer.key_fetches() as u64 <= budget, "{}", issuer.key_fetches());
    times.sort_unstable();
    let grown = resident_kilobytes().saturating_sub(before);
    println!(
        "good tokens beside 10,000 unknown kids: p99 {:?}, slowest {:?}; {} key fetches, {} \
         discovery fetches; resident memory grew by {grown} KiB, the tasks of the test included",
        times[990],
        times[999],
        issuer.key_fetches(),
        issuer.discovery_fetches(),
    );
    // 10,000 tokens of a kilobyte and their tasks are 30 MB; a set of kids that grows is more
    assert!(grown < 100 * 1024, "{grown} KiB");
}

/// Verifies a token so many times, one after the other, and takes the time of each.
async fn timed(verifier: &Verifier, token: &str, rounds: usize) -> Vec<Duration> {
    let mut durations = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = std::time::Instant::now();
        assert!(verifier.judge(token).await.is_ok());
        durations.push(start.elapsed());
        tokio::task::yield_now().await;
    }
    durations
}

/// What this process has in memory, or 0 where that cannot be read.
fn resident_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

// rule: waiting-requests
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_beside_an_issuer_that_hangs_is_not_felt_behind_an_inner_limit() {
    async fn greet(_: Request<Body>) -> Result<Response<Body>, Infallible> {
        Ok(Response::new(Body::empty()))
    }
    let issuer = TestIssuer::start();
    let patience = Duration::from_secs(5);
    let verifier = builder_for(&issuer).fetch_timeout(patience).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(OidcAuthLayer::from(verifier))
        .concurrency_limit(64)
        .service(service_fn(greet));
    let ask = |token: &str| {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        service.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    let good = token_for(&issuer).mint();
    assert_eq!(ask(&good).await.unwrap().status(), StatusCode::OK);
    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    let junk: Vec<String> = (0..10_000)
        .map(|index| {
            let key = stranger.clone().with_kid(&format!("junk-{index}"));
            issuer.token().audience("orders").signed_by(&key).mint()
        })
        .collect();
    issuer.respond_with(Endpoint::Jwks, MockResponse::hang());

    let start = std::time::Instant::now();
    let mut flood = JoinSet::new();
    for (index, junk) in junk.iter().enumerate() {
        flood.spawn(ask(junk));
        if index % 10 == 0 {
            assert_eq!(ask(&good).await.unwrap().status(), StatusCode::OK);
        }
    }
    for response in flood.join_all().await {
        assert_eq!(response.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    // the first fetch succeeded, and each of the others hung for as long as `patience`
    let most = 2 + usize::try_from(start.elapsed().as_secs() / patience.as_secs()).unwrap();
    assert!(issuer.key_fetches() <= most, "{} of at most {most}", issuer.key_fetches());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_go_away_while_they_wait_harm_nobody() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap();
    for _ in 0..20 {
        issuer.rotate();
        let new = token_for(&issuer).mint();
        let mut waiting = JoinSet::new();
        for _ in 0..50 {
            let (verifier, new) = (verifier.clone(), new.clone());
            let patience = Duration::from_micros(fastrand::u64(..4_000));
            let patient = fastrand::bool();
            waiting.spawn(async move {
                let verdict = verifier.judge(&new);
                if patient {
                    verdict.await.is_ok()
                } else {
                    // whoever loses patience says nothing of the token
                    tokio::time::timeout(patience, verdict)
                        .await
                        .map_or(true, |verdict| verdict.is_ok())
                }
            });
        }
        assert!(waiting.join_all().await.into_iter().all(|fine| fine));
    }
}

// rule: new-key
#[tokio::test]
async fn new_key_is_rejected_without_a_fetch_once_the_budget_is_spent() {
    let issuer = TestIssuer::start();
    let verifier =
        builder_for(&issuer).unknown_kid_cooldown(Duration::from_secs(3600)).build().unwrap();
    assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    for fetches in [2, 3, 3] {
        let key = stranger.clone().with_kid(&format!("junk-{fetches}"));
        let junk = issuer.token().audience("orders").signed_by(&key).mint();
        assert_eq!(verifier.judge(&junk).await.unwrap_err().reason(), Reason::UnknownKey);
        assert_eq!(issuer.key_fetches(), fetches);
    }
    // a key that is published now is not seen until a fetch comes back into the budget
    issuer.rotate();
    let error = verifier.judge(&token_for(&issuer).mint()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UnknownKey);
    assert_eq!(issuer.key_fetches(), 3);
}

/// Serves this key set.
fn serve(issuer: &TestIssuer, keys: &[serde_json::Value]) {
    let body = serde_json::json!({ "keys": keys }).to_string();
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(200, body));
}

/// A key as issuers publish it that do not derive the `kid` from the key, or have none.
fn jwk(key: &SigningKey, kid: Option<&str>) -> serde_json::Value {
    let mut jwk = key.jwk();
    match kid {
        Some(kid) => jwk["kid"] = kid.into(),
        None => drop(jwk.as_object_mut().unwrap().remove("kid")),
    }
    jwk
}

fn signed(issuer: &TestIssuer, key: &SigningKey, kid: Option<&str>) -> String {
    let token = issuer.token().audience("orders").signed_by(key);
    match kid {
        Some(kid) => token.header("kid", kid).mint(),
        None => token.without_header("kid").mint(),
    }
}

/// RFC 7517, 4.5: what a `kid` looks like is up to the issuer, and so is whether there is one.
// rule: rotation-signs
#[tokio::test]
async fn key_that_was_replaced_under_its_name_is_found_by_its_first_token() {
    use kube_oidc_testing::SigningAlgorithm::{EdDsa, Es256};
    for (kid, algorithm, reason) in [
        (Some("1"), Es256, Reason::Signature),
        (Some("1"), EdDsa, Reason::AlgorithmMismatch),
        (None, Es256, Reason::Signature),
        (None, EdDsa, Reason::UnknownKey),
    ] {
        let (old, new) = (SigningKey::generate(Es256), SigningKey::generate(algorithm));
        let issuer = TestIssuer::start();
        serve(&issuer, &[jwk(&old, kid)]);
        let verifier = verifier_for(&issuer);
        assert!(verifier.judge(&signed(&issuer, &old, kid)).await.is_ok(), "{kid:?} {reason:?}");
        serve(&issuer, &[jwk(&new, kid)]);
        let first = signed(&issuer, &new, kid);
        assert!(
            !verifier.explain(&first).is_accepted(),
            "{reason:?}: nothing is fetched to explain"
        );
        assert_eq!(issuer.key_fetches(), 1);
        assert!(verifier.judge(&first).await.is_ok(), "{kid:?} {reason:?}");
        assert_eq!(issuer.key_fetches(), 2);
        // the old key is gone; its token is one more sign of a rotation, for which no fetch starts
        let error = verifier.judge(&signed(&issuer, &old, kid)).await.unwrap_err();
        assert_eq!(error.retry_after(), None, "{error}");
        assert_eq!(issuer.key_fetches(), 2);
    }
}

// rule: rotation-signs
#[tokio::test]
async fn forged_tokens_cause_one_fetch_in_a_cooldown_and_never_503() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::Rs256);
    let forged = || issuer.token().audience("orders").forged_by(&stranger);
    // none for tokens that would not pass with a good signature either, or whose key is distrusted
    for hopeless in [
        forged().expired(),
        issuer.token().audience("vault").forged_by(&stranger),
        forged().claim("sub", "system:serviceaccount:other:other"),
        forged().claim("jti", "denied"),
    ] {
        verifier.deny_jti("denied");
        let error = verifier.judge(&hopeless.mint()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Signature);
        assert_eq!(issuer.key_fetches(), 1);
    }
    for _ in 0..100 {
        let error = verifier.judge(&forged().mint()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Signature);
    }
    assert_eq!(issuer.key_fetches(), 2);
    // they left a fetch for a new key
    issuer.rotate();
    assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
    assert_eq!(issuer.key_fetches(), 3);

    let failing = verifier_for(&issuer);
    assert!(failing.judge(&token_for(&issuer).mint()).await.is_ok());
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    for _ in 0..3 {
        let error = failing.judge(&forged().mint()).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Signature, "the verdict of the cached set");
    }
    let distrusting = verifier_for(&issuer);
    issuer.reset_response(Endpoint::Jwks);
    assert!(distrusting.judge(&token_for(&issuer).mint()).await.is_ok());
    let fetches = issuer.key_fetches();
    distrusting.distrust_key(issuer.url(), issuer.signing_key().kid());
    let error = distrusting.judge(&forged().mint()).await.unwrap_err();
    assert_eq!(error.reason(), Reason::DistrustedKey);
    assert_eq!(issuer.key_fetches(), fetches);
}

#[tokio::test]
async fn without_a_cooldown_a_new_key_is_found_at_once() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap();
    for fetches in 1..=4 {
        assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
        assert_eq!(issuer.key_fetches(), fetches);
        issuer.rotate();
    }
    // the document is read once in its lifetime
    assert_eq!(issuer.discovery_fetches(), 1);
}

// rule: key-identity, removed-key
#[tokio::test]
async fn a_key_that_left_the_set_is_refused_from_the_next_refresh_on() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap();
    let old = token_for(&issuer).mint();
    assert!(verifier.judge(&old).await.is_ok());
    issuer.rotate();
    issuer.drop_old_keys();
    assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
    assert_eq!(verifier.judge(&old).await.unwrap_err().reason(), Reason::UnknownKey);
}

// rule: fetch-budget
#[tokio::test]
async fn only_a_token_that_could_pass_is_worth_a_fetch() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let minted = || issuer.token().audience("orders");
    for (token, reason) in [
        (minted().expired().mint(), Reason::Expired),
        (issuer.token().audience("vault").mint(), Reason::Audience),
        (minted().claim("iss", "https://evil.example").mint(), Reason::UnknownIssuer),
        (minted().header("alg", "HS256").mint(), Reason::Algorithm),
        (minted().header("alg", "none").signature("").mint(), Reason::Algorithm),
        (minted().header("typ", "at+jwt").mint(), Reason::Type),
        (minted().claim("nbf", 9_999_999_999_u64).mint(), Reason::NotYetValid),
        (minted().claim("iat", 9_999_999_999_u64).mint(), Reason::IssuedInFuture),
        ("garbage".to_owned(), Reason::Malformed),
        ("a".repeat(100_000), Reason::TooLong),
    ] {
        let error = verifier.judge(&token).await.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(matches!(error, VerifyError::Invalid(_)), "{error}");
    }
    assert_eq!(issuer.received_requests().len(), 0);
}

#[tokio::test]
async fn an_issuer_that_is_down_at_first_is_found_when_it_comes_up() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let verifier = verifier_for(&issuer);
    let good = token_for(&issuer).mint();
    match verifier.judge(&good).await.unwrap_err() {
        VerifyError::Unavailable(unavailable) => {
            assert_eq!(unavailable.cause(), KeysUnavailableCause::FetchFailed);
        }
        error => panic!("{error}"),
    }
    issuer.restart();
    loop {
        match verifier.judge(&good).await {
            Ok(_) => break,
            Err(VerifyError::Unavailable(unavailable)) => {
                tokio::time::sleep(unavailable.retry_after()).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn another_issuers_document_is_not_believed() {
    let issuer = TestIssuer::start();
    let document =
        format!(r#"{{"issuer":"{}/","jwks_uri":"{}"}}"#, issuer.url(), issuer.jwks_uri());
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    let verifier = verifier_for(&issuer);
    let error = verifier.judge(&token_for(&issuer).mint()).await.unwrap_err();
    assert!(matches!(error, VerifyError::Unavailable(_)), "{error}");
    assert_eq!(issuer.key_fetches(), 0);
}

/// A server of static files whose modification times never change, as in a reproducible image: its
/// validators are the same for each key set of this length (RFC 9110, 8.8).
// rule: fresh-fetch
#[tokio::test]
async fn forced_refresh_removes_a_key_behind_validators_that_never_change() {
    let issuer = TestIssuer::start();
    let leaked = issuer.token().audience("orders").mint();
    let conditional = Arc::new(AtomicBool::new(false));
    let file = Arc::new(Mutex::new(issuer.key_set().to_string()));
    let app = Router::new().route("/keys", {
        let (conditional, file) = (Arc::clone(&conditional), Arc::clone(&file));
        get(move |request: Request<Body>| {
            let headers = request.headers();
            let answer = if headers.contains_key("if-none-match") {
                conditional.store(true, Ordering::SeqCst);
                (StatusCode::NOT_MODIFIED, String::new())
            } else {
                assert_eq!(headers["cache-control"], "no-cache");
                (StatusCode::OK, file.lock().unwrap().clone())
            };
            ready((
                [("etag", "\"1-1ce\""), ("last-modified", "Thu, 01 Jan 1970 00:00:01 GMT")],
                answer,
            ))
        })
    });
    let server = HttpServer::start(app).await;
    let trusted = issuer_with(&issuer, KeySource::jwks(format!("{}/keys", server.url())));
    let verifier = verifier_for(trusted);
    assert!(verifier.judge(&leaked).await.is_ok());
    issuer.rotate();
    issuer.drop_old_keys();
    *file.lock().unwrap() = issuer.key_set().to_string();
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verifier.judge(&leaked).await.unwrap_err().reason(), Reason::UnknownKey);
    assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok());
    assert!(!conditional.load(Ordering::SeqCst), "a fetch sent a condition");
}

#[test]
fn one_verifier_serves_several_runtimes_one_after_the_other() {
    let issuer = TestIssuer::start();
    let verifier =
        Arc::new(builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap());
    for round in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert!(verifier.judge(&token_for(&issuer).mint()).await.is_ok(), "round {round}");
        });
        issuer.rotate();
    }
    assert_eq!(issuer.key_fetches(), 3);
    // and outside a runtime what is known works, and the rest is unavailable
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let known = token_for(&issuer).mint();
    runtime.block_on(async { assert!(verifier.judge(&known).await.is_ok()) });
    drop(runtime);
    assert!(matches!(verifier.judge_now(&known), Some(Ok(_))));
    issuer.rotate();
    let unknown = token_for(&issuer).mint();
    let mut waits = std::pin::pin!(verifier.judge(&unknown));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match waits.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(VerifyError::Unavailable(unavailable))) => {
            assert_eq!(unavailable.cause(), KeysUnavailableCause::NoRuntime);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_or_is_gone_is_not_felt_by_known_keys() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer)
        .dangerous_no_unknown_kid_cooldown()
        .fetch_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let good = token_for(&issuer).mint();
    assert!(verifier.judge(&good).await.is_ok());
    issuer.rotate();
    let new = token_for(&issuer).mint();
    issuer.respond_with(Endpoint::Jwks, MockResponse::hang());
    let error = verifier.judge(&new).await.unwrap_err();
    assert!(matches!(error, VerifyError::Unavailable(_)), "{error}");
    assert!(matches!(verifier.judge_now(&good), Some(Ok(_))));
    issuer.stop();
    issuer.reset_response(Endpoint::Jwks);
    let error = verifier.judge(&new).await.unwrap_err();
    assert!(matches!(error, VerifyError::Unavailable(_)), "{error}");
    assert!(matches!(verifier.judge_now(&good), Some(Ok(_))));
    issuer.restart();
    while let Err(error) = verifier.judge(&new).await {
        let VerifyError::Unavailable(unavailable) = error else { panic!("{error}") };
        tokio::time::sleep(unavailable.retry_after()).await;
    }
}

#[test]
fn use_outside_a_runtime_does_not_end_the_refresh_in_another() {
    let issuer = TestIssuer::start();
    let often = Duration::from_millis(100);
    let verifier = builder_for(&issuer)
        .min_key_set_lifetime(often)
        .max_key_set_lifetime(often)
        .build()
        .unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async { verifier.judge(&token_for(&issuer).mint()).await.unwrap() });

    let stranger = SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    let unknown = issuer.token().audience("orders").signed_by(&stranger).mint();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..10 {
        let polled = std::pin::pin!(verifier.judge(&unknown)).poll(&mut context);
        assert!(matches!(polled, std::task::Poll::Ready(Err(VerifyError::Unavailable(_)))));
    }
    // nobody asks for anything, and the set is kept fresh
    issuer.wait_for_key_fetches(issuer.key_fetches() + 3);
    // and the work ends with the last verifier
    drop(verifier);
    drop(runtime);
}
