//! Custom claims: any type that implements `DeserializeOwned`.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Payload, RegisteredClaims, misfit::misfit, sealed};
use crate::{encoding::json::MAX_DEPTH, error::InvalidToken};

/// Custom claims, the registered claims, and how much memory they hold.
#[doc(hidden)]
#[derive(Debug)]
#[expect(unnameable_types, reason = "a part of a sealed trait")]
pub struct CustomClaims<C> {
    pub(super) claims: C,
    pub(super) registered: RegisteredClaims,
    bytes: usize,
}

impl<C: DeserializeOwned + Send + Sync + 'static> sealed::FromPayload for C {
    const KUBERNETES: bool = false;

    type Kept = CustomClaims<C>;

    fn keep(payload: &Payload<'_>, text: &str) -> Result<Self::Kept, InvalidToken> {
        let claims =
            serde_json::from_str(text).map_err(|_| InvalidToken::Claims(misfit::<Self>(text)))?;
        let registered = RegisteredClaims::from_payload(payload, text);
        let bytes = registered.bytes() + bytes_of_value(text);
        Ok(CustomClaims { claims, registered, bytes })
    }

    fn claims(kept: &Self::Kept) -> &Self {
        &kept.claims
    }

    fn registered(kept: &Self::Kept) -> &RegisteredClaims {
        &kept.registered
    }

    fn bytes(kept: &Self::Kept) -> usize {
        kept.bytes
    }

    fn user(_: &Self::Kept) -> Option<(&str, &str)> {
        None
    }
}

/// An estimate, and nearly an upper bound, of the memory that a `serde_json::Value` of this JSON
/// holds. A type with fields for its claims holds less.
fn bytes_of_value(text: &str) -> usize {
    /// Of an allocation.
    const OVERHEAD: usize = 16;
    // the commas of each open array and object
    let mut commas = [0_usize; MAX_DEPTH as usize + 2];
    let mut depth = 0_usize;
    let (mut in_string, mut escaped, mut before) = (false, false, b' ');
    // the texts of all strings
    let mut bytes = text.len();
    for byte in text.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                bytes += OVERHEAD;
            }
            b'[' | b'{' => {
                depth += 1;
                if let Some(commas) = commas.get_mut(depth) {
                    *commas = 0;
                }
            }
            b',' => {
                if let Some(commas) = commas.get_mut(depth) {
                    *commas += 1;
                }
            }
            b']' | b'}' => {
                let items = commas.get(depth).map_or(0, |commas| commas + 1);
                bytes += match (before, byte) {
                    (b'[' | b'{', _) => 0,
                    (_, b']') => bytes_of_array(items) + OVERHEAD,
                    _ => bytes_of_object(items) + OVERHEAD,
                };
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
        before = byte;
    }
    bytes
}

/// A `Vec` that grew to so many elements.
fn bytes_of_array(elements: usize) -> usize {
    elements.next_power_of_two().max(4) * size_of::<Value>()
}

/// A `BTreeMap`: nodes of 11 members, which are filled to 5 at least where there are several.
fn bytes_of_object(members: usize) -> usize {
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 16;
    /// A node above them has 12 pointers as well, and there is one for six nodes at most.
    const SHARE: usize = (NODE + 12 * size_of::<usize>()) / 6;
    if members <= 11 { NODE } else { (members / 5 + 1) * (NODE + SHARE) }
}
