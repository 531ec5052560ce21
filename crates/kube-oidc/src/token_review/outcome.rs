//! The meaning of one response of an API server for one token.

use super::ReviewStatus;
use crate::{
    error::{InvalidToken, ReviewUnavailable, ReviewUnavailableCause, VerifyError},
    observe::{display::Cut, meter::Asked},
};

/// Whether a token is accepted.
pub(crate) type Verdict = Result<(), VerifyError>;

/// The claims of a verified token that a response has to agree with.
pub(crate) struct Expected {
    pub(crate) username: String,
    pub(crate) uid: String,
    pub(crate) audiences: Vec<String>,
}

/// The result of one call.
pub(super) enum ReviewOutcome {
    Confirmed,
    Refused(InvalidToken),
    None(ReviewUnavailableCause),
}

impl ReviewOutcome {
    /// Reads a response, which confirms a token only if it is about this token.
    pub(super) fn of(status: &ReviewStatus, expected: &Expected) -> Self {
        let is_ours = |audience: &String| expected.audiences.contains(audience);
        Self::Refused(if !status.authenticated || !status.error.is_empty() {
            InvalidToken::ReviewDenied
        } else if status.username != expected.username || status.uid != expected.uid {
            InvalidToken::ReviewMismatch("it is about another user")
        } else if !status.audiences.iter().any(is_ours) {
            InvalidToken::ReviewMismatch("it is for none of our audiences")
        } else {
            return Self::Confirmed;
        })
    }

    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Confirmed => Ok(()),
            Self::Refused(refusal) => Err(refusal.into()),
            Self::None(cause) => unavailable(cause),
        }
    }

    pub(super) fn outcome(&self) -> Asked {
        match self {
            Self::Confirmed => Asked::Authenticated,
            Self::Refused(_) => Asked::Rejected,
            Self::None(_) => Asked::Failed,
        }
    }
}

pub(super) fn unavailable(cause: ReviewUnavailableCause) -> Verdict {
    Err(ReviewUnavailable::new(cause).into())
}

/// The text of an error, fit for a log: escaped, truncated, and not at all if it holds a part of
/// the token that is longer than chance has it.
pub(super) fn without_token(text: &str, token: &[u8]) -> String {
    const PART: usize = 16;
    let shown = Cut(text).to_string();
    let echoes = shown.as_bytes().windows(PART).any(|part| {
        part.iter().all(u8::is_ascii_graphic)
            && token.windows(PART).any(|of_token| of_token == part)
    });
    if echoes { "not shown, since it holds a part of the token".to_owned() } else { shown }
}
