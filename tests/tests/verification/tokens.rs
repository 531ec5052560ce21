//! Tokens that try to choose how they are checked, and rules on audiences.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use kube_oidc::{Algorithm, Reason};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{Judge as _, builder_for, rejection, verifier_for};
use serde_json::json;

use crate::attacks::headers::self_signed;

/// RFC 8725, 3.10: do not trust received claims, `jku` and `x5u` above all; CVE-2018-0114.
#[tokio::test]
async fn a_key_never_comes_from_a_token() {
    let issuer = TestIssuer::start();
    let attacker = TestIssuer::start();
    let theirs = attacker.signing_key();
    let der = self_signed(&theirs);
    let thumbprint = digest(&SHA1_FOR_LEGACY_USE_ONLY, &der);
    let verifier = verifier_for(&issuer);
    let ours = issuer.signing_key();
    for (header, value) in [
        ("jwk", theirs.jwk()),
        ("jku", json!(attacker.jwks_uri())),
        ("x5u", json!(attacker.jwks_uri())),
        ("x5c", json!([STANDARD.encode(&der)])),
        ("x5t", json!(URL_SAFE_NO_PAD.encode(thumbprint))),
    ] {
        // in the name of our key, by theirs
        let token = issuer.token().audience("orders").header(header, value.clone());
        let forged = token.clone().forged_by(&theirs).mint();
        assert_eq!(rejection(&verifier, &forged).await, Some(Reason::Signature), "{header}");
        let named = token.clone().signed_by(&theirs).mint();
        assert_eq!(rejection(&verifier, &named).await, Some(Reason::UnknownKey), "{header}");
        // an honest token with such a header is read over it
        assert_eq!(rejection(&verifier, &token.signed_by(&ours).mint()).await, None, "{header}");
    }
    assert_eq!(attacker.received_requests().len(), 0);
}

/// RFC 7515, 4.1.11 (`crit`); RFC 7797, 3 (`b64`); RFC 7516, 4.1.2 and 4.1.3 (`enc`, `zip`).
// rule: token-type
#[tokio::test]
async fn a_header_that_demands_is_refused() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    for (header, value) in [
        ("crit", json!([])),
        ("crit", json!(["exp"])),
        ("crit", json!(null)),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        let token = issuer.token().audience("orders").header(header, value).mint();
        assert_eq!(rejection(&verifier, &token).await, Some(Reason::Malformed), "{header}");
    }
}

/// RFC 8725, 2.1 and 3.1; CVE-2015-9235.
#[tokio::test]
async fn the_key_decides_the_algorithm_and_not_the_token() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let key = issuer.signing_key();
    for algorithm in [SigningAlgorithm::Rs384, SigningAlgorithm::Rs512, SigningAlgorithm::Ps256] {
        // honestly signed with the same numbers: but the key says RS256
        let other = key.clone().with_algorithm(algorithm);
        let token = issuer.token().audience("orders").signed_by(&other).mint();
        assert_eq!(
            rejection(&verifier, &token).await,
            Some(Reason::AlgorithmMismatch),
            "{algorithm:?}"
        );
    }
    // the public key as the secret of an HMAC
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.public_bytes());
    let unsigned = issuer.token().audience("orders").header("alg", "HS256").signature("").mint();
    let signing_input = unsigned.trim_end_matches('.');
    let tag = aws_lc_rs::hmac::sign(&secret, signing_input.as_bytes());
    let token =
        issuer.token().audience("orders").header("alg", "HS256").signature(tag.as_ref()).mint();
    assert_eq!(rejection(&verifier, &token).await, Some(Reason::Algorithm));
}

/// RFC 8725, 3.1 and 3.2: the operator says which are allowed.
#[tokio::test]
async fn a_verifier_may_allow_fewer_algorithms() {
    let issuer = TestIssuer::start();
    issuer.rotate_to(SigningKey::generate(SigningAlgorithm::Es256));
    let verifier = builder_for(&issuer).algorithms([Algorithm::Es256]).build().unwrap();
    let token = || issuer.token().audience("orders");
    assert_eq!(rejection(&verifier, &token().mint()).await, None);
    let rsa = SigningKey::generate(SigningAlgorithm::Rs256);
    assert_eq!(
        rejection(&verifier, &token().signed_by(&rsa).mint()).await,
        Some(Reason::Algorithm)
    );
}

/// RFC 9700, 2.3 and 4.10.2: a token that is good elsewhere too is worth stealing there. An API server
/// is the worst place of all.
// rule: other-audiences
#[tokio::test]
async fn tokens_for_others_too_are_refused_on_request() {
    let issuer = TestIssuer::start();
    let usual = verifier_for(&issuer);
    let single = builder_for(&issuer).require_single_audience().build().unwrap();
    let no_api_server = builder_for(&issuer).reject_api_server_audiences().build().unwrap();
    let (several, api_server) = (Some(Reason::MultipleAudiences), Some(Reason::ApiServerAudience));
    for (others, by_single, by_no_api_server) in [
        (&[][..], None, None),
        (&["vault"], several, None),
        (&["https://kubernetes.default.svc"], several, api_server),
        (&["https://kubernetes.default.svc.cluster.local"], several, api_server),
        (&[issuer.url()], several, api_server),
        (&["vault", issuer.url()], several, api_server),
    ] {
        let token = issuer.token().audience("orders");
        let token = others.iter().fold(token, |token, other| token.audience(other)).mint();
        assert_eq!(rejection(&usual, &token).await, None, "{others:?}");
        assert_eq!(rejection(&single, &token).await, by_single, "{others:?}");
        assert_eq!(rejection(&no_api_server, &token).await, by_no_api_server, "{others:?}");
    }
}

/// RFC 7519, 4.1.4: some small leeway, no more than a few minutes.
// rule: leeway
#[tokio::test]
async fn the_leeway_can_be_set() {
    use std::time::{Duration, SystemTime};

    let issuer = TestIssuer::start();
    let strict = builder_for(&issuer).leeway(Duration::ZERO).build().unwrap();
    let usual = verifier_for(&issuer);
    let lax = builder_for(&issuer).leeway(Duration::from_secs(300)).build().unwrap();
    let ago = |seconds| SystemTime::now() - Duration::from_secs(seconds);
    for (seconds, verdicts) in [(30, [false, true, true]), (200, [false, false, true])] {
        let token = issuer.token().audience("orders").issued_at(ago(3600)).expires_at(ago(seconds));
        let token = token.mint();
        for (verifier, accepted) in [&strict, &usual, &lax].into_iter().zip(verdicts) {
            assert_eq!(rejection(verifier, &token).await.is_none(), accepted, "{seconds}");
        }
    }
}

#[tokio::test]
async fn token_issued_this_second_is_valid_without_leeway() {
    let issuer = TestIssuer::start();
    let verifier = builder_for(&issuer).leeway(Duration::ZERO).build().unwrap();
    verifier.refresh_keys().await.unwrap();
    let token = issuer.token().audience("orders");
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for _ in 0..3 {
        // in the first moment of a second
        let next = Duration::from_secs(now().as_secs() + 1);
        tokio::time::sleep(next.saturating_sub(now() + Duration::from_millis(10))).await;
        while now() < next {
            std::hint::spin_loop();
        }
        assert_eq!(rejection(&verifier, &token.clone().mint()).await, None);
    }
}

/// RFC 8705, 3 and RFC 9449, 7.1: a token that is bound to a key is not accepted without its proof.
// rule: sender-constrained
#[tokio::test]
async fn token_that_is_bound_to_a_key_of_its_sender_is_rejected() {
    let issuer = TestIssuer::start();
    let strict = verifier_for(&issuer);
    let custom = builder_for(&issuer).claims::<serde_json::Value>().build().unwrap();
    let gateway = || builder_for(&issuer).dangerous_accept_sender_constrained_tokens();
    let (behind, custom_behind) =
        (gateway().build().unwrap(), gateway().claims::<serde_json::Value>().build().unwrap());
    let constrained = Some(Reason::SenderConstrained);
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    let bound = |cnf: serde_json::Value| issuer.token().audience("orders").claim("cnf", cnf);
    let keys = [
        json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" }),
        json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
        json!({ "jwk": stranger.jwk() }),
        json!({ "unknown": true }),
        json!({}),
    ];
    for cnf in &keys {
        for token in [bound(cnf.clone()).mint(), bound(cnf.clone()).signed_by(&stranger).mint()] {
            assert_eq!(rejection(&strict, &token).await, constrained, "{cnf}");
            assert_eq!(rejection(&custom, &token).await, constrained, "{cnf}");
        }
    }
    assert_eq!(issuer.received_requests().len(), 0, "no such token is worth a fetch");

    // with cached keys, and beside tokens that are accepted and cached
    let plain = issuer.token().audience("orders").mint();
    for verifier in [&strict, &behind] {
        assert_eq!(rejection(verifier, &plain).await, None);
    }
    assert_eq!(rejection(&custom, &plain).await, None);
    for cnf in &keys {
        let token = bound(cnf.clone()).mint();
        // the second time, it is cached where it is accepted
        for _ in 0..2 {
            assert_eq!(rejection(&strict, &token).await, constrained, "{cnf}");
            assert_eq!(rejection(&custom, &token).await, constrained, "{cnf}");
            assert_eq!(rejection(&behind, &token).await, None, "{cnf}");
        }
        let verified = custom_behind.judge(&token).await.unwrap();
        assert_eq!(verified["cnf"], *cnf);
        let forged = bound(cnf.clone()).forged_by(&stranger).mint();
        assert_eq!(rejection(&behind, &forged).await, Some(Reason::Signature), "{cnf}");
    }

    // what says nothing of a key is no token of either kind
    let payload = |cnf: &str| {
        let (iss, sub) = (issuer.url(), "system:serviceaccount:default:default");
        format!(r#"{{"aud":["orders"],"cnf":{cnf},"exp":9999999999,"iss":"{iss}","sub":"{sub}"}}"#)
    };
    for cnf in ["null", "true", "0", r#""jkt""#, "[]", r#"[{"jkt":"x"}]"#] {
        let token = issuer.token().payload_text(&payload(cnf)).mint();
        for verifier in [&custom, &custom_behind] {
            let error = verifier.judge(&token).await.unwrap_err();
            assert_eq!(error.reason(), Reason::Claims, "{cnf}");
            assert!(
                error.to_string().ends_with("invalid claim `cnf`; expected an object"),
                "{error}"
            );
        }
        assert_eq!(rejection(&behind, &token).await, Some(Reason::Claims), "{cnf}");
    }
}
