//! ML-DSA keys as [RFC 9964] has them, and signatures that others made.
//!
//! [RFC 9964]: https://www.rfc-editor.org/rfc/rfc9964

use std::collections::BTreeMap;

use aws_lc_rs::signature::{self, KeyPair as _, PqdsaKeyPair};

use super::*;

const ALGORITHMS: [Algorithm; 3] = [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87];

fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member].as_str().unwrap()
}

/// The bytes of a member in hexadecimal, or none.
fn bytes(vector: &Value, member: &str) -> Vec<u8> {
    hex(vector[member].as_str().unwrap_or_default())
}

fn akp(alg: &str, key: &[u8]) -> Value {
    json!({ "kty": "AKP", "kid": "k", "alg": alg, "pub": b64(key) })
}

/// Whether a key, as it stands in a set, takes a signature.
fn takes(jwk: &Value, message: &[u8], signature: &[u8]) -> bool {
    let Ok((set, _)) = parse_keys(std::slice::from_ref(jwk)) else { return false };
    let algorithm = Algorithm::from_name(text(jwk, "alg")).unwrap();
    set.find(jwk["kid"].as_str(), algorithm).unwrap().signer(message, signature).is_some()
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// RFC 9964, A.1: a key and what it signed, for each algorithm.
struct Example {
    jwk: Value,
    key: Vec<u8>,
    signing_input: String,
    signature: Vec<u8>,
}

fn examples() -> Vec<Example> {
    let example = |vector: &Value| {
        let (signing_input, signature) = text(vector, "jws").rsplit_once('.').unwrap();
        Example {
            jwk: vector["jwk"].clone(),
            key: base64url::decode(text(&vector["jwk"], "pub")).unwrap(),
            signing_input: signing_input.to_owned(),
            signature: base64url::decode(signature).unwrap(),
        }
    };
    let examples: Vec<Example> = vectors("ml-dsa/rfc9964.json").iter().map(example).collect();
    let algs: Vec<&str> = examples.iter().map(|example| text(&example.jwk, "alg")).collect();
    assert_eq!(algs, ALGORITHMS.map(Algorithm::name));
    examples
}

#[test]
fn the_examples_of_the_rfc_verify_and_no_bit_of_them_is_free() {
    for Example { jwk, key, signing_input, signature } in examples() {
        let alg = text(&jwk, "alg");
        let message = signing_input.as_bytes();
        assert!(takes(&jwk, message, &signature), "{alg}");
        for at in (0..signature.len()).step_by(97).chain([signature.len() - 1]) {
            assert!(!takes(&jwk, message, &flipped(&signature, at)), "{alg}, signature, {at}");
        }
        for at in (0..message.len()).step_by(7) {
            assert!(!takes(&jwk, &flipped(message, at), &signature), "{alg}, message, {at}");
        }
        for at in (0..key.len()).step_by(97).chain([key.len() - 1]) {
            let other = with(&jwk, &json!({ "pub": b64(&flipped(&key, at)) }));
            assert!(!takes(&other, message, &signature), "{alg}, key, {at}");
        }
        let longer = [&signature[..], &[0]].concat();
        for wrong in [&[][..], &signature[1..], &signature[..signature.len() - 1], &longer] {
            assert!(!takes(&jwk, message, wrong), "{alg}, {} bytes", wrong.len());
        }
    }
}

/// The `kid` of the examples is the thumbprint of the key (RFC 9964, 6), and the key is made of
/// the seed that stands beside it (4): so they are the RFC's own, to the last bit.
#[test]
fn the_examples_of_the_rfc_are_whole() {
    let signing = [
        &signature::ML_DSA_44_SIGNING,
        &signature::ML_DSA_65_SIGNING,
        &signature::ML_DSA_87_SIGNING,
    ];
    for (Example { jwk, key, .. }, signing) in examples().into_iter().zip(signing) {
        let (alg, encoded) = (text(&jwk, "alg"), text(&jwk, "pub"));
        let members = format!(r#"{{"alg":"{alg}","kty":"AKP","pub":"{encoded}"}}"#);
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes());
        assert_eq!(text(&jwk, "kid"), b64(thumbprint.as_ref()), "{alg}");
        let seed = base64url::decode(text(&jwk, "priv")).unwrap();
        let pair = PqdsaKeyPair::from_seed(signing, &seed).unwrap();
        assert_eq!(pair.public_key().as_ref(), key, "{alg}");
    }
}

#[test]
fn nist_signatures_verify_if_they_are_pure_and_without_context() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in vectors("ml-dsa/acvp.json") {
        let jwk = akp(text(&vector, "parameterSet"), &bytes(&vector, "pk"));
        let context = bytes(&vector, "context");
        let kind = match (text(&vector, "signatureInterface"), text(&vector, "preHash")) {
            ("external", "pure") if context.is_empty() => "pure",
            // RFC 9964, 5: ctx must be the empty string
            ("external", "pure") => "pure with a context",
            // RFC 9964, 7.2: there is no name for it in JOSE
            ("external", "preHash") => "HashML-DSA",
            // FIPS 204, algorithm 8: without what algorithm 3 puts before the message
            ("internal", "none") => "internal",
            other => panic!("{other:?}"),
        };
        let is_good = vector["testPassed"].as_bool().unwrap();
        let (message, signature) = (bytes(&vector, "message"), bytes(&vector, "signature"));
        let taken = takes(&jwk, &message, &signature);
        assert_eq!(taken, is_good && kind == "pure", "{} {}", vector["mode"], vector["tcId"]);
        *seen.entry(kind).or_default() += 1;
    }
    let expected = [("pure", 4), ("pure with a context", 3), ("HashML-DSA", 3), ("internal", 3)];
    assert_eq!(seen, expected.into());
}

#[test]
fn wycheproof_finds_nothing() {
    let (mut good, mut bad) = (0, 0);
    for group in vectors("ml-dsa/wycheproof.json") {
        let jwk = akp(text(&group, "algorithm"), &bytes(&group, "publicKey"));
        for test in group["tests"].as_array().unwrap() {
            let is_good = text(test, "result") == "valid";
            let taken = takes(&jwk, &bytes(test, "msg"), &bytes(test, "sig"));
            assert_eq!(
                taken, is_good,
                "{} {}: {}",
                group["algorithm"], test["tcId"], test["comment"]
            );
            *if is_good { &mut good } else { &mut bad } += 1;
        }
    }
    assert_eq!((good, bad), (7, 16));
}

#[test]
fn a_key_is_for_the_algorithm_that_it_names_and_no_other() {
    let rsa = Signer::rsa();
    let signers = ALGORITHMS.map(|algorithm| (algorithm, Signer::ml_dsa(algorithm)));
    let mut keys = vec![rsa.named("rsa")];
    for (algorithm, signer) in &signers {
        let name = algorithm.name();
        keys.push(with(&signer.named(name), &json!({ "alg": name })));
    }
    let set = whole(&keys);
    for (algorithm, signer) in &signers {
        let signature = signer.sign(*algorithm, MESSAGE);
        assert!(verifies(&set, Some(algorithm.name()), *algorithm, &signature));
        assert!(verifies(&set, None, *algorithm, &signature), "it is the only one of its type");
        for &other in Algorithm::ALL.iter().filter(|other| *other != algorithm) {
            let found = set.find(Some(algorithm.name()), other).map(|_| ());
            assert_eq!(found, Err(NoKey::OtherAlgorithm), "{other} by a key for {algorithm}");
        }
        let found = set.find(Some("rsa"), *algorithm).map(|_| ());
        assert_eq!(found, Err(NoKey::OtherAlgorithm), "{algorithm} by an RSA key");
    }
    assert!(verifies(&set, Some("rsa"), Algorithm::Rs256, &rsa.sign(Algorithm::Rs256, MESSAGE)));
}

#[test]
fn keys_of_one_kid_are_told_apart_by_their_algorithm() {
    let (rsa, ml_dsa) = (Signer::rsa(), Signer::ml_dsa(Algorithm::MlDsa65));
    let set = whole(&[rsa.named("k"), with(&ml_dsa.named("k"), &json!({ "alg": "ML-DSA-65" }))]);
    assert!(verifies(&set, Some("k"), Algorithm::Rs256, &rsa.sign(Algorithm::Rs256, MESSAGE)));
    let signature = ml_dsa.sign(Algorithm::MlDsa65, MESSAGE);
    assert!(verifies(&set, Some("k"), Algorithm::MlDsa65, &signature));
    assert!(!verifies(&set, Some("k"), Algorithm::Rs256, &signature));
}

#[test]
fn what_is_no_ml_dsa_key_is_named_and_breaks_nothing() {
    let good = Signer::ed25519().named("good");
    let signer = Signer::ml_dsa(Algorithm::MlDsa65);
    let key = with(&signer.named("k"), &json!({ "alg": "ML-DSA-65" }));
    let Signer::MlDsa(pair) = &signer else { panic!("an ML-DSA key") };
    let public = pair.public_key();
    // as a certificate has it, which the library would read too
    let spki = aws_lc_rs::encoding::AsDer::as_der(public).unwrap();
    let bytes = public.as_ref();
    for (members, reason) in [
        (json!({ "alg": null }), "it has no alg, which a key of its type (AKP) must have"),
        (json!({ "alg": null, "crv": "ML-DSA-65" }), "it has no alg"),
        (json!({ "alg": "" }), "its alg is not a supported signature algorithm"),
        (json!({ "alg": "ml-dsa-65" }), "its alg is not a supported"),
        (json!({ "alg": "ML-DSA-65-ES256" }), "its alg is not a supported"),
        (json!({ "alg": "SLH-DSA-SHA2-128s" }), "its alg is not a supported"),
        (json!({ "alg": "RS256" }), "its alg is not a supported"),
        (json!({ "alg": "EdDSA" }), "its alg is not a supported"),
        (json!({ "alg": 65 }), "not a well-formed JSON Web Key"),
        (json!({ "alg": "ML-DSA-44" }), "invalid `pub`: 1952 bytes instead of 1312"),
        (json!({ "alg": "ML-DSA-87" }), "invalid `pub`: 1952 bytes instead of 2592"),
        (json!({ "pub": null }), "missing `pub`"),
        (json!({ "pub": null, "x": b64(bytes) }), "missing `pub`"),
        (json!({ "pub": "" }), "missing `pub`"),
        (json!({ "pub": b64(&bytes[1..]) }), "invalid `pub`: 1951 bytes"),
        (json!({ "pub": b64(&[bytes, &[0]].concat()) }), "invalid `pub`: 1953 bytes"),
        (json!({ "pub": b64(spki.as_ref()) }), "bytes instead of 1952"),
        (json!({ "pub": format!("{}=", b64(bytes)) }), "invalid `pub`: padded"),
        (json!({ "pub": "+/" }), "invalid `pub`: a character outside"),
        (json!({ "pub": 1 }), "not a well-formed JSON Web Key"),
        (json!({ "kty": "OKP", "crv": "ML-DSA-65" }), "type"),
        (json!({ "kty": "akp" }), "type"),
        (json!({ "use": "enc" }), "use or key_ops"),
        (json!({ "key_ops": ["sign"] }), "use or key_ops"),
    ] {
        let bad = with(&key, &members);
        let (set, skipped) = parse_keys(&[bad, good.clone()]).unwrap();
        assert_eq!(set.len(), 1, "{members}");
        let [text] = &texts(&skipped)[..] else { panic!("{skipped:?}") };
        assert!(text.contains(reason), "{text:?} for {members}");
    }
    let (set, skipped) = KeySet::parse(
        json!({ "keys": [key, good] }).to_string().as_bytes(),
        &[Algorithm::EdDsa],
        None,
    )
    .unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(texts(&skipped), [r#"key "k": its alg is not allowed here"#]);
}

#[test]
fn members_beside_the_public_key_change_nothing() {
    for Example { jwk, signing_input, signature, .. } in examples() {
        // the example is a private key, of which the public part is used as of any other
        assert!(jwk["priv"].is_string());
        for members in [
            json!({ "priv": null }),
            json!({ "priv": "AA" }),
            json!({ "use": "sig", "key_ops": ["sign", "verify"], "crv": "P-256", "x5c": ["MII"] }),
        ] {
            let jwk = with(&jwk, &members);
            let set = whole(std::slice::from_ref(&jwk));
            assert_eq!(set.len(), 1);
            assert!(takes(&jwk, signing_input.as_bytes(), &signature), "{members}");
        }
    }
}

#[test]
fn a_whole_set_of_the_longest_keys_is_within_what_is_fetched() {
    let key = Signer::ml_dsa(Algorithm::MlDsa87);
    let name = |index: usize| format!("{index:0>43}");
    let members = json!({ "alg": "ML-DSA-87", "use": "sig" });
    let keys: Vec<Value> =
        (0..MAX_KEYS).map(|index| with(&key.named(&name(index)), &members)).collect();
    let document = json!({ "keys": keys }).to_string();
    assert!(document.len() < 1024 * 1024, "{} bytes", document.len());
    assert_eq!(parse(&document).unwrap().0.len(), MAX_KEYS);
}
