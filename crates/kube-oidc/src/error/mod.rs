//! Errors: one file for each question that an error answers.

mod build;
mod foreign;
mod invalid_token;
mod key_set;
mod reason;
mod unavailable;
mod verify;

pub(crate) use self::foreign::foreign_error;
pub use self::{
    build::BuildError,
    invalid_token::InvalidToken,
    key_set::{KeySetError, SkippedKey},
    reason::Reason,
    unavailable::{
        KeysUnavailable, KeysUnavailableCause, ReviewUnavailable, ReviewUnavailableCause,
    },
    verify::VerifyError,
};
