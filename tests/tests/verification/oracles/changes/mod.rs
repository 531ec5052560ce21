//! What is changed in a token and its key set, and what the verdict is then.

mod claims;
mod header;
mod key_set;
mod payload;
mod signature;
mod text;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::Reason;
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::{Map, Value, json};

use super::{ISSUER, NOW, draft::Draft};

/// Makes a change, or says that it does not exist for the key's algorithm.
pub(super) type Change = fn(&mut Draft<'_>) -> bool;

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

const GOOD: Option<Reason> = None;

/// A name, what the change touches, what becomes of the token, and the change.
pub(super) type Row = (&'static str, u32, Option<Reason>, Change);

const NOTHING: Row = ("nothing", 0, GOOD, |_| true);

/// Every change there is, and none.
pub(super) fn all() -> Vec<Row> {
    let changed = [
        header::CHANGES,
        claims::CHANGES,
        payload::CHANGES,
        signature::CHANGES,
        text::CHANGES,
        key_set::CHANGES,
    ];
    [&[NOTHING], changed.concat().as_slice()].concat()
}

/// Sets a member, or leaves it out.
fn set(members: &mut Map<String, Value>, name: &str, value: impl Into<Option<Value>>) -> bool {
    match value.into() {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    true
}

/// A member more, in front.
fn with(text: &str, member: &str) -> Vec<u8> {
    text.replacen('{', &format!("{{{member},"), 1).into_bytes()
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
