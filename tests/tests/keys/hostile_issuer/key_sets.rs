//! Key sets that are wrong. One bad key is skipped, and a set without a good one is none.

use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::Judge as _;
use serde_json::{Value, json};

use super::{Hostile, KEYS, PATIENT, ok, status};

#[tokio::test]
async fn documents_that_are_no_key_set() {
    let hostile = Hostile::start().await;
    let set = hostile.key_set().to_string();
    let jwk = hostile.key.jwk().to_string();
    let member = |member: &str| set.replacen('{', &format!("{{{member},"), 1);
    let deep =
        |levels: usize| member(&format!("\"x\":{}1{}", "[".repeat(levels), "]".repeat(levels)));
    for (what, text) in [
        ("nothing", String::new()),
        ("HTML", "<!DOCTYPE html><html><body>Sign in</body></html>".to_owned()),
        ("null", "null".to_owned()),
        ("a list", format!("[{jwk}]")),
        ("a key alone", jwk.clone()),
        ("a text", json!(set).to_string()),
        ("no keys", "{}".to_owned()),
        ("keys of another name", set.replace("\"keys\"", "\"Keys\"")),
        ("keys are an object", json!({ "keys": { "0": hostile.key.jwk() } }).to_string()),
        ("keys are one key", json!({ "keys": hostile.key.jwk() }).to_string()),
        ("keys are null", json!({ "keys": null }).to_string()),
        ("keys are a text", json!({ "keys": jwk }).to_string()),
        ("keys are a number", json!({ "keys": 1 }).to_string()),
        ("cut", set[..set.len() - 1].to_owned()),
        ("cut in a key", set[..set.len() - 3].to_owned()),
        ("two sets", set.repeat(2)),
        ("something behind", format!("{set};")),
        ("two BOMs", format!("\u{feff}\u{feff}{set}")),
        ("keys twice", member("\"keys\":[]")),
        ("keys twice, escaped", member("\"k\\u0065ys\":[]")),
        ("another member twice", member("\"x\":1,\"x\":1")),
        ("32 lists", deep(32)),
        ("a hundred thousand lists", deep(100_000)),
        ("lists without an end", format!("{{\"keys\":{}", "[".repeat(1_000_000))),
        ("a comma too many", set.replace("]}", ",]}")),
        ("PEM", "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n".to_owned()),
        ("a discovery document", hostile.document().to_string()),
    ] {
        hostile.assert_no_answer(KEYS, what, ok(text), "not well formed").await;
    }
    let mut bytes = set.clone().into_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'"').unwrap();
    bytes.insert(at, 0xff);
    hostile.assert_no_answer(KEYS, "no UTF-8", ok(bytes), "not UTF-8").await;
    for (what, text) in [
        ("31 lists", deep(31)),
        ("members beside", member("\"x\":{\"keys\":[]}")),
        ("a BOM", format!("\u{feff}{set}")),
    ] {
        hostile.assert_good_answer(KEYS, what, ok(text)).await;
    }
}

/// Sets of which no key can check a signature. That is a failure and not an empty set: else one
/// bad answer would lock everybody out.
#[tokio::test]
async fn sets_without_a_usable_key() {
    let hostile = Hostile::start().await;
    let secret = json!({ "kty": "oct", "kid": "k", "k": "c2VjcmV0", "alg": "HS256" });
    let with = |members: Value| {
        let mut key = hostile.key.jwk();
        for (name, value) in members.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    };
    for (what, keys) in [
        ("empty", json!([])),
        ("no keys in it", json!([null, 7, "key", [], {}, true])),
        ("secrets", json!([secret, secret])),
        ("for encryption", json!([with(json!({ "use": "enc" }))])),
        ("for signing only", json!([with(json!({ "key_ops": ["sign"] }))])),
        ("of another algorithm", json!([with(json!({ "alg": "RS256" }))])),
        ("of an unknown algorithm", json!([with(json!({ "alg": "X" }))])),
        ("of an unknown type", json!([with(json!({ "kty": "X" }))])),
        ("short", json!([with(json!({ "x": "AAAA" }))])),
        ("of small order", json!([with(json!({ "x": "A".repeat(43) }))])),
        ("with a long name", json!([with(json!({ "kid": "k".repeat(1025) }))])),
        ("with a name that is none", json!([with(json!({ "kid": 7 }))])),
        ("256 that are none", json!(vec![json!({ "kty": "X".repeat(3000) }); 256])),
    ] {
        let set = json!({ "keys": keys }).to_string();
        hostile.assert_no_answer(KEYS, what, ok(set), "no usable key").await;
    }
}

/// As many keys as are read, and one more, be they good or bad, or one and the same.
#[tokio::test]
async fn as_many_keys_as_are_read() {
    let hostile = Hostile::start().await;
    let named = |index: usize| hostile.key.clone().with_kid(&format!("key-{index}")).jwk();
    for what in ["good", "bad", "none", "the same"] {
        let other = |index| match what {
            "good" => named(index),
            "bad" => json!({ "kty": "oct" }),
            "none" => Value::Null,
            _ => hostile.key.jwk(),
        };
        let set = |count: usize| {
            let mut keys: Vec<Value> = (1..count).map(other).collect();
            keys.push(hostile.key.jwk());
            json!({ "keys": keys }).to_string()
        };
        hostile.assert_good_answer(KEYS, what, ok(set(256))).await;
        for count in [257, 1000] {
            let words = "more than 256 elements";
            hostile.assert_no_answer(KEYS, what, ok(set(count)), words).await;
        }
    }
}

/// Costly keys, as many as there may be: they are prepared while the set is read, once, and within
/// the patience of a fetch. What is over the limits is not prepared at all.
#[tokio::test]
async fn keys_that_are_costly_to_prepare() {
    let hostile = Hostile::start().await;
    let number = |bytes: usize| {
        let mut number = vec![0xa5; bytes];
        number[bytes - 1] |= 1;
        kube_oidc_tests::forge::encode(number)
    };
    let rsa = |index: usize, bytes: usize, e: &str| json!({ "kty": "RSA", "kid": format!("rsa-{index}"), "n": number(bytes), "e": e });
    // an exponent of 33 bits is the dearest that is taken
    let dear: Vec<Value> = (0..255).map(|index| rsa(index, 1024, "Af____8")).collect();
    let too_dear: Vec<Value> = (0..200).map(|index| rsa(index, 1025, "AQAB")).collect();
    for (what, mut keys) in [("dear", dear), ("too dear", too_dear)] {
        keys.push(hostile.key.jwk());
        let set = json!({ "keys": keys }).to_string();
        assert!(set.len() < 1 << 20, "{}", set.len());
        hostile.assert_good_answer(KEYS, what, ok(set)).await;
    }
}

/// One name for several keys: those of other algorithms have room of their own, and of one
/// algorithm four are tried. A token by the fifth is refused, and the others' are not.
#[tokio::test]
async fn many_keys_of_one_name() {
    let hostile = Hostile::start().await;
    let kid = hostile.key.kid().to_owned();
    let others: Vec<SigningKey> =
        (0..6).map(|_| SigningKey::generate(SigningAlgorithm::EdDsa).with_kid(&kid)).collect();
    let ec = SigningKey::generate(SigningAlgorithm::Es256).with_kid(&kid);
    let set = |before: usize| {
        let mut keys: Vec<Value> = others[..before].iter().map(SigningKey::jwk).collect();
        keys.push(ec.jwk());
        keys.push(hostile.key.jwk());
        keys.extend(others[before..].iter().map(SigningKey::jwk));
        json!({ "keys": keys }).to_string()
    };
    for before in 0..6 {
        let verifier = hostile.in_mid_life(PATIENT).await;
        hostile.server.says(KEYS, ok(set(before)));
        verifier.refresh_keys().await.unwrap();
        let judged = verifier.judge(hostile.token()).await.map(|_| ());
        let reason = judged.map_err(|error| error.reason());
        let expected = if before < 4 { Ok(()) } else { Err(kube_oidc::Reason::Signature) };
        assert_eq!(reason, expected, "{before} before it");
        assert_eq!(status(&verifier).keys.len(), 5);
    }
}

/// A key that changes under its name: the old one signs no more from then on, whatever was
/// remembered of it, though the name stays.
#[tokio::test]
async fn a_key_that_changes_under_its_name() {
    let hostile = Hostile::start().await;
    let verifier = hostile.in_mid_life(PATIENT).await;
    let old = hostile.token();
    assert!(verifier.judge(&old).await.is_ok());
    let other = SigningKey::generate(SigningAlgorithm::EdDsa).with_kid(hostile.key.kid());
    hostile.server.says(KEYS, ok(json!({ "keys": [other.jwk()] }).to_string()));
    verifier.refresh_keys().await.unwrap();
    let error = verifier.judge(&old).await.unwrap_err();
    assert_eq!(error.reason(), kube_oidc::Reason::Signature);
    let minted = hostile.mint.token().claim("iss", hostile.server.url()).audience("orders");
    assert!(verifier.judge(minted.signed_by(&other).mint()).await.is_ok());
}

/// What stands in a set of bytes that nobody should see is in no status and no log.
#[tokio::test]
async fn a_set_with_private_members_or_odd_names() {
    const SECRET: &str = "c2VjcmV0LXBhcnQ";
    let log = kube_oidc_tests::Log::catch();
    let hostile = Hostile::start().await;
    let mut key = hostile.key.jwk();
    for member in ["d", "p", "q", "dp", "dq", "qi", "k", "priv"] {
        key[member] = json!(SECRET);
    }
    let odd = "odd\n\u{1b}[31mname\u{202e}\u{0}";
    let secret = json!({ "kty": "oct", "kid": odd, "k": SECRET });
    let broken = json!({ "kty": "RSA", "kid": odd, "n": SECRET, "e": "AQAB", "d": SECRET });
    let set = json!({ "keys": [key, secret, broken] }).to_string();
    hostile.assert_good_answer(KEYS, "leaked", ok(&set)).await;
    let verifier = hostile.in_mid_life(PATIENT).await;
    hostile.server.says(KEYS, ok(&set));
    verifier.refresh_keys().await.unwrap();
    let shown = format!("{verifier:?} {:?} {}", verifier.status(), status(&verifier));
    assert!(!shown.contains(SECRET), "{shown}");
    let lines = log.lines_with(&["skipped unusable keys", &hostile.server.url()]);
    assert!(!lines.is_empty());
    for line in lines {
        assert!(!line.contains(SECRET), "{line}");
        let odd = line.chars().any(|c| c.is_control() || c == '\u{202e}');
        assert!(!odd, "{line:?}");
    }
}
