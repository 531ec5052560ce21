//! Changes to the key set.

use super::*;

macro_rules! key {
    ($name:literal) => {
        |draft| set(draft.key_set[0].as_object_mut().unwrap(), $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(draft.key_set[0].as_object_mut().unwrap(), $name, json!($($value)+))
    };
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

pub(super) const CHANGES: &[Row] = &[
    ("key without alg", KEYS, GOOD, key!("alg")),
    ("key without use", KEYS, GOOD, key!("use")),
    ("key without kid", KEYS, Some(Reason::UnknownKey), key!("kid")),
    ("key without kty", KEYS, Some(Reason::UnknownKey), key!("kty")),
    ("key with an unknown member", KEYS, GOOD, key!("future", { "y": 1 })),
    ("key for encryption", KEYS, Some(Reason::UnknownKey), key!("use", "enc")),
    ("key for verifying", KEYS, GOOD, key!("key_ops", ["verify"])),
    ("key for signing and verifying", KEYS, GOOD, key!("key_ops", ["sign", "verify"])),
    ("key for signing", KEYS, Some(Reason::UnknownKey), key!("key_ops", ["sign"])),
    ("key with an empty key_ops", KEYS, GOOD, key!("key_ops", [])),
    ("key for encryption with an empty key_ops", KEYS, Some(Reason::UnknownKey), |draft| {
        let key = draft.key_set[0].as_object_mut().unwrap();
        set(key, "use", json!("enc"));
        set(key, "key_ops", json!([]))
    }),
    ("key as .NET writes it", KEYS, GOOD, |draft| {
        let key = draft.key_set[0].as_object_mut().unwrap();
        ["key_ops", "oth", "x5c"].into_iter().all(|name| set(key, name, json!([])))
    }),
    ("key for an unknown algorithm", KEYS, Some(Reason::UnknownKey), key!("alg", "XY256")),
    ("key for encryption by its alg", KEYS, Some(Reason::UnknownKey), key!("alg", "RSA-OAEP")),
    ("key for the algorithm of its family", KEYS, Some(Reason::AlgorithmMismatch), |draft| {
        let Some(sibling) = sibling(draft) else { return false };
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!(sibling.name()))
    }),
    ("key for another family", KEYS, Some(Reason::UnknownKey), |draft| {
        let other = if draft.is("ES256") { "ES384" } else { "ES256" };
        set(draft.key_set[0].as_object_mut().unwrap(), "alg", json!(other))
    }),
    ("key alg is null", KEYS, GOOD, key!("alg", null)),
    ("key alg is a list", KEYS, Some(Reason::UnknownKey), key!("alg", [])),
    ("key use is null", KEYS, GOOD, key!("use", null)),
    ("key use is empty", KEYS, Some(Reason::UnknownKey), key!("use", "")),
    ("key use is a list", KEYS, Some(Reason::UnknownKey), key!("use", [])),
    ("key key_ops is null", KEYS, GOOD, key!("key_ops", null)),
    ("key key_ops holds null", KEYS, Some(Reason::UnknownKey), key!("key_ops", [null])),
    ("key x5c is null", KEYS, GOOD, key!("x5c", null)),
    ("key kid is null", KEYS, Some(Reason::UnknownKey), key!("kid", null)),
    ("key kid is empty", KEYS, Some(Reason::UnknownKey), key!("kid", "")),
    ("key kty is null", KEYS, Some(Reason::UnknownKey), key!("kty", null)),
    ("key with crv null beside n", KEYS, GOOD, |draft| {
        draft.is_rsa() && set(draft.key_set[0].as_object_mut().unwrap(), "crv", json!(null))
    }),
    ("key whose number is null", KEYS, Some(Reason::UnknownKey), |draft| {
        let name = if draft.is_rsa() { "n" } else { "x" };
        set(draft.key_set[0].as_object_mut().unwrap(), name, json!(null))
    }),
    ("key whose number is missing", KEYS, Some(Reason::UnknownKey), |draft| {
        let name = if draft.is_rsa() { "n" } else { "x" };
        set(draft.key_set[0].as_object_mut().unwrap(), name, None)
    }),
    ("key in standard base64", KEYS, Some(Reason::UnknownKey), |draft| {
        let name = if draft.is_rsa() { "n" } else { "x" };
        let number = draft.key_set[0][name].as_str().unwrap();
        let standard = number.replace('-', "+").replace('_', "/");
        let is_other = standard != number;
        is_other && set(draft.key_set[0].as_object_mut().unwrap(), name, json!(standard))
    }),
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
