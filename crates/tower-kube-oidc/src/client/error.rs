//! [`CallError`] and [`TokenError`]: why a call failed, and why a request was not sent.

use std::error::Error;

use super::{origin::Origin, token_file::TokenFileError};

/// Why a request was not sent.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// There is no token to send.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// The request is for an origin that no token is named for.
    #[error("no token is named for {0}, so the request was not sent")]
    NoTokenForOrigin(Origin),
    /// The request does not say by http or https where it goes, and the layer was not made for one
    /// channel, or for several.
    #[error(
        "the request does not say where it goes, and no token or several are for channels: it was not sent"
    )]
    UnknownDestination,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nothing was sent.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The client's own error.
    #[error(transparent)]
    Client(BoxError),
}

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

pub(super) fn client(error: impl Into<BoxError>) -> CallError {
    CallError::Client(error.into())
}
