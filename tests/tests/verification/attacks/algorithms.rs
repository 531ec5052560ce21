//! Tokens that choose how they are checked.

use aws_lc_rs::hmac;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use kube_oidc::{Algorithm, Reason};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use kube_oidc_tests::forge::encode;
use serde_json::{Value, json};

use super::{Lock, is_rsa, key};

/// RFC 8725, 2.1 and 3.2; RFC 7518, 3.6; CVE-2018-1000531 (prime-jwt), CVE-2022-23540 and others:
/// a signature that says that there is none.
#[test]
fn alg_none_in_every_spelling() {
    let lock = Lock::new();
    let forge = lock.forge();
    for spelling in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""NoNe""#,
        r#"" none""#,
        r#""none ""#,
        r#""none\u0000""#,
        r#""\u006eone""#,
        r#""n\u043ene""#,
        r#""null""#,
        r#""undefined""#,
        r#""""#,
        r#""ES256,none""#,
    ] {
        assert_all_signatures(&lock, spelling, Reason::Algorithm);
    }
    // no name at all
    for value in ["null", "0", "false", "[]", r#"["ES256"]"#, r#"{"name":"ES256"}"#] {
        assert_all_signatures(&lock, value, Reason::Malformed);
    }
    let absent = forge.header(r#""alg":"ES256","#, "");
    lock.refuses("no alg", absent.mint(), Reason::Malformed);
    lock.refuses("no alg, no signature", absent.mint_with(""), Reason::Malformed);
}

/// With every signature that a forger could think of: none, one that is honest over these very
/// bytes, that of the honest token, and zeros.
fn assert_all_signatures(lock: &Lock, alg: &str, reason: Reason) {
    let honest = lock.forge();
    let forged = honest.clone().header(r#""ES256""#, alg);
    for signature in [vec![], forged.signature(), honest.signature(), vec![0; 64]] {
        lock.refuses((alg, signature.len()), forged.mint_with(&signature), reason);
    }
    lock.refuses(alg, forged.signing_input(), Reason::Malformed);
}

/// CVE-2020-28042 (`ServiceStack`) and RFC 7515, 5.2: a good `alg`, and no signature to check.
#[test]
fn an_empty_signature_is_none() {
    for algorithm in SigningAlgorithm::ALL {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        lock.refuses(algorithm, forge.mint_with(""), Reason::Malformed);
        lock.refuses(algorithm, forge.mint_with([0]), Reason::Signature);
    }
}

/// RFC 8725, 2.1 and 3.1; CVE-2015-9235 (jsonwebtoken), CVE-2022-29217 (`PyJWT`), CVE-2024-33663
/// (python-jose): the public key, which everybody has, as the secret of an HMAC.
#[test]
fn the_public_key_as_the_secret_of_an_hmac() {
    for algorithm in [
        SigningAlgorithm::Rs256,
        SigningAlgorithm::Es256,
        SigningAlgorithm::Es384,
        SigningAlgorithm::EdDsa,
    ] {
        let public = key(algorithm);
        // a set that names the key for an HMAC too, or a secret, makes no difference
        let as_secret =
            json!({ "kty": "oct", "kid": public.kid(), "k": encode(public.public_bytes()) });
        let lock = Lock::with_keys(public, &[as_secret, public.jwk()]);
        let honest = lock.forge();
        let quoted = format!("{:?}", algorithm.name());
        for (name, hash) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            let forged = honest.clone().header(&quoted, format!("{name:?}"));
            // the other way round: an HMAC under the name of the key's own algorithm
            for (forged, reason) in [(&forged, Reason::Algorithm), (&honest, Reason::Signature)] {
                for (form, secret) in forms_of(public) {
                    let input = forged.signing_input();
                    let tag = hmac::sign(&hmac::Key::new(hash, &secret), input.as_bytes());
                    lock.refuses((name, form), forged.mint_with(tag), reason);
                }
            }
        }
    }
}

/// A public key in the forms that a forger may expect a verifier to have it in.
fn forms_of(key: &SigningKey) -> Vec<(&'static str, Vec<u8>)> {
    let jwk = key.jwk();
    let bytes = key.public_bytes();
    let spki = spki(key);
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let openssh = openssh(key);
    let (spki_pem, pkcs1_pem) = (pem("PUBLIC KEY", &spki), pem("RSA PUBLIC KEY", bytes));
    let number = jwk["n"].as_str().or(jwk["x"].as_str()).unwrap();
    let text = |text: String| text.into_bytes();
    vec![
        ("PEM without its last line end", text(spki_pem.trim_end().to_owned())),
        ("PEM with other line ends", text(spki_pem.replace('\n', "\r\n"))),
        ("PEM", text(spki_pem)),
        ("PEM of PKCS#1", text(pkcs1_pem)),
        ("DER", spki),
        ("the key's bytes", bytes.to_vec()),
        ("OpenSSH", text(openssh.clone())),
        ("OpenSSH with a comment", text(format!("{openssh} root@issuer"))),
        ("OpenSSH with its line end", text(format!("{openssh} root@issuer\n"))),
        ("JWK", text(jwk.to_string())),
        ("JWK set", text(json!({ "keys": [jwk.clone()] }).to_string())),
        ("modulus or coordinate in base64url", text(number.to_owned())),
        ("kid", text(key.kid().to_owned())),
        ("nothing", vec![]),
    ]
}

/// A line of `authorized_keys` (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4). `PyJWT` knew forms of
/// PEM that are no secrets, and did not know this one (CVE-2022-29217); nor did python-jose
/// (CVE-2024-33663).
fn openssh(key: &SigningKey) -> String {
    let jwk = key.jwk();
    let number = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    // a number with its highest bit set would be negative
    let positive = |number: Vec<u8>| {
        if number[0] < 0x80 { number } else { [vec![0], number].concat() }
    };
    let (name, fields) = match key.algorithm() {
        SigningAlgorithm::Es256 => {
            ("ecdsa-sha2-nistp256", vec![b"nistp256".to_vec(), key.public_bytes().to_vec()])
        }
        SigningAlgorithm::Es384 => {
            ("ecdsa-sha2-nistp384", vec![b"nistp384".to_vec(), key.public_bytes().to_vec()])
        }
        SigningAlgorithm::EdDsa => ("ssh-ed25519", vec![key.public_bytes().to_vec()]),
        _ => ("ssh-rsa", vec![positive(number("e")), positive(number("n"))]),
    };
    let field = |field: &[u8]| {
        let length = u32::try_from(field.len()).unwrap();
        [&length.to_be_bytes()[..], field].concat()
    };
    let fields: Vec<u8> = fields.iter().flat_map(|bytes| field(bytes)).collect();
    format!("{name} {}", STANDARD.encode([field(name.as_bytes()), fields].concat()))
}

/// `SubjectPublicKeyInfo` of RFC 5280, 4.1: what `BEGIN PUBLIC KEY` holds.
fn spki(key: &SigningKey) -> Vec<u8> {
    const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    const P256: &[u8] =
        b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
    const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";
    let algorithm = match key.algorithm() {
        SigningAlgorithm::Es256 => P256,
        SigningAlgorithm::Es384 => P384,
        SigningAlgorithm::EdDsa => ED25519,
        _ => RSA,
    };
    let bits = [&[0], key.public_bytes()].concat();
    der(0x30, &[der(0x30, algorithm), der(0x03, &bits)].concat())
}

fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let head = match contents.len() {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head[..], contents].concat()
}

/// RFC 8725, 3.1: a key is for one algorithm. A JWK that names its `alg` takes no other of its
/// family, whether the signature is honest or that of the named one.
#[test]
fn a_key_takes_no_other_algorithm_of_its_family() {
    for pinned in SigningAlgorithm::ALL {
        let lock = Lock::of(pinned);
        lock.forge();
        let family = SigningAlgorithm::ALL
            .into_iter()
            .filter(|other| *other != pinned && kin(*other, pinned));
        for other in family {
            let token = if is_rsa(pinned) {
                // honestly signed with the same numbers
                lock.token().signed_by(&lock.key.clone().with_algorithm(other))
            } else {
                // by a key of its own, in the name of this one
                lock.token().signed_by(key(other)).header("kid", lock.key.kid())
            };
            lock.refuses((pinned, other), token.clone().mint(), Reason::AlgorithmMismatch);
            // and under the name of the algorithm that the key has
            let renamed = token.header("alg", pinned.name());
            lock.refuses((other, pinned), renamed.mint(), Reason::Signature);
        }
    }
}

fn kin(one: SigningAlgorithm, other: SigningAlgorithm) -> bool {
    let family =
        |algorithm: SigningAlgorithm| (is_rsa(algorithm), algorithm.name().starts_with("ES"));
    family(one) == family(other)
}

/// RFC 8725, 3.1 and RFC 7517, 4.4: the same without `alg` in the JWK, which is optional. An RSA
/// key is good for its family then (RFC 7518, 3.3 and 3.5), but a signature is only good by the
/// algorithm that made it.
#[test]
fn rs_and_ps_are_not_confused_where_the_key_names_no_alg() {
    let rsa = key(SigningAlgorithm::Rs256);
    let lock = Lock::with_keys(rsa, &[without_alg(rsa.jwk())]);
    let family = SigningAlgorithm::ALL.into_iter().filter(|algorithm| is_rsa(*algorithm));
    for made in family.clone() {
        for named in family.clone() {
            let signer = rsa.clone().with_algorithm(made);
            let token = lock.token().signed_by(&signer).header("alg", named.name()).mint();
            if made == named {
                lock.accepts(made, token);
            } else {
                lock.refuses((made, named), token, Reason::Signature);
            }
        }
    }
    for stranger in [SigningAlgorithm::Es256, SigningAlgorithm::EdDsa] {
        let token = lock.token().signed_by(key(stranger)).header("kid", rsa.kid()).mint();
        lock.refuses(stranger, token, Reason::AlgorithmMismatch);
    }
}

fn without_alg(mut jwk: Value) -> Value {
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

/// RFC 7518, 3.4: an algorithm of ECDSA belongs to one curve, whatever the token says.
#[test]
fn curves_are_not_confused() {
    let curves = [SigningAlgorithm::Es256, SigningAlgorithm::Es384, SigningAlgorithm::Es512];
    for curve in curves {
        let lock = Lock::with_keys(key(curve), &[without_alg(key(curve).jwk())]);
        let honest = lock.forge();
        for other in curves.into_iter().filter(|other| *other != curve) {
            let (ours, theirs) = (format!("{:?}", curve.name()), format!("{:?}", other.name()));
            // our own signature under the name of another curve's algorithm
            let renamed = honest.clone().header(&ours, theirs);
            lock.refuses((curve, other), renamed.mint(), Reason::AlgorithmMismatch);
            // a signature of another curve, also as short or long as ours is
            let mut signature = key(other).sign(honest.signing_input().as_bytes());
            lock.refuses((curve, other), honest.mint_with(&signature), Reason::Signature);
            signature.resize(lock.key.sign(b"").len(), 0);
            lock.refuses((curve, other), honest.mint_with(&signature), Reason::Signature);
        }
    }
}

/// RFC 7518, 3.1 and RFC 8725, 3.2: names that are not allowed, near to those that are.
#[test]
fn names_that_are_nearly_an_algorithm() {
    for algorithm in SigningAlgorithm::ALL {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let name = algorithm.name();
        let quoted = format!("{name:?}");
        let mut near = vec![
            format!(" {name}"),
            format!("{name} "),
            format!("{name}\\u0000"),
            format!("{name}\\n"),
            name.to_lowercase(),
            format!("\\ufeff{name}"),
            "RS1".to_owned(),
            "ES256K".to_owned(),
            "Ed448".to_owned(),
            "RSA-OAEP".to_owned(),
            "PBES2-HS256+A128KW".to_owned(),
            "dir".to_owned(),
            "ML-DSA-65-ES256".to_owned(),
            "SHA256withRSA".to_owned(),
            "1.2.840.113549.1.1.11".to_owned(),
        ];
        near.retain(|near| near != name);
        for near in near {
            let forged = forge.clone().header(&quoted, format!("\"{near}\""));
            lock.refuses(&near, forged.mint(), Reason::Algorithm);
        }
        // the same name in other letters of JSON is the same name
        let escaped = format!("\"\\u{:04x}{}\"", name.as_bytes()[0], &name[1..]);
        lock.accepts(name, forge.clone().header(&quoted, escaped).mint());
    }
    let lock = Lock::of(SigningAlgorithm::EdDsa);
    // RFC 9864, 2.2 has a second name for it
    lock.accepts("Ed25519", lock.forge().header(r#""EdDSA""#, r#""Ed25519""#).mint());
}

/// RFC 8725, 3.1: what the operator does not allow is refused before a key is looked at, also
/// where the key set has a key for it.
#[test]
fn an_algorithm_that_is_not_allowed() {
    for allowed in [Algorithm::Es256, Algorithm::Rs256] {
        let all: Vec<Value> =
            SigningAlgorithm::ALL.into_iter().map(|algorithm| key(algorithm).jwk()).collect();
        for algorithm in SigningAlgorithm::ALL {
            let lock = Lock::built(key(algorithm), &all, |builder| builder.algorithms([allowed]));
            let token = lock.token().mint();
            if algorithm.name() == allowed.name() {
                lock.accepts(algorithm, token);
            } else {
                lock.refuses(algorithm, token, Reason::Algorithm);
            }
        }
    }
}
