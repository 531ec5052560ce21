//! What became of a token, and why, for people: see [`Verifier::explain`](crate::Verifier::explain).

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::error::Reason;

/// What a verifier makes of a token, check by check: see
/// [`Verifier::explain`](crate::Verifier::explain).
///
/// It shows as a table for people. It says what stands in the token, believed or not, so it is for
/// an operator who has the token anyway: not for callers, and not for a log, for which there is
/// [`one_line`](Self::one_line). The token itself is not in it, nor its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The checks, in order. Where a token cannot be taken apart, the last one says why.
    pub steps: Vec<CheckResult>,
    /// What [`verify`](crate::Verifier::verify) would say with the keys that are here: whether it
    /// accepts the token, or why not. Where it would first fetch keys, it is
    /// [`Reason::KeysUnavailable`] or [`Reason::UnknownKey`]; where it would first ask the API server,
    /// [`Reason::ReviewUnavailable`].
    pub verdict: Result<(), Reason>,
    /// The times that stand in the token, for a drawing of them. `None`: it could not be taken
    /// apart.
    pub times: Option<TokenTimes>,
}

/// The times of a token, believed or not, and the one at which they were held against the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenTimes {
    /// When it was made: `iat`.
    pub issued_at: Option<SystemTime>,
    /// From when on it is good: `nbf`.
    pub not_before: Option<SystemTime>,
    /// When it should have been replaced, though it goes on: `warnafter`.
    pub warn_after: Option<SystemTime>,
    /// When it ends, without leeway: `exp`.
    pub expires_at: SystemTime,
    /// By how much the verifier lets it begin earlier and end later.
    pub leeway: Duration,
    /// The time of the check, by the verifier's clock.
    pub checked_at: SystemTime,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckResult {
    /// What was checked.
    pub check: Check,
    /// What came of it.
    pub status: CheckStatus,
    /// What stands there, and what was expected.
    pub detail: String,
    /// Whether the verifier expects claims of a custom type, and no service account.
    pub(crate) is_custom: bool,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckStatus {
    /// It passed.
    Passed,
    /// The token is refused for this reason.
    Failed(Reason),
    /// It takes keys that are not here, or an answer of the API server.
    Unknown,
}

/// What is checked of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Three parts, base64url and JSON, an `alg` that is allowed, a fitting `typ`, registered claims
    /// that can be read, and no `cnf`.
    Format,
    /// Its `iss`.
    Issuer,
    /// Its `kid`, and the keys of the issuer.
    Key,
    /// Its signature.
    Signature,
    /// Its `exp`, and how old it may be.
    Expiry,
    /// Its `nbf` and `iat`.
    NotBefore,
    /// From its `iat` to its `exp`.
    Lifetime,
    /// Its `aud`.
    Audience,
    /// Its `jti`, where tokens are denied.
    Denylist,
    /// Whom it speaks of.
    Claims,
    /// What the API server said of it, where that is asked for every token.
    Review,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Format => "format",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expiry => "expiry",
            Self::NotBefore => "nbf",
            Self::Lifetime => "lifetime",
            Self::Audience => "audience",
            Self::Denylist => "denylist",
            Self::Claims => "claims",
            Self::Review => "review",
        })
    }
}

impl fmt::Display for CheckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "ok",
            Self::Failed(_) => "FAILED",
            Self::Unknown => "?",
        })
    }
}

impl CheckResult {
    /// What to do about it, if it did not pass.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self.status {
            CheckStatus::Passed => None,
            CheckStatus::Failed(reason) if self.is_custom => Some(custom_advice(reason)),
            CheckStatus::Failed(reason) => Some(reason.advice()),
            // what is wrong stands at another check, or nothing is
            CheckStatus::Unknown if matches!(self.check, Check::Signature | Check::Review) => None,
            CheckStatus::Unknown => Some(Reason::KeysUnavailable.advice()),
        }
    }
}

/// The advice where no service account is expected, so that a kubelet has nothing to do with it.
const fn custom_advice(reason: Reason) -> &'static str {
    match reason {
        Reason::TooLong | Reason::Malformed => "is it a JWT, whole and without anything beside it?",
        Reason::Claims => {
            "registered claims must have the types of RFC 7519, and the other claims must fit the \
             type of claims::<..>()"
        }
        Reason::MissingExpiry | Reason::MissingIssuedAt => {
            "the issuer must write this claim into its tokens"
        }
        Reason::UnknownIssuer => {
            "compare it with the configured issuer, every letter, a slash at the end too"
        }
        Reason::UnknownKey => "was the key removed, or does the issuer not publish it yet?",
        Reason::Signature => {
            "the token was changed on its way, or forged, or another issuer uses this kid"
        }
        Reason::Expired | Reason::TooOld => "the caller should get a new token in time",
        Reason::LifetimeTooLong => "the issuer should issue tokens with a shorter lifetime",
        Reason::Audience => "the caller should ask its issuer for a token with this audience",
        Reason::MultipleAudiences | Reason::ApiServerAudience => {
            "the caller should ask its issuer for a token for this service alone"
        }
        other => other.advice(),
    }
}

impl Explanation {
    /// Whether the token would be accepted.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.verdict.is_ok()
    }

    /// What came of the checks in one line that is fit for a log: what stands in the token is in
    /// it only if the signature is good.
    #[must_use]
    pub fn one_line(&self) -> impl fmt::Display + '_ {
        OneLine(self)
    }

    fn is_signed(&self) -> bool {
        let is_good = |step: &CheckResult| {
            step.check == Check::Signature && step.status == CheckStatus::Passed
        };
        self.steps.iter().any(is_good)
    }
}

/// A line for each check.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{:<10} {:<8} {}", step.check, step.status, step.detail)?;
            if let Some(advice) = step.advice() {
                write!(f, ": {advice}")?;
            }
        }
        Ok(())
    }
}

struct OneLine<'a>(&'a Explanation);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { steps, verdict, .. } = self.0;
        match verdict {
            Ok(()) => f.write_str("accepted")?,
            Err(reason) => write!(f, "not accepted ({reason})")?,
        }
        let is_signed = self.0.is_signed();
        for step in steps.iter().filter(|step| step.status != CheckStatus::Passed) {
            write!(f, "; {} {}", step.check, step.status)?;
            if is_signed {
                write!(f, " {}", step.detail)?;
            }
        }
        Ok(())
    }
}
