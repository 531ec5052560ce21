//! Rejections as HTTP problem documents, with the challenge that they need.

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::rejection::Rejection;

/// The protection space that a challenge names.
#[derive(Clone)]
pub(crate) struct Realm(pub(crate) Cow<'static, str>);

impl Default for Realm {
    fn default() -> Self {
        Self(Cow::Borrowed("kubernetes"))
    }
}

impl Realm {
    /// Printable ASCII without quotes and backslashes.
    pub(crate) fn is_sound(&self) -> bool {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        self.0.bytes().all(plain)
    }

    /// A problem document (RFC 9457), with the challenge that its status asks for.
    pub(crate) fn http_answer(&self, rejection: &Rejection) -> Response<Bytes> {
        let mut response = problem(rejection.status(), rejection.told());
        let headers = response.headers_mut();
        if rejection.status().is_client_error() {
            headers.insert(WWW_AUTHENTICATE, self.challenge(rejection));
        }
        if let Some(retry_after) = rejection.retry_after() {
            // whole seconds, and not too early
            let more = u64::from(retry_after.subsec_nanos() > 0);
            let seconds = retry_after.as_secs().saturating_add(more);
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }

    fn challenge(&self, rejection: &Rejection) -> HeaderValue {
        let (realm, description) = (&self.0, rejection.told());
        let challenge = match rejection.error() {
            _ if !self.is_sound() => "Bearer".to_owned(),
            None => format!("Bearer realm=\"{realm}\""),
            Some(error) => format!(
                "Bearer realm=\"{realm}\", error=\"{error}\", error_description=\"{description}\""
            ),
        };
        // all parts are printable ASCII by now
        HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

fn problem(status: StatusCode, detail: &str) -> Response<Bytes> {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = Response::new(Bytes::from(document.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
