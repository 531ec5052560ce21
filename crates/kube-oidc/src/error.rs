//! Why a token was not accepted, and why a verifier could not be built.

use std::{fmt, sync::Arc, time::Duration, time::SystemTime};

use crate::{
    issuer_url::IssuerUrlError,
    key_set::KeySetError,
    shown::{Shown, ShownList, Span, shown_url},
};

/// An error of code that is not ours: a text for the log, and what caused it.
macro_rules! foreign_error {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, thiserror::Error)]
        #[error("{message}")]
        pub struct $name {
            message: std::borrow::Cow<'static, str>,
            source: Option<Box<dyn std::error::Error + Send + Sync>>,
        }

        impl $name {
            /// An error with a text for the log.
            #[must_use]
            pub fn new(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
                Self { message: message.into(), source: None }
            }

            /// The same error with what caused it.
            #[must_use]
            pub fn with_source(
                mut self,
                source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
            ) -> Self {
                self.source = Some(source.into());
                self
            }
        }
    };
}

pub(crate) use foreign_error;

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

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// Why a token was not accepted, as a short code that stays the same from release to
        /// release: for logs, metrics and alerts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* #[doc = concat!("\n\nCode: `", $code, "`.")] $variant,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

reasons! {
    /// The token is over 16 KiB.
    TooLong = "too_long",
    /// The token is no JWT in compact form.
    Malformed = "malformed",
    /// The token's `alg` is not allowed.
    Algorithm = "algorithm",
    /// The token's `typ` is not the expected one.
    Type = "type",
    /// The token's `iss` is not configured.
    UnknownIssuer = "unknown_issuer",
    /// The token has the issuer of tokens from Secrets, which never expire.
    LegacyToken = "legacy_token",
    /// The token has no `exp`.
    MissingExpiry = "missing_expiry",
    /// The token's claims are missing, malformed or of the wrong kind.
    Claims = "claims",
    /// The token is bound to a key of its sender, and the proof is not verified here.
    SenderConstrained = "sender_constrained",
    /// The token's `sub` disagrees with its `kubernetes.io` claim.
    SubjectMismatch = "subject_mismatch",
    /// The issuer has no key with the token's `kid`.
    UnknownKey = "unknown_key",
    /// Several clusters that share the token's `iss` list its key.
    SharedKey = "shared_key",
    /// The operator distrusts the token's key.
    DistrustedKey = "distrusted_key",
    /// The operator denied the token's `jti`.
    DeniedJti = "denied_jti",
    /// The token's key is not for its `alg`.
    AlgorithmMismatch = "algorithm_mismatch",
    /// The signature is wrong.
    Signature = "signature",
    /// The token expired.
    Expired = "expired",
    /// The token's `nbf` is ahead.
    NotYetValid = "not_yet_valid",
    /// The token's `iat` is ahead.
    IssuedInFuture = "issued_in_future",
    /// The token was issued longer ago than the verifier takes.
    TooOld = "too_old",
    /// The token should have been replaced.
    PastWarnAfter = "past_warn_after",
    /// The token is good for longer than the verifier takes.
    LifetimeTooLong = "lifetime_too_long",
    /// The token does not say when it was issued.
    MissingIssuedAt = "missing_issued_at",
    /// The token is for another audience.
    Audience = "audience",
    /// The token is for this service and for others, which the verifier does not take.
    MultipleAudiences = "multiple_audiences",
    /// The token is for this service and for the API server, which the verifier does not take.
    ApiServerAudience = "api_server_audience",
    /// The issuer's keys are not here, and could not be fetched now.
    KeysUnavailable = "keys_unavailable",
    /// Too many requests wait for the issuer's keys.
    TooManyWaiting = "too_many_waiting",
    /// The API server says that the token does not count any more.
    ReviewDenied = "review_denied",
    /// The API server's answer is about another user, or for none of our audiences.
    ReviewMismatch = "review_mismatch",
    /// A review is demanded, and the token's issuer has no reviewer.
    NoReviewer = "no_reviewer",
    /// The API server could not be asked whether the token still counts.
    ReviewUnavailable = "review_unavailable",
}

impl Reason {
    /// What to do about it, for operators.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed => {
                "is it a ServiceAccount token, whole and without anything beside it?"
            }
            Self::Algorithm => "allow it on the verifier, if the issuer really signs with it",
            Self::Type => "it is another kind of token, such as an ID token or a logout token",
            Self::UnknownIssuer => {
                "is the caller of another cluster, or has the cluster's issuer changed? Compare \
                 every letter, a slash at the end too"
            }
            Self::LegacyToken => {
                "the caller should use a projected volume, and not the token of a Secret; for a \
                 cluster whose own issuer has this name, configure Issuer::opaque()"
            }
            Self::MissingExpiry | Self::MissingIssuedAt => {
                "no kube-apiserver issues such tokens: where does it come from?"
            }
            Self::Claims | Self::SubjectMismatch => {
                "it is no token of a service account: does something else sign with this issuer's \
                 keys? For an issuer that is no cluster, use claims::<..>()"
            }
            Self::SenderConstrained => {
                "the caller should ask for a bearer token; behind a gateway that verifies the proof \
                 of the key, use dangerous_accept_sender_constrained_tokens()"
            }
            Self::UnknownKey => {
                "was the key removed, or does an API server not publish it yet? Or is it the token \
                 of another cluster with this issuer's name?"
            }
            Self::SharedKey => "clusters that share an issuer's name must not share keys",
            Self::DistrustedKey | Self::DeniedJti => {
                "an operator said so: the caller needs a new token"
            }
            Self::AlgorithmMismatch => "the issuer's key is for another alg: is the token forged?",
            Self::Signature => {
                "the token was changed on its way, or forged, or another cluster uses this kid"
            }
            Self::Expired => {
                "the caller should read its token file again: the kubelet replaces it in time"
            }
            Self::NotYetValid | Self::IssuedInFuture => "compare the clocks of both machines",
            Self::TooOld | Self::PastWarnAfter => {
                "the caller should read its token file again, as the kubelet replaces it"
            }
            Self::LifetimeTooLong => {
                "does the API server extend lifetimes? See \
                 --service-account-extend-token-expiration"
            }
            Self::Audience => {
                "the caller should ask for this service's audience in its projected volume"
            }
            Self::MultipleAudiences | Self::ApiServerAudience => {
                "the caller should project a token for this service alone"
            }
            Self::KeysUnavailable => {
                "status() and the log say why the issuer's keys could not be fetched"
            }
            Self::TooManyWaiting => "the issuer is slow or away, and many callers bring new keys",
            Self::ReviewDenied => {
                "was its pod or service account deleted? A new pod has a new token"
            }
            Self::ReviewMismatch => {
                "does the reviewer ask the API server of the cluster that issued the token?"
            }
            Self::NoReviewer => "give each issuer a reviewer: Issuer::with_token_review()",
            Self::ReviewUnavailable => {
                "can the API server be reached, and may this service create tokenreviews \
                 (system:auth-delegator)? The log says why it could not be asked"
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a verifier could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No audience was given. A verifier without one would take tokens that are for others.
    #[error("no audience is given: name one with audience()")]
    NoAudience,
    /// An audience is empty or blank: often an environment variable that is set to nothing.
    #[error("an audience is empty (an environment variable that is set to nothing?)")]
    EmptyAudience,
    /// No algorithm is allowed.
    #[error("no algorithm is allowed")]
    NoAlgorithm,
    /// A URL to read keys from is invalid, or the name of an issuer is a list or the URL of a
    /// document.
    #[error("the URL `{url}` is not acceptable: {source}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL, without user name, password, and query.
        url: String,
        /// What is wrong with it.
        source: IssuerUrlError,
    },
    /// An issuer's name that is no URL is empty.
    #[error("the name of an issuer is empty")]
    EmptyIssuer,
    /// Two issuers of one cluster have one name.
    #[error("the issuer {} is given twice for one cluster", Shown(.0))]
    DuplicateIssuer(String),
    /// Two clusters share the name of their issuer, and the key sets that were given for them
    /// share a key: nobody could tell whose tokens it signs.
    #[error("two clusters with the issuer {} have the key {} in common", Shown(.issuer), Shown(.key))]
    #[non_exhaustive]
    SharedKey {
        /// The issuer.
        issuer: String,
        /// The `kid` of the key.
        key: String,
    },
    /// Two clusters share the name of their issuer, and their keys are read from one place: no key
    /// would distinguish their tokens.
    #[error(
        "the clusters {} and {} share the issuer {} and read their keys from {}; each cluster needs \
         its own key set URL or file",
        Shown(&.clusters[0]), Shown(&.clusters[1]), Shown(.issuer), Shown(.place)
    )]
    #[non_exhaustive]
    SharedKeyPlace {
        /// The name of both issuers.
        issuer: String,
        /// The names of the clusters.
        clusters: [String; 2],
        /// The URL of the discovery document or of the key set, or the file.
        place: String,
    },
    /// The issuer has no cluster's name, or a blank one, beside others in the verifier.
    #[error("the issuer {} needs the name of its cluster: Issuer::with_cluster()", Shown(.0))]
    MissingClusterName(String),
    /// A duration is out of its range.
    #[error("{name} must be {range}")]
    #[non_exhaustive]
    DurationOutOfRange {
        /// The setting.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The root certificates are not PEM, or hold no certificate.
    #[error("the root certificates cannot be used: {0}")]
    InvalidRootCertificates(String),
    /// A header or bearer token for fetching keys has an invalid value, which is not shown.
    #[error("invalid value of the header `{name}` for fetching keys")]
    #[non_exhaustive]
    InvalidFetchHeader {
        /// The name of the header.
        name: String,
    },
    /// A header for fetching keys has an invalid name. The name may contain the value, so neither
    /// is shown.
    #[error("invalid name of a header for fetching keys")]
    FetchHeaderName,
    /// The proxy for fetching keys is not a URL of an http or https proxy. The URL is not shown.
    #[error("invalid proxy for fetching keys: {0}")]
    InvalidProxy(String),
    /// Every token is to be reviewed, and this issuer has no reviewer.
    #[error("the issuer {} has no reviewer: Issuer::with_token_review()", Shown(.0))]
    NoReviewer(String),
    /// An API server reviews the tokens of service accounts, and claims of another type are read.
    #[error("tokens can be reviewed only where their claims are ServiceAccountClaims")]
    ReviewNeedsServiceAccountClaims,
    /// The token cache is to remember tokens in next to no memory.
    #[error("the token cache needs at least 64 KiB: token_cache(0) switches it off")]
    TokenCacheTooSmall,
    /// A fixed key set cannot be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// The issuer's keys have to be fetched, and there is nothing to fetch them with.
    #[error("no fetcher: switch on the feature `remote`, or give the issuer one of your own")]
    NoFetcher,
}

impl BuildError {
    pub(crate) fn url(url: &str, source: IssuerUrlError) -> Self {
        Self::InvalidUrl { url: shown_url(url), source }
    }
}
