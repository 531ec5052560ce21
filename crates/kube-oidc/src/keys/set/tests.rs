//! Key sets as issuers publish them, well and badly, and the signatures that they check.

mod absent;
mod find;
#[cfg(feature = "ml-dsa")]
mod ml_dsa;
mod unusable;
mod wycheproof;

use serde_json::{Value, json};

use super::*;
use crate::{
    encoding::base64url,
    testing::{Signer, b64, coordinate_length, hex, key_set, modulus, vectors},
};

/// What a kube-apiserver v1.20 answered: its signing key stands in the set twice.
const APISERVER_JWKS: &str = r#"{"keys":[{"use":"sig","kty":"RSA","kid":"BDL9wk6Fhzp3fqYNP3aTMa9RsrqM6l6hhr9WVPWKuTY","alg":"RS256","n":"4ahGTWIye063P_DOy3NILE51ied1Dg-7PQFdImNxQD46sYMGUHM6BA-7zNLsWu7bHODsxF_VVGOctsdBEFsY2888DjKZDJRnM5K7P3snAHKWVaInvgF8tZAtDBIgxYpqJwox8cucEZR3txyt7taM8zPgmFvqHZMG-_-gu-DRFM0qhUl5AT5au24V2CSnqNm3UEBL7jgywU2Khhw1cuLFO2D69K0aSe3moxEebDSKMs3pNu808SksYuErTVfiKi3HH9ndtBV2LbD3YHgUeOABY_Cyt2rt5HV7hntRcgC1qXEz9P2yE4OajhfguEM_v_KJuaz5nbcsYE0yfLCiiftVpQ","e":"AQAB"},{"use":"sig","kty":"RSA","kid":"BDL9wk6Fhzp3fqYNP3aTMa9RsrqM6l6hhr9WVPWKuTY","alg":"RS256","n":"4ahGTWIye063P_DOy3NILE51ied1Dg-7PQFdImNxQD46sYMGUHM6BA-7zNLsWu7bHODsxF_VVGOctsdBEFsY2888DjKZDJRnM5K7P3snAHKWVaInvgF8tZAtDBIgxYpqJwox8cucEZR3txyt7taM8zPgmFvqHZMG-_-gu-DRFM0qhUl5AT5au24V2CSnqNm3UEBL7jgywU2Khhw1cuLFO2D69K0aSe3moxEebDSKMs3pNu808SksYuErTVfiKi3HH9ndtBV2LbD3YHgUeOABY_Cyt2rt5HV7hntRcgC1qXEz9P2yE4OajhfguEM_v_KJuaz5nbcsYE0yfLCiiftVpQ","e":"AQAB"},{"use":"sig","kty":"RSA","kid":"D7EQo_aUMxO4C-vTeHSlqBm66sjYac8ag9MIg6ke44A","alg":"RS256","n":"pLSXCfH4TMDCNbb7EKtoRHqR21Q7hSyx04Zp35j2wrDrV4nsygxwdDX1RqVZJWF0gqTXoBCQo77c0D4w8Cll3bHnF-SmIrUJT_Q3N0UgFGvFaGiSkluM_BGXhp1sZBnk-TfPS3TBAF9nhg4GqcXf1i-Ww7iiKFwx_qa5PyeqeigPF3w0IlUTALUroHr1wWjSNr6w6Qfyop-dHJkTC5IU9OohEByxYzLzI0J8ImTRN9hlyLvC28_4-ufZkwkqEzpwXNV32OI9u2ST8eF2SQ9OHGfuZURGZPxmH78lRmE9nQGa2uMYTnQpgCrhWl7P9-3-4PNdPCK8tbwwNPvlzON3uw","e":"AQAB"}]}"#;
const APISERVER_KID: &str = "BDL9wk6Fhzp3fqYNP3aTMa9RsrqM6l6hhr9WVPWKuTY";
const APISERVER_OTHER_KID: &str = "D7EQo_aUMxO4C-vTeHSlqBm66sjYac8ag9MIg6ke44A";
const APISERVER_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6IkJETDl3azZGaHpwM2ZxWU5QM2FUTWE5UnNycU02bDZoaHI5V1ZQV0t1VFkifQ.eyJhdWQiOlsiaHR0cHM6Ly8xMjcuMC4wLjE6MjY0NDMiXSwiZXhwIjoxNzk1MzMwMDI2LCJpYXQiOjE3OTUyNDM2MjYsImlzcyI6Imh0dHBzOi8vMTI3LjAuMC4xOjI2NDQzIiwia3ViZXJuZXRlcy5pbyI6eyJuYW1lc3BhY2UiOiJwYXltZW50cyIsInNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJjaGVja291dCIsInVpZCI6IjFjNmVhOGJiLWY0NjYtNGZjZi05OWEzLWQyNjhlMTdiYjYwZiJ9fSwibmJmIjoxNzk1MjQzNjI2LCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6cGF5bWVudHM6Y2hlY2tvdXQifQ.G0joyTVkFnYYR3mx5Yn2h88D-myjIYdIYa5_ajZwtjVDRpModtqy2eb08yh3DrUlNiA7CAZuo5717iaWl3e--Lssho5hNdFAUN4EwiszcUwZOQ56RtS4BBGCqyNk82hcE_7zpi_acN0PtU2mR6a5C86RyUsG3a8mZM3vGn2ZkO2rGl9EFrhENWJfnZ95e0M8xQS9Ja0_x-Y2BesNOsbSYZxPyila42iLhKEnpr85BUKkiAW8mecDsT733yX4G8b10E3Biua-6TzKkuXNOYwQtakckFmqv9NmPdBfojAL77u3cVPFHGxK8nQnyoPRAmyjKWNQu0O1AoNEYmSQyduwGw";

/// The same, with an ECDSA key.
const APISERVER_EC_JWKS: &str = r#"{"keys":[{"use":"sig","kty":"EC","kid":"vAv8XeMd4h7t8v_w4uZEcE2Kq3L1Yl5KfwTvCe7NE7Q","crv":"P-256","alg":"ES256","x":"1IHd5ChX4MRONjJo2gO7cjDFCy0SVWEJm7dd5i5ecQQ","y":"SOq6A9AhICShwDw9RUyhHDpsbBrMXZWbiuB77zCUgQE"},{"use":"sig","kty":"EC","kid":"vAv8XeMd4h7t8v_w4uZEcE2Kq3L1Yl5KfwTvCe7NE7Q","crv":"P-256","alg":"ES256","x":"1IHd5ChX4MRONjJo2gO7cjDFCy0SVWEJm7dd5i5ecQQ","y":"SOq6A9AhICShwDw9RUyhHDpsbBrMXZWbiuB77zCUgQE"}]}"#;
const APISERVER_EC_KID: &str = "vAv8XeMd4h7t8v_w4uZEcE2Kq3L1Yl5KfwTvCe7NE7Q";
const APISERVER_EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsImtpZCI6InZBdjhYZU1kNGg3dDh2X3c0dVpFY0UyS3EzTDFZbDVLZndUdkNlN05FN1EifQ.eyJhdWQiOlsib3JkZXJzIl0sImV4cCI6MTc5NTMzMDA5MiwiaWF0IjoxNzk1MjQzNjkyLCJpc3MiOiJodHRwczovLzEyNy4wLjAuMToyNjQ0MyIsImt1YmVybmV0ZXMuaW8iOnsibmFtZXNwYWNlIjoicGF5bWVudHMiLCJzZXJ2aWNlYWNjb3VudCI6eyJuYW1lIjoiY2hlY2tvdXQiLCJ1aWQiOiIxYzZlYThiYi1mNDY2LTRmY2YtOTlhMy1kMjY4ZTE3YmI2MGYifX0sIm5iZiI6MTc5NTI0MzY5Miwic3ViIjoic3lzdGVtOnNlcnZpY2VhY2NvdW50OnBheW1lbnRzOmNoZWNrb3V0In0.jNrKXvf6SmjaK8VWmQtXxuFuH-G26ifL9C4LNFZQojBCPSwrGNRaLsCa17_3UGKOIf92ODPGG_Pn1WNO3NZYIw";

const MESSAGE: &[u8] = b"header.payload";

fn parse(document: &str) -> Result<(KeySet, Vec<SkippedKey>), KeySetError> {
    KeySet::parse(document.as_bytes(), Algorithm::ALL, None)
}

fn parse_keys(keys: &[Value]) -> Result<(KeySet, Vec<SkippedKey>), KeySetError> {
    parse(&key_set(keys))
}

/// A set of which every key is used.
fn whole(keys: &[Value]) -> KeySet {
    let (set, skipped) = parse_keys(keys).unwrap();
    assert_eq!(skipped, []);
    set
}

fn verifies(set: &KeySet, kid: Option<&str>, algorithm: Algorithm, signature: &[u8]) -> bool {
    set.find(kid, algorithm).unwrap().signer(MESSAGE, signature).is_some()
}

/// The key with other members, or without those that are null.
fn with(key: &Value, members: &Value) -> Value {
    let mut key = key.clone();
    for (name, value) in members.as_object().unwrap() {
        key[name] = value.clone();
    }
    key.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    key
}

#[test]
fn a_real_api_servers_set_is_read_and_its_double_counts_once() {
    let (set, skipped) = parse(APISERVER_JWKS).unwrap();
    assert_eq!((set.len(), skipped), (2, vec![]));
    for kid in [APISERVER_KID, APISERVER_OTHER_KID] {
        assert!(set.find(Some(kid), Algorithm::Rs256).is_ok());
        assert_eq!(set.find(Some(kid), Algorithm::Rs512).unwrap_err(), NoKey::OtherAlgorithm);
    }
    let (set, skipped) = parse(APISERVER_EC_JWKS).unwrap();
    assert_eq!((set.len(), skipped), (1, vec![]));
}

#[test]
fn a_real_api_servers_tokens_verify() {
    for (jwks, kid, other_kid, algorithm, token) in [
        (
            APISERVER_JWKS,
            APISERVER_KID,
            Some(APISERVER_OTHER_KID),
            Algorithm::Rs256,
            APISERVER_TOKEN,
        ),
        (APISERVER_EC_JWKS, APISERVER_EC_KID, None, Algorithm::Es256, APISERVER_EC_TOKEN),
    ] {
        let (set, _) = parse(jwks).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = base64url::decode(signature).unwrap();
        let verifies = |kid, message: &str| {
            set.find(Some(kid), algorithm).unwrap().signer(message.as_bytes(), &signature).is_some()
        };
        assert!(verifies(kid, message));
        assert!(!verifies(kid, &message[1..]));
        if let Some(other_kid) = other_kid {
            assert!(!verifies(other_kid, message));
        }
    }
}

#[test]
fn each_algorithm_takes_its_signature_and_no_other() {
    for &algorithm in Algorithm::ALL {
        let made;
        let signer = match algorithm {
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::Es512 => {
                made = Signer::ec(algorithm);
                &made
            }
            Algorithm::EdDsa => {
                made = Signer::ed25519();
                &made
            }
            #[cfg(feature = "ml-dsa")]
            Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87 => {
                made = Signer::ml_dsa(algorithm);
                &made
            }
            _ => Signer::rsa(),
        };
        let set = whole(&[with(&signer.named("k"), &json!({ "alg": algorithm.name() }))]);
        let signature = signer.sign(algorithm, MESSAGE);
        assert!(verifies(&set, Some("k"), algorithm, &signature), "{algorithm}");
        assert!(verifies(&set, None, algorithm, &signature), "{algorithm}");
        let fitting = set.find(Some("k"), algorithm).unwrap();
        assert!(fitting.signer(b"header.payloaD", &signature).is_none(), "{algorithm}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut flipped = signature.clone();
            flipped[at] ^= 1;
            assert!(fitting.signer(MESSAGE, &flipped).is_none(), "{algorithm}, byte {at}");
        }
        let longer = [&signature[..], &[0]].concat();
        for wrong in [&[][..], &signature[1..], &longer, &vec![0; signature.len()]] {
            assert!(fitting.signer(MESSAGE, wrong).is_none(), "{algorithm}, {} bytes", wrong.len());
        }
        for other in Algorithm::ALL.iter().copied().filter(|other| *other != algorithm) {
            let found = set.find(Some("k"), other).map(|_| ());
            assert_eq!(found, Err(NoKey::OtherAlgorithm), "{other} by a key for {algorithm}");
        }
    }
}

// rule: accepted-forms
#[test]
fn high_and_low_s_are_both_good() {
    const ORDER: &str = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
    let order = base64url::decode(ORDER).unwrap();
    let signer = Signer::ec(Algorithm::Es256);
    let set = whole(&[signer.jwk()]);
    let signature = signer.sign(Algorithm::Es256, MESSAGE);
    let (r, s) = signature.split_at(32);
    let mut other_s = [0_u8; 32];
    let mut borrow = false;
    for at in (0..32).rev() {
        let (difference, under) = order[at].overflowing_sub(s[at]);
        let (difference, under_again) = difference.overflowing_sub(u8::from(borrow));
        other_s[at] = difference;
        borrow = under || under_again;
    }
    assert!(!borrow && other_s != s, "one of them is high, the other low");
    assert!(verifies(&set, None, Algorithm::Es256, &signature));
    assert!(verifies(&set, None, Algorithm::Es256, &[r, &other_s].concat()));
}

// rule: accepted-forms
#[test]
fn a_key_without_alg_is_for_its_family_and_no_other() {
    use Algorithm as A;
    let rsa = [A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512];
    for (signer, family) in [
        (Signer::rsa(), &rsa[..]),
        (&Signer::ec(A::Es256), &[A::Es256]),
        (&Signer::ec(A::Es384), &[A::Es384]),
        (&Signer::ec(A::Es512), &[A::Es512]),
        (&Signer::ed25519(), &[A::EdDsa]),
    ] {
        let set = whole(&[signer.named("k")]);
        for &algorithm in Algorithm::ALL {
            let found = set.find(Some("k"), algorithm).map(|_| ());
            let only = set.find(None, algorithm).map(|_| ());
            if family.contains(&algorithm) {
                assert!(verifies(&set, Some("k"), algorithm, &signer.sign(algorithm, MESSAGE)));
                assert_eq!(only, Ok(()));
            } else {
                assert_eq!(found, Err(NoKey::OtherAlgorithm), "{algorithm}");
                assert_eq!(only, Err(NoKey::NoneFits), "{algorithm}");
            }
        }
    }
}

#[test]
fn only_allowed_algorithms_are_prepared() {
    let rsa = Signer::rsa();
    let keys = json!({ "keys": [
        rsa.named("any"),
        with(&rsa.named("rs512"), &json!({ "alg": "RS512" })),
    ] });
    let (set, skipped) =
        KeySet::parse(keys.to_string().as_bytes(), &[Algorithm::Rs256], None).unwrap();
    assert_eq!(set.len(), 1);
    assert!(set.find(Some("any"), Algorithm::Rs256).is_ok());
    assert_eq!(set.find(Some("any"), Algorithm::Ps256).unwrap_err(), NoKey::OtherAlgorithm);
    assert_eq!(texts(&skipped), [r#"key "rs512": its alg is not allowed here"#]);
}

#[test]
fn ed25519_has_two_names() {
    for alg in ["EdDSA", "Ed25519"] {
        let signer = Signer::ed25519();
        let set = whole(&[with(&signer.jwk(), &json!({ "alg": alg }))]);
        assert!(
            verifies(&set, None, Algorithm::EdDsa, &signer.sign(Algorithm::EdDsa, MESSAGE)),
            "{alg}"
        );
    }
}

#[test]
fn byte_order_mark_before_a_key_set_is_ignored() {
    let document = json!({ "keys": [Signer::ed25519().named("k")] }).to_string();
    let (set, skipped) = parse(&format!("\u{feff}{document}")).unwrap();
    assert_eq!((set.len(), skipped), (1, vec![]));
    for document in [format!("\u{feff}\u{feff}{document}"), document.replace('[', "[\u{feff}")] {
        assert!(matches!(parse(&document).unwrap_err(), KeySetError::Malformed(_)), "{document}");
    }
}

#[test]
fn document_without_keys_is_named_for_what_it_is() {
    let key = Signer::ed25519().named("k");
    let discovery = json!({ "issuer": "https://s3cr3t.example", "jwks_uri": "https://s3cr3t" });
    for (document, words) in [
        ("<!doctype html>s3cr3t".to_owned(), "HTML"),
        ("-----BEGIN RSA PRIVATE KEY-----\ns3cr3t".to_owned(), "PEM"),
        (discovery.to_string(), "a discovery document"),
        (key.to_string(), "a single key"),
        (json!({ "Keys": [key] }).to_string(), "no member `keys`"),
    ] {
        let error = parse(&document).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("s3cr3t"), "{error}");
    }
}

#[test]
fn keys_are_described_by_name_and_use() {
    let named = with(&Signer::rsa().named("b"), &json!({ "alg": "PS256" }));
    let described = whole(&[named, Signer::ed25519().named("a")]).describe();
    let shown: Vec<_> =
        described.iter().map(|key| (key.kid.as_deref(), &key.algorithms[..])).collect();
    let expected: [(_, &[_]); 2] =
        [(Some("a"), &[Algorithm::EdDsa]), (Some("b"), &[Algorithm::Ps256])];
    assert_eq!(shown, expected);
}

fn texts(skipped: &[SkippedKey]) -> Vec<String> {
    skipped.iter().map(ToString::to_string).collect()
}

#[test]
fn leading_zeros_of_a_number_are_taken_off() {
    let signer = Signer::rsa();
    let Signer::Rsa(pair) = signer else { panic!("an RSA key") };
    let n = [&[0], &modulus(pair)[..]].concat();
    let zeros = with(&signer.named("k"), &json!({ "n": b64(&n), "e": b64(&[0, 1, 0, 1]) }));
    let set = whole(&[zeros, signer.named("k")]);
    assert_eq!(set.len(), 1, "it is the same key");
    assert!(verifies(&set, Some("k"), Algorithm::Rs256, &signer.sign(Algorithm::Rs256, MESSAGE)));
}

#[test]
fn unknown_members_and_certificates_are_ignored() {
    let signer = Signer::ed25519();
    let members = json!({
        "use": "sig", "key_ops": ["sign", "verify"], "ext": true, "x5c": ["MIIB"], "x5t": 1,
        "x5u": "https://evil.example", "issuer": { "a": [{ "b": 1 }] },
    });
    let key = with(&signer.named("k"), &members);
    let document = json!({ "next": [1, { "keys": 2 }], "keys": [key] }).to_string();
    let (set, skipped) = parse(&document).unwrap();
    assert_eq!(skipped, []);
    assert!(verifies(&set, Some("k"), Algorithm::EdDsa, &signer.sign(Algorithm::EdDsa, MESSAGE)));
}

// rule: key-limits
#[test]
fn two_hundred_and_fifty_six_keys_are_read_and_one_more_is_not() {
    let key = Signer::ed25519();
    let mut keys: Vec<Value> = (0..256).map(|index| key.named(&format!("key-{index}"))).collect();
    let set = whole(&keys);
    assert_eq!(set.len(), 256);
    assert!(set.find(Some("key-255"), Algorithm::EdDsa).is_ok());
    keys.push(key.named("key-256"));
    let error = parse_keys(&keys).unwrap_err();
    assert!(matches!(error, KeySetError::Malformed(_)));
    assert!(error.to_string().contains("more than 256"), "{error}");
}

#[test]
fn a_document_that_is_no_key_set_is_an_error() {
    let key = Signer::ed25519().named("k");
    for document in [
        String::new(),
        "<html>".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        format!("[{key}]"),
        key.to_string(),
        json!({ "Keys": [key] }).to_string(),
        json!({ "keys": key }).to_string(),
        json!({ "keys": null }).to_string(),
        json!({ "keys": "k" }).to_string(),
        format!(r#"{{"keys":[{key}]"#),
        format!(r#"{{"keys":[{key},]}}"#),
        format!(r#"{{"keys":[{key}]}} {{}}"#),
        format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#),
        format!(r#"{{"keys":[{key}],"\u006beys":[]}}"#),
        format!(r#"{{"keys":[{key}],"x":1,"x":1}}"#),
    ] {
        let error = parse(&document).unwrap_err();
        assert!(matches!(error, KeySetError::Malformed(_)), "{document}: {error}");
    }
    let mut document = format!(r#"{{"keys":[{key}],"x":"?"}}"#).into_bytes();
    let at = document.iter().position(|byte| *byte == b'?').unwrap();
    document[at] = 0xff;
    let error = KeySet::parse(&document, Algorithm::ALL, None).unwrap_err();
    assert!(matches!(error, KeySetError::Encoding));
}

#[test]
fn a_set_without_one_usable_key_is_an_error_that_names_the_others() {
    let error = parse_keys(&[]).unwrap_err();
    assert!(matches!(&error, KeySetError::NoUsableKey(skipped) if skipped.is_empty()));
    let secret = |kid: String| json!({ "kty": "oct", "kid": kid, "k": "c2VjcmV0" });
    let keys: Vec<Value> = (0..6).map(|index| secret(format!("hmac-{index}"))).collect();
    let error = parse_keys(&keys).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, KeySetError::NoUsableKey(skipped) if skipped.len() == 6));
    assert!(text.contains(r#"key "hmac-0": its type"#), "{text}");
    assert!(text.contains("hmac-3") && !text.contains("hmac-4"), "the first few: {text}");
    assert!(!text.contains("c2VjcmV0"), "a secret in a log: {text}");
}

#[test]
fn a_printed_set_names_its_keys_and_shows_no_number_of_them() {
    let key = Signer::rsa().named("k");
    let shown = format!("{:?}", whole(std::slice::from_ref(&key)));
    assert!(shown.contains("\"k\"") && shown.contains("Ps512"), "{shown}");
    assert!(shown.len() < 200, "{shown}");
}
