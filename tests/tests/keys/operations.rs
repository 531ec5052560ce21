//! What an operator sees and does: status, readiness, incidents.

use std::time::{Duration, SystemTime};

use kube_oidc::{
    BuildError, KeySource, KeyState, Reason, Verifier, VerifyError, clock::ManualClock,
};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    Judge as _, builder_for, issuer_at, issuer_for, issuer_with, rejection, token_for, verifier_for,
};
use serde_json::json;

const DAY: Duration = Duration::from_secs(86_400);

/// One that is good for longer than any set that is fetched.
fn long_lived(issuer: &TestIssuer) -> String {
    issuer.token().audience("orders").expires_in(100 * DAY).mint()
}

#[tokio::test]
async fn the_status_tells_the_life_of_a_key_set() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).dangerous_no_unknown_kid_cooldown().build().unwrap();
    let status = || verifier.status().remove(0);

    let empty = status();
    assert_eq!((empty.state, empty.keys.len(), empty.fetches), (KeyState::Unavailable, 0, 0));
    assert_eq!((empty.last_success, empty.next_fetch, empty.last_seen), (None, None, None));
    assert_eq!(empty.to_string(), format!("{}: unavailable, 0 keys", issuer.url()));
    assert!(!verifier.is_ready());

    let before = SystemTime::now() - Duration::from_secs(1);
    assert_eq!(rejection(&verifier, &token_for(&issuer).mint()).await, None);
    let fresh = status();
    assert_eq!((fresh.state, fresh.fetches, fresh.failures), (KeyState::Fresh, 1, 0));
    assert_eq!(fresh.keys[0].kid.as_deref(), Some(issuer.signing_key().kid()));
    assert_eq!(fresh.keys[0].algorithms, [kube_oidc::Algorithm::Rs256]);
    assert!(fresh.last_success.unwrap() > before && fresh.last_seen.unwrap() > before);
    let minutes = fresh.next_fetch.unwrap().as_secs() / 60;
    assert!((44..=51).contains(&minutes), "75 to 85 % of an hour: {minutes}");
    assert!(verifier.is_ready());

    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    issuer.rotate();
    assert_eq!(
        rejection(&verifier, &token_for(&issuer).mint()).await,
        Some(Reason::KeysUnavailable)
    );
    let failing = status();
    assert_eq!((failing.state, failing.fetches, failing.failures), (KeyState::Fresh, 2, 1));
    assert!(failing.last_error.unwrap().error.contains("status 500"));
    assert!(failing.next_fetch.unwrap() <= Duration::from_secs(1), "the first back-off step");
}

// rule: freshness
#[tokio::test]
async fn keys_that_are_given_are_fresh_for_ever() {
    let issuer = TestIssuer::start();
    let trusted =
        issuer_with(&issuer, KeySource::fixed(issuer.key_set().to_string())).with_cluster("blue");
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(trusted).clock(clock.clone()).build().unwrap();
    let good = long_lived(&issuer);
    for _ in ["today", "in 40 days"] {
        assert!(verifier.is_ready());
        verifier.ready().await;
        verifier.refresh_keys().await.unwrap();
        let line = verifier.status()[0].to_string();
        assert_eq!(line, format!("{} (blue): fresh, 1 key", issuer.url()));
        assert_eq!(rejection(&verifier, &good).await, None);
        clock.advance(40 * DAY);
    }
}

#[tokio::test]
async fn ready_waits_for_an_issuer_to_come_up() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let verifier = verifier_for(&issuer);
    let waits = tokio::spawn({
        let verifier = verifier.clone();
        async move { verifier.ready().await }
    });
    assert_eq!(
        rejection(&verifier, &token_for(&issuer).mint()).await,
        Some(Reason::KeysUnavailable)
    );
    assert!(!verifier.is_ready() && !waits.is_finished());
    issuer.restart();
    waits.await.unwrap();
    assert!(verifier.is_ready());
    assert_eq!(rejection(&verifier, &token_for(&issuer).mint()).await, None);
}

#[test]
fn warming_up_fetches_before_the_first_request() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    verifier.warm_up(); // outside a runtime: nothing
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        verifier.warm_up();
        verifier.ready().await;
        assert!(matches!(verifier.judge_now(token_for(&issuer).mint()), Some(Ok(_))));
    });
    assert_eq!(issuer.key_fetches(), 1);
}

// rule: removed-key, revocation
#[tokio::test]
async fn refresh_keys_ends_a_key_at_once() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let old = token_for(&issuer).mint();
    assert_eq!(rejection(&verifier, &old).await, None);
    // junk has just used up the cooldown
    let stranger = SigningKey::generate(SigningAlgorithm::EdDsa);
    let junk = issuer.token().audience("orders").signed_by(&stranger).mint();
    assert_eq!(rejection(&verifier, &junk).await, Some(Reason::UnknownKey));

    issuer.rotate();
    issuer.drop_old_keys();
    assert_eq!(rejection(&verifier, &old).await, None, "nobody told us yet");
    verifier.refresh_keys().await.unwrap();
    assert_eq!(rejection(&verifier, &old).await, Some(Reason::UnknownKey));
    assert_eq!(rejection(&verifier, &token_for(&issuer).mint()).await, None);
    assert_eq!(issuer.key_fetches(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_keys_asks_all_issuers_at_once() {
    let (hangs, answers) = (TestIssuer::start(), TestIssuer::start());
    hangs.respond_with(Endpoint::Jwks, MockResponse::hang());
    let trusted = |issuer: &TestIssuer| issuer_for(issuer);
    let verifier = builder_for(trusted(&hangs).with_cluster("blue"))
        .add_issuer(trusted(&answers).with_cluster("green"))
        .fetch_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let refresh = tokio::spawn({
        let verifier = verifier.clone();
        async move { verifier.refresh_keys().await }
    });
    tokio::task::block_in_place(|| answers.wait_for_key_fetches(1));
    assert!(!refresh.is_finished());
    verifier.ready().await;
    assert_eq!(rejection(&verifier, &token_for(&answers).mint()).await, None);
    refresh.abort();
}

#[tokio::test]
async fn refresh_keys_heeds_retry_after_and_not_the_backoff() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let good = token_for(&issuer).mint();
    assert_eq!(rejection(&verifier, &good).await, None);
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    for fetches in 2..=4 {
        assert!(verifier.refresh_keys().await.is_err());
        assert_eq!(issuer.key_fetches(), fetches, "the back-off does not count");
    }
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(429, "").with_header("retry-after", "7"));
    let left_alone = |result: Result<(), kube_oidc::KeysUnavailable>| {
        let wait = result.unwrap_err().retry_after();
        assert!((5..=14).contains(&wait.as_secs()), "{wait:?}");
    };
    left_alone(verifier.refresh_keys().await);
    left_alone(verifier.refresh_keys().await);
    assert_eq!(issuer.key_fetches(), 5);
    assert_eq!(rejection(&verifier, &good).await, None, "the last good set stays in use");
}

// rule: revocation
#[tokio::test]
async fn a_distrusted_key_is_refused_at_once_and_the_others_are_not() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let leaked = issuer.signing_key();
    let old = token_for(&issuer).mint();
    issuer.rotate();
    let new = token_for(&issuer).mint();
    assert_eq!(rejection(&verifier, &old).await, None);
    verifier.distrust_key("https://other.example", leaked.kid());
    assert_eq!(rejection(&verifier, &old).await, None, "a kid is a name of its issuer's");
    verifier.clone().distrust_key(issuer.url(), leaked.kid());
    assert_eq!(rejection(&verifier, &old).await, Some(Reason::DistrustedKey));
    assert_eq!(rejection(&verifier, &new).await, None);
    verifier.refresh_keys().await.unwrap();
    assert_eq!(rejection(&verifier, &old).await, Some(Reason::DistrustedKey), "it lasts");
}

/// Of an issuer that lists a key by several names, or by a name and without one.
// rule: empty-kid
#[tokio::test]
async fn distrusted_key_is_rejected_by_its_other_names_too() {
    for twin in [json!("twin"), json!(""), json!(null)] {
        let issuer = TestIssuer::start();
        let (leaked, other) = (issuer.signing_key(), SigningKey::generate(SigningAlgorithm::EdDsa));
        let mut listed = leaked.jwk();
        listed["kid"] = twin.clone();
        let keys = json!({ "keys": [listed, leaked.jwk(), other.jwk()] });
        issuer.respond_with(Endpoint::Jwks, MockResponse::new(200, keys.to_string()));
        let verifier = verifier_for(&issuer);
        let minted = || issuer.token().audience("orders");
        let renamed = minted().header("kid", twin.as_str().unwrap_or_default()).mint();
        let tokens = [
            minted().mint(),
            renamed,
            minted().header("kid", "").mint(),
            minted().without_header("kid").mint(),
        ];
        let mut callers = Vec::new();
        for token in &tokens {
            callers.push(verifier.judge(token).await.unwrap());
        }
        verifier.distrust_key(issuer.url(), leaked.kid());
        for (token, caller) in tokens.iter().zip(&callers) {
            assert_eq!(rejection(&verifier, token).await, Some(Reason::DistrustedKey), "{twin}");
            assert_eq!(verifier.explain(token).verdict, Err(Reason::DistrustedKey), "{twin}");
            assert_eq!(verifier.time_left(caller), Duration::ZERO, "{twin}");
        }
        let forged = minted().without_header("kid").signature("x").mint();
        assert!(rejection(&verifier, &forged).await.is_some(), "{twin}");
        let good = minted().signed_by(&other).mint();
        assert_eq!(rejection(&verifier, &good).await, None, "{twin}");
    }
}

// rule: revocation
#[tokio::test]
async fn a_denied_token_is_refused_at_once_and_the_others_are_not() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let minted = |jti: &str| issuer.token().audience("orders").claim("jti", jti);
    assert_eq!(rejection(&verifier, &minted("a").mint()).await, None);
    verifier.deny_jti("a");
    assert_eq!(rejection(&verifier, &minted("a").mint()).await, Some(Reason::DeniedJti));
    assert_eq!(rejection(&verifier, &minted("b").mint()).await, None);
    assert_eq!(
        rejection(&verifier, &issuer.token().audience("orders").without_claim("jti").mint()).await,
        None
    );
    // what is said of a token needs its signature to be good
    let forged = minted("a").signature("x").mint();
    assert_eq!(rejection(&verifier, &forged).await, Some(Reason::Signature));
}

#[tokio::test]
async fn one_issuer_that_is_down_does_not_touch_the_others() {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    let trusted = |issuer: &TestIssuer| issuer_for(issuer);
    let verifier = builder_for(trusted(&blue).with_cluster("blue"))
        .add_issuer(trusted(&green).with_cluster("green"))
        .build()
        .unwrap();
    green.stop();
    assert!(matches!(
        verifier.judge(&token_for(&green).mint()).await,
        Err(VerifyError::Unavailable(_))
    ));
    assert_eq!(rejection(&verifier, &token_for(&blue).mint()).await, None);
    assert!(verifier.is_ready(), "one is enough");
    let states: Vec<KeyState> = verifier.status().iter().map(|issuer| issuer.state).collect();
    assert_eq!(states, [KeyState::Fresh, KeyState::Unavailable]);
    let seen: Vec<bool> =
        verifier.status().iter().map(|issuer| issuer.last_seen.is_some()).collect();
    assert_eq!(seen, [true, false]);
}

#[tokio::test]
async fn issuers_come_and_go_at_run_time() {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    let trusted =
        |issuer: &TestIssuer, cluster: &'static str| issuer_for(issuer).with_cluster(cluster);
    let verifier = verifier_for(trusted(&blue, "blue"));
    let (of_blue, of_green) = (token_for(&blue).mint(), token_for(&green).mint());
    assert_eq!(rejection(&verifier, &of_blue).await, None);
    assert_eq!(rejection(&verifier, &of_green).await, Some(Reason::UnknownIssuer));
    assert_eq!(green.received_requests().len(), 0, "who is not listed is not asked");

    verifier.clone().add_issuer(trusted(&green, "green")).unwrap();
    assert_eq!(verifier.judge(&of_green).await.unwrap().cluster(), Some("green"));
    assert_eq!(rejection(&verifier, &of_blue).await, None);
    assert_eq!(verifier.status().len(), 2);

    // what cannot be added changes nothing
    let twice = verifier.add_issuer(trusted(&green, "green"));
    assert!(matches!(twice, Err(BuildError::DuplicateIssuer(_))));
    let nameless = verifier.add_issuer(issuer_at("https://other.example"));
    assert!(matches!(nameless, Err(BuildError::MissingClusterName(_))));
    assert_eq!(verifier.status().len(), 2);

    assert!(verifier.remove_issuer(blue.url()));
    assert!(!verifier.remove_issuer(blue.url()));
    assert_eq!(rejection(&verifier, &of_blue).await, Some(Reason::UnknownIssuer));
    assert_eq!(rejection(&verifier, &of_green).await, None);
    // with the last one gone nobody is trusted
    assert!(verifier.remove_issuer(green.url()));
    assert_eq!(rejection(&verifier, &of_green).await, Some(Reason::UnknownIssuer));
    assert!(!verifier.is_ready());
    // and back again, with keys of its own
    let fetches = blue.key_fetches();
    verifier.add_issuer(trusted(&blue, "blue")).unwrap();
    assert_eq!(rejection(&verifier, &of_blue).await, None);
    assert_eq!(blue.key_fetches(), fetches + 1);
}

#[tokio::test]
async fn an_issuer_that_is_removed_while_a_token_waits_for_its_keys_accepts_it_no_more() {
    let issuer = TestIssuer::start();
    issuer.respond_with(Endpoint::Jwks, MockResponse::hang());
    let verifier = verifier_for(&issuer);
    let token = token_for(&issuer).mint();
    let mut waits = std::pin::pin!(verifier.judge(&token));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending());
    assert!(verifier.remove_issuer(issuer.url()));
    issuer.reset_response(Endpoint::Jwks);
    issuer.stop();
    issuer.restart();
    assert_eq!(waits.await.unwrap_err().reason(), Reason::UnknownIssuer);
}

// rule: freshness
#[tokio::test]
async fn a_key_set_file_that_cannot_be_read_leaves_the_last_set_in_use() {
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let path = std::env::temp_dir().join(format!("kube-oidc-keys-{}", std::process::id()));
    let trusted = || issuer_with(&issuer, KeySource::file(&path));
    let verifier = builder_for(trusted())
        .dangerous_no_unknown_kid_cooldown()
        .clock(clock.clone())
        .build()
        .unwrap();
    let good = long_lived(&issuer);
    assert_eq!(rejection(&verifier, &good).await, Some(Reason::KeysUnavailable));
    std::fs::write(&path, issuer.key_set().to_string()).unwrap();
    verifier.refresh_keys().await.unwrap();
    assert_eq!(rejection(&verifier, &good).await, None);
    for contents in [Some("garbage"), Some(r#"{"keys":[]}"#), None] {
        match contents {
            Some(contents) => std::fs::write(&path, contents).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert!(verifier.refresh_keys().await.is_err(), "{contents:?}");
        assert_eq!(rejection(&verifier, &good).await, None, "{contents:?}");
    }
    // nor does it age out: longer than any other set may be kept stale
    clock.advance(40 * DAY);
    assert!(verifier.is_ready());
    assert_eq!(rejection(&verifier, &good).await, None);
    assert!(verifier.refresh_keys().await.is_err());
    assert_eq!(rejection(&verifier, &good).await, None);
    let error = verifier.status()[0].last_error.clone().unwrap().error;
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn how_long_a_caller_is_good_ends_with_what_its_token_rests_on() {
    type Take = fn(&Verifier, &TestIssuer);
    let hour = Duration::from_secs(3600);
    let deny: Take = |verifier, _| verifier.deny_jti("leaked");
    let distrust: Take =
        |verifier, issuer| verifier.distrust_key(issuer.url(), issuer.signing_key().kid());
    let remove: Take = |verifier, issuer| assert!(verifier.remove_issuer(issuer.url()));
    for take_back in [deny, distrust, remove] {
        let issuer = TestIssuer::start();
        let verifier = verifier_for(&issuer);
        let minted = issuer.token().audience("orders").claim("jti", "leaked").expires_in(hour);
        let caller = verifier.judge(minted.mint()).await.unwrap();
        let left = verifier.time_left(&caller);
        assert!(left > hour && left <= hour + Duration::from_secs(60), "{left:?}");
        take_back(&verifier, &issuer);
        assert_eq!(verifier.time_left(&caller), Duration::ZERO);
    }
    // a key that its issuer took back
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let caller = verifier.judge(token_for(&issuer).mint()).await.unwrap();
    issuer.rotate();
    issuer.drop_old_keys();
    assert!(!verifier.time_left(&caller).is_zero());
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verifier.time_left(&caller), Duration::ZERO);
    // that keys are away says nothing
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(&issuer).clock(clock.clone()).build().unwrap();
    let minted = issuer.token().audience("orders").expires_in(10 * DAY);
    let caller = verifier.judge(minted.mint()).await.unwrap();
    issuer.stop();
    clock.advance(2 * DAY);
    assert!(!verifier.is_ready());
    assert!(verifier.time_left(&caller) > 7 * DAY);
    // and a key is distrusted nevertheless
    verifier.distrust_key(issuer.url(), "another");
    assert!(verifier.time_left(&caller) > 7 * DAY);
    verifier.distrust_key(issuer.url(), issuer.signing_key().kid());
    assert_eq!(verifier.time_left(&caller), Duration::ZERO);
}
