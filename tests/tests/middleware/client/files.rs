//! What a token file may hold.

use std::{fs, time::SystemTime};

use super::*;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc_tests::fixture;
use tower_kube_oidc::{TokenFileError, clock::ManualClock};

/// A token whose payload is this text.
pub(super) fn with_payload(payload: &str) -> String {
    format!("eyJhbGciOiJub25lIn0.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload))
}

// rule: client-origins
#[tokio::test]
async fn a_file_without_a_good_token_is_an_error_before_anything_is_sent() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    let clock = ManualClock::at(SystemTime::now());
    let volume = Volume::new();
    let path = volume.token_file().display().to_string();
    // one layer for all of it: it looks again every second
    let layer = volume.layer().clock(clock.clone()).for_origin(named.origin());
    let refused = async || {
        let error = not_sent(get_url(&layer, named.url()).await);
        volume.assert_hidden_in(&shown(&error));
        assert_eq!(named.seen(), [] as [Vec<String>; 0]);
        clock.advance(SECOND);
        match error {
            TokenError::File(error) => error,
            other => panic!("{other:?}"),
        }
    };

    let missing = refused().await;
    assert_eq!(missing.to_string(), format!("the token file {path} cannot be read"));
    let why = missing.source().unwrap().to_string();
    assert!(why.contains("No such file"), "{why}");
    volume.swap(|file| fs::create_dir(file).unwrap());
    assert!(matches!(refused().await, TokenFileError::Read { .. }));

    for content in ["", "\n", " \t\r\n \n"] {
        volume.publish(content);
        assert_eq!(refused().await.to_string(), format!("the token file {path} is empty"));
    }

    let good = minted(&issuer).mint();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let payload = r#""iss":"https://private-issuer.example","aud":["orders"]"#;
    for content in [
        b"garbage-that-is-no-token".to_vec(),
        signed.into(),
        format!("{good}.{signature}").into(),
        format!("{good}\n{good}").into(),
        format!("Bearer {good}").into(),
        format!("\u{feff}{good}").into(),
        format!("{good}\u{e9}").into(),
        format!("{signed}.\0{signature}").into(),
        [good.as_bytes(), b"\xff\xfe"].concat(),
        minted(&issuer).claim("y", "a".repeat(16 * 1024)).mint().into(),
        minted(&issuer).payload_text("private, and no JSON").mint().into(),
        with_payload("[1, 2, 3]").into(),
        with_payload(r#"{"aud":["orders"]}"#).into(),
        with_payload(r#"{"iss":1,"aud":["orders"]}"#).into(),
        with_payload(r#"{"iss":"https://private-issuer.example","aud":1}"#).into(),
        with_payload(r#"{"iss":"https://private-issuer.example","aud":["orders",1]}"#).into(),
        with_payload(&format!(r#"{{{payload},"exp":"9999999999"}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":null}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":-1}}"#)).into(),
        with_payload(&format!(r#"{{{payload},"exp":1e300}}"#)).into(),
    ] {
        volume.publish(&content);
        let text = refused().await.to_string();
        let content = String::from_utf8_lossy(&content);
        assert_eq!(
            text,
            format!("the token file {path} holds no ServiceAccount token"),
            "{content}"
        );
    }

    volume.publish(minted(&issuer).expired().mint());
    let expired = refused().await;
    assert_eq!(
        expired.to_string(),
        format!("the token in {path} has expired, and nobody has replaced it")
    );
    assert!(matches!(expired, TokenFileError::Expired { .. }));

    let (issuer_is, default) =
        ("its issuer is an audience", "it has a default audience of API servers");
    let none = "it has no audience";
    for (token, sign) in [
        // an audience of the API server's, alone and beside another; none at all
        (issuer.token().claim("x", SECRET).mint(), issuer_is),
        (minted(&issuer).audience(issuer.url()).mint(), issuer_is),
        (minted(&issuer).audience("https://kubernetes.default.svc").mint(), default),
        (minted(&issuer).audience("https://kubernetes.default.svc.cluster.local").mint(), default),
        (minted(&issuer).claim("aud", "https://kubernetes.default.svc").mint(), default),
        // of kOps and of k3s
        (minted(&issuer).audience("kubernetes.svc.default").mint(), default),
        (minted(&issuer).audience("k3s").mint(), default),
        (minted(&issuer).claim("aud", Vec::<String>::new()).mint(), none),
        (minted(&issuer).legacy("payments", "checkout").mint(), none),
        // a name that only the API server knows, and a default token all the same
        (minted(&issuer).warn_after(SystemTime::now()).mint(), "it has the claim `warnafter`"),
        (fixture("kube-apiserver-1.36/pod-default-3607.jwt"), issuer_is),
    ] {
        volume.publish(token);
        let error = refused().await;
        assert!(matches!(error, TokenFileError::ApiServerAudience { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "the token in {path} is valid for the API server: {sign}; project a token whose \
                 only audience is the service's own"
            )
        );
    }

    // a good one comes at last, and no new layer is needed for it
    volume.publish(format!("\n{good} \r\n"));
    assert_eq!(get_url(&layer, named.url()).await.unwrap().status(), StatusCode::OK);
    assert_eq!(named.seen(), [bearer(&good)]);
}

// rule: client-origins
#[tokio::test]
async fn a_token_for_the_api_server_is_sent_where_that_is_asked_for() {
    let issuer = TestIssuer::start();
    let named = Named::start().await;
    for token in [issuer.token().mint(), issuer.token().legacy("payments", "checkout").mint()] {
        let volume = Volume::holding(&token);
        let layer = volume.layer().dangerous_api_server_audience().for_origin(named.origin());
        get_url(&layer, named.url()).await.unwrap();
        assert_eq!(named.seen(), [bearer(&token)]);
        // that does not make it a token for anybody
        let error = not_sent(get_url(&layer, "http://127.0.0.1").await);
        assert!(matches!(error, TokenError::NoTokenForOrigin(_)), "{error:?}");
    }
}
