//! Signatures that are not what they seem.

use aws_lc_rs::digest;
use kube_oidc::Reason;
use kube_oidc_testing::SigningAlgorithm;

use super::{Lock, is_rsa, stranger};

const ECDSA: [SigningAlgorithm; 3] =
    [SigningAlgorithm::Es256, SigningAlgorithm::Es384, SigningAlgorithm::Es512];

/// The order of the curve (SEC 2, 2.4.2, 2.5.1 and 2.6.1).
fn order(algorithm: SigningAlgorithm) -> Vec<u8> {
    let hex = match algorithm {
        SigningAlgorithm::Es256 => {
            "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
        }
        SigningAlgorithm::Es384 => {
            "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf\
             581a0db248b0a77aecec196accc52973"
        }
        _ => {
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa\
             51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409"
        }
    };
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// One number less another, of as many bytes, that is not greater.
fn less(from: &[u8], what: &[u8]) -> Vec<u8> {
    let mut difference = from.to_vec();
    let mut borrow = 0;
    for (byte, what) in difference.iter_mut().zip(what).rev() {
        let value = i16::from(*byte) - i16::from(*what) - borrow;
        borrow = i16::from(value < 0);
        *byte = u8::try_from(value & 0xff).unwrap();
    }
    assert_eq!(borrow, 0, "it is greater");
    difference
}

/// A small number of so many bytes.
fn number(value: u8, length: usize) -> Vec<u8> {
    let mut number = vec![0; length];
    number[length - 1] = value;
    number
}

/// CVE-2022-21449 ("psychic signatures") and its kin: r and s must be in 1..n (FIPS 186-5,
/// 6.4.2), or the arithmetic proves nothing.
#[test]
fn numbers_out_of_range_in_ecdsa() {
    for algorithm in ECDSA {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let order = order(algorithm);
        let length = order.len();
        let honest = forge.signature();
        let (r, s) = honest.split_at(length);
        let outside = [
            ("zero", number(0, length)),
            ("the order", order.clone()),
            ("all ones", vec![0xff; length]),
        ];
        let inside = [("one", number(1, length)), ("n - 1", less(&order, &number(1, length)))];
        for (name, number) in outside.iter().chain(&inside) {
            for (which, r, s) in [("r", number, &s.to_vec()), ("s", &r.to_vec(), number)] {
                let forged = forge.mint_with([&r[..], s].concat());
                lock.refuses((algorithm, which, name), forged, Reason::Signature);
            }
            for (other, second) in outside.iter().chain(&inside) {
                let forged = forge.mint_with([&number[..], second].concat());
                lock.refuses((algorithm, name, other), forged, Reason::Signature);
            }
        }
    }
}

/// RFC 7518, 3.4: the signature has a fixed length and form. DER is how X.509 and TLS have it;
/// others of another length are those numbers with something beside them.
#[test]
fn other_forms_of_an_ecdsa_signature() {
    for algorithm in ECDSA {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let honest = forge.signature();
        let length = honest.len() / 2;
        let (r, s) = honest.split_at(length);
        let wide = |number: &[u8]| [&[0], number].concat();
        for (name, signature) in [
            ("DER", der_signature(r, s)),
            ("s, r", [s, r].concat()),
            ("r", r.to_vec()),
            ("r, s, r", [&honest, r].concat()),
            ("twice", honest.repeat(2)),
            ("one byte less", honest[..honest.len() - 1].to_vec()),
            ("without its first byte", honest[1..].to_vec()),
            ("a zero behind", [&honest[..], &[0]].concat()),
            ("a zero in front", wide(&honest)),
            ("a zero before each", [wide(r), wide(s)].concat()),
            ("another curve's length", vec![1; if length == 48 { 64 } else { 96 }]),
        ] {
            lock.refuses((algorithm, name), forge.mint_with(signature), Reason::Signature);
        }
        lock.accepts(algorithm, forge.mint_with(honest));
    }
}

/// ECDSA-Sig-Value of RFC 3279, 2.2.3.
pub(super) fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let mut digits = number[zeros..].to_vec();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        [&[2, u8::try_from(digits.len()).unwrap()], &digits[..]].concat()
    };
    let contents = [integer(r), integer(s)].concat();
    let length = u8::try_from(contents.len()).unwrap();
    let head = if length < 128 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    [head, contents].concat()
}

/// RFC 7518, 3.4 and FIPS 186-5, 6.4.2 take every s from 1 to n - 1. Not an attack: Go, in which
/// Kubernetes signs, does not normalise, so half of all tokens of a cluster have a high s. Who can
/// turn one into the other learns nothing, and the token says the same.
#[test]
fn low_and_high_s_are_both_good() {
    for algorithm in ECDSA {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let honest = forge.signature();
        let (r, s) = honest.split_at(honest.len() / 2);
        let other = less(&order(algorithm), s);
        assert_ne!(s, other);
        lock.accepts(algorithm, forge.mint_with(&honest));
        lock.accepts(algorithm, forge.mint_with([r, &other].concat()));
    }
}

/// RFC 8032, 5.1.7 and 8.4: S must be below the order of the group, or each signature has
/// others beside it.
#[test]
fn a_second_s_of_ed25519() {
    // RFC 8032, 5.1: the order, lowest byte first
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let lock = Lock::of(SigningAlgorithm::EdDsa);
    let forge = lock.forge();
    let honest = forge.signature();
    let (point, s) = honest.split_at(32);
    let mut second = s.to_vec();
    for times in 1..8 {
        let mut carry = 0;
        for (byte, order) in second.iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        let forged = forge.mint_with([point, &second].concat());
        lock.refuses(times, forged, Reason::Signature);
    }
    for (name, point, s) in [
        ("nothing but zeros", [0; 32], [0; 32]),
        // the neutral point (0, 1): for a key of small order it would do
        ("the neutral point", neutral_point(), [0; 32]),
        ("S is the order", point.try_into().unwrap(), ORDER),
    ] {
        lock.refuses(name, forge.mint_with([point, s].concat()), Reason::Signature);
    }
    for length in [0, 1, 32, 63, 65, 128] {
        let mut other = honest.repeat(2);
        other.truncate(length);
        let reason = if length == 0 { Reason::Malformed } else { Reason::Signature };
        lock.refuses(length, forge.mint_with(other), reason);
    }
}

fn neutral_point() -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = 1;
    point
}

/// RFC 8017, 8.2.2: an RSA signature is as long as its modulus, and below it.
#[test]
fn numbers_out_of_range_in_rsa() {
    for algorithm in SigningAlgorithm::ALL.into_iter().filter(|algorithm| is_rsa(*algorithm)) {
        let lock = Lock::of(algorithm);
        let forge = lock.forge();
        let honest = forge.signature();
        let modulus = base64url(lock.key.jwk()["n"].as_str().unwrap());
        let length = modulus.len();
        for (name, signature) in [
            // 0 and 1 are their own powers, whatever the exponent
            ("0", number(0, length)),
            ("1", number(1, length)),
            ("n - 1", less(&modulus, &number(1, length))),
            ("n", modulus.clone()),
            ("all ones", vec![0xff; length]),
            ("n - s", less(&modulus, &honest)),
            ("a zero in front", [&[0], &honest[..]].concat()),
            ("a zero behind", [&honest[..], &[0]].concat()),
            ("one byte less", honest[..length - 1].to_vec()),
            ("half", honest[..length / 2].to_vec()),
            ("twice", honest.repeat(2)),
            // not encrypted at all
            ("the padded digest itself", padded_digest(&forge.signing_input(), length)),
        ] {
            lock.refuses((algorithm, name), forge.mint_with(signature), Reason::Signature);
        }
    }
}

fn base64url(text: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// EMSA-PKCS1-v1_5 (RFC 8017, 9.2) with SHA-256: what an RSA key with an exponent of 1 "signs".
pub(super) fn padded_digest(message: &str, length: usize) -> Vec<u8> {
    const DIGEST_INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let digest = digest::digest(&digest::SHA256, message.as_bytes());
    let mut padded = vec![0, 1];
    padded.resize(length - DIGEST_INFO.len() - digest.as_ref().len() - 1, 0xff);
    [&padded[..], &[0], &DIGEST_INFO, digest.as_ref()].concat()
}

/// RFC 7515, 5.2: the signature is over these very bytes. A part of another token, or a token
/// of another key, is none.
#[test]
fn parts_of_several_tokens() {
    for algorithm in SigningAlgorithm::ALL {
        let lock = Lock::of(algorithm);
        let honest = lock.forge();
        let other = lock.token().service_account("payments", "refunds").mint();
        lock.accepts(algorithm, &other);
        let other: Vec<&str> = other.split('.').collect();
        let ours = honest.mint();
        let ours: Vec<&str> = ours.split('.').collect();
        let headed = honest.clone().with_header(r#""x":1"#).mint();
        let headed: Vec<&str> = headed.split('.').collect();
        for parts in [
            [ours[0], other[1], ours[2]],
            [ours[0], ours[1], other[2]],
            [headed[0], ours[1], ours[2]],
            [ours[0], ours[1], headed[2]],
            [ours[1], ours[0], ours[2]],
        ] {
            let reason = if parts[0] == ours[1] { Reason::Malformed } else { Reason::Signature };
            lock.refuses((algorithm, reason), parts.join("."), reason);
        }
        // by somebody else's key of the same kind, in the name of ours
        let forged = lock.token().forged_by(stranger(algorithm)).mint();
        lock.refuses(algorithm, forged, Reason::Signature);
    }
}
