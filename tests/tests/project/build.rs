//! What cannot be built, and says so before the first request.

use kube_oidc_tests::issuer_with;
use std::time::Duration;

use kube_oidc::{
    Algorithm, BuildError, Issuer, IssuerUrl, KeySource, Reason, Verifier, VerifierBuilder,
    source::HttpFetcher,
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::Judge as _;
use tower_kube_oidc::{OidcAuthLayer, OidcAuthLayerError};

fn url() -> IssuerUrl {
    "https://issuer.example".parse().unwrap()
}

fn builder() -> VerifierBuilder {
    Verifier::builder(url())
}

fn with(issuer: Issuer) -> Result<Verifier, BuildError> {
    Verifier::builder(issuer).audience("orders").build()
}

// rule: audience-required
#[test]
fn an_audience_is_demanded() {
    assert!(matches!(builder().build(), Err(BuildError::NoAudience)));
    for blank in ["", " ", "\t\n"] {
        assert!(matches!(builder().audience(blank).build(), Err(BuildError::EmptyAudience)));
        let among = builder().audiences(["orders", blank]).build();
        assert!(matches!(among, Err(BuildError::EmptyAudience)));
    }
    let none: [&str; 0] = [];
    assert!(matches!(builder().audiences(none).build(), Err(BuildError::NoAudience)));
}

#[test]
fn the_preset_is_the_api_servers_audiences() {
    let verifier = builder().dangerous_api_server_audiences().build().unwrap();
    let audiences: Vec<&str> = verifier.audiences().collect();
    assert_eq!(
        audiences,
        ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local",]
    );
}

// rule: leeway
#[test]
fn durations_have_bounds() {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let ok = |builder: VerifierBuilder| builder.audience("orders").build().is_ok();
    assert!(ok(builder().leeway(minutes(5))));
    assert!(!ok(builder().leeway(minutes(5) + Duration::from_secs(1))));
    assert!(ok(builder().dangerous_leeway(minutes(60))));
    assert!(!ok(builder().dangerous_leeway(minutes(60)).leeway(minutes(6))));
    let millis = Duration::from_millis;
    assert!(ok(builder().fetch_timeout(millis(100)).min_key_set_lifetime(millis(100))));
    assert!(ok(builder().unknown_kid_cooldown(millis(100))));
    assert!(!ok(builder().fetch_timeout(millis(99))));
    assert!(!ok(builder().fetch_timeout(Duration::MAX)));
    assert!(!ok(builder().min_key_set_lifetime(millis(99))));
    assert!(!ok(builder().max_key_set_lifetime(minutes(24 * 60 + 1))));
    assert!(!ok(builder().unknown_kid_cooldown(Duration::ZERO)));
    assert!(!ok(builder().unknown_kid_cooldown(minutes(61))));
    assert!(ok(builder().dangerous_no_unknown_kid_cooldown()));
    assert!(ok(builder().backoff(millis(100)..=minutes(1)).refresh_at_fraction(0.5..=0.5)));
    assert!(!ok(builder().backoff(millis(99)..=minutes(1))));
    assert!(!ok(builder().backoff(minutes(2)..=minutes(1))));
    assert!(!ok(builder().backoff(minutes(1)..=minutes(61))));
    for part in [0.0..=0.8, 0.8..=0.7, 0.8..=0.96, f64::NAN..=0.8, 0.5..=f64::NAN] {
        assert!(!ok(builder().refresh_at_fraction(part.clone())), "{part:?}");
    }
    // our bounds win over the default as well
    assert!(ok(builder().default_key_set_lifetime(minutes(600))));
    assert!(ok(builder().max_stale(Duration::ZERO)));
    assert!(!ok(builder().max_stale(Duration::MAX)));
    assert!(!ok(builder().min_key_set_lifetime(minutes(20)).max_key_set_lifetime(minutes(10))));
    assert!(ok(builder().min_key_set_lifetime(minutes(10)).max_key_set_lifetime(minutes(10))));
}

#[test]
fn an_algorithm_is_demanded() {
    let none = builder().audience("orders").algorithms([]).build();
    assert!(matches!(none, Err(BuildError::NoAlgorithm)));
    assert!(builder().audience("orders").algorithms([Algorithm::Es256]).build().is_ok());
}

#[test]
fn urls_for_keys_are_as_safe_as_the_issuer() {
    for bad in ["", "keys", "http://127.0.0.1/keys", "http://issuer.example/k", "ftp://k.example"] {
        let error = with(Issuer::with_key_source(url(), KeySource::jwks(bad))).unwrap_err();
        assert!(matches!(error, BuildError::InvalidUrl { .. }), "{bad}: {error}");
    }
    assert!(
        with(Issuer::with_key_source(
            url(),
            KeySource::jwks("https://10.0.0.1:6443/openid/v1/jwks")
        ))
        .is_ok()
    );
    let loopback: IssuerUrl = "http://127.0.0.1:1".parse().unwrap();
    assert!(
        with(Issuer::with_key_source(loopback.clone(), KeySource::jwks("http://[::1]:2/k")))
            .is_ok()
    );
    assert!(with(Issuer::with_key_source(loopback, KeySource::jwks("http://10.0.0.1/k"))).is_err());
    assert!(with(Issuer::opaque("rke", KeySource::jwks("http://127.0.0.1/k"))).is_err());
    let origin = HttpFetcher::new().add_credential_origin("http://a");
    assert!(matches!(origin, Err(BuildError::InvalidUrl { .. })));
    // credentials are never sent over plain http, whatever the issuer is
    let plain = IssuerUrl::dangerous_allow_http("http://issuer.example").unwrap();
    let fetcher = || HttpFetcher::new().with_bearer_token("t").unwrap();
    for keys in [
        KeySource::discovery().via(fetcher()),
        KeySource::discovery().via(std::sync::Arc::new(fetcher())),
    ] {
        let plain = with(Issuer::with_key_source(plain.clone(), keys));
        assert!(matches!(plain, Err(BuildError::InvalidUrl { .. })));
    }
}

#[test]
fn opaque_issuer_cannot_be_discovered_by_its_name() {
    let error = with(Issuer::opaque("rke", KeySource::discovery())).unwrap_err();
    assert!(matches!(&error, BuildError::OpaqueDiscovery(name) if name == "rke"), "{error}");
    let document = KeySource::discovery_at("https://issuer.example/discovery");
    assert!(with(Issuer::opaque("rke", document)).is_ok());
}

#[test]
fn every_invalid_setting_is_named() {
    let keys = KeySource::jwks("keys");
    let builder = Verifier::builder(Issuer::with_key_source(url(), keys)).algorithms([]);
    let builder = builder.fetch_timeout(Duration::ZERO).token_cache_bytes(1);
    let error = builder.add_issuer(Issuer::new(url()).with_cluster(" ")).build().unwrap_err();
    let BuildError::Multiple(faults) = &error else { panic!("{error}") };
    let is_named = |fault: &dyn Fn(&BuildError) -> bool| faults.iter().any(fault);
    assert!(is_named(&|fault| matches!(fault, BuildError::NoAudience)));
    assert!(is_named(&|fault| matches!(fault, BuildError::NoAlgorithm)));
    assert!(is_named(&|fault| matches!(fault, BuildError::DurationOutOfRange { .. })));
    assert!(is_named(&|fault| matches!(fault, BuildError::TokenCacheTooSmall)));
    assert!(is_named(&|fault| matches!(fault, BuildError::InvalidUrl { .. })));
    assert!(is_named(&|fault| matches!(fault, BuildError::MissingClusterName(_))));
    assert_eq!(faults.len(), 6, "{error}");
    assert!(faults.iter().all(|fault| error.to_string().contains(&fault.to_string())), "{error}");

    let layer = OidcAuthLayer::builder(url()).realm("\"").add_open_path("healthz");
    let error = layer.add_open_path("/ok").build().unwrap_err();
    let OidcAuthLayerError::Multiple(faults) = &error else { panic!("{error}") };
    assert!(
        matches!(
            faults.as_slice(),
            [
                OidcAuthLayerError::InvalidOpenPath(_),
                OidcAuthLayerError::InvalidRealm,
                OidcAuthLayerError::Verifier(BuildError::NoAudience),
            ]
        ),
        "{error}"
    );
}

#[test]
fn an_issuer_has_a_name_of_its_own() {
    let nameless = with(Issuer::opaque(" ", KeySource::jwks("https://k.example")));
    assert!(matches!(nameless, Err(BuildError::EmptyIssuer)));
    let named = || Issuer::new(url()).with_cluster("blue");
    let twice = Verifier::builder(named()).add_issuer(named()).audience("orders").build();
    assert!(
        matches!(twice, Err(BuildError::DuplicateIssuer(name)) if name == "https://issuer.example")
    );
}

// rule: several-issuers
#[test]
fn several_issuers_have_the_names_of_their_clusters() {
    let other: IssuerUrl = "https://other.example".parse().unwrap();
    let both = |one: Issuer, other: Issuer| {
        Verifier::builder(one).add_issuer(other).audience("orders").build()
    };
    let (one, other) = (|| Issuer::new(url()), || Issuer::new(other.clone()));
    assert!(both(one().with_cluster("blue"), other().with_cluster("blue")).is_ok());
    assert!(both(one().with_cluster("blue"), other().with_cluster("green")).is_ok());
    for result in [
        both(one(), other()),
        both(one().with_cluster("blue"), other()),
        both(one(), other().with_cluster("blue")),
        both(one().with_cluster("blue"), other().with_cluster(" ")),
        with(one().with_cluster("")),
    ] {
        assert!(matches!(result, Err(BuildError::MissingClusterName(_))), "{result:?}");
    }
}

#[test]
fn certificates_and_tokens_for_fetching_must_be_usable() {
    let certificate = "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
    for pem in ["", "no certificate", certificate] {
        let error = HttpFetcher::new().with_root_certificates_pem(pem).unwrap_err();
        assert!(matches!(error, BuildError::InvalidRootCertificates(_)), "{pem:?}: {error}");
    }
    for error in [
        HttpFetcher::new().with_bearer_token("a\nb").unwrap_err(),
        HttpFetcher::new().with_header("x-key", "a\nb").unwrap_err(),
    ] {
        assert!(matches!(error, BuildError::InvalidFetchHeader { .. }), "{error}");
    }
    for name in ["", "a b", "x-key: value"] {
        let error = HttpFetcher::new().with_header(name, "v").unwrap_err();
        assert!(matches!(error, BuildError::FetchHeaderName), "{error}");
    }
    let error = HttpFetcher::new().with_proxy("not a proxy").unwrap_err();
    assert!(matches!(error, BuildError::InvalidProxy(_)), "{error}");
}

#[test]
fn a_key_set_that_is_given_must_be_usable() {
    for set in ["", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#] {
        let error = with(Issuer::with_key_source(url(), KeySource::fixed(set))).unwrap_err();
        assert!(matches!(error, BuildError::KeySet(_)), "{set}: {error}");
    }
}

#[test]
fn a_key_set_of_jsonwebtoken_works() {
    let issuer = TestIssuer::start();
    let set = serde_json::from_value(issuer.key_set()).unwrap();
    let keys = KeySource::from_jwk_set(&set).unwrap();
    let verifier = with(issuer_with(&issuer, keys)).unwrap();
    let token = issuer.token().audience("orders").mint();
    assert!(matches!(verifier.judge_now(&token), Some(Ok(_))));
    assert_eq!(issuer.received_requests().len(), 0);
}

#[tokio::test]
async fn token_data_of_jsonwebtoken_comes_out() {
    let issuer = TestIssuer::start();
    let verifier = with(Issuer::new(issuer.url().parse().unwrap())).unwrap();
    let minted = || issuer.token().audience("orders").service_account("payments", "checkout");
    let data = verifier.verify_to_token_data(&minted().mint()).await.unwrap();
    assert_eq!(data.header.kid.as_deref(), Some(issuer.signing_key().kid()));
    assert_eq!(data.claims.namespace(), "payments");
    let expired = verifier.verify_to_token_data(&minted().expired().mint()).await.unwrap_err();
    assert_eq!(expired.reason(), Reason::Expired);
    // good, but not to be named by its header
    issuer.rotate_to(SigningKey::generate(SigningAlgorithm::Es512));
    let es512 = verifier.verify_to_token_data(&minted().mint()).await.unwrap_err();
    assert_eq!(es512.reason(), Reason::Algorithm);
}

#[test]
fn layer_with_an_invalid_setting_is_not_built() {
    assert!(OidcAuthLayer::builder(url()).audience("orders").realm("shop").build().is_ok());
    let none: [&str; 0] = [];
    let empty = OidcAuthLayer::builder(url()).audiences(none).build();
    assert!(matches!(empty, Err(OidcAuthLayerError::Verifier(BuildError::NoAudience))));
    let shared = || OidcAuthLayer::builder_for(builder().audience("orders").build().unwrap());
    let empty = shared().narrow_audiences(none).build();
    assert!(matches!(empty, Err(OidcAuthLayerError::NoAudience)));
    let blank = OidcAuthLayer::builder(url()).audience("").build();
    assert!(matches!(blank, Err(OidcAuthLayerError::Verifier(BuildError::EmptyAudience))));
    let unknown = shared().narrow_audiences(["orders", " "]).build();
    assert!(
        matches!(unknown, Err(OidcAuthLayerError::UnknownAudience(audience)) if audience == " ")
    );
    assert!(shared().narrow_audiences(["orders"]).build().is_ok());
    for realm in ["a\"b", "a\\b", "a\nb", "ä"] {
        let layer = OidcAuthLayer::builder(url()).audience("orders").realm(realm).build();
        assert!(matches!(layer, Err(OidcAuthLayerError::InvalidRealm)), "{realm:?}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let secret = "5ecre7";
    let issuer = Issuer::with_key_source(
        url(),
        KeySource::discovery().via(HttpFetcher::new().with_bearer_token(secret).unwrap()),
    );
    let builder = Verifier::builder(issuer.clone()).audience("orders");
    let verifier = builder.clone().build().unwrap();
    let layer = OidcAuthLayer::from(verifier.clone());
    for text in [
        format!("{issuer:?}"),
        format!("{builder:?}"),
        format!("{verifier:?}"),
        format!("{layer:?}"),
    ] {
        assert!(!text.contains(secret), "{text}");
        assert!(text.contains("issuer.example"), "{text}");
    }
}

#[test]
fn a_token_cache_has_memory_or_is_off() {
    let build = |tokens, bytes| {
        Verifier::builder(Issuer::new("https://issuer.example".parse().unwrap()))
            .audience("orders")
            .token_cache(tokens)
            .token_cache_bytes(bytes)
            .build()
            .map(|_| ())
    };
    for (tokens, bytes) in [(1, 0), (10_000, 1), (1, (64 << 10) - 1)] {
        assert!(matches!(build(tokens, bytes), Err(BuildError::TokenCacheTooSmall)));
    }
    for (tokens, bytes) in [(0, 0), (0, 1), (1, 64 << 10), (usize::MAX, 64 << 10), (1, usize::MAX)]
    {
        build(tokens, bytes).unwrap();
    }
    build(usize::MAX, usize::MAX).unwrap();
}
