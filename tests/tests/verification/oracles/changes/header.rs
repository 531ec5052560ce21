//! Changes to the header: its form, its algorithm, its key.

use super::*;

macro_rules! header {
    ($name:literal) => {
        |draft| set(&mut draft.header, $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(&mut draft.header, $name, json!($($value)+))
    };
}

/// The key is in the set by its name and by an empty one.
fn list_without_name(draft: &mut Draft<'_>) -> bool {
    let mut twin = draft.key_set[0].clone();
    twin["kid"] = json!("");
    draft.key_set.insert(1, twin);
    true
}

/// The key in token and set has another name.
fn name_key(draft: &mut Draft<'_>, kid: &str) -> bool {
    set(draft.key_set[0].as_object_mut().unwrap(), "kid", json!(kid));
    set(&mut draft.header, "kid", json!(kid))
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}

pub(super) const CHANGES: &[Row] = &[
    ("typ JWT", TYPE, GOOD, header!("typ", "JWT")),
    ("typ in lower case", TYPE, GOOD, header!("typ", "jwt")),
    ("typ of another kind", TYPE, Some(Reason::Type), header!("typ", "at+jwt")),
    ("typ is empty", TYPE, Some(Reason::Type), header!("typ", "")),
    ("typ is a number", TYPE, Some(Reason::Malformed), header!("typ", 7)),
    ("typ is null", TYPE, Some(Reason::Malformed), header!("typ", null)),
    ("header unknown", HEADER, GOOD, header!("x", { "y": [1, null] })),
    ("header cty", HEADER, GOOD, header!("cty", "JWT")),
    ("header jku", HEADER, GOOD, header!("jku", "https://evil.example/keys")),
    ("header jwk of a stranger", HEADER, GOOD, |draft| {
        let jwk = draft.stranger().jwk();
        set(&mut draft.header, "jwk", jwk)
    }),
    ("header x5c is a number", HEADER, GOOD, header!("x5c", 7)),
    ("crit is empty", HEADER, Some(Reason::Malformed), header!("crit", [])),
    ("crit names exp", HEADER, Some(Reason::Malformed), header!("crit", ["exp"])),
    ("crit names kid", HEADER, Some(Reason::Malformed), header!("crit", ["kid"])),
    ("crit is null", HEADER, Some(Reason::Malformed), header!("crit", null)),
    ("crit names b64, which is true", HEADER, Some(Reason::Malformed), |draft| {
        set(&mut draft.header, "b64", json!(true));
        set(&mut draft.header, "crit", json!(["b64"]))
    }),
    ("b64 is true", HEADER, Some(Reason::Malformed), header!("b64", true)),
    ("b64 is false", HEADER, Some(Reason::Malformed), header!("b64", false)),
    ("zip", HEADER, Some(Reason::Malformed), header!("zip", "DEF")),
    ("enc", HEADER, Some(Reason::Malformed), header!("enc", "A256GCM")),
    ("header with white space", HEADER, GOOD, |draft| {
        draft.header_text = |text| format!(" {}\r\n\t ", text.replace(':', " : ")).into_bytes();
        true
    }),
    ("header escapes a name", HEADER, GOOD, |draft| {
        draft.header_text = |text| text.replace("\"kid\"", "\"\\u006bid\"").into_bytes();
        true
    }),
    ("header member twice", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| with(&text, r#""x":1,"\u0078":1"#);
        true
    }),
    ("header alg twice", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| with(&text, r#""alg":"none""#);
        true
    }),
    ("header after a byte order mark", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| format!("\u{feff}{text}").into_bytes();
        true
    }),
    ("header in UTF-16", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        true
    }),
    ("header is a list", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| format!("[{text}]").into_bytes();
        true
    }),
    ("header with a tail", HEADER, Some(Reason::Malformed), |draft| {
        draft.header_text = |text| format!("{text}{{}}").into_bytes();
        true
    }),
    // which algorithm
    ("alg is missing", ALG, Some(Reason::Malformed), header!("alg")),
    ("alg is null", ALG, Some(Reason::Malformed), header!("alg", null)),
    ("alg is a list", ALG, Some(Reason::Malformed), |draft| {
        let name = draft.algorithm().name();
        set(&mut draft.header, "alg", json!([name]))
    }),
    ("alg is empty", ALG, Some(Reason::Algorithm), header!("alg", "")),
    ("alg none", ALG, Some(Reason::Algorithm), header!("alg", "none")),
    ("alg none in capitals", ALG, Some(Reason::Algorithm), header!("alg", "NONE")),
    ("alg none without signature", ALG | SIGNATURE, Some(Reason::Algorithm), |draft| {
        draft.sign = |_, _| Vec::new();
        set(&mut draft.header, "alg", json!("none"))
    }),
    ("alg in lower case", ALG, Some(Reason::Algorithm), |draft| {
        let name = draft.algorithm().name().to_lowercase();
        set(&mut draft.header, "alg", json!(name))
    }),
    ("alg HS256 with the public key", ALG | SIGNATURE, Some(Reason::Algorithm), |draft| {
        draft.sign = |draft, message| hmac(draft.key.public_bytes(), message);
        set(&mut draft.header, "alg", json!("HS256"))
    }),
    ("alg HS256 with a key of the set", ALG | SIGNATURE | KEYS, Some(Reason::Algorithm), |draft| {
        draft.sign = |_, message| hmac(&[7; 32], message);
        draft.key_set[0] = json!({
            "kty": "oct", "kid": draft.key.kid(), "alg": "HS256", "use": "sig",
            "k": URL_SAFE_NO_PAD.encode([7; 32]),
        });
        set(&mut draft.header, "alg", json!("HS256"))
    }),
    ("alg of the same family", ALG | KEYS, Some(Reason::AlgorithmMismatch), |draft| {
        let Some(sibling) = sibling(draft) else { return false };
        draft.key = draft.key.clone().with_algorithm(sibling);
        set(&mut draft.header, "alg", json!(sibling.name()))
    }),
    ("alg of the same family, key has none", ALG | KEYS, GOOD, |draft| {
        let Some(sibling) = sibling(draft) else { return false };
        draft.key = draft.key.clone().with_algorithm(sibling);
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", None);
        set(&mut draft.header, "alg", json!(sibling.name()))
    }),
    ("alg of another family", ALG, Some(Reason::AlgorithmMismatch), |draft| {
        let other = if draft.is("RS") { "ES256" } else { "RS256" };
        set(&mut draft.header, "alg", json!(other))
    }),
    ("alg Ed25519", ALG, GOOD, |draft| {
        draft.is("EdDSA") && set(&mut draft.header, "alg", json!("Ed25519"))
    }),
    ("alg Ed25519 in token and key", ALG | KEYS, GOOD, |draft| {
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!("Ed25519"));
        draft.is("EdDSA") && set(&mut draft.header, "alg", json!("Ed25519"))
    }),
    ("alg Ed25519 in the key", KEYS, GOOD, |draft| {
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!("Ed25519"));
        draft.is("EdDSA")
    }),
    // which key
    ("kid of nobody", KID, Some(Reason::UnknownKey), header!("kid", "nobody")),
    ("kid is a number", KID, Some(Reason::Malformed), header!("kid", 7)),
    ("kid is null", KID, Some(Reason::Malformed), header!("kid", null)),
    ("kid of another key in the set", KID | KEYS, Some(Reason::AlgorithmMismatch), |draft| {
        let kid = draft.key_set[1]["kid"].clone();
        set(&mut draft.header, "kid", kid)
    }),
    ("kid in the other case", KID | KEYS, Some(Reason::UnknownKey), |draft| {
        name_key(draft, "key-a") && set(&mut draft.header, "kid", json!("Key-A"))
    }),
    ("kid with a space", KID | KEYS, Some(Reason::UnknownKey), |draft| {
        name_key(draft, "key-a") && set(&mut draft.header, "kid", json!("key-a "))
    }),
    ("kid is missing", KID | KEYS, GOOD, header!("kid")),
    ("kid is missing, two keys fit", KID | KEYS, Some(Reason::UnknownKey), |draft| {
        // keys of RSA take long to make
        if draft.is_rsa() {
            return false;
        }
        let rival = SigningKey::generate(draft.algorithm()).with_kid("rival");
        draft.key_set.push(rival.jwk());
        set(&mut draft.header, "kid", None)
    }),
    ("kid is missing, the key has two names", KID | KEYS, GOOD, |draft| {
        let mut twin = draft.key_set[0].clone();
        twin["kid"] = json!("twin");
        draft.key_set.push(twin);
        set(&mut draft.header, "kid", None)
    }),
    ("kid is missing in token and key", KID | KEYS, GOOD, |draft| {
        set(draft.key_set[0].as_object_mut().unwrap(), "kid", None);
        set(&mut draft.header, "kid", None)
    }),
    ("kid of 1024 bytes", KID | KEYS, GOOD, |draft| name_key(draft, &"k".repeat(1024))),
    ("kid of 1025 bytes", KID | KEYS, Some(Reason::Malformed), |draft| {
        name_key(draft, &"k".repeat(1025))
    }),
    ("kid in Greek", KID | KEYS, GOOD, |draft| name_key(draft, "κλειδί")),
    ("kid is empty", KID | KEYS, GOOD, |draft| name_key(draft, "")),
    ("kid is empty, the key has a name", KID | KEYS, GOOD, header!("kid", "")),
    ("kid is empty, the key has none", KID | KEYS, GOOD, |draft| {
        set(draft.key_set[0].as_object_mut().unwrap(), "kid", None);
        set(&mut draft.header, "kid", json!(""))
    }),
    ("kid is missing, that of the key is empty", KID | KEYS, GOOD, |draft| {
        set(draft.key_set[0].as_object_mut().unwrap(), "kid", json!(""));
        set(&mut draft.header, "kid", None)
    }),
    ("kid, and the key by an empty one too", KEYS, GOOD, list_without_name),
    ("kid is empty, and the key by its name too", KID | KEYS, GOOD, |draft| {
        list_without_name(draft) && set(&mut draft.header, "kid", json!(""))
    }),
    ("kid is a path", KID | KEYS, GOOD, |draft| name_key(draft, "../../dev/null\u{0}'--")),
];
