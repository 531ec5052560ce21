//! What is signed by the same keys, or looks like a token, and is another thing.

use kube_oidc::{KeySource, Reason, Verifier};
use kube_oidc_testing::{SigningAlgorithm, TokenBuilder};
use kube_oidc_tests::forge::{encode, signed};
use kube_oidc_tests::issuer_at_with;
use serde_json::{Value, json};

use super::{ISSUER, Lock, key, token_by, verdict};

/// RFC 8725, 2.8 and 3.11; RFC 7515, 4.1.9: a JWT of another kind, by the same issuer and key. Each
/// of these says in `typ` what it is.
// rule: token-type
#[test]
fn tokens_of_another_type() {
    let lock = Lock::new();
    lock.forge();
    let typed = |typ: Value| lock.token().header("typ", typ).mint();
    for typ in ["JWT", "jwt", "Jwt", "jWT"] {
        lock.accepts(typ, typed(json!(typ)));
    }
    lock.accepts("none", lock.token().without_header("typ").mint());
    for typ in [
        // an access token: RFC 9068, 2.1
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        // a security event: RFC 8417, 2.3
        "secevent+jwt",
        // OpenID Connect Back-Channel Logout 1.0, 2.4
        "logout+jwt",
        // a proof of possession: RFC 9449, 4.2
        "dpop+jwt",
        // an authorization request: RFC 9101
        "oauth-authz-req+jwt",
        // RFC 9701, 5
        "token-introspection+jwt",
        // the draft that revises RFC 7523 (draft-ietf-oauth-rfc7523bis)
        "client-authentication+jwt",
        // OpenID Federation 1.0
        "entity-statement+jwt",
        // RFC 9901 (SD-JWT), and the draft of credentials in it (draft-ietf-oauth-sd-jwt-vc)
        "kb+jwt",
        "dc+sd-jwt",
        // OpenID for Verifiable Credential Issuance 1.0
        "openid4vci-proof+jwt",
        // a workload's identity and its proof (drafts of WIMSE; SPIFFE's WIT-SVID)
        "wit+jwt",
        "wpt+jwt",
        // RFC 7515, 4.1.9; RFC 7516, 4.1.11; and what nobody defined
        "JOSE",
        "JOSE+JSON",
        "JWE",
        "JWS",
        "jwk+jwt",
        "ID",
        "",
        " ",
        "JWT ",
        " JWT",
        "JWT\n",
        "JWT\u{0}",
        "JWTS",
        "J",
        "application/jwt",
        "JWT;x=y",
        "JWT,at+jwt",
        "\u{ff2a}WT",
    ] {
        lock.refuses(typ, typed(json!(typ)), Reason::Type);
    }
    for typ in [json!(null), json!(0), json!(["JWT"]), json!({ "typ": "JWT" })] {
        lock.refuses(&typ, typed(typ.clone()), Reason::Malformed);
    }
    // what is in it has another name, so this says nothing of the type
    lock.accepts("cty", lock.token().header("cty", "at+jwt").mint());
}

/// RFC 9068, 2.1 and 4; RFC 8725, 3.11 and 3.12: the other way round. Who asks for access tokens gets
/// no other token of the issuer.
// rule: token-type
#[test]
fn tokens_of_another_type_where_one_is_demanded() {
    let es256 = key(SigningAlgorithm::Es256);
    let set = json!({ "keys": [es256.jwk()] }).to_string();
    let issuer = issuer_at_with(ISSUER, KeySource::fixed(set));
    let verifier = Verifier::builder(issuer)
        .claims::<Value>()
        .audience("orders")
        .token_type("at+jwt")
        .build()
        .unwrap();
    let judge = |token: TokenBuilder| verdict(&verifier, token.mint().as_bytes());
    let token = || token_by(es256).bare();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
        assert_eq!(judge(token().header("typ", typ)), Ok(()), "{typ}");
    }
    assert_eq!(judge(token()), Err(Reason::Type));
    for typ in [
        "JWT",
        "at",
        "jwt",
        "at+jwt ",
        "application/jwt",
        "text/at+jwt",
        "application/application/at+jwt",
        "logout+jwt",
        "dpop+jwt",
    ] {
        assert_eq!(judge(token().header("typ", typ)), Err(Reason::Type), "{typ}");
    }
}

/// RFC 8725, 2.8 and 3.12; RFC 9700, 4.15: the same without a `typ` to tell them by. Their claims do,
/// also where a person or a client of the issuer chose the name of a service account.
#[test]
fn tokens_that_speak_of_no_service_account() {
    let lock = Lock::new();
    lock.forge();
    let bare = || lock.token().bare();
    for (what, token, reason) in [
        (
            "ID token",
            bare().claim("sub", "alice").claim("nonce", "n").claim("auth_time", 1),
            Reason::Claims,
        ),
        // of a person who chose a telling name
        (
            "ID token",
            bare().claim("sub", "system:serviceaccount:payments:checkout"),
            Reason::Claims,
        ),
        (
            "access token",
            bare().claim("sub", "alice").claim("scope", "read").claim("client_id", "x"),
            Reason::Claims,
        ),
        (
            "logout token",
            bare().claim("sub", "alice").claim(
                "events",
                json!({ "http://schemas.openid.net/event/backchannel-logout": {} }),
            ),
            Reason::Claims,
        ),
        (
            "security event",
            bare().without_claim("exp").claim("events", json!({})),
            Reason::MissingExpiry,
        ),
        (
            "DPoP proof",
            bare().without_claim("exp").claim("htm", "GET").claim("htu", "https://orders.example"),
            Reason::MissingExpiry,
        ),
        (
            "authorization request",
            bare().claim("client_id", "x").claim("response_type", "code"),
            Reason::Claims,
        ),
        // RFC 7523: a client that signs for itself
        (
            "client assertion",
            bare().claim("sub", "client").claim("iss", "client"),
            Reason::UnknownIssuer,
        ),
        // a token of a Secret, which never ends
        ("legacy", lock.token().legacy("payments", "checkout"), Reason::LegacyToken),
        (
            "legacy with an end and an audience",
            lock.token().claim("iss", "kubernetes/serviceaccount"),
            Reason::LegacyToken,
        ),
        (
            "legacy under our name",
            lock.token().legacy("payments", "checkout").claim("iss", ISSUER),
            Reason::MissingExpiry,
        ),
    ] {
        lock.refuses(what, token.mint(), reason);
    }
}

/// RFC 7515, 7.2: the JSON forms of a JWS, which hold the same signature. CVE-2022-39227
/// (python-jwt) took one apart as both forms at once.
#[test]
fn json_forms_of_a_signature() {
    let lock = Lock::new();
    let token = lock.forge().mint();
    let parts: Vec<&str> = token.split('.').collect();
    let [protected, payload, signature] = parts[..] else { panic!("three parts") };
    let evil = encode(lock.token().service_account("kube-system", "admin").mint());
    let flattened = json!({ "protected": protected, "payload": payload, "signature": signature });
    let general = json!({
        "payload": payload,
        "signatures": [{ "protected": protected, "signature": signature }],
    });
    let unprotected = json!({
        "payload": payload,
        "signatures": [{ "header": { "alg": "none" }, "signature": "" }],
    });
    // both forms in one text: compact for who looks for dots, JSON for who looks for braces
    let compact_as_name = format!(
        r#"{{"  {protected}.{evil}.":"","protected":"{protected}","payload":"{payload}","signature":"{signature}"}}"#
    );
    for form in [
        flattened.to_string(),
        general.to_string(),
        unprotected.to_string(),
        json!([token]).to_string(),
        json!({ "token": token }).to_string(),
        compact_as_name,
        format!(r#"{{"{token}":1}}"#),
    ] {
        lock.refuses(&form, &form, Reason::Malformed);
        let encoded = encode(&form);
        lock.refuses("encoded", &encoded, Reason::Malformed);
        lock.refuses("as header", format!("{encoded}.{payload}.{signature}"), Reason::Malformed);
    }
}

/// RFC 7516, 7.1: an encrypted token has five parts. The public key of the issuer is all that it
/// takes to make one, so that it is encrypted says nothing of who made it.
#[test]
fn encrypted_tokens() {
    let lock = Lock::new();
    let forge = lock.forge();
    let inner = forge.mint();
    for header in [
        r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#,
        r#"{"alg":"RSA1_5","enc":"A128CBC-HS256","kid":"the-RS256-key"}"#,
        r#"{"alg":"dir","enc":"A128GCM"}"#,
        r#"{"alg":"ECDH-ES","enc":"A128GCM","epk":{}}"#,
        r#"{"alg":"ES256","enc":"A128GCM","kid":"the-ES256-key"}"#,
        r#"{"alg":"none","cty":"JWT"}"#,
    ] {
        let header = encode(header);
        for parts in [
            format!("{header}.AAAA.AAAA.{}.AAAA", encode(&inner)),
            format!("{header}..AAAA.{}.AAAA", encode(&inner)),
            format!("{header}....{}", encode(&inner)),
        ] {
            lock.refuses(&parts, &parts, Reason::Malformed);
        }
    }
    // five parts cut to three
    for header in [r#"{"alg":"dir","enc":"A128GCM"}"#, r#"{"alg":"ES256","enc":"A128GCM"}"#] {
        let token = signed(&encode(header), &encode(&forge.payload), &lock.key);
        lock.refuses(header, token, Reason::Malformed);
    }
}

/// RFC 7519, 5.2 and appendix A.2: a token in a token. What is inside is not looked at, be its
/// signature good or not.
#[test]
fn nested_tokens() {
    let lock = Lock::new();
    let forge = lock.forge();
    let inner = forge.mint();
    let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&forge.payload));
    for inside in [&inner, &none, &format!("\"{inner}\""), &encode(&inner)] {
        for cty in [r#""cty":"JWT""#, r#""cty":"jwt","typ":"JWT""#, r#""x":1"#] {
            let mut outer = forge.clone().with_header(cty);
            outer.payload = inside.as_bytes().to_vec();
            lock.refuses((cty, inside), outer.mint(), Reason::Claims);
        }
    }
    // claims beside it count, and it does not
    let beside = lock.token().claim("token", inner.as_str()).header("cty", "JWT").mint();
    lock.accepts("beside", beside);
}

/// RFC 7515, appendix F: the payload is left out, and somewhere else.
#[test]
fn detached_payloads() {
    let lock = Lock::new();
    let forge = lock.forge();
    let token = forge.mint();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = input.split_once('.').unwrap();
    lock.refuses("detached", format!("{header}..{signature}"), Reason::Claims);
    // signed as it stands, with nothing as payload
    lock.refuses("nothing", signed(header, "", &lock.key), Reason::Claims);
}

/// RFC 6750, 2.1: credentials of other kinds that find their way into the same header, where any text
/// may be a bearer token. RFC 7515, 7.1 tells them apart: none is three parts that fit.
#[test]
fn credentials_of_other_kinds() {
    let lock = Lock::new();
    let token = lock.forge().mint();
    for (what, credential) in [
        ("bootstrap token", "abcdef.0123456789abcdef".to_owned()),
        ("OpenShift", format!("sha256~{}", "A".repeat(43))),
        ("opaque", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6".to_owned()),
        ("PASETO", format!("v4.public.{}", "A".repeat(96))),
        ("PASETO, local", format!("v4.local.{}", "A".repeat(96))),
        ("PASETO with a footer", format!("v4.public.{}.{}", "A".repeat(96), "A".repeat(8))),
        ("Biscuit", format!("biscuit:{}", "A".repeat(200))),
        ("Macaroon", "MDAxY2xvY2F0aW9uIG15YmFuawo".to_owned()),
        ("SD-JWT", format!("{token}~")),
        ("SD-JWT with disclosures", format!("{token}~WyJzYWx0IiwibiIsInYiXQ~")),
        ("SD-JWT with key binding", format!("{token}~{token}")),
        ("CWT", "0oRDoQEmoQRCMTFYUKIB".to_owned()),
        ("SAML", encode("<saml:Assertion/>")),
        ("basic", "dXNlcjpwYXNzd29yZA==".to_owned()),
        ("AWS", "k8s-aws-v1.aHR0cHM6Ly9zdHMuYW1hem9uYXdzLmNvbS8".to_owned()),
        ("GCP", "ya29.a0AfH6SMB".to_owned()),
        ("GitHub", "ghp_0123456789abcdefghijABCDEFGHIJ012345".to_owned()),
        ("two tokens", format!("{token}, {token}")),
    ] {
        lock.refuses(what, &credential, Reason::Malformed);
    }
}
