//! [`Rejection`]: why a request goes no further, and what its sender is told.

use std::{fmt, time::Duration};

use http::StatusCode;
use kube_oidc::{Denied, InvalidToken, Reason, VerifyError};

/// Why a request goes no further.
///
/// It is for the service: `Debug` and `Display` say what an operator wants to know. Callers are
/// told less. Responses carry it in their extensions, for layers that log or count them.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// There are no credentials, or those of another scheme.
    #[error("there is no bearer token")]
    NoCredentials,
    /// The credentials cannot be read ([RFC 6750, 3.1]).
    ///
    /// [RFC 6750, 3.1]: https://www.rfc-editor.org/rfc/rfc6750#section-3.1
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The token was not accepted, or needs keys or an answer of the API server that are not here.
    #[error(transparent)]
    Token(VerifyError),
    /// The token is good for the verifier, and not for the audiences that the layer narrows it to.
    #[error("the token is for the verifier, and not for this layer's audiences")]
    LayerAudience,
    /// The token expired during the call, where that [ends it](crate::OidcAuthLayerBuilder::end_streams_at_expiry).
    #[error("the token expired during the call")]
    ExpiredInFlight,
    /// The token is good, and a policy does not allow its workload to call.
    #[error(transparent)]
    Policy(Denied),
    /// The path is open to everybody by the layer, and not by a policy further in.
    #[error("the path is open, but not by the policy: see AuthorizeLayerBuilder::and_open_paths")]
    OpenPathNotAllowed,
    /// The service is set up wrong, so that nobody is let through.
    #[error("{0}")]
    Misconfigured(&'static str),
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::Token(error)
    }
}

/// What a sender is told of a kind of rejection.
struct Kind {
    status: StatusCode,
    grpc_code: u16,
    /// The code of [RFC 6750, 3.1](https://www.rfc-editor.org/rfc/rfc6750#section-3.1).
    error: Option<&'static str>,
}

const NO_CREDENTIALS: Kind =
    Kind { status: StatusCode::UNAUTHORIZED, grpc_code: UNAUTHENTICATED, error: None };
const INVALID_REQUEST: Kind = Kind {
    status: StatusCode::BAD_REQUEST,
    grpc_code: UNAUTHENTICATED,
    error: Some("invalid_request"),
};
const INVALID_TOKEN: Kind = Kind {
    status: StatusCode::UNAUTHORIZED,
    grpc_code: UNAUTHENTICATED,
    error: Some("invalid_token"),
};
const DENIED: Kind = Kind {
    status: StatusCode::FORBIDDEN,
    grpc_code: PERMISSION_DENIED,
    error: Some("insufficient_scope"),
};
const UNAVAILABLE_NOW: Kind =
    Kind { status: StatusCode::SERVICE_UNAVAILABLE, grpc_code: UNAVAILABLE, error: None };
const MISCONFIGURED: Kind =
    Kind { status: StatusCode::INTERNAL_SERVER_ERROR, grpc_code: INTERNAL, error: None };

// https://grpc.github.io/grpc/core/md_doc_statuscodes.html
const PERMISSION_DENIED: u16 = 7;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

impl Rejection {
    /// The stable code for logs and metrics: that of a [`Reason`], or `no_credentials`,
    /// `invalid_request`, `policy` or `misconfigured`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials | Self::OpenPathNotAllowed => "no_credentials",
            Self::InvalidRequest(_) => "invalid_request",
            Self::Token(error) => error.reason().code(),
            Self::LayerAudience => Reason::Audience.code(),
            Self::ExpiredInFlight => Reason::Expired.code(),
            Self::Policy(_) => "policy",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// The status of the HTTP answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The code of the gRPC answer.
    #[must_use]
    pub fn grpc_code(&self) -> u16 {
        self.kind().grpc_code
    }

    /// When asking again may help, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Token(error) => error.retry_after(),
            _ => None,
        }
    }

    /// The code for a challenge.
    pub(crate) fn error(&self) -> Option<&'static str> {
        self.kind().error
    }

    /// What the sender is told: printable ASCII without quotes, backslashes and percent signs, and
    /// nothing of a token.
    pub(crate) fn told(&self) -> &'static str {
        match self {
            Self::NoCredentials | Self::OpenPathNotAllowed => "a bearer token is needed",
            Self::InvalidRequest(_) => "there is not exactly one readable bearer token",
            Self::Token(VerifyError::Invalid(InvalidToken::Expired { .. }))
            | Self::ExpiredInFlight => "the token has expired",
            Self::Token(VerifyError::Invalid(InvalidToken::Audience { .. }))
            | Self::LayerAudience => "the token is for another audience",
            Self::Token(VerifyError::Unavailable(_)) => {
                "the keys to check the token with are not available"
            }
            Self::Token(VerifyError::ReviewUnavailable(_)) => "the token cannot be reviewed now",
            Self::Token(_) => "the token was not accepted",
            Self::Policy(_) => "the caller is not allowed to do this",
            Self::Misconfigured(_) => "the service is not set up to check tokens",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::NoCredentials | Self::OpenPathNotAllowed => NO_CREDENTIALS,
            Self::InvalidRequest(_) => INVALID_REQUEST,
            Self::Token(VerifyError::Unavailable(_) | VerifyError::ReviewUnavailable(_)) => {
                UNAVAILABLE_NOW
            }
            Self::Token(_) | Self::LayerAudience | Self::ExpiredInFlight => INVALID_TOKEN,
            Self::Policy(_) => DENIED,
            Self::Misconfigured(_) => MISCONFIGURED,
        }
    }

    /// One event for each refusal, and for each that only would have been one. Nothing in it comes
    /// from a token that was not verified.
    pub(crate) fn log(&self, enforced: bool) {
        let (reason, detail) = (self.reason(), Detail(self));
        match self {
            _ if !enforced => tracing::info!(reason, %detail, "would be refused"),
            Self::NoCredentials => tracing::debug!(reason, "refused"),
            Self::Misconfigured(_) => tracing::error!(reason, %detail, "refused"),
            _ => tracing::info!(reason, %detail, "refused"),
        }
    }
}

/// What happened, beside the message.
struct Detail<'a>(&'a Rejection);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Rejection::Token(VerifyError::Invalid(refusal)) => refusal.fmt(f),
            other => other.fmt(f),
        }
    }
}
