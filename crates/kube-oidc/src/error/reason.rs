//! The stable reason codes, and what to do about each: `Reason`.

use std::fmt;

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
