//! Keys that prove nothing, whoever published them, and keys of somebody else.

use kube_oidc::{KeySource, Reason};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::{Forge, Judge as _, builder_for, issuer_at_with};
use serde_json::{Value, json};

use super::{ISSUER, Lock, key, signatures::padded_digest, stranger, token_by, verdict};

/// The key with other members, or without those that are null.
fn with(mut jwk: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    jwk
}

fn bytes(text: &Value) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> Value {
    json!(kube_oidc_tests::forge::encode(bytes))
}

/// A lock whose set holds a changed key beside another that is good, and a token that names the
/// changed one. The same token is accepted where the key was left as it is.
fn beside_a_good_key(algorithm: SigningAlgorithm, members: &Value) -> (Lock, Forge) {
    let (one, good) = (key(algorithm), key(SigningAlgorithm::EdDsa));
    let forge = Lock::with_keys(one, &[one.jwk(), good.jwk()]).forge();
    let changed = with(one.jwk(), members);
    let lock = Lock::with_keys(one, &[changed, good.jwk()]);
    lock.accepts("the other key", token_by(good).mint());
    (lock, forge)
}

/// With an exponent of 1 the padded digest is its own signature, and everybody can write that; 3 is
/// what Bleichenbacher's forgery of 2006 needs (CVE-2006-4339), and an even one is no key. NIST SP
/// 800-56B, 6.2: above 65536, and odd.
// rule: key-limits
#[test]
fn rsa_exponents() {
    let e = |e: &[u8]| json!({ "e": text(e) });
    for (what, members) in [
        ("0", e(&[0])),
        ("1", e(&[1])),
        ("1, with zeros in front", e(&[0, 0, 1])),
        ("2", e(&[2])),
        ("3", e(&[3])),
        ("17", e(&[17])),
        ("65535", e(&[0xff, 0xff])),
        ("65536", e(&[1, 0, 0])),
        ("65538", e(&[1, 0, 2])),
        ("2^33 + 1", e(&[2, 0, 0, 0, 1])),
        ("2^64 + 65537", e(&[1, 0, 0, 0, 0, 0, 1, 0, 1])),
        ("as long as the modulus", e(&[0xff; 256])),
        ("none", json!({ "e": null })),
        ("empty", json!({ "e": "" })),
        ("padded", json!({ "e": "AQAB=" })),
        ("a number", json!({ "e": 65537 })),
        ("a list", json!({ "e": ["AQAB"] })),
    ] {
        let (lock, forge) = beside_a_good_key(SigningAlgorithm::Rs256, &members);
        lock.refuses(what, forge.mint(), Reason::UnknownKey);
        let written = padded_digest(&forge.signing_input(), 256);
        lock.refuses(what, forge.mint_with(written), Reason::UnknownKey);
    }
}

/// RFC 7518, 3.3: 2048 bits at least. Longer than 8192 makes whoever checks work; an even modulus
/// or one of small factors everybody can factor.
// rule: key-limits
#[test]
fn rsa_moduli() {
    let n = bytes(&key(SigningAlgorithm::Rs256).jwk()["n"]);
    let odd = |bits: usize| {
        let mut number = vec![0x5a; bits.div_ceil(8)];
        number[0] = 1 << ((bits - 1) % 8);
        *number.last_mut().unwrap() |= 1;
        number
    };
    let mut even = n.clone();
    *even.last_mut().unwrap() &= !1;
    for (what, n) in [
        ("512 bits", odd(512)),
        ("768 bits", odd(768)),
        ("1024 bits", odd(1024)),
        ("2040 bits", odd(2040)),
        ("2047 bits", odd(2047)),
        ("1024 bits, with zeros in front", [vec![0; 128], odd(1024)].concat()),
        ("8193 bits", odd(8193)),
        ("16384 bits", odd(16_384)),
        ("a million bits", odd(1_000_000)),
        ("even", even),
        ("zero", vec![0; 256]),
        ("one", [vec![0; 255], vec![1]].concat()),
    ] {
        let (lock, forge) = beside_a_good_key(SigningAlgorithm::Rs256, &json!({ "n": text(&n) }));
        lock.refuses(what, forge.mint(), Reason::UnknownKey);
    }
    for (what, members) in [
        ("none", json!({ "n": null })),
        ("empty", json!({ "n": "" })),
        (
            "the other alphabet",
            json!({ "n": text(&n).as_str().unwrap().replace('-', "+").replace('_', "/") + "+/" }),
        ),
        ("a number", json!({ "n": 65537 })),
    ] {
        let (lock, forge) = beside_a_good_key(SigningAlgorithm::Rs256, &members);
        lock.refuses(what, forge.mint(), Reason::UnknownKey);
    }
}

/// CVE-2020-0601 and invalid-curve attacks (RFC 8725, 2.5 and 3.4): a point that is on no curve, or on
/// another one.
#[test]
fn points_on_no_curve() {
    let es256 = key(SigningAlgorithm::Es256).jwk();
    let es384 = key(SigningAlgorithm::Es384).jwk();
    let (x, y) = (bytes(&es256["x"]), bytes(&es256["y"]));
    let flipped = |number: &[u8]| {
        let mut number = number.to_vec();
        number[31] ^= 1;
        text(&number)
    };
    for (what, members) in [
        ("another y", json!({ "y": flipped(&y) })),
        ("another x", json!({ "x": flipped(&x) })),
        ("x for y", json!({ "x": text(&y), "y": text(&x) })),
        ("zeros", json!({ "x": text(&[0; 32]), "y": text(&[0; 32]) })),
        ("all ones", json!({ "x": text(&[0xff; 32]), "y": text(&[0xff; 32]) })),
        ("x is short", json!({ "x": text(&x[1..]) })),
        ("x is long", json!({ "x": text(&[&[0], &x[..]].concat()) })),
        ("x is compressed", json!({ "x": text(&[&[2], &x[..]].concat()), "y": null })),
        ("no y", json!({ "y": null })),
        ("another curve's name", json!({ "crv": "P-384" })),
        ("another curve's name and alg", json!({ "crv": "P-384", "alg": "ES384" })),
        ("another curve's point", json!({ "x": es384["x"], "y": es384["y"] })),
        ("no curve", json!({ "crv": null })),
        ("secp256k1", json!({ "crv": "secp256k1" })),
        ("P256", json!({ "crv": "P256" })),
        ("p-256", json!({ "crv": "p-256" })),
        ("of its own parameters", json!({ "crv": { "p": "AQ", "a": "AQ", "b": "AQ" } })),
        ("another type", json!({ "kty": "OKP", "crv": "Ed25519" })),
        ("RSA", json!({ "kty": "RSA" })),
    ] {
        let (lock, forge) = beside_a_good_key(SigningAlgorithm::Es256, &members);
        lock.refuses(what, forge.mint(), Reason::UnknownKey);
    }
}

/// RFC 8725, 3.4 (what goes into a check is to be valid): a point of small order as the key of
/// Ed25519, of which RFC 8032, 5.1.7 says nothing. Then the neutral point and zero are a signature
/// over every message, or over one in eight, and everybody can write that. It is RSA's exponent
/// of 1 once more. All encodings that decoders take are listed, those of numbers beyond the field too.
// rule: key-limits
#[test]
fn points_of_small_order() {
    let p = |low: u8, sign: u8| {
        let mut number = [0xff; 32];
        (number[0], number[31]) = (low, 0x7f | sign);
        number
    };
    let small = |value: u8, sign: u8| {
        let mut number = [0; 32];
        (number[0], number[31]) = (value, sign);
        number
    };
    let hex = |hex: &str, sign: u8| {
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        let mut number: [u8; 32] = std::array::from_fn(byte);
        number[31] |= sign;
        number
    };
    let eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let other_eighth = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    for sign in [0, 0x80] {
        for (what, x) in [
            ("0", small(0, sign)),
            ("1, the neutral point", small(1, sign)),
            ("-1", p(0xec, sign)),
            ("p", p(0xed, sign)),
            ("p + 1", p(0xee, sign)),
            ("of order 8", hex(eighth, sign)),
            ("of order 8, the other", hex(other_eighth, sign)),
        ] {
            let ed25519 = key(SigningAlgorithm::EdDsa);
            let good = key(SigningAlgorithm::Es256);
            let forge = Lock::with_keys(ed25519, &[ed25519.jwk(), good.jwk()]).forge();
            let weak = with(ed25519.jwk(), &json!({ "x": text(&x) }));
            let lock = Lock::with_keys(ed25519, &[weak, good.jwk()]);
            lock.accepts("the other key", token_by(good).mint());
            // such a signature is good for one message in as many as the order of the point is
            for attempt in 0..32 {
                let forge = forge.clone().with_payload(format!("\"n\":{attempt}"));
                let forged = forge.mint_with([small(1, 0), [0; 32]].concat());
                lock.refuses((what, sign, attempt), forged, Reason::UnknownKey);
            }
        }
    }
}

/// RFC 7517, 4.2 to 4.4: a key says what it is for. One for encryption, or one that only signs,
/// checks no token.
// rule: absent-key-members
#[test]
fn keys_for_another_use() {
    for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::Es256] {
        for members in [
            json!({ "use": "enc" }),
            json!({ "use": "" }),
            json!({ "use": "SIG" }),
            json!({ "use": ["sig"] }),
            json!({ "use": [] }),
            json!({ "key_ops": "" }),
            json!({ "key_ops": ["encrypt"] }),
            json!({ "key_ops": ["sign"] }),
            json!({ "key_ops": ["VERIFY"] }),
            json!({ "use": "sig", "key_ops": ["deriveBits"] }),
            json!({ "use": "enc", "key_ops": ["verify"] }),
            json!({ "use": "enc", "key_ops": [] }),
            json!({ "alg": "none" }),
            json!({ "alg": "" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "RSA-OAEP" }),
            json!({ "alg": "EdDSA" }),
            json!({ "alg": ["RS256", "ES256"] }),
            json!({ "kty": "oct" }),
            json!({ "kty": "RSa" }),
            json!({ "kty": null }),
        ] {
            let (lock, forge) = beside_a_good_key(algorithm, &members);
            lock.refuses(members, forge.mint(), Reason::UnknownKey);
        }
        // what a key does not say is not forbidden, and an empty list says nothing
        for members in [
            json!({ "use": null }),
            json!({ "alg": null }),
            json!({ "use": null, "alg": null }),
            json!({ "key_ops": [] }),
            json!({ "key_ops": ["verify"] }),
            json!({ "key_ops": ["sign", "verify"], "use": null }),
            json!({ "x5c": ["MIIB"], "x5t": "AAAA", "x5u": "https://evil.example", "exp": 0 }),
        ] {
            let (lock, forge) = beside_a_good_key(algorithm, &members);
            lock.accepts(members, forge.mint());
        }
    }
}

/// RFC 7517, 9.2 and RFC 7518, 6.2.2 and 6.3.2: a set with private members is a set that leaked. Its public part is used as of any other, since
/// refusing it would lock everybody out; none of the rest is kept or shown.
#[test]
fn private_members() {
    const SECRET: &str = "c2VjcmV0LXBhcnQ";
    for algorithm in [SigningAlgorithm::Rs256, SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let members = json!({
            "d": SECRET, "p": SECRET, "q": SECRET, "dp": SECRET, "dq": SECRET, "qi": SECRET,
            "oth": [{ "r": SECRET }], "k": SECRET, "priv": SECRET,
        });
        let (lock, forge) = beside_a_good_key(algorithm, &members);
        lock.accepts(algorithm, forge.mint());
        let verifier = &lock.verifier;
        let shown =
            format!("{verifier:?} {:?} {}", verifier.status(), verifier.explain(forge.mint()));
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// RFC 7517, 4.5: keys of one name are told apart by their algorithm, and then tried. There is an
/// end to that, since each costs a signature check.
// rule: key-limits
#[test]
fn many_keys_of_one_name() {
    let keys: Vec<SigningKey> = (0..6)
        .map(|_| SigningKey::generate(SigningAlgorithm::Es256).with_kid("one-name"))
        .collect();
    let mut jwks: Vec<Value> = keys.iter().map(SigningKey::jwk).collect();
    jwks.push(key(SigningAlgorithm::EdDsa).clone().with_kid("one-name").jwk());
    let lock = Lock::with_keys(&keys[0], &jwks);
    for (index, one) in keys.iter().enumerate() {
        let token = token_by(one).mint();
        if index < 4 {
            lock.accepts(index, token);
        } else {
            lock.refuses(index, token, Reason::Signature);
        }
    }
    let other = key(SigningAlgorithm::EdDsa).clone().with_kid("one-name");
    lock.accepts("another algorithm", token_by(&other).mint());
    let forged = lock.token().forged_by(stranger(SigningAlgorithm::Es256)).mint();
    lock.refuses("by nobody of them", forged, Reason::Signature);
}

/// RFC 8725, 3.8: a key belongs to its issuer. Two issuers in one verifier, and tokens that name
/// one and are signed by the other, with names of keys of their own choice.
#[tokio::test]
async fn keys_of_another_issuer() {
    const EVIL: &str = "https://evil.example";
    let ours = key(SigningAlgorithm::Es256).clone();
    for theirs in [
        stranger(SigningAlgorithm::Es256).clone(),
        stranger(SigningAlgorithm::Es256).clone().with_kid(ours.kid()),
        stranger(SigningAlgorithm::Rs256).clone().with_kid(ours.kid()),
    ] {
        let issuer = |name: &str, key: &SigningKey| {
            let set = json!({ "keys": [key.jwk()] }).to_string();
            issuer_at_with(name, KeySource::fixed(set))
        };
        let verifier = builder_for(issuer(ISSUER, &ours).with_cluster("blue"))
            .add_issuer(issuer(EVIL, &theirs).with_cluster("green"))
            .build()
            .unwrap();
        let own = token_by(&theirs).claim("iss", EVIL).mint();
        assert_eq!(verifier.judge(&own).await.unwrap().cluster(), Some("green"));
        assert_eq!(verifier.judge(token_by(&ours).mint()).await.unwrap().cluster(), Some("blue"));
        let of = |token: String| verdict(&verifier, token.as_bytes());
        let of_kid = match (theirs.kid() == ours.kid(), theirs.algorithm() == ours.algorithm()) {
            (true, true) => Reason::Signature,
            (true, false) => Reason::AlgorithmMismatch,
            (false, _) => Reason::UnknownKey,
        };
        assert_eq!(of(token_by(&theirs).mint()), Err(of_kid));
        // without a name for the key, it is the only one of the issuer that is named
        let nameless = token_by(&theirs).without_header("kid").mint();
        let of_none = if of_kid == Reason::AlgorithmMismatch {
            Reason::UnknownKey
        } else {
            Reason::Signature
        };
        assert_eq!(of(nameless), Err(of_none));
        // the other way round, our key signs in their name: the verdict is the same
        let borrowed = token_by(&ours).claim("iss", EVIL).mint();
        assert_eq!(of(borrowed), Err(of_kid));
    }
}
