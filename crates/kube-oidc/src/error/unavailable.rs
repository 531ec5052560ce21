//! What could not be decided, and when asking again may help: missing keys, a missing review.

use std::time::Duration;

use super::Reason;

/// The token needs keys that are not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the keys of the issuer are not available: {cause}")]
pub struct KeysUnavailable {
    retry_after: Duration,
    cause: KeysUnavailableCause,
}

/// Why keys are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysUnavailableCause {
    /// The last fetch failed, and the next one is not due yet. The log said why when it failed.
    #[error("the last fetch failed")]
    FetchFailed,
    /// The fetch did not end within the time that a request waits.
    #[error("the fetch takes too long")]
    FetchTimedOut,
    /// As many requests as may wait for this issuer's keys are waiting.
    #[error("too many requests wait for them")]
    TooManyWaiting,
    /// The verifier was used outside a tokio runtime, where nothing can be fetched.
    #[error("there is no tokio runtime to fetch them in")]
    NoRuntime,
}

impl KeysUnavailable {
    pub(crate) fn new(retry_after: Duration, cause: KeysUnavailableCause) -> Self {
        Self { retry_after, cause }
    }

    /// When asking again may help; at least a second.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after.max(Duration::from_secs(1))
    }

    /// Why they are not here.
    #[must_use]
    pub fn cause(&self) -> KeysUnavailableCause {
        self.cause
    }

    /// The stable code for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self.cause {
            KeysUnavailableCause::TooManyWaiting => Reason::TooManyWaiting,
            _ => Reason::KeysUnavailable,
        }
    }
}

/// The API server could not be asked whether a token still counts: see
/// [`token_review`](crate::token_review).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be reviewed: {cause}")]
pub struct ReviewUnavailable {
    cause: ReviewUnavailableCause,
}

/// Why a token could not be reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReviewUnavailableCause {
    /// The last call to the API server failed. The log says why.
    #[error("the API server could not be asked")]
    RequestFailed,
    /// The last call to the API server timed out.
    #[error("the API server takes too long")]
    TimedOut,
    /// As many calls are in flight as may be, of the token's subject or of all.
    #[error("too many calls to the API server are in flight")]
    TooManyWaiting,
    /// The verifier was used outside a tokio runtime, where nobody can be asked.
    #[error("there is no tokio runtime to ask in")]
    NoRuntime,
}

impl ReviewUnavailable {
    pub(crate) fn new(cause: ReviewUnavailableCause) -> Self {
        Self { cause }
    }

    /// When asking again may help: a second.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Why it could not be asked.
    #[must_use]
    pub fn cause(&self) -> ReviewUnavailableCause {
        self.cause
    }
}
