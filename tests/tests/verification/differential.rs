//! A few thousand tokens, good and broken, judged by us and by `jsonwebtoken` with strict
//! settings. Where the two may differ is listed, with the reason; a difference that no longer
//! shows is an error too, so that the list stays true. Where it is asked for, other implementations
//! judge the same tokens: see `oracles/README.md`.

use kube_oidc::KeySource;
use std::{collections::BTreeMap, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TokenBuilder};
use kube_oidc_tests::{Judge as _, OracleCase, issuer_at_with, verifier_for};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example/id/7";
const ROUNDS: usize = 60;

/// Why the verdicts may differ.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Both say the same, and this.
    Both(bool),
    /// We refuse, `jsonwebtoken` accepts.
    OnlyThey(&'static str),
    /// We accept, `jsonwebtoken` refuses.
    OnlyWe(&'static str),
}

use Expect::{Both, OnlyThey, OnlyWe};

type Change = fn(TokenBuilder) -> String;

/// A change, and the verdict on it.
const CHANGES: &[(&str, Expect, Change)] = &[
    ("none", Both(true), TokenBuilder::mint),
    ("aud is a string", Both(true), |t| t.claim("aud", "orders").mint()),
    ("aud is ours among others", Both(true), |t| t.claim("aud", json!(["a", "orders"])).mint()),
    ("no nbf", Both(true), |t| t.without_claim("nbf").mint()),
    ("unknown claims", Both(true), |t| t.claim("x", json!({"y": [1, null]})).mint()),
    ("unknown header", Both(true), |t| t.header("x", "y").mint()),
    ("typ JWT", Both(true), |t| t.header("typ", "JWT").mint()),
    ("aud is another", Both(false), |t| t.claim("aud", json!(["vault"])).mint()),
    ("aud is a prefix", Both(false), |t| t.claim("aud", "order").mint()),
    ("aud is longer", Both(false), |t| t.claim("aud", "orders ").mint()),
    ("aud in other case", Both(false), |t| t.claim("aud", "Orders").mint()),
    ("aud is empty", Both(false), |t| t.claim("aud", json!([])).mint()),
    ("aud is a number", Both(false), |t| t.claim("aud", 7).mint()),
    ("no aud", Both(false), |t| t.without_claim("aud").mint()),
    ("iss with a slash", Both(false), |t| t.claim("iss", format!("{ISSUER}/")).mint()),
    ("iss is another", Both(false), |t| t.claim("iss", "https://evil.example").mint()),
    ("no iss", Both(false), |t| t.without_claim("iss").mint()),
    ("no exp", Both(false), |t| t.without_claim("exp").mint()),
    ("exp is a string", Both(false), |t| t.claim("exp", "9999999999").mint()),
    ("exp long ago", Both(false), |t| t.expired().mint()),
    ("exp is zero", Both(false), |t| t.claim("exp", 0).mint()),
    ("exp is negative", Both(false), |t| t.claim("exp", -1).mint()),
    ("nbf far ahead", Both(false), |t| t.claim("nbf", 9_999_999_999_u64).mint()),
    ("alg none", Both(false), |t| t.header("alg", "none").mint()),
    ("alg none, no signature", Both(false), |t| t.header("alg", "none").signature("").mint()),
    ("alg HS256", Both(false), |t| t.header("alg", "HS256").mint()),
    ("alg of another family", Both(false), |t| t.header("alg", "ES256K").mint()),
    ("no alg", Both(false), |t| t.without_header("alg").mint()),
    ("kid of nobody", Both(false), |t| t.header("kid", "nobody").mint()),
    ("kid is a number", Both(false), |t| t.header("kid", 7).mint()),
    ("forged", Both(false), |t| t.signature(vec![7; 256]).mint()),
    ("signature is short", Both(false), |t| t.signature(vec![7; 4]).mint()),
    ("header is no JSON", Both(false), |t| t.header_text("{").mint()),
    ("payload is no JSON", Both(false), |t| t.payload_text("[").mint()),
    ("payload is a list", Both(false), |t| t.payload_text("[]").mint()),
    ("padded", Both(false), |t| format!("{}=", t.mint())),
    ("four parts", Both(false), |t| format!("{}.e30", t.mint())),
    ("two parts", Both(false), |t| t.mint().rsplit_once('.').unwrap().0.to_owned()),
    ("white space", Both(false), |t| format!("{} ", t.mint())),
    ("a bit of the signature", Both(false), |t| flip(&t.mint(), 2)),
    ("a bit of the payload", Both(false), |t| flip(&t.mint(), 1)),
    (
        "no kid",
        OnlyWe("kid is optional (RFC 7515, 4.1.4): we take the only key that fits the alg"),
        |t| t.without_header("kid").mint(),
    ),
    ("iat far ahead", OnlyThey("it does not look at iat; go-jose does, for the API server"), |t| {
        t.claim("iat", 9_999_999_999_u64).mint()
    }),
    ("typ of another kind", OnlyThey("it does not look at typ: RFC 8725, 3.11 asks for it"), |t| {
        t.header("typ", "secevent+jwt").mint()
    }),
    (
        "sub of somebody else",
        OnlyThey("it does not know that sub and kubernetes.io speak of one service account"),
        |t| t.claim("sub", "system:serviceaccount:kube-system:admin").mint(),
    ),
    ("no kubernetes.io", OnlyThey("the same"), |t| t.without_claim("kubernetes.io").mint()),
    (
        "a claim twice",
        OnlyThey("it takes the last of two members: RFC 7519, 4 lets a parser refuse them"),
        |t| twice(t, |payload| payload.replacen('{', "{\"x\":1,\"x\":2,", 1)),
    ),
    ("a header twice, escaped", OnlyThey("the same, RFC 7515, 4"), |t| {
        let (alg, kid) = (alg_of(&t), kid_of(&t));
        t.header_text(&format!(r#"{{"alg":"{alg}","kid":"{kid}","x":1,"\u0078":2}}"#)).mint()
    }),
    ("nested too deep", OnlyThey("it allows 128 levels, and we allow 32"), |t| {
        t.claim("x", deep(40)).mint()
    }),
    ("b64 is true", OnlyThey("RFC 7797: b64 must be in crit, and we support neither"), |t| {
        t.header("b64", true).mint()
    }),
    ("exp after the year 9999", OnlyThey("nobody meant that date"), |t| {
        t.claim("exp", 253_402_300_800_u64).mint()
    }),
];

fn flip(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut bytes = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
    let at = fastrand::usize(..bytes.len());
    bytes[at] ^= 1 << fastrand::u32(..8);
    parts[part] = URL_SAFE_NO_PAD.encode(bytes);
    parts.join(".")
}

fn deep(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// Changes the text of the payload, and signs it again.
fn twice(token: TokenBuilder, change: fn(&str) -> String) -> String {
    let minted = token.clone().mint();
    let payload = minted.split('.').nth(1).unwrap();
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    token.payload_text(&change(&text)).mint()
}

fn header_of(token: &TokenBuilder) -> Value {
    let minted = token.clone().mint();
    let header = minted.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

fn alg_of(token: &TokenBuilder) -> String {
    header_of(token)["alg"].as_str().unwrap().to_owned()
}

fn kid_of(token: &TokenBuilder) -> String {
    header_of(token)["kid"].as_str().unwrap().to_owned()
}

/// As strict as `jsonwebtoken` can be asked to be, with the key's `alg` demanded by hand.
fn they_accept(token: &str, keys: &JwkSet) -> bool {
    let Ok(header) = decode_header(token) else { return false };
    let Some(key) = header.kid.as_deref().and_then(|kid| keys.find(kid)) else { return false };
    let Ok(decoding_key) = DecodingKey::from_jwk(key) else { return false };
    let key_algorithm = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
    if key_algorithm.as_deref() != Some(&format!("{:?}", header.alg)) {
        return false;
    }
    let mut validation = Validation::new(header.alg);
    validation.leeway = 60;
    validation.validate_nbf = true;
    validation.set_audience(&["orders"]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    decode::<Value>(token, &decoding_key, &validation).is_ok()
}

#[test]
fn we_agree_with_jsonwebtoken_but_for_a_list_of_reasons() {
    let keys: Vec<SigningKey> =
        SigningAlgorithm::ALL.into_iter().map(SigningKey::generate).collect();
    let set = json!({ "keys": keys.iter().map(SigningKey::jwk).collect::<Vec<_>>() });
    let issuer = issuer_at_with(ISSUER, KeySource::fixed(set.to_string()));
    let verifier = verifier_for(issuer);
    // it knows no ES512, and reads the key as an unknown one
    let theirs: JwkSet = serde_json::from_value(set.clone()).unwrap();
    let minter = kube_oidc_testing::TestIssuer::builder().start();

    let mut judged = 0;
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for round in 0..ROUNDS {
        for (name, expect, change) in CHANGES {
            let key = &keys[round % keys.len()];
            let token = minter
                .token()
                .claim("iss", ISSUER)
                .audience("orders")
                .service_account("payments", "checkout")
                .pod(&format!("checkout-{}", fastrand::u32(..)))
                .signed_by(key);
            let token = change(token);
            let judge = || match verifier.judge_now(&token) {
                Some(verdict) => verdict.map_err(|error| error.reason()),
                None => panic!("a fixed set never waits"),
            };
            // the second time what was good is remembered
            let (cold, warm) = (judge(), judge());
            assert_eq!(
                cold.as_ref().map(kube_oidc::Verified::claims),
                warm.as_ref().map(kube_oidc::Verified::claims)
            );
            OracleCase {
                name: format!("differential/{:?}/{name}/{round}", key.algorithm()),
                token: &token,
                key_set: &set,
                issuer: ISSUER,
                audience: "orders",
                now: SystemTime::now(),
                ours: cold.as_ref().map(|_| ()).map_err(|reason| *reason),
            }
            .export();
            let we = cold.is_ok();
            let they = they_accept(&token, &theirs);
            let expect = match (*expect, key.algorithm()) {
                (Both(true), SigningAlgorithm::Es512) => OnlyWe("it has no ES512"),
                // refused by both then, for want of the algorithm
                (OnlyThey(_), SigningAlgorithm::Es512) => Both(false),
                (expect, _) => expect,
            };
            let as_expected = match expect {
                Both(verdict) => we == verdict && they == verdict,
                OnlyThey(_) => !we && they,
                OnlyWe(_) => we && !they,
            };
            if !as_expected {
                wrong.push(format!("{name} with {:?}: we {we}, they {they}", key.algorithm()));
            }
            if let OnlyThey(reason) | OnlyWe(reason) = expect {
                *seen.entry(reason).or_default() += 1;
            }
            judged += 1;
        }
    }
    assert!(wrong.is_empty(), "{} of {judged}: {wrong:#?}", wrong.len());
    assert!(judged >= 3_000, "{judged}");
    println!("{judged} tokens judged; differences by reason: {seen:#?}");
}
