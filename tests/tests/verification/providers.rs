//! Tokens and documents shaped as each provider has them.

use std::time::{Duration, SystemTime};

use kube_oidc::{Issuer, KeySource, Reason, Verifier, VerifyError, source::HttpFetcher};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    Judge as _, MappedFetcher, builder_for, issuer_for, issuer_via, issuer_with, token_for,
    verifier_for,
};
use serde_json::{Value, json};

/// A fetcher that trusts the certificate of this issuer.
fn fetcher(issuer: &TestIssuer) -> HttpFetcher {
    HttpFetcher::new().with_root_certificates_pem(issuer.ca_pem().as_bytes()).unwrap()
}

fn verifier(issuer: &TestIssuer, origin: &str) -> Verifier {
    let fetcher = MappedFetcher::new(origin, issuer.base_url());
    let trusted = issuer_via(issuer, fetcher);
    verifier_for(trusted)
}

fn paths(issuer: &TestIssuer) -> Vec<String> {
    issuer.received_requests().into_iter().map(|request| request.path).collect()
}

#[tokio::test]
async fn eks() {
    let origin = "https://oidc.eks.eu-west-1.amazonaws.com";
    let issuer = TestIssuer::builder()
        .origin(origin)
        .path("/id/EXAMPLED539D4633E53DE1B71EXAMPLE")
        .keys_path("/id/EXAMPLED539D4633E53DE1B71EXAMPLE/keys")
        .start();
    let verifier = verifier(&issuer, origin);
    let token = token_for(&issuer)
        .pod("checkout-7d9f8b6c5d-x2x4z")
        .node("ip-10-0-1-2.eu-west-1.compute.internal")
        .mint();
    let caller = verifier.judge(&token).await.unwrap();
    assert_eq!(caller.issuer(), format!("{origin}/id/EXAMPLED539D4633E53DE1B71EXAMPLE"));
    assert_eq!(caller.node().unwrap().name(), "ip-10-0-1-2.eu-west-1.compute.internal");
    assert_eq!(
        paths(&issuer),
        [
            "/id/EXAMPLED539D4633E53DE1B71EXAMPLE/.well-known/openid-configuration",
            "/id/EXAMPLED539D4633E53DE1B71EXAMPLE/keys",
        ]
    );
    // the default audience on EKS is for the API server, and not for us
    let default = issuer.token().audience("https://kubernetes.default.svc").mint();
    let error = verifier.judge(&default).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Audience);
}

/// The tool of AWS for clusters that are not EKS (amazon-eks-pod-identity-webhook, self-hosted) lists
/// the key twice: by its name, and by an empty one for API servers that write no name into tokens.
// rule: empty-kid
#[tokio::test]
async fn self_hosted_on_aws() {
    let issuer = TestIssuer::start();
    let pair = |issuer: &TestIssuer| {
        let named = issuer.signing_key().jwk();
        let mut unnamed = named.clone();
        unnamed["kid"] = json!("");
        MockResponse::new(200, json!({ "keys": [named, unnamed] }).to_string())
    };
    issuer.respond_with(Endpoint::Jwks, pair(&issuer));
    let trusted = issuer_for(&issuer);
    let verifier = verifier_for(trusted);
    for rotated in [false, true] {
        if rotated {
            issuer.rotate();
            issuer.respond_with(Endpoint::Jwks, pair(&issuer));
        }
        let token = || issuer.token().audience("orders");
        // a token without a name is a sign of the rotation as well
        for token in [token().header("kid", ""), token(), token().without_header("kid")] {
            let token = token.mint();
            for _ in 0..2 {
                assert!(verifier.judge(&token).await.is_ok(), "{rotated}");
            }
        }
    }
    assert_eq!(issuer.key_fetches(), 2);
}

/// Microsoft.IdentityModel writes empty lists, and other libraries null, for what a key does not say.
// rule: absent-key-members
#[tokio::test]
async fn key_sets_of_dot_net_and_others() {
    let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::Rs256).start();
    let jwk = issuer.signing_key().jwk();
    let (n, e, kid) = (&jwk["n"], &jwk["e"], &jwk["kid"]);
    let dot_net = json!({
        "e": e, "key_ops": [], "kid": kid, "kty": "RSA", "n": n, "oth": [], "use": "sig", "x5c": [],
    });
    let absent: Value =
        ["alg", "use", "key_ops", "crv", "x", "y", "x5c", "x5t", "x5u", "x5t#S256", "d", "oth"]
            .into_iter()
            .map(|member| (member.to_owned(), Value::Null))
            .chain([("kty".to_owned(), json!("RSA")), ("n".to_owned(), n.clone())])
            .chain([("e".to_owned(), e.clone()), ("kid".to_owned(), kid.clone())])
            .collect::<serde_json::Map<_, _>>()
            .into();
    for key in [dot_net, absent] {
        let document = format!("\u{feff}{}", json!({ "keys": [key] }));
        issuer.respond_with(Endpoint::Jwks, MockResponse::new(200, document));
        let trusted = issuer_for(&issuer);
        let verifier = verifier_for(trusted);
        let token = issuer.token().audience("orders").mint();
        assert!(verifier.judge(&token).await.is_ok(), "{key}");
    }
}

#[tokio::test]
async fn aks() {
    let origin = "https://eastus.oic.prod-aks.azure.com";
    let path = "/00000000-0000-0000-0000-000000000000/11111111-1111-1111-1111-111111111111/";
    let issuer = TestIssuer::builder()
        .origin(origin)
        .path(path)
        .keys_path(&format!("{path}openid/v1/jwks"))
        .start();
    let verifier = verifier(&issuer, origin);
    let day = Duration::from_secs(24 * 3600);
    let token = issuer.token().audience("orders").expires_in(day).mint();
    let caller = verifier.judge(&token).await.unwrap();
    assert_eq!(caller.issuer(), format!("{origin}{path}"));
    assert!(caller.expires_at() > SystemTime::now() + day - Duration::from_secs(60));
    // one slash, not two, before the well-known part
    assert_eq!(paths(&issuer)[0], format!("{path}.well-known/openid-configuration"));

    let without_slash = format!("{origin}{}", path.trim_end_matches('/'));
    let token = issuer.token().audience("orders").claim("iss", without_slash).mint();
    let error = verifier.judge(&token).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UnknownIssuer);
}

// rule: accepted-forms
#[tokio::test]
async fn gke() {
    let origin = "https://container.googleapis.com";
    let path = "/v1/projects/my-project/locations/europe-west1/clusters/blue";
    let issuer =
        TestIssuer::builder().origin(origin).path(path).keys_path(&format!("{path}/jwks")).start();
    let verifier = verifier(&issuer, origin);
    let token = token_for(&issuer).mint();
    let caller = verifier.judge(&token).await.unwrap();
    assert_eq!(caller.subject(), "system:serviceaccount:payments:checkout");
    // whatever type of content the document and the set are said to have, or none
    let document = json!({ "issuer": issuer.url(), "jwks_uri": format!("{origin}{path}/jwks") });
    for content_type in [
        Some("application/json"),
        Some("application/jwk-set+json"),
        Some("application/octet-stream"),
        None,
    ] {
        for (endpoint, body) in [
            (Endpoint::Discovery, document.to_string()),
            (Endpoint::Jwks, issuer.key_set().to_string()),
        ] {
            let answer = MockResponse::new(200, body);
            let answer = match content_type {
                Some(content_type) => answer.with_header("content-type", content_type),
                None => answer,
            };
            issuer.respond_with(endpoint, answer);
        }
        let judged = self::verifier(&issuer, origin).judge(&token).await;
        assert!(judged.is_ok(), "{content_type:?}: {judged:?}");
    }
    // another cluster of the same project has another issuer
    let green = path.replace("blue", "green");
    let token = issuer.token().audience("orders").claim("iss", format!("{origin}{green}")).mint();
    let error = verifier.judge(&token).await.unwrap_err();
    assert_eq!(error.reason(), Reason::UnknownIssuer);
}

/// Claims as an identity provider for workers has them.
#[derive(Debug, serde::Deserialize)]
struct WorkerClaims {
    client_id: String,
    #[serde(default)]
    scope: String,
}

// rule: several-issuers
#[tokio::test]
async fn pingone() {
    let issuer = TestIssuer::builder()
        .tls()
        .origin("https://auth.pingone.eu")
        .path("/11111111-1111-1111-1111-111111111111/as")
        .keys_path("/11111111-1111-1111-1111-111111111111/as/jwks")
        .start();
    issuer.require_bearer_token("token-for-the-keys");
    let jwks_uri = format!("{}/11111111-1111-1111-1111-111111111111/as/jwks", issuer.base_url());
    let trusted = issuer_with(
        &issuer,
        KeySource::jwks(jwks_uri)
            .via(fetcher(&issuer).with_bearer_token("token-for-the-keys").unwrap()),
    );
    let builder = || builder_for(trusted.clone());
    let verifier = builder().claims::<WorkerClaims>().build().unwrap();

    let token = issuer
        .token()
        .bare()
        .audience("orders")
        .claim("client_id", "worker-7")
        .claim("scope", "read")
        .mint();
    let caller = verifier.judge(&token).await.unwrap();
    assert_eq!((caller.client_id.as_str(), caller.scope.as_str()), ("worker-7", "read"));
    assert_eq!(caller.registered().issuer(), issuer.url());
    assert_eq!(caller.registered().subject(), None);
    assert_eq!(issuer.discovery_fetches(), 0);

    // the registered claims are checked whatever the type
    let expired = issuer.token().bare().audience("orders").claim("client_id", "w").expired().mint();
    assert_eq!(verifier.judge(&expired).await.unwrap_err().reason(), Reason::Expired);
    let other = issuer.token().bare().audience("vault").claim("client_id", "w").mint();
    assert_eq!(verifier.judge(&other).await.unwrap_err().reason(), Reason::Audience);
    // a token that does not fit the type
    let misfit = issuer.token().bare().audience("orders").mint();
    assert_eq!(verifier.judge(&misfit).await.unwrap_err().reason(), Reason::Claims);
    // and it is no service account
    let kubernetes = builder().build().unwrap();
    assert_eq!(kubernetes.judge(&token).await.unwrap_err().reason(), Reason::Claims);
}

// rule: token-type
#[tokio::test]
async fn a_type_of_token_of_ones_own() {
    let issuer = TestIssuer::start();
    let trusted = || issuer_for(&issuer);
    let access = Verifier::builder(trusted())
        .claims::<Value>()
        .audience("orders")
        .token_type("at+jwt")
        .build()
        .unwrap();
    let both = Verifier::builder(trusted())
        .claims::<Value>()
        .audience("orders")
        .token_type("at+jwt")
        .add_token_type("JWT")
        .build()
        .unwrap();
    let usual = verifier_for(trusted());
    let token = |typ: Option<&str>| {
        let token = issuer.token().audience("orders");
        typ.map_or(token.clone(), |typ| token.header("typ", typ)).mint()
    };
    for (typ, is_access, is_usual) in [
        (None, false, true),
        (Some("JWT"), false, true),
        (Some("jwt"), false, true),
        (Some("at+jwt"), true, false),
        (Some("AT+JWT"), true, false),
        (Some("application/at+jwt"), true, false),
        (Some("application/jwt"), false, false),
        (Some("logout+jwt"), false, false),
        (Some("JWS"), false, false),
        (Some(""), false, false),
    ] {
        let token = token(typ);
        assert_eq!(access.judge(&token).await.is_ok(), is_access, "{typ:?}");
        assert_eq!(usual.judge(&token).await.is_ok(), is_usual, "{typ:?}");
        // asked for by its name, `application/` may stand before it
        let is_either = is_access || is_usual || typ == Some("application/jwt");
        assert_eq!(both.judge(&token).await.is_ok(), is_either, "{typ:?}");
    }
}

// rule: accepted-forms
#[tokio::test]
async fn an_issuer_that_is_no_url() {
    let issuer = TestIssuer::builder().tls().start();
    let trusted = Issuer::opaque(
        "auth.openshift.io",
        KeySource::jwks(issuer.jwks_uri()).via(fetcher(&issuer)),
    );
    let verifier = verifier_for(trusted);
    let token = issuer.token().audience("orders").claim("iss", "auth.openshift.io").mint();
    assert_eq!(verifier.judge(&token).await.unwrap().issuer(), "auth.openshift.io");
}

// rule: key-identity
#[tokio::test]
async fn two_issuers_have_one_kid_and_different_keys() {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    for issuer in [&blue, &green] {
        issuer.rotate_to(issuer.signing_key().with_kid("1"));
        issuer.drop_old_keys();
    }
    let trusted = |issuer: &TestIssuer| issuer_for(issuer);
    let verifier = builder_for(trusted(&blue).with_cluster("blue"))
        .add_issuer(trusted(&green).with_cluster("green"))
        .build()
        .unwrap();
    for (issuer, cluster) in [(&blue, "blue"), (&green, "green")] {
        let token = issuer.token().audience("orders").mint();
        let caller = verifier.judge(&token).await.unwrap();
        assert_eq!((caller.issuer(), caller.cluster()), (issuer.url(), Some(cluster)));
    }
    // green's key in blue's name
    let forged = green.token().audience("orders").claim("iss", blue.url()).mint();
    assert_eq!(verifier.judge(&forged).await.unwrap_err().reason(), Reason::Signature);
}

#[tokio::test]
async fn one_broken_key_does_not_break_the_set() {
    // PingOne's own documented example has a key whose modulus differs from its x5c; Kubernetes
    // prepares ML-DSA keys beside RSA ones; a bucket serves the set as octet-stream
    let issuer = TestIssuer::start();
    let mut set = issuer.key_set();
    let mut odd = set["keys"][0].clone();
    odd["kid"] = "odd".into();
    odd["x5c"] = json!(["MIIC"]);
    let post_quantum = json!({
        "kty": "AKP", "kid": "pq", "alg": "ML-DSA-65", "use": "sig", "pub": "AAAA",
    });
    let list = set["keys"].as_array_mut().unwrap();
    list.extend([odd, post_quantum, json!({ "kty": "RSA", "kid": "broken" })]);
    let answer = MockResponse::new(200, set.to_string())
        .with_header("content-type", "application/octet-stream");
    issuer.respond_with(Endpoint::Jwks, answer);

    let verifier = verifier_for(&issuer);
    let token = issuer.token().audience("orders").mint();
    assert!(verifier.judge(&token).await.is_ok());
    let odd = issuer.signing_key().with_kid("odd");
    assert!(
        verifier.judge(&issuer.token().audience("orders").signed_by(&odd).mint()).await.is_ok()
    );
    let broken = issuer.signing_key().with_kid("broken");
    let error = verifier
        .judge(&issuer.token().audience("orders").signed_by(&broken).mint())
        .await
        .unwrap_err();
    assert!(matches!(error, VerifyError::Invalid(_)), "{error}");
}

// rule: token-type
#[tokio::test]
async fn tokens_of_old_clusters_have_their_own_reason() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let legacy = issuer.token().legacy("payments", "checkout").mint();
    assert_eq!(verifier.judge(&legacy).await.unwrap_err().reason(), Reason::LegacyToken);
    let endless = issuer.token().audience("orders").without_claim("exp").mint();
    assert_eq!(verifier.judge(&endless).await.unwrap_err().reason(), Reason::MissingExpiry);
    assert_eq!(issuer.received_requests().len(), 0, "neither is worth a fetch");
}

/// As kube-apiserver with `--service-account-issuer=kubernetes/serviceaccount` (`hasCorrectIssuer` in
/// `pkg/serviceaccount/jwt.go`).
// rule: legacy-issuer-name
#[tokio::test]
async fn bound_tokens_of_an_issuer_named_as_the_legacy_one_are_accepted() {
    const NAME: &str = "kubernetes/serviceaccount";
    let issuer = TestIssuer::builder().tls().start();
    let opaque = Issuer::opaque(NAME, KeySource::jwks(issuer.jwks_uri()).via(fetcher(&issuer)));
    let also = issuer_via(&issuer, fetcher(&issuer)).add_alias(NAME);
    let other = issuer_via(&issuer, fetcher(&issuer));
    let build = |issuer: &Issuer| builder_for(issuer.clone());

    let minted = || issuer.token().audience("orders").claim("iss", NAME);
    let bound = minted().pod("checkout-7d9f").mint();
    let secret = issuer.token().legacy("payments", "checkout").mint();
    let secret_for_us = issuer.token().legacy("payments", "checkout").claim("aud", "orders").mint();
    let endless = minted().without_claim("exp").mint();
    let forged = minted().forged_by(&SigningKey::generate(SigningAlgorithm::Rs256)).mint();
    for trusted in [&opaque, &also] {
        let verifier = build(trusted).build().unwrap();
        let custom = build(trusted).claims::<Value>().build().unwrap();
        // the second time from the cache
        for _ in 0..2 {
            assert_eq!(verifier.judge(&bound).await.unwrap().issuer(), NAME);
            assert!(custom.judge(&bound).await.is_ok());
        }
        for token in [&secret, &secret_for_us, &endless] {
            let error = verifier.judge(token).await.unwrap_err();
            assert_eq!(error.reason(), Reason::LegacyToken);
            assert_eq!(custom.judge(token).await.unwrap_err().reason(), Reason::LegacyToken);
        }
        assert_eq!(verifier.judge(&forged).await.unwrap_err().reason(), Reason::Signature);
        // it is trusted for as long as it is configured
        assert!(verifier.remove_issuer(NAME));
        assert_eq!(verifier.judge(&bound).await.unwrap_err().reason(), Reason::LegacyToken);
    }
    let requests = issuer.received_requests().len();
    let verifier = build(&other).build().unwrap();
    for token in [&bound, &secret, &secret_for_us, &endless] {
        assert_eq!(verifier.judge(token).await.unwrap_err().reason(), Reason::LegacyToken);
    }
    assert_eq!(issuer.received_requests().len(), requests, "none of them is worth a fetch");
}

#[tokio::test]
async fn every_algorithm_of_a_cluster_verifies() {
    for algorithm in SigningAlgorithm::ALL {
        let issuer = TestIssuer::builder().algorithm(algorithm).start();
        let verifier = verifier_for(&issuer);
        let token = issuer.token().audience("orders").mint();
        assert!(verifier.judge(&token).await.is_ok(), "{algorithm:?}");
        let forged =
            issuer.token().audience("orders").forged_by(&SigningKey::generate(algorithm)).mint();
        let error = verifier.judge(&forged).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Signature, "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_token_extended_to_a_year_says_when_it_should_have_been_replaced() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let hour = Duration::from_secs(3607);
    let token = issuer
        .token()
        .audience("orders")
        .node("node-1")
        .expires_in(Duration::from_secs(365 * 24 * 3600))
        .warn_after(SystemTime::now() + hour)
        .mint();
    let caller = verifier.judge(&token).await.unwrap();
    let warn_after = caller.warn_after().unwrap();
    assert!(warn_after <= SystemTime::now() + hour);
    assert!(caller.expires_at() > warn_after);
    assert!(caller.jti().is_some());
}
