//! What is answered instead of calling the service.

use std::{borrow::Cow, time::Duration};

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use kube_oidc::{Reason, Refusal, VerifyError};

use crate::{bearer::NoToken, body::ResponseBody};

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Rejection {
    NoToken(NoToken),
    Token(VerifyError),
    /// The token is good, and for another audience than this layer's.
    NarrowerAudience,
    /// The layer was set up wrong: the log said so.
    Misconfigured,
}

impl From<NoToken> for Rejection {
    fn from(no_token: NoToken) -> Self {
        Self::NoToken(no_token)
    }
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::Token(error)
    }
}

/// What a caller is told.
struct Told {
    status: StatusCode,
    error: Option<&'static str>,
    description: &'static str,
    retry_after: Option<Duration>,
}

const NOT_ACCEPTED: &str = "the token was not accepted";
const EXPIRED: &str = "the token has expired";
const OTHER_AUDIENCE: &str = "the token is for another audience";

impl Rejection {
    /// One event for each refusal. Nothing in it comes from a token that was not verified.
    pub(crate) fn log(&self) {
        let reason = self.reason();
        match self {
            Self::NoToken(NoToken::NoCredentials) => tracing::debug!(reason, "refused"),
            Self::NoToken(NoToken::Malformed(detail)) => {
                tracing::info!(reason, %detail, "refused");
            }
            Self::Token(VerifyError::Refused(refusal)) => {
                tracing::info!(reason, detail = %refusal, "refused");
            }
            Self::Token(error) => tracing::info!(reason, detail = %error, "refused"),
            Self::NarrowerAudience => {
                let detail = "the token is for the verifier, and not for this layer's audiences";
                tracing::info!(reason, %detail, "refused");
            }
            Self::Misconfigured => tracing::error!(reason, "refused"),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NoToken(NoToken::NoCredentials) => "no_credentials",
            Self::NoToken(NoToken::Malformed(_)) => "invalid_request",
            Self::Token(error) => error.reason().code(),
            Self::NarrowerAudience => Reason::Audience.code(),
            Self::Misconfigured => "misconfigured",
        }
    }

    pub(crate) fn into_response<B>(self, realm: &Realm) -> Response<ResponseBody<B>> {
        let told = self.told();
        let mut response = problem(told.status, told.description);
        if matches!(told.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
            let challenge = realm.challenge(told.error, told.description);
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(retry_after) = told.retry_after {
            // whole seconds, and not too early
            let more = u64::from(retry_after.subsec_nanos() > 0);
            let seconds = retry_after.as_secs().saturating_add(more);
            response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }

    fn told(&self) -> Told {
        let invalid_token = |description| Told {
            status: StatusCode::UNAUTHORIZED,
            error: Some("invalid_token"),
            description,
            retry_after: None,
        };
        match self {
            Self::NoToken(NoToken::NoCredentials) => Told {
                status: StatusCode::UNAUTHORIZED,
                error: None,
                description: "a bearer token is needed",
                retry_after: None,
            },
            Self::NoToken(NoToken::Malformed(_)) => Told {
                status: StatusCode::BAD_REQUEST,
                error: Some("invalid_request"),
                description: "the Authorization header does not hold one bearer token",
                retry_after: None,
            },
            Self::Token(VerifyError::Refused(Refusal::Expired { .. })) => invalid_token(EXPIRED),
            Self::Token(VerifyError::Refused(Refusal::Audience { .. }))
            | Self::NarrowerAudience => invalid_token(OTHER_AUDIENCE),
            Self::Token(VerifyError::Unavailable(unavailable)) => Told {
                status: StatusCode::SERVICE_UNAVAILABLE,
                error: None,
                description: "the keys to check the token with are not available",
                retry_after: Some(unavailable.retry_after()),
            },
            Self::Token(_) => invalid_token(NOT_ACCEPTED),
            Self::Misconfigured => Told {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                error: None,
                description: "the service is not set up to check tokens",
                retry_after: None,
            },
        }
    }
}

/// A problem document (RFC 9457).
pub(crate) fn problem<B>(status: StatusCode, detail: &str) -> Response<ResponseBody<B>> {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = Response::new(ResponseBody::own(document.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// The protection space that a challenge names.
#[derive(Clone, Debug)]
pub(crate) struct Realm(Cow<'static, str>);

impl Realm {
    pub(crate) const DEFAULT: Self = Self(Cow::Borrowed("kubernetes"));

    /// A realm of printable ASCII without quotes and backslashes.
    pub(crate) fn parse(realm: &str) -> Option<Self> {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        realm.bytes().all(plain).then(|| Self(Cow::Owned(realm.to_owned())))
    }

    fn challenge(&self, error: Option<&str>, description: &str) -> HeaderValue {
        let realm = &self.0;
        let challenge = match error {
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => format!(
                "Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\""
            ),
        };
        // all parts are printable ASCII; without a realm it would still be a challenge
        HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}
