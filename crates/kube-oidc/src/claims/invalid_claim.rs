//! The error of a claim that is missing or invalid, by the name of the claim.

use crate::error::InvalidToken;

#[cold]
pub(super) fn missing(claim: &str) -> InvalidToken {
    InvalidToken::Claims(format!("missing claim `{claim}`"))
}

#[cold]
pub(super) fn invalid(claim: &str, expected: &str) -> InvalidToken {
    InvalidToken::Claims(format!("invalid claim `{claim}`; expected {expected}"))
}
