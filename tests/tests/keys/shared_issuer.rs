//! Clusters whose tokens all have one `iss`, as those that were set up with the API server's own
//! name: what tells them apart is the key. And one cluster with two names.

use std::{sync::Arc, time::Instant};

use kube_oidc::{
    BuildError, Issuer, KeySource, Reason, Verifier, VerifierBuilder, source::HttpFetcher,
};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    Judge as _, MappedFetcher, TempFolder, api_server_issuer, builder_for, issuer_at,
    issuer_at_with, issuer_for, token_for, verifier_for,
};

const SHARED: &str = "https://kubernetes.default.svc.cluster.local";

fn cluster() -> TestIssuer {
    TestIssuer::builder().tls().origin(SHARED).start()
}

fn trusted(cluster: &TestIssuer, name: &'static str) -> Issuer {
    issuer_at_with(
        SHARED,
        KeySource::jwks(cluster.jwks_uri().replace(SHARED, cluster.base_url()))
            .via(HttpFetcher::new().with_root_certificates_pem(cluster.ca_pem()).unwrap()),
    )
    .with_cluster(name)
}

fn given(cluster: &TestIssuer, name: &'static str) -> Issuer {
    issuer_at_with(SHARED, KeySource::fixed(cluster.key_set().to_string())).with_cluster(name)
}

fn both(blue: &TestIssuer, green: &TestIssuer) -> VerifierBuilder {
    builder_for(trusted(blue, "blue")).add_issuer(trusted(green, "green"))
}

async fn verdict(verifier: &Verifier, token: &str) -> Result<String, Reason> {
    let verdict = verifier.judge(token).await;
    verdict.map(|who| who.cluster().unwrap().to_owned()).map_err(|error| error.reason())
}

// rule: shared-issuer-name
#[tokio::test]
async fn a_token_is_of_the_cluster_whose_key_signed_it() {
    let (blue, green) = (cluster(), cluster());
    let verifier = both(&blue, &green).build().unwrap();
    let (of_blue, of_green) = (token_for(&blue).mint(), token_for(&green).mint());
    for _ in 0..2 {
        assert_eq!(verdict(&verifier, &of_blue).await, Ok("blue".to_owned()));
        assert_eq!(verdict(&verifier, &of_green).await, Ok("green".to_owned()));
    }
    let seen: Vec<bool> = verifier.status().iter().map(|one| one.last_seen.is_some()).collect();
    assert_eq!(seen, [true, true]);
    // a key of neither, and a signature of nobody's
    let stranger = SigningKey::generate(SigningAlgorithm::Es256);
    let junk = token_for(&blue).signed_by(&stranger).mint();
    assert_eq!(verdict(&verifier, &junk).await, Err(Reason::UnknownKey));
    let forged = token_for(&blue).forged_by(&stranger).mint();
    assert_eq!(verdict(&verifier, &forged).await, Err(Reason::Signature));
    assert!(blue.key_fetches() <= 3 && green.key_fetches() <= 3);
}

// rule: key-identity
#[tokio::test]
async fn a_kid_that_both_use_for_different_keys_tells_nothing() {
    let (blue, green) = (cluster(), cluster());
    for cluster in [&blue, &green] {
        cluster.rotate_to(SigningKey::generate(SigningAlgorithm::Es256).with_kid("one"));
    }
    let (of_blue, of_green) = (token_for(&blue).mint(), token_for(&green).mint());
    // whichever is known first
    for (first, second) in [(&of_blue, &of_green), (&of_green, &of_blue)] {
        let verifier = both(&blue, &green).build().unwrap();
        let mut clusters = Vec::new();
        for token in [first, second, first] {
            clusters.push(verdict(&verifier, token).await.unwrap());
        }
        let expected = if first == &of_blue { ["blue", "green"] } else { ["green", "blue"] };
        assert_eq!(clusters, [expected[0], expected[1], expected[0]]);
    }
}

#[tokio::test]
async fn one_that_is_down_does_not_touch_the_other() {
    let (blue, green) = (cluster(), cluster());
    green.stop();
    let verifier = both(&blue, &green).build().unwrap();
    let (of_blue, of_green) = (token_for(&blue).mint(), token_for(&green).mint());
    assert_eq!(verdict(&verifier, &of_blue).await, Ok("blue".to_owned()));
    // it may be green's, so this is not the token's fault
    assert_eq!(verdict(&verifier, &of_green).await, Err(Reason::KeysUnavailable));
    assert_eq!(verdict(&verifier, &of_blue).await, Ok("blue".to_owned()));
    green.restart();
    while verifier.refresh_keys().await.is_err() {}
    assert_eq!(verdict(&verifier, &of_green).await, Ok("green".to_owned()));
    assert_eq!(verdict(&verifier, &of_blue).await, Ok("blue".to_owned()));
}

#[tokio::test]
async fn one_that_hangs_delays_no_token_whose_key_the_other_brings() {
    let (blue, green) = (cluster(), cluster());
    green.respond_with(Endpoint::Jwks, MockResponse::hang());
    let verifier = both(&blue, &green).build().unwrap();
    let start = Instant::now();
    assert_eq!(verdict(&verifier, &token_for(&blue).mint()).await, Ok("blue".to_owned()));
    assert!(start.elapsed().as_secs() < 4, "the fetch timeout is 5 s");
}

// rule: shared-issuer-name
#[tokio::test]
async fn a_key_that_both_list_is_nobodys() {
    let (blue, green) = (cluster(), cluster());
    let common = SigningKey::generate(SigningAlgorithm::Es256);
    blue.rotate_to(common.clone());
    let verifier = both(&blue, &green).dangerous_no_unknown_kid_cooldown().build().unwrap();
    let token = token_for(&blue).mint();
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verdict(&verifier, &token).await, Ok("blue".to_owned()));
    // by another name, too
    green.rotate_to(common.with_kid("another"));
    verifier.refresh_keys().await.unwrap();
    assert_eq!(verdict(&verifier, &token).await, Err(Reason::SharedKey));
    let of_green = token_for(&green).mint();
    assert_eq!(verdict(&verifier, &of_green).await, Err(Reason::SharedKey));
    // the cluster's own keys are not touched
    blue.rotate();
    assert_eq!(verdict(&verifier, &token_for(&blue).mint()).await, Ok("blue".to_owned()));
    // without the other cluster nothing is doubtful
    assert!(verifier.remove_cluster("green"));
    assert!(!verifier.remove_cluster("green"));
    assert_eq!(verdict(&verifier, &token).await, Ok("blue".to_owned()));
}

// rule: shared-issuer-name
#[test]
fn given_sets_with_a_key_in_common_are_a_build_error() {
    let (blue, green) = (cluster(), cluster());
    let build = || {
        let builder = Verifier::builder(given(&blue, "blue")).add_issuer(given(&green, "green"));
        builder.audience("orders").build()
    };
    build().unwrap();
    let common = SigningKey::generate(SigningAlgorithm::Es256);
    blue.rotate_to(common.clone());
    green.rotate_to(common.clone());
    match build().unwrap_err() {
        BuildError::SharedKey { issuer, key, .. } => {
            assert_eq!((issuer.as_str(), key.as_str()), (SHARED, common.kid()));
        }
        error => panic!("{error}"),
    }
    // at run time, too; and one cluster's issuer is given once
    let verifier = verifier_for(given(&blue, "blue"));
    let shared = verifier.add_issuer(given(&green, "green"));
    assert!(matches!(shared, Err(BuildError::SharedKey { .. })), "{shared:?}");
    let twice = verifier.add_issuer(trusted(&green, "blue"));
    assert!(matches!(twice, Err(BuildError::DuplicateIssuer(_))), "{twice:?}");
    let nameless = issuer_at(SHARED);
    assert!(matches!(verifier.add_issuer(nameless), Err(BuildError::MissingClusterName(_))));
}

#[test]
fn one_place_of_keys_for_two_clusters_is_a_build_error_that_names_both() {
    let issuer = || issuer_at(SHARED);
    let build = |blue: Issuer, green: Issuer| {
        let blue = blue.with_cluster("blue");
        builder_for(blue).add_issuer(green.with_cluster("green")).build()
    };
    let url = "https://blue.example:6443/openid/v1/jwks";
    let named = |name| Issuer::opaque(name, KeySource::jwks(url));
    let folder = TempFolder::with_service_account("", "");
    let with_token = || HttpFetcher::new().with_bearer_token("5ecre7").unwrap();
    let fetcher = || MappedFetcher::new("", "");
    let in_cluster = || api_server_issuer("https://10.96.0.1", &folder);
    let with = |keys: KeySource| issuer_at_with(SHARED, keys);
    let jwks = |url: &str| with(KeySource::jwks(url).into());
    let via = |fetcher: HttpFetcher| with(KeySource::discovery().via(fetcher).into());
    let http = Arc::new(with_token());
    let shared = || with(KeySource::discovery().via(Arc::clone(&http)).into());
    let proxied = |port| {
        let proxy = format!("http://127.0.0.1:{port}");
        via(HttpFetcher::new().with_proxy(&proxy).unwrap())
    };
    let custom = issuer_at_with(SHARED, KeySource::discovery().via(fetcher()));
    for (blue, green, place) in [
        (issuer(), issuer(), SHARED),
        (issuer().add_alias("https://old.example"), issuer(), SHARED),
        (jwks(url), jwks(url), url),
        (jwks(url), jwks("https://BLUE.example:6443/openid/v1/jwks"), url),
        (named("rke"), named("rke"), url),
        (
            with(KeySource::file("/etc/keys.json")),
            with(KeySource::file("/etc/keys.json")),
            "/etc/keys.json",
        ),
        (via(HttpFetcher::new()), issuer(), SHARED),
        (via(with_token()), via(with_token()), SHARED),
        (via(with_token()), issuer(), SHARED),
        (shared(), shared(), SHARED),
        (proxied(1), proxied(1), SHARED),
        (in_cluster(), in_cluster(), "https://10.96.0.1"),
        (custom.clone(), custom, SHARED),
    ] {
        let error = build(blue.clone(), green.clone()).unwrap_err();
        assert!(matches!(error, BuildError::SharedKeyPlace { .. }), "{error:?}");
        let text = error.to_string();
        for word in ["\"blue\"", "\"green\"", place, "own key set URL or file"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!format!("{error:?} {text}").contains("5ecre7"), "{error:?}");
        // at run time as well
        let blue = verifier_for(blue.with_cluster("blue"));
        let added = blue.add_issuer(green.with_cluster("green"));
        assert!(matches!(added, Err(BuildError::SharedKeyPlace { .. })), "{added:?}");
    }
    // one URL may mean two servers
    for (blue, green) in [
        (issuer(), jwks(url)),
        (issuer(), issuer_at("https://other.example").add_alias(SHARED)),
        (with(KeySource::file("/blue.json")), with(KeySource::file("/green.json"))),
        (with(KeySource::file("/blue.json")), issuer()),
        (proxied(1), proxied(2)),
        (
            issuer_at_with(SHARED, KeySource::discovery().via(fetcher())),
            issuer_at_with(SHARED, KeySource::discovery().via(fetcher())),
        ),
    ] {
        build(blue, green).unwrap();
    }
}

// rule: fetch-budget
#[tokio::test]
async fn junk_asks_each_of_them_no_more_than_alone() {
    let (blue, green) = (cluster(), cluster());
    let verifier = both(&blue, &green).build().unwrap();
    let good = token_for(&blue).mint();
    assert!(verifier.judge(&good).await.is_ok());
    let (stranger, began) = (SigningKey::generate(SigningAlgorithm::EdDsa), Instant::now());
    for index in 0..500 {
        let key = stranger.clone().with_kid(&format!("junk-{index}"));
        let junk = token_for(&blue).signed_by(&key).mint();
        assert_eq!(verdict(&verifier, &junk).await, Err(Reason::UnknownKey));
    }
    let fetches = (blue.key_fetches(), green.key_fetches());
    let budget = 3 + began.elapsed().as_secs() / 10;
    assert!(fetches.0 as u64 <= budget && fetches.1 as u64 <= budget, "{fetches:?}");
}

#[tokio::test]
async fn a_migration_is_one_call_and_the_status_says_when_the_old_name_can_go() {
    let issuer = TestIssuer::start();
    let old = "https://old.example";
    let trusted = issuer_for(&issuer).add_alias(old);
    let verifier = verifier_for(trusted);
    let seen = || {
        let status = verifier.status().remove(0);
        assert_eq!(status.aliases[0].name, old);
        (status.last_seen.is_some(), status.aliases[0].last_seen.is_some())
    };
    assert_eq!(seen(), (false, false));
    let new_token = issuer.token().audience("orders").mint();
    verifier.judge(&new_token).await.unwrap();
    assert_eq!(seen(), (true, false));
    let old_token = issuer.token().audience("orders").claim("iss", old).mint();
    verifier.judge(&old_token).await.unwrap();
    assert_eq!(seen(), (true, true));
    assert_eq!(issuer.key_fetches(), 1);
}
