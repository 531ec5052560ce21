//! A token was not accepted: `VerifyError`.

use std::time::Duration;

use super::{InvalidToken, KeysUnavailable, Reason, ReviewUnavailable};

/// A token was not accepted.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The token is bad, whoever asks and however often: an HTTP service answers 401.
    #[error("the token is invalid: {0}")]
    Invalid(InvalidToken),
    /// The token may be good, but needs keys that are not here: an HTTP service answers 503.
    #[error(transparent)]
    Unavailable(#[from] KeysUnavailable),
    /// The token passed every check of its own, and the API server could not be asked whether it
    /// still counts: an HTTP service answers 503.
    #[error(transparent)]
    ReviewUnavailable(#[from] ReviewUnavailable),
}

// the text contains that of the variant, which is therefore not a source
impl From<InvalidToken> for VerifyError {
    fn from(invalid: InvalidToken) -> Self {
        Self::Invalid(invalid)
    }
}

impl VerifyError {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(invalid) => invalid.reason(),
            Self::Unavailable(unavailable) => unavailable.reason(),
            Self::ReviewUnavailable(_) => Reason::ReviewUnavailable,
        }
    }

    /// When asking again may help, where the token may be good.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Invalid(_) => None,
            Self::Unavailable(unavailable) => Some(unavailable.retry_after()),
            Self::ReviewUnavailable(unavailable) => Some(unavailable.retry_after()),
        }
    }
}
