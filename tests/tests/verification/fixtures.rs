//! Tokens that a real kube-apiserver issued, with the documents that it served.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{
    KeySource, Reason, ServiceAccountClaims, Verified, Verifier, VerifyError, clock::ManualClock,
};
use kube_oidc_tests::{
    CAPTURED_TOKENS, Capture, CapturedToken, HttpServer, Judge as _, MappedFetcher, decoded,
    issuer_at_with,
};
use serde_json::{Value, json};

/// One of the oldest server, bound to a pod.
const POD_BOUND: CapturedToken = CAPTURED_TOKENS[1];

/// A verifier that knows the captured keys.
fn verifier_at(case: &CapturedToken, issuer: &str, audience: &str, time: SystemTime) -> Verifier {
    verifier_with_keys(issuer, audience, time, &case.key_set())
}

fn verifier(case: &CapturedToken) -> Verifier {
    verifier_at(case, &case.issuer(), &case.audience(), case.pinned_time())
}

/// A verifier that knows these keys.
fn verifier_with_keys(issuer: &str, audience: &str, time: SystemTime, keys: &str) -> Verifier {
    let issuer = issuer_at_with(issuer, KeySource::fixed(keys));
    Verifier::builder(issuer).audience(audience).clock(ManualClock::at(time)).build().unwrap()
}

async fn reason(verifier: &Verifier, token: &str) -> Reason {
    verifier.judge(token).await.unwrap_err().reason()
}

/// The claims as the payload that they came from.
fn as_payload(claims: &ServiceAccountClaims) -> Value {
    let seconds =
        |time: SystemTime| json!(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
    let mut kubernetes = json!({
        "namespace": claims.namespace(),
        "serviceaccount": {
            "name": claims.service_account().name(),
            "uid": claims.service_account().uid(),
        },
    });
    let bound = [("pod", claims.pod()), ("secret", claims.secret())];
    for (kind, object) in bound {
        if let Some(object) = object {
            kubernetes[kind] = json!({ "name": object.name(), "uid": object.uid() });
        }
    }
    if let Some(node) = claims.node() {
        kubernetes["node"] = json!({ "name": node.name() });
        if let Some(uid) = node.uid() {
            kubernetes["node"]["uid"] = json!(uid);
        }
    }
    if let Some(time) = claims.warn_after() {
        kubernetes["warnafter"] = seconds(time);
    }
    let mut payload = json!({
        "aud": claims.audiences().collect::<Vec<_>>(),
        "exp": seconds(claims.expires_at()),
        "iat": seconds(claims.issued_at().unwrap()),
        "iss": claims.issuer(),
        "kubernetes.io": kubernetes,
        "nbf": seconds(claims.not_before().unwrap()),
        "sub": claims.subject(),
    });
    if let Some(jti) = claims.jti() {
        payload["jti"] = json!(jti);
    }
    payload
}

/// A fetcher that finds the document of the issuer, and the keys of the API server, at `url`.
fn mapped(case: &CapturedToken, url: &str) -> MappedFetcher {
    // an issuer's document names the API server itself for its keys
    let issuer = case.issuer();
    let origin = issuer.strip_suffix('/').unwrap_or(&issuer);
    MappedFetcher::new(origin, url).and(case.server(), url)
}

#[tokio::test]
async fn every_good_token_verifies_by_discovery_and_its_claims_are_what_was_issued() {
    for case in &CAPTURED_TOKENS {
        let server = HttpServer::replaying(&[
            ("/.well-known/openid-configuration", &case.discovery()),
            ("/openid/v1/jwks", &case.keys()),
        ])
        .await;
        let fetcher = mapped(case, &server.url());
        let issuer = issuer_at_with(case.issuer(), KeySource::discovery().via(fetcher));
        let verifier = Verifier::builder(issuer)
            .audience(case.audience())
            .clock(ManualClock::at(case.pinned_time()))
            .build()
            .unwrap();

        let caller: Verified<ServiceAccountClaims> = verifier.judge(&case.jwt()).await.unwrap();
        assert_eq!(as_payload(&caller), case.decoded()["payload"], "{}", case.name());
    }
}

// rule: cache-key
#[tokio::test]
async fn no_other_byte_anywhere_is_accepted() {
    for case in &CAPTURED_TOKENS {
        let verifier = verifier(case);
        let token = case.jwt();
        assert!(verifier.judge(&token).await.is_ok());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(verifier.judge(&changed).await.is_err(), "{} at byte {at}", case.name());
        }
        let cut = &token[..token.len() - 1];
        assert!(verifier.judge(cut).await.is_err(), "{} cut", case.name());
    }
}

#[tokio::test]
async fn the_same_tokens_are_refused_at_another_time() {
    for case in &CAPTURED_TOKENS {
        let at = |seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            verifier_at(case, &case.issuer(), &case.audience(), time)
        };
        let token = case.jwt();
        let expiry = case.payload("exp").as_u64().unwrap();
        let issued = case.payload("iat").as_u64().unwrap();
        // the leeway is 60 s, to the second
        assert!(at(expiry + 59).judge(&token).await.is_ok());
        assert_eq!(reason(&at(expiry + 60), &token).await, Reason::Expired);
        assert_eq!(reason(&at(expiry + 86_400), &token).await, Reason::Expired);
        assert!(at(issued - 60).judge(&token).await.is_ok());
        assert_eq!(reason(&at(issued - 61), &token).await, Reason::NotYetValid);
    }
}

#[tokio::test]
async fn the_same_tokens_are_refused_elsewhere() {
    for case in &CAPTURED_TOKENS {
        let token = case.jwt();
        let now = case.pinned_time();
        let issuer = case.issuer();
        let other_audience = verifier_at(case, &issuer, "somebody-else", now);
        assert_eq!(reason(&other_audience, &token).await, Reason::Audience);

        let slash = match issuer.strip_suffix('/') {
            Some(without) => without.to_owned(),
            None => format!("{issuer}/"),
        };
        for other in [slash.as_str(), "https://127.0.0.1:26444", "https://issuer.example"] {
            let verifier = verifier_at(case, other, &case.audience(), now);
            assert_eq!(reason(&verifier, &token).await, Reason::UnknownIssuer, "{other}");
        }

        // the last one is a cluster with the same name
        let foreign = [
            "kube-apiserver/jwks.http",
            "kube-apiserver/jwks.ec256.http",
            "kube-apiserver-1.36/jwks.http",
            "kube-apiserver-1.36/v1.33-jwks.http",
        ];
        let kid = case.decoded()["header"]["kid"].as_str().unwrap().to_owned();
        for keys in foreign.map(|keys| Capture::read(keys).body) {
            if !keys.contains(&kid) {
                let verifier = verifier_with_keys(&issuer, &case.audience(), now, &keys);
                assert_eq!(reason(&verifier, &token).await, Reason::UnknownKey);
            }
        }
    }
}

#[tokio::test]
async fn another_clusters_key_of_the_same_name_does_not_fit() {
    let case = &POD_BOUND;
    let mut keys: Value = serde_json::from_str(&Capture::read("jwks.http").body).unwrap();
    let list = keys["keys"].as_array_mut().unwrap();
    let name = list[0]["kid"].clone();
    list.retain(|key| key["kid"] != name);
    list[0]["kid"] = name;
    let verifier =
        verifier_with_keys(&case.issuer(), &case.audience(), case.pinned_time(), &keys.to_string());
    assert_eq!(reason(&verifier, &case.jwt()).await, Reason::Signature);
}

#[tokio::test]
async fn what_only_the_api_server_knows_is_not_claimed_to_be_known() {
    // the pod is deleted: signature and times are still good, and offline nothing says otherwise
    let review = decoded("deleted-pod.tokenreview.json");
    let token = review["spec"]["token"].as_str().unwrap();
    assert!(verifier(&POD_BOUND).judge(token).await.is_ok());

    let review = decoded("wrong-audience.tokenreview.json");
    let token = review["spec"]["token"].as_str().unwrap();
    assert_eq!(reason(&verifier(&POD_BOUND), token).await, Reason::Audience);
}

#[tokio::test]
async fn an_unauthorised_key_fetch_is_unavailable_and_never_a_refusal() {
    for case in [CAPTURED_TOKENS[0], CAPTURED_TOKENS[6]] {
        for capture in ["jwks.anonymous-403.http", "jwks.bad-token-401.http"] {
            let capture = case.keys().replace("jwks.http", capture);
            let server = HttpServer::replaying(&[
                ("/.well-known/openid-configuration", &case.discovery()),
                ("/openid/v1/jwks", &capture),
            ])
            .await;
            let keys = KeySource::discovery().via(mapped(&case, &server.url()));
            let verifier = Verifier::builder(issuer_at_with(case.issuer(), keys))
                .audience(case.audience())
                .clock(ManualClock::at(case.pinned_time()))
                .build()
                .unwrap();
            let error = verifier.judge(&case.jwt()).await.unwrap_err();
            assert!(matches!(error, VerifyError::Unavailable(_)), "{capture}: {error}");
        }
    }
}

#[test]
fn the_captured_tokens_are_what_their_decoded_form_says() {
    // so that the tests above compare with the token, and not with a file beside it
    for case in &CAPTURED_TOKENS {
        let token = case.jwt();
        let parts: Vec<&str> = token.split('.').collect();
        let part = |index: usize| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[index]).unwrap()).unwrap()
        };
        assert_eq!(part(0), case.decoded()["header"]);
        assert_eq!(part(1), case.decoded()["payload"]);
    }
}
