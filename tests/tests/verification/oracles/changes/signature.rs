//! Changes to the signature.

use super::*;

macro_rules! signature {
    ($sign:expr) => {
        |draft| {
            draft.sign = $sign;
            true
        }
    };
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

pub(super) const CHANGES: &[Row] = &[
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
];
