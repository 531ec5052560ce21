//! Why a token is invalid: `InvalidToken`.

use std::{fmt, sync::Arc, time::Duration, time::SystemTime};

use super::Reason;
use crate::observe::display::{ShownList, Span};

/// Why a token was refused.
///
/// The texts say what an operator needs, and never hold a token or a part of its signature.
/// Values of the token are shown only where its signature was good, escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidToken {
    /// It is longer than any token that is accepted.
    #[error("it has {length} bytes, and {limit} are accepted")]
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The longest that is accepted, in bytes.
        limit: usize,
    },
    /// It is no JWT in compact form, or its header asks for what no Kubernetes issuer uses.
    #[error("{0}")]
    Malformed(&'static str),
    /// Its `alg` is none of the allowed ones.
    #[error("its alg is not allowed")]
    AlgorithmNotAllowed,
    /// Its `typ` is another than the verifier expects ([RFC 8725, 3.11]).
    ///
    /// [RFC 8725, 3.11]: https://www.rfc-editor.org/rfc/rfc8725#section-3.11
    #[error("its typ is not the expected one")]
    Type,
    /// Its `iss` is none of the verifier's issuers.
    #[error("its iss is not a configured issuer")]
    UnknownIssuer,
    /// Its `iss` is `kubernetes/serviceaccount`, as in tokens from Secrets, which have no audience and
    /// never expire. If an issuer is configured with that name, it has no `exp` either.
    #[error("its iss is `kubernetes/serviceaccount`, the issuer of legacy tokens from Secrets")]
    LegacyToken,
    /// It has no `exp`.
    #[error("it has no exp")]
    MissingExpiry,
    /// Its claims are not well formed, or not those of a service account, or do not fit the type. The
    /// text names the claim, and holds no value.
    #[error("{0}")]
    Claims(String),
    /// It is bound to a key of its sender (`cnf`: [RFC 7800], [RFC 8705], [RFC 9449]), and the proof
    /// of that key is not verified here.
    ///
    /// [RFC 7800]: https://www.rfc-editor.org/rfc/rfc7800
    /// [RFC 8705]: https://www.rfc-editor.org/rfc/rfc8705#section-3.1
    /// [RFC 9449]: https://www.rfc-editor.org/rfc/rfc9449#section-6.1
    #[error("the claim `cnf` binds the token to a key of its sender; not a bearer token")]
    SenderConstrained,
    /// No key was asked for, because the token could not have passed anyway. Nothing of it was
    /// verified.
    #[error("it would not pass whatever its signature ({0}), so no keys were fetched for it")]
    RejectedEarly(Reason),
    /// Its key is one that the operator distrusts.
    #[error("its key is distrusted")]
    DistrustedKey,
    /// Its `jti` is one that the operator denied, and its signature is good.
    #[error("its jti is denied")]
    DeniedJti,
    /// Its issuer has no key of that name.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// Its key is listed by several of the clusters that share the name of its issuer, so nobody
    /// can tell whose token it is.
    #[error("its key is listed by several clusters that share its iss")]
    SharedKey,
    /// Its key exists, but is not for its `alg`.
    #[error("its key is not for its alg")]
    AlgorithmMismatch,
    /// Its signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// It expired, and its signature is good.
    #[error("it expired {} ago (leeway {})", Ago(*.expired_at, *.now), Span(*.leeway))]
    #[non_exhaustive]
    Expired {
        /// Its `exp`.
        expired_at: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// What was allowed beyond `exp`.
        leeway: Duration,
    },
    /// Its `nbf` is ahead, and its signature is good.
    #[error("it is good only in {} (leeway {}): compare the clocks", Ago(*.now, *.not_before), Span(*.leeway))]
    #[non_exhaustive]
    NotYetValid {
        /// Its `nbf`.
        not_before: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// What was allowed before `nbf`.
        leeway: Duration,
    },
    /// Its `iat` is ahead, and its signature is good.
    #[error("it will be issued in {} (leeway {}): compare the clocks", Ago(*.now, *.issued_at), Span(*.leeway))]
    #[non_exhaustive]
    IssuedInFuture {
        /// Its `iat`.
        issued_at: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// What was allowed.
        leeway: Duration,
    },
    /// It was issued longer ago than the verifier takes, and its signature is good.
    #[error("it was issued {} ago, and {} is the most", Ago(*.issued_at, *.now), Span(*.limit))]
    #[non_exhaustive]
    TooOld {
        /// Its `iat`.
        issued_at: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// How old it may be.
        limit: Duration,
    },
    /// It should have been replaced, and its signature is good; the verifier takes no such tokens.
    #[error("it should have been replaced {} ago (warnafter): the caller does not read its token file again", Ago(*.warn_after, *.now))]
    #[non_exhaustive]
    PastWarnAfter {
        /// Its `warnafter`.
        warn_after: SystemTime,
        /// The time of the check.
        now: SystemTime,
    },
    /// It is good for longer than the verifier takes, and its signature is good.
    #[error("it is good for {}, and {} is the most", Span(*.lifetime), Span(*.limit))]
    #[non_exhaustive]
    LifetimeTooLong {
        /// From its `iat` to its `exp`.
        lifetime: Duration,
        /// How long it may be.
        limit: Duration,
    },
    /// It has no `iat`, and the verifier limits age or lifetime. Its signature is good.
    #[error("it has no iat, so nobody knows how old it is")]
    MissingIssuedAt,
    /// It is for somebody else, and its signature is good.
    #[error("it is for {}, and one of {} is expected", ShownList(.found), ShownList(.expected))]
    #[non_exhaustive]
    Audience {
        /// Its `aud`.
        found: Vec<String>,
        /// What the verifier expects, one of it.
        expected: Arc<[String]>,
    },
    /// It is for us and for others, and its signature is good; the verifier takes tokens that are
    /// for nobody else.
    #[error("it is for {}, and should be for one audience only", ShownList(.found))]
    #[non_exhaustive]
    MultipleAudiences {
        /// Its `aud`.
        found: Vec<String>,
    },
    /// It is for us and for the API server, and its signature is good; the verifier takes no
    /// tokens that open the API server.
    #[error("it is for {}, and so for the API server too", ShownList(.found))]
    #[non_exhaustive]
    ApiServerAudience {
        /// Its `aud`.
        found: Vec<String>,
    },
    /// Its `sub` is not the service account of its `kubernetes.io` claim.
    #[error("its sub is not the service account of its kubernetes.io claim")]
    SubjectMismatch,
    /// The API server rejects it in a token review, and its signature is good: its pod, node, Secret,
    /// or service account may be deleted. The response's `status.error` is not shown, since it is
    /// part of a response body.
    #[error("the API server rejects it in a token review")]
    ReviewDenied,
    /// The API server's answer is not about it, so it proves nothing.
    #[error("the API server's answer does not confirm it: {0}")]
    ReviewMismatch(&'static str),
    /// A review is demanded, and its issuer has none to do it.
    #[error("a token review is demanded, and its issuer has no reviewer")]
    NoReviewer,
}

/// Shows the span between two times in words.
struct Ago(SystemTime, SystemTime);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.1.duration_since(self.0).unwrap_or_default()).fmt(f)
    }
}

impl InvalidToken {
    /// The stable code for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLong { .. } => Reason::TooLong,
            Self::Malformed(_) => Reason::Malformed,
            Self::AlgorithmNotAllowed => Reason::Algorithm,
            Self::Type => Reason::Type,
            Self::UnknownIssuer => Reason::UnknownIssuer,
            Self::LegacyToken => Reason::LegacyToken,
            Self::MissingExpiry => Reason::MissingExpiry,
            Self::Claims(_) => Reason::Claims,
            Self::SenderConstrained => Reason::SenderConstrained,
            Self::RejectedEarly(reason) => *reason,
            Self::DistrustedKey => Reason::DistrustedKey,
            Self::DeniedJti => Reason::DeniedJti,
            Self::UnknownKey => Reason::UnknownKey,
            Self::SharedKey => Reason::SharedKey,
            Self::AlgorithmMismatch => Reason::AlgorithmMismatch,
            Self::Signature => Reason::Signature,
            Self::Expired { .. } => Reason::Expired,
            Self::NotYetValid { .. } => Reason::NotYetValid,
            Self::IssuedInFuture { .. } => Reason::IssuedInFuture,
            Self::TooOld { .. } => Reason::TooOld,
            Self::PastWarnAfter { .. } => Reason::PastWarnAfter,
            Self::LifetimeTooLong { .. } => Reason::LifetimeTooLong,
            Self::MissingIssuedAt => Reason::MissingIssuedAt,
            Self::Audience { .. } => Reason::Audience,
            Self::MultipleAudiences { .. } => Reason::MultipleAudiences,
            Self::ApiServerAudience { .. } => Reason::ApiServerAudience,
            Self::SubjectMismatch => Reason::SubjectMismatch,
            Self::ReviewDenied => Reason::ReviewDenied,
            Self::ReviewMismatch(_) => Reason::ReviewMismatch,
            Self::NoReviewer => Reason::NoReviewer,
        }
    }
}
