//! Signatures of Project Wycheproof, whose README is in `tests/fixtures/wycheproof`. They sign
//! messages that are no tokens, so they are checked here, where a signature is still only that.
//!
//! Of PKCS#1 there is everything for RS256 with 2048 bits, and for RS384 and RS512 with 2048 bits one
//! of each kind of bad padding; of PSS there are PS256 and PS384 with 2048 bits, and PS512 with 4096,
//! since Wycheproof has it for no other. With 3072 and 4096 bits there is one of each flag for all of
//! them, but for PS384 and PS512 with 3072 bits, which Wycheproof lacks. Keys of 8192 bits are left out.

use std::collections::BTreeMap;

use super::*;

/// Vectors on which we differ from Wycheproof's verdict, or which it leaves open, and what we do.
const EXCEPTIONS: [(&str, u64, bool, &str); 14] = [
    ("rsa_signature_2048_sha256_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_2048_sha256_test.json", 258, false, EXPONENT),
    ("rsa_signature_2048_sha256_test.json", 259, false, EXPONENT),
    ("rsa_signature_3072_sha256_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_3072_sha256_test.json", 259, false, EXPONENT),
    ("rsa_signature_4096_sha256_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_2048_sha384_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_3072_sha384_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_4096_sha384_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_2048_sha512_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_2048_sha512_test.json", 259, false, EXPONENT),
    ("rsa_signature_3072_sha512_test.json", 8, false, MISSING_NULL),
    ("rsa_signature_3072_sha512_test.json", 260, false, EXPONENT),
    ("rsa_signature_4096_sha512_test.json", 8, false, MISSING_NULL),
];

/// It leaves open what old signers wrote. RFC 8017, B.1 demands the NULL in this place, though it
/// lets it be missing in any other; 8.2.2 checks by encoding anew and comparing.
const MISSING_NULL: &str = "a DigestInfo without its NULL";

/// Good signatures by keys that we do not use.
const EXPONENT: &str = "an exponent of 3";

#[derive(Default)]
struct Counts {
    taken: usize,
    refused: usize,
    exceptions: Vec<(String, u64)>,
}

/// Checks every vector of a file against its verdict.
fn check(name: &str, algorithm: Algorithm) -> Counts {
    let mut counts = Counts::default();
    for group in &vectors(&format!("wycheproof/{name}")) {
        let file = group["file"].as_str().unwrap();
        let set = parse_keys(&[jwk(&group["publicKey"])]).ok().map(|(set, _)| set);
        // PS256 is one of many ways to use PSS: MGF1 by SHA-256 too, and a salt as long as its digest
        let is_pss = group["sLen"].is_number();
        let salt = match algorithm {
            Algorithm::Ps384 => 48,
            Algorithm::Ps512 => 64,
            _ => 32,
        };
        let is_ours = group["sLen"] == salt && group["mgfSha"] == group["sha"];
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            let (message, signature) = (bytes(&test["msg"]), bytes(&test["sig"]));
            let taken = set.as_ref().is_some_and(|set| {
                set.find(None, algorithm).unwrap().signer(&message, &signature).is_some()
            });
            let exception = EXCEPTIONS.iter().find(|(of, number, ..)| (*of, *number) == (file, id));
            let wanted = match (exception, test["result"].as_str().unwrap()) {
                (Some((.., we, _)), _) => *we,
                (None, "valid") => !is_pss || is_ours,
                (None, "invalid") => false,
                (None, other) => panic!("{file} {id} is {other}, and not listed"),
            };
            assert_eq!(taken, wanted, "{file} {id}: {} {}", test["comment"], test["flags"]);
            *if taken { &mut counts.taken } else { &mut counts.refused } += 1;
            if exception.is_some() {
                counts.exceptions.push((file.to_owned(), id));
            }
        }
    }
    counts
}

fn bytes(value: &Value) -> Vec<u8> {
    hex(value.as_str().unwrap())
}

/// A key as Wycheproof has it, as an issuer would publish it.
fn jwk(key: &Value) -> Value {
    if key["modulus"].is_string() {
        let (n, e) = (bytes(&key["modulus"]), bytes(&key["publicExponent"]));
        return json!({ "kty": "RSA", "n": b64(&n), "e": b64(&e) });
    }
    if key["pk"].is_string() {
        return json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&bytes(&key["pk"])) });
    }
    let crv = match key["curve"].as_str().unwrap() {
        "secp256r1" => "P-256",
        "secp384r1" => "P-384",
        "secp521r1" => "P-521",
        other => panic!("{other} is no curve of ours"),
    };
    let point = bytes(&key["uncompressed"]);
    let (x, y) = point[1..].split_at(coordinate_length(crv));
    json!({ "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y) })
}

#[test]
fn wycheproof_finds_nothing() {
    let mut exceptions = Vec::new();
    let mut seen = BTreeMap::new();
    for (name, algorithm) in [
        ("rs256.json", Algorithm::Rs256),
        ("rs384.json", Algorithm::Rs384),
        ("rs512.json", Algorithm::Rs512),
        ("ps256.json", Algorithm::Ps256),
        ("ps384.json", Algorithm::Ps384),
        ("ps512.json", Algorithm::Ps512),
        ("es256.json", Algorithm::Es256),
        ("es384.json", Algorithm::Es384),
        ("es512.json", Algorithm::Es512),
        ("eddsa.json", Algorithm::EdDsa),
    ] {
        let counts = check(name, algorithm);
        seen.insert(name, (counts.taken, counts.refused));
        exceptions.extend(counts.exceptions);
    }
    // a file that lost its vectors would pass too
    let expected = BTreeMap::from([
        ("rs256.json", (13, 275)),
        ("rs384.json", (13, 141)),
        ("rs512.json", (13, 143)),
        ("ps256.json", (29, 63)),
        ("ps384.json", (21, 42)),
        ("ps512.json", (13, 44)),
        ("es256.json", (123, 89)),
        ("es384.json", (17, 87)),
        ("es512.json", (17, 87)),
        ("eddsa.json", (60, 63)),
    ]);
    assert_eq!(seen, expected);
    let listed: Vec<_> =
        EXCEPTIONS.iter().map(|(file, id, ..)| ((*file).to_owned(), *id)).collect();
    assert_eq!(exceptions, listed, "an exception of nothing");
}
