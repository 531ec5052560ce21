//! A few thousand tokens of every algorithm, with changes to header, payload, signature, key set and
//! the finished text: each change alone with each algorithm, then several together. Here we judge
//! them; where it is asked for, other implementations do so too: see `oracles/README.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{Issuer, Reason, Verifier, clock::ManualClock};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::{Capture, Judge as _, OracleCase, decoded, fixture, pinned_time};
use serde_json::{Map, Value, json};

const ISSUER: &str = "https://issuer.example/id/7";
const NOW: u64 = 1_900_000_000;
/// As many tokens have several changes.
const COMBINED: usize = 2_000;

/// A token in the making, and the key set that it is judged with.
struct Draft<'k> {
    keys: &'k [SigningKey],
    /// The key that signs; the first of the key set unless that was changed.
    key: SigningKey,
    header: Map<String, Value>,
    payload: Map<String, Value>,
    key_set: Vec<Value>,
    /// What becomes of the texts before they are encoded.
    header_text: fn(String) -> Vec<u8>,
    payload_text: fn(String) -> Vec<u8>,
    /// The signature of the first two parts.
    sign: fn(&Self, &[u8]) -> Vec<u8>,
    /// What becomes of the finished token.
    finish: fn(String) -> String,
}

/// Makes a change, or says that it does not exist for the key's algorithm.
type Change = fn(&mut Draft<'_>) -> bool;

// What a change touches: two that touch the same are not combined.
const TYPE: u32 = 1;
const HEADER: u32 = 2;
const ALG: u32 = 4;
const KID: u32 = 8;
const KEYS: u32 = 16;
const EXP: u32 = 32;
const NBF: u32 = 64;
const IAT: u32 = 128;
const AUD: u32 = 256;
const ISS: u32 = 512;
const SUBJECT: u32 = 1024;
const OTHER: u32 = 2048;
const PAYLOAD_TEXT: u32 = 4096;
const SIGNATURE: u32 = 8192;
const TEXT: u32 = 16384;

impl<'k> Draft<'k> {
    fn new(keys: &'k [SigningKey], index: usize) -> Self {
        let key = &keys[index];
        let in_set = (0..3).map(|step| keys[(index + step) % keys.len()].jwk()).collect();
        let Value::Object(header) = json!({ "alg": key.algorithm().name(), "kid": key.kid() })
        else {
            unreachable!("it is written above")
        };
        let Value::Object(payload) = json!({
            "iss": ISSUER,
            "sub": "system:serviceaccount:payments:checkout",
            "aud": ["orders"],
            "iat": NOW - 10,
            "nbf": NOW - 10,
            "exp": NOW + 3590,
            "jti": "3e8e4b5c-1f5a-4b73-9b6e-0d3a6c2f7e11",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "6f0f2b0c-5b1c-4a57-8f0d-6c1f7d0f4a55" },
            },
        }) else {
            unreachable!("it is written above")
        };
        Self {
            keys,
            key: key.clone(),
            header,
            payload,
            key_set: in_set,
            header_text: String::into_bytes,
            payload_text: String::into_bytes,
            sign: |draft, message| draft.key.sign(message),
            finish: |token| token,
        }
    }

    fn token(&self) -> String {
        let text = |members: &Map<String, Value>| Value::Object(members.clone()).to_string();
        let header = URL_SAFE_NO_PAD.encode((self.header_text)(text(&self.header)));
        let payload = URL_SAFE_NO_PAD.encode((self.payload_text)(text(&self.payload)));
        let signing_input = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode((self.sign)(self, signing_input.as_bytes()));
        (self.finish)(format!("{signing_input}.{signature}"))
    }

    fn algorithm(&self) -> SigningAlgorithm {
        self.key.algorithm()
    }

    fn is(&self, prefix: &str) -> bool {
        self.algorithm().name().starts_with(prefix)
    }

    fn is_rsa(&self) -> bool {
        self.is("RS") || self.is("PS")
    }

    /// A key that is not in the set.
    fn stranger(&self) -> &SigningKey {
        let index = self.keys.iter().position(|key| key.public_bytes() == self.key.public_bytes());
        &self.keys[(index.unwrap() + 5) % self.keys.len()]
    }
}

/// Sets a member, or leaves it out.
fn set(members: &mut Map<String, Value>, name: &str, value: impl Into<Option<Value>>) -> bool {
    match value.into() {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    true
}

macro_rules! header {
    ($name:literal) => {
        |draft| set(&mut draft.header, $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(&mut draft.header, $name, json!($($value)+))
    };
}

macro_rules! claim {
    ($name:literal) => {
        |draft| set(&mut draft.payload, $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(&mut draft.payload, $name, json!($($value)+))
    };
}

/// A member of the key that signs, in the set.
macro_rules! key {
    ($name:literal) => {
        |draft| set(draft.key_set[0].as_object_mut().unwrap(), $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(draft.key_set[0].as_object_mut().unwrap(), $name, json!($($value)+))
    };
}

/// The text of the payload, as a function of what it was.
macro_rules! payload {
    ($text:expr) => {
        |draft| {
            draft.payload_text = $text;
            true
        }
    };
}

macro_rules! signature {
    ($sign:expr) => {
        |draft| {
            draft.sign = $sign;
            true
        }
    };
}

macro_rules! finish {
    ($finish:expr) => {
        |draft| {
            draft.finish = $finish;
            true
        }
    };
}

/// A member more, in front.
fn with(text: &str, member: &str) -> Vec<u8> {
    text.replacen('{', &format!("{{{member},"), 1).into_bytes()
}

fn in_kubernetes(draft: &mut Draft<'_>, pointer: &str, value: Value) -> bool {
    *draft.payload["kubernetes.io"].pointer_mut(pointer).unwrap() = value;
    true
}

/// Changes a number of a key in the set, which is base64url.
fn in_number(draft: &mut Draft<'_>, change: fn(&mut Vec<u8>)) -> bool {
    let name = if draft.is_rsa() { "n" } else { "x" };
    let number = &mut draft.key_set[0][name];
    let mut bytes = URL_SAFE_NO_PAD.decode(number.as_str().unwrap()).unwrap();
    change(&mut bytes);
    *number = json!(URL_SAFE_NO_PAD.encode(bytes));
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

/// Another algorithm for the same RSA key.
fn sibling(draft: &Draft<'_>) -> Option<SigningAlgorithm> {
    use SigningAlgorithm as A;
    match draft.algorithm() {
        A::Rs256 => Some(A::Rs384),
        A::Rs384 => Some(A::Rs512),
        A::Rs512 => Some(A::Ps512),
        A::Ps256 => Some(A::Rs256),
        A::Ps384 => Some(A::Ps256),
        A::Ps512 => Some(A::Ps384),
        _ => None,
    }
}

/// A signature of ECDSA as X.509 has it: a DER sequence of two numbers.
fn der(fixed: &[u8]) -> Vec<u8> {
    let number = |half: &[u8]| {
        let zeros = half.iter().take_while(|byte| **byte == 0).count();
        let mut bytes = half[zeros..].to_vec();
        if bytes.first().is_none_or(|first| *first >= 0x80) {
            bytes.insert(0, 0);
        }
        [&[2, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat()
    };
    let (r, s) = fixed.split_at(fixed.len() / 2);
    let numbers = [number(r), number(s)].concat();
    let length = u8::try_from(numbers.len()).unwrap();
    let head = if length < 128 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    [head, numbers].concat()
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

/// Replaces the last character, which holds bits that stand for nothing, by one that sets them.
fn with_stray_bits(part: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = ALPHABET.find(part.chars().last().unwrap()).unwrap();
    format!("{}{}", &part[..part.len() - 1], &ALPHABET[last + 1..last + 2])
}

const GOOD: Option<Reason> = None;

/// A name, what the change touches, what becomes of it, and the change.
const CHANGES: &[(&str, u32, Option<Reason>, Change)] = &[
    ("nothing", 0, GOOD, |_| true),
    // the header
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
    ("alg of the same family", ALG | KEYS, Some(Reason::KeyAlgorithm), |draft| {
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
    ("alg of another family", ALG, Some(Reason::KeyAlgorithm), |draft| {
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
    ("kid of another key in the set", KID | KEYS, Some(Reason::KeyAlgorithm), |draft| {
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
        let mut rival = SigningKey::generate(SigningAlgorithm::Es256).jwk();
        if !draft.is("ES256") {
            rival = draft.key_set[0].clone();
        }
        rival["kid"] = json!("rival");
        draft.key_set.push(rival);
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
    ("kid is a path", KID | KEYS, GOOD, |draft| name_key(draft, "../../dev/null\u{0}'--")),
    // when
    ("exp in the leeway", EXP, GOOD, claim!("exp", NOW - 59)),
    ("exp at the end of the leeway", EXP, Some(Reason::Expired), claim!("exp", NOW - 60)),
    ("exp past the leeway", EXP, Some(Reason::Expired), claim!("exp", NOW - 61)),
    ("exp a fraction before the end", EXP, Some(Reason::Expired), |draft| {
        set(&mut draft.payload, "exp", json!(1_899_999_940.5))
    }),
    ("exp with a fraction", EXP, GOOD, claim!("exp", 1_900_000_001.75)),
    ("exp is zero", EXP, Some(Reason::Expired), claim!("exp", 0)),
    ("exp is negative", EXP, Some(Reason::Claims), claim!("exp", -1)),
    ("exp in the year 9999", EXP, GOOD, claim!("exp", 253_402_300_799_u64)),
    ("exp after the year 9999", EXP, Some(Reason::Claims), claim!("exp", 253_402_300_800_u64)),
    ("exp is missing", EXP, Some(Reason::NoExpiry), claim!("exp")),
    ("exp is null", EXP, Some(Reason::Claims), claim!("exp", null)),
    ("exp is true", EXP, Some(Reason::Claims), claim!("exp", true)),
    ("exp is text", EXP, Some(Reason::Claims), claim!("exp", "1900003590")),
    ("exp is a list", EXP, Some(Reason::Claims), claim!("exp", [1_900_003_590])),
    ("exp in milliseconds", EXP, Some(Reason::Claims), claim!("exp", NOW * 1000)),
    ("exp with an exponent", EXP | PAYLOAD_TEXT, GOOD, |draft| {
        draft.payload_text =
            |text| text.replace("\"exp\":1900003590", "\"exp\":1.90000359E9").into_bytes();
        true
    }),
    ("exp is infinite", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "1e400").into_bytes();
        true
    }),
    ("exp is NaN", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "NaN").into_bytes();
        true
    }),
    ("exp with a leading zero", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "01900003590").into_bytes();
        true
    }),
    ("exp twice", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| with(&text, "\"exp\":1");
        true
    }),
    ("nbf at the end of the leeway", NBF, GOOD, claim!("nbf", NOW + 60)),
    ("nbf past the leeway", NBF, Some(Reason::NotYetValid), claim!("nbf", NOW + 61)),
    ("nbf a fraction past the leeway", NBF, GOOD, claim!("nbf", 1_900_000_060.5)),
    ("nbf is missing", NBF, GOOD, claim!("nbf")),
    ("nbf is null", NBF, Some(Reason::Claims), claim!("nbf", null)),
    ("nbf is text", NBF, Some(Reason::Claims), claim!("nbf", "1899999990")),
    ("nbf is true", NBF, Some(Reason::Claims), claim!("nbf", true)),
    ("nbf is negative", NBF, Some(Reason::Claims), claim!("nbf", -1)),
    ("nbf is zero", NBF, GOOD, claim!("nbf", 0)),
    ("iat at the end of the leeway", IAT, GOOD, claim!("iat", NOW + 60)),
    ("iat past the leeway", IAT, Some(Reason::IssuedInFuture), claim!("iat", NOW + 61)),
    ("iat a fraction past the leeway", IAT, GOOD, claim!("iat", 1_900_000_060.5)),
    ("iat is missing", IAT, GOOD, claim!("iat")),
    ("iat is null", IAT, Some(Reason::Claims), claim!("iat", null)),
    ("iat is text", IAT, Some(Reason::Claims), claim!("iat", "1899999990")),
    ("iat is true", IAT, Some(Reason::Claims), claim!("iat", true)),
    ("iat is negative", IAT, Some(Reason::Claims), claim!("iat", -1)),
    // for whom, by whom, of whom
    ("aud is text", AUD, GOOD, claim!("aud", "orders")),
    ("aud is one of several", AUD, GOOD, claim!("aud", ["vault", "orders", ""])),
    ("aud is ours twice", AUD, GOOD, claim!("aud", ["orders", "orders"])),
    ("aud is another", AUD, Some(Reason::Audience), claim!("aud", ["vault"])),
    ("aud in capitals", AUD, Some(Reason::Audience), claim!("aud", "ORDERS")),
    ("aud is longer", AUD, Some(Reason::Audience), claim!("aud", "orders.example")),
    ("aud is shorter", AUD, Some(Reason::Audience), claim!("aud", "order")),
    ("aud with a zero byte", AUD, Some(Reason::Audience), claim!("aud", "orders\u{0}")),
    ("aud of several, joined", AUD, Some(Reason::Audience), claim!("aud", "vault orders")),
    ("aud is an empty list", AUD, Some(Reason::Audience), claim!("aud", [])),
    ("aud is empty", AUD, Some(Reason::Audience), claim!("aud", "")),
    ("aud is missing", AUD, Some(Reason::Audience), claim!("aud")),
    ("aud is null", AUD, Some(Reason::Claims), claim!("aud", null)),
    ("aud is a number", AUD, Some(Reason::Claims), claim!("aud", 7)),
    ("aud is an object", AUD, Some(Reason::Claims), claim!("aud", { "orders": true })),
    ("aud holds a number", AUD, Some(Reason::Claims), claim!("aud", ["orders", 7])),
    ("aud holds a list", AUD, Some(Reason::Claims), claim!("aud", [["orders"]])),
    ("iss with a slash", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(format!("{ISSUER}/")))
    }),
    ("iss in capitals", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(ISSUER.to_uppercase()))
    }),
    ("iss with its port", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!("https://issuer.example:443/id/7"))
    }),
    ("iss is a prefix", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(&ISSUER[..ISSUER.len() - 1]))
    }),
    ("iss is missing", ISS, Some(Reason::Claims), claim!("iss")),
    ("iss is null", ISS, Some(Reason::Claims), claim!("iss", null)),
    ("iss is a list", ISS, Some(Reason::Claims), claim!("iss", [ISSUER])),
    ("iss is empty", ISS, Some(Reason::UnknownIssuer), claim!("iss", "")),
    ("sub is missing", SUBJECT, Some(Reason::SubjectMismatch), claim!("sub")),
    ("sub is a number", SUBJECT, Some(Reason::Claims), claim!("sub", 7)),
    ("sub is null", SUBJECT, Some(Reason::Claims), claim!("sub", null)),
    ("sub of another account", SUBJECT, Some(Reason::SubjectMismatch), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:payments:admin"))
    }),
    ("sub of another namespace", SUBJECT, Some(Reason::SubjectMismatch), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:kube-system:checkout"))
    }),
    ("sub is a user", SUBJECT, Some(Reason::SubjectMismatch), claim!("sub", "system:admin")),
    ("kubernetes.io is missing", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io")),
    ("kubernetes.io is null", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io", null)),
    ("kubernetes.io is a list", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io", [])),
    ("kubernetes.io has no namespace", SUBJECT, Some(Reason::Claims), |draft| {
        in_kubernetes(draft, "/namespace", Value::Null)
    }),
    ("kubernetes.io has no uid", SUBJECT, Some(Reason::Claims), |draft| {
        in_kubernetes(draft, "/serviceaccount/uid", Value::Null)
    }),
    ("kubernetes.io has a strange name", SUBJECT, Some(Reason::Claims), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:payments:Check/out"));
        in_kubernetes(draft, "/serviceaccount/name", json!("Check/out"))
    }),
    ("kubernetes.io names a pod", SUBJECT, GOOD, |draft| {
        draft.payload["kubernetes.io"]["pod"] = json!({ "name": "checkout-0", "uid": "1-2" });
        draft.payload["kubernetes.io"]["node"] = json!({ "name": "node-7", "uid": "3-4" });
        draft.payload["kubernetes.io"]["warnafter"] = json!(NOW + 3000);
        true
    }),
    ("kubernetes.io knows more", SUBJECT, GOOD, |draft| {
        draft.payload["kubernetes.io"]["future"] = json!({ "x": [1] });
        true
    }),
    ("jti is missing", OTHER, GOOD, claim!("jti")),
    ("jti is a number", OTHER, Some(Reason::Claims), claim!("jti", 7)),
    ("jti is null", OTHER, Some(Reason::Claims), claim!("jti", null)),
    ("claims unknown", OTHER, GOOD, claim!("x", { "y": [1, null, "ä"], "__proto__": {} })),
    ("claims nested", OTHER, GOOD, |draft| set(&mut draft.payload, "x", nested(30))),
    ("claims nested too deep", OTHER, Some(Reason::Claims), |draft| {
        set(&mut draft.payload, "x", nested(40))
    }),
    // the text of the payload
    (
        "payload with white space",
        PAYLOAD_TEXT,
        GOOD,
        payload!(|text| { format!("\n\t {} \r\n", text.replace(',', " , ")).into_bytes() }),
    ),
    (
        "payload escapes a name",
        PAYLOAD_TEXT,
        GOOD,
        payload!(|text| { text.replace("\"iss\"", "\"\\u0069s\\u0073\"").into_bytes() }),
    ),
    (
        "payload member twice",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":1,"y":1"#) }),
    ),
    (
        "payload member twice, escaped",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":1,"\u0079":1"#) }),
    ),
    (
        "payload member twice, inside",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":{"z":1,"z":1}"#) }),
    ),
    (
        "payload iss twice",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""iss":"https://evil.example""#) }),
    ),
    (
        "payload holds NaN",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":NaN"#) }),
    ),
    (
        "payload holds Infinity",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":-Infinity"#) }),
    ),
    (
        "payload holds half a surrogate",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, r#""y":"\ud800""#) }),
    ),
    (
        "payload holds a huge number",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, &format!("\"y\":{}", "9".repeat(400))) }),
    ),
    (
        "payload holds a control character",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, "\"y\":\"\n\"") }),
    ),
    (
        "payload with a trailing comma",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("{},}}", &text[..text.len() - 1]).into_bytes() }),
    ),
    (
        "payload with a comment",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { with(&text, "/* */\"y\":1") }),
    ),
    (
        "payload with a tail",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("{text}x").into_bytes() }),
    ),
    (
        "payload is cut",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { text.as_bytes()[..text.len() - 1].to_vec() }),
    ),
    (
        "payload is a list",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("[{text}]").into_bytes() }),
    ),
    ("payload is null", PAYLOAD_TEXT, Some(Reason::Claims), payload!(|_| b"null".to_vec())),
    ("payload is empty", PAYLOAD_TEXT, Some(Reason::Claims), payload!(|_| Vec::new())),
    (
        "payload after a byte order mark",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { format!("\u{feff}{text}").into_bytes() }),
    ),
    (
        "payload in UTF-16",
        PAYLOAD_TEXT,
        Some(Reason::Claims),
        payload!(|text| { text.encode_utf16().flat_map(u16::to_le_bytes).collect() }),
    ),
    (
        "payload is not UTF-8",
        PAYLOAD_TEXT,
        Some(Reason::Malformed),
        payload!(|text| {
            let text = with(&text, "\"y\":\"@\"");
            text.into_iter().map(|byte| if byte == b'@' { 0xff } else { byte }).collect()
        }),
    ),
    (
        "payload holds an encoded surrogate",
        PAYLOAD_TEXT,
        Some(Reason::Malformed),
        payload!(|text| {
            let text = with(&text, "\"y\":\"@@@\"");
            let mut surrogate = [0xed, 0xa0, 0x80].into_iter();
            let change = |byte| if byte == b'@' { surrogate.next().unwrap() } else { byte };
            text.into_iter().map(change).collect()
        }),
    ),
    // the signature
    (
        "signature with a bit flipped",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| {
            let mut signature = draft.key.sign(message);
            let at = fastrand::usize(..signature.len());
            signature[at] ^= 1 << fastrand::u32(..8);
            signature
        }),
    ),
    ("signature is empty", SIGNATURE, Some(Reason::Malformed), signature!(|_, _| Vec::new())),
    (
        "signature is cut",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| {
            let mut signature = draft.key.sign(message);
            signature.pop();
            signature
        }),
    ),
    (
        "signature is longer",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { [draft.key.sign(message), vec![0]].concat() }),
    ),
    (
        "signature after a zero",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { [vec![0], draft.key.sign(message)].concat() }),
    ),
    (
        "signature is twice there",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { draft.key.sign(message).repeat(2) }),
    ),
    (
        "signature of zeros",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { vec![0; draft.key.sign(message).len()] }),
    ),
    (
        "signature of ones",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { vec![0xff; draft.key.sign(message).len()] }),
    ),
    (
        "signature of a stranger",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, message| { draft.stranger().sign(message) }),
    ),
    (
        "signature of another text",
        SIGNATURE,
        Some(Reason::Signature),
        signature!(|draft, _| { draft.key.sign(b"e30.e30") }),
    ),
    ("signature in DER", SIGNATURE, Some(Reason::Signature), |draft| {
        draft.sign = |draft, message| der(&draft.key.sign(message));
        draft.is("ES")
    }),
    ("signature with halves swapped", SIGNATURE, Some(Reason::Signature), |draft| {
        draft.sign = |draft, message| {
            let signature = draft.key.sign(message);
            let (r, s) = signature.split_at(signature.len() / 2);
            [s, r].concat()
        };
        draft.is("ES") || draft.is("EdDSA")
    }),
    // the finished token
    (
        "token with padding",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let parts = token
                .split('.')
                .map(|part| format!("{part}{}", &"==="[..(4 - part.len() % 4) % 4]));
            parts.collect::<Vec<_>>().join(".") + "="
        }),
    ),
    (
        "token with right padding",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            match signature.len() % 4 {
                0 => format!("{token}===="),
                rest => format!("{signed}.{signature}{}", &"=="[..4 - rest]),
            }
        }),
    ),
    ("token with stray bits", TEXT | SIGNATURE, Some(Reason::Malformed), |draft| {
        draft.finish = |token| {
            let (signed, signature) = token.rsplit_once('.').unwrap();
            format!("{signed}.{}", with_stray_bits(signature))
        };
        // 96 and 132 bytes leave no bits over
        !draft.is("ES384") && !draft.is("ES512")
    }),
    (
        "token in the other alphabet",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let changed = token.replace('-', "+").replace('_', "/");
            if changed == token { format!("{token}+") } else { changed }
        }),
    ),
    ("token after a space", TEXT, Some(Reason::Malformed), finish!(|token| format!(" {token}"))),
    (
        "token before a line feed",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!("{token}\n") }),
    ),
    (
        "token with a line feed inside",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { token.replacen('.', "\n.", 1) }),
    ),
    (
        "token with Bearer",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| format!("Bearer {token}")),
    ),
    (
        "token of two parts",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { token.rsplit_once('.').unwrap().0.to_owned() }),
    ),
    ("token of four parts", TEXT, Some(Reason::Malformed), finish!(|token| format!("{token}.e30"))),
    (
        "token of five parts",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| format!("{token}.e30.AA")),
    ),
    (
        "token with an empty part in front",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!(".{token}") }),
    ),
    (
        "token without header",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| { format!(".{}", token.split_once('.').unwrap().1) }),
    ),
    (
        "token in JSON form",
        TEXT,
        Some(Reason::Malformed),
        finish!(|token| {
            let parts: Vec<&str> = token.split('.').collect();
            json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string()
        }),
    ),
    ("token is empty", TEXT, Some(Reason::Malformed), finish!(|_| String::new())),
    // the key set
    ("key without alg", KEYS, GOOD, key!("alg")),
    ("key without use", KEYS, GOOD, key!("use")),
    ("key without kid", KEYS, Some(Reason::UnknownKey), key!("kid")),
    ("key without kty", KEYS, Some(Reason::UnknownKey), key!("kty")),
    ("key with an unknown member", KEYS, GOOD, key!("future", { "y": 1 })),
    ("key for encryption", KEYS, Some(Reason::UnknownKey), key!("use", "enc")),
    ("key for verifying", KEYS, GOOD, key!("key_ops", ["verify"])),
    ("key for signing and verifying", KEYS, GOOD, key!("key_ops", ["sign", "verify"])),
    ("key for signing", KEYS, Some(Reason::UnknownKey), key!("key_ops", ["sign"])),
    ("key for nothing", KEYS, Some(Reason::UnknownKey), key!("key_ops", [])),
    ("key for an unknown algorithm", KEYS, Some(Reason::UnknownKey), key!("alg", "XY256")),
    ("key for encryption by its alg", KEYS, Some(Reason::UnknownKey), key!("alg", "RSA-OAEP")),
    ("key for the algorithm of its family", KEYS, Some(Reason::KeyAlgorithm), |draft| {
        let Some(sibling) = sibling(draft) else { return false };
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!(sibling.name()))
    }),
    ("key for another family", KEYS, Some(Reason::UnknownKey), |draft| {
        let other = if draft.is("ES256") { "ES384" } else { "ES256" };
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!(other))
    }),
    ("key alg is null", KEYS, Some(Reason::UnknownKey), key!("alg", null)),
    ("key use is null", KEYS, Some(Reason::UnknownKey), key!("use", null)),
    ("key kty in lower case", KEYS, Some(Reason::UnknownKey), |draft| {
        let kty = draft.key_set[0]["kty"].as_str().unwrap().to_lowercase();
        set(draft.key_set[0].as_object_mut().unwrap(), "kty", json!(kty))
    }),
    ("key of another curve", KEYS, Some(Reason::UnknownKey), |draft| {
        let crv = if draft.is("ES256") { "P-384" } else { "P-256" };
        set(draft.key_set[0].as_object_mut().unwrap(), "crv", json!(crv));
        !draft.is_rsa()
    }),
    ("key with a leading zero", KEYS, GOOD, |draft| {
        draft.is_rsa() && in_number(draft, |number| number.insert(0, 0))
    }),
    ("key with a leading zero in a coordinate", KEYS, Some(Reason::UnknownKey), |draft| {
        !draft.is_rsa() && in_number(draft, |number| number.insert(0, 0))
    }),
    ("key with a coordinate cut", KEYS, Some(Reason::UnknownKey), |draft| {
        !draft.is_rsa() && in_number(draft, |number| number.truncate(31))
    }),
    ("key off its curve", KEYS, Some(Reason::UnknownKey), |draft| {
        draft.is("ES")
            && in_number(draft, |number| {
                let last = number.len() - 1;
                number[last] ^= 1;
            })
    }),
    ("key with an even modulus", KEYS, Some(Reason::UnknownKey), |draft| {
        draft.is_rsa()
            && in_number(draft, |number| {
                let last = number.len() - 1;
                number[last] ^= 1;
            })
    }),
    ("key with another modulus", KEYS, Some(Reason::Signature), |draft| {
        draft.is_rsa() && in_number(draft, |number| number[100] ^= 1)
    }),
    ("key with the exponent 3", KEYS, Some(Reason::UnknownKey), |draft| {
        draft.is_rsa() && set(draft.key_set[0].as_object_mut().unwrap(), "e", json!("Aw"))
    }),
    ("key with padding", KEYS, Some(Reason::UnknownKey), |draft| {
        let name = if draft.is_rsa() { "n" } else { "x" };
        let number = draft.key_set[0][name].as_str().unwrap();
        // a number of a whole count of groups has none
        let padding = &"=="[..(4 - number.len() % 4) % 4];
        let number = format!("{number}{padding}");
        set(draft.key_set[0].as_object_mut().unwrap(), name, json!(number));
        !padding.is_empty()
    }),
    ("key is not there", KEYS, Some(Reason::UnknownKey), |draft| {
        draft.key_set.remove(0);
        true
    }),
    ("key is last", KEYS, GOOD, |draft| {
        draft.key_set.rotate_left(1);
        true
    }),
    ("key is twice there", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, draft.key_set[0].clone());
        true
    }),
    ("key after a rival of its name", KEYS, GOOD, |draft| {
        let rival = SigningKey::generate(draft.algorithm()).with_kid(draft.key.kid());
        draft.key_set.insert(0, rival.jwk());
        // keys of RSA take long to make
        !draft.is_rsa()
    }),
    ("key before a rival of its name", KEYS, GOOD, |draft| {
        let rival = SigningKey::generate(draft.algorithm()).with_kid(draft.key.kid());
        draft.key_set.push(rival.jwk());
        !draft.is_rsa()
    }),
    ("key after one of its name and another type", KEYS, GOOD, |draft| {
        let other = draft.stranger().clone().with_kid(draft.key.kid());
        draft.key_set.insert(0, other.jwk());
        true
    }),
    ("key beside an unknown type", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, json!({ "kty": "XYZ", "kid": "new", "alg": "XY256" }));
        true
    }),
    ("key beside a shared secret", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, json!({ "kty": "oct", "kid": "shared", "k": "AAAA" }));
        true
    }),
    ("key beside an empty object", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, json!({}));
        true
    }),
    ("key beside half a key", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, json!({ "kty": "RSA", "kid": "half", "e": "AQAB" }));
        true
    }),
    ("key beside a number", KEYS, GOOD, |draft| {
        draft.key_set.insert(0, json!(7));
        true
    }),
];

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Our verdict, which others hear of too.
async fn judge(
    name: String,
    token: &str,
    key_set: &Value,
    (issuer, audience): (&str, &str),
    now: SystemTime,
) -> Result<(), Reason> {
    let trusted = Issuer::new(issuer.parse().unwrap()).with_key_set(key_set.to_string());
    let verifier = Verifier::builder(trusted).audience(audience).clock(ManualClock::at(now));
    let verdict = verifier.build().unwrap().judge(token).await;
    let ours = verdict.map(|_| ()).map_err(|error| error.reason());
    OracleCase { name, token, key_set, issuer, audience, now, ours }.export();
    ours
}

/// Changes, and whether they exist for this key.
fn draft<'k>(keys: &'k [SigningKey], index: usize, changes: &[Change]) -> Option<Draft<'k>> {
    let mut draft = Draft::new(keys, index);
    changes.iter().all(|change| change(&mut draft)).then_some(draft)
}

fn keys() -> Vec<SigningKey> {
    SigningAlgorithm::ALL.into_iter().map(SigningKey::generate).collect()
}

async fn judge_draft(name: String, draft: &Draft<'_>) -> Result<(), Reason> {
    let key_set = json!({ "keys": draft.key_set });
    judge(name, &draft.token(), &key_set, (ISSUER, "orders"), at(NOW)).await
}

#[tokio::test]
async fn each_change_has_its_verdict() {
    let keys = keys();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (name, _, expected, change) in CHANGES {
        let before = judged;
        for (index, key) in keys.iter().enumerate() {
            let Some(draft) = draft(&keys, index, &[*change]) else { continue };
            let name = format!("generated/{}/{name}", key.algorithm().name());
            let ours = judge_draft(name.clone(), &draft).await;
            if ours.err() != *expected {
                wrong.push(format!("{name}: {ours:?} and not {expected:?}"));
            }
            judged += 1;
        }
        assert!(judged > before, "{name} is a change of nothing");
    }
    assert!(wrong.is_empty(), "{} of {judged}: {wrong:#?}", wrong.len());
    println!("{judged} tokens with one change");
}

#[tokio::test]
async fn a_token_is_good_if_each_of_its_changes_is() {
    let keys = keys();
    let good: Vec<_> = CHANGES.iter().filter(|(_, _, expected, _)| expected.is_none()).collect();
    let all: Vec<_> = CHANGES.iter().collect();
    let (mut judged, mut accepted) = (0, 0);
    let mut wrong = Vec::new();
    while judged < COMBINED {
        // of all changes most are bad, and so would be nearly all combinations
        let pool = if judged % 2 == 0 { &good } else { &all };
        let chosen: Vec<_> =
            (0..fastrand::usize(2..=4)).map(|_| pool[fastrand::usize(..pool.len())]).collect();
        let touched = chosen.iter().try_fold(0, |touched, (_, touches, ..)| {
            (touched & touches == 0).then_some(touched | touches)
        });
        if touched.is_none() {
            continue;
        }
        let index = fastrand::usize(..keys.len());
        let changes: Vec<Change> = chosen.iter().map(|(.., change)| *change).collect();
        let Some(draft) = draft(&keys, index, &changes) else { continue };
        let names: Vec<&str> = chosen.iter().map(|(name, ..)| *name).collect();
        let algorithm = keys[index].algorithm().name();
        let name = format!("generated/{algorithm}/{}/{judged}", names.join(" + "));
        let ours = judge_draft(name.clone(), &draft).await;
        let expected = chosen.iter().all(|(_, _, expected, _)| expected.is_none());
        if ours.is_ok() != expected {
            wrong.push(format!("{name}: {ours:?}, {}", draft.token()));
        }
        accepted += usize::from(expected);
        judged += 1;
    }
    assert!(wrong.is_empty(), "{} of {judged}: {wrong:#?}", wrong.len());
    println!("{judged} tokens with several changes, of which {accepted} are accepted");
}

#[tokio::test]
async fn captured_tokens_have_their_verdicts() {
    let same = |name| (name, "jwks.http");
    let captured = [
        same("plain"),
        same("pod-bound"),
        same("secret-bound"),
        same("aud-two"),
        ("ec256", "jwks.ec256.http"),
        ("aks-issuer", "jwks.aks-issuer.http"),
    ];
    for (name, keys) in captured {
        let token = fixture(&format!("{name}.jwt"));
        let payload = decoded(&format!("{name}.decoded.json"))["payload"].clone();
        let key_set: Value = serde_json::from_str(&Capture::read(keys).body).unwrap();
        let (issuer, now) = (payload["iss"].as_str().unwrap(), pinned_time());
        let us = (issuer, payload["aud"][0].as_str().unwrap());
        let time = |claim: &str| payload[claim].as_u64().unwrap();
        let cases = [
            ("as it is", us, now, Ok(())),
            ("for another", (issuer, "billing"), now, Err(Reason::Audience)),
            ("of another", ("https://evil.example", us.1), now, Err(Reason::UnknownIssuer)),
            ("at its last second", us, at(time("exp") + 59), Ok(())),
            ("a second later", us, at(time("exp") + 60), Err(Reason::Expired)),
            ("at its first second", us, at(time("nbf") - 60), Ok(())),
            ("a second earlier", us, at(time("nbf") - 61), Err(Reason::NotYetValid)),
        ];
        for (what, us, now, expected) in cases {
            let name = format!("captured/{name}/{what}");
            assert_eq!(judge(name.clone(), &token, &key_set, us, now).await, expected, "{name}");
        }
        for index in (0..token.len()).step_by(7) {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let name = format!("captured/{name}/byte {index}");
            assert!(judge(name.clone(), &changed, &key_set, us, now).await.is_err(), "{name}");
        }
    }
}
