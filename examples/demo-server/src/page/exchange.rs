//! What goes to and fro between the page and its script: JSON, and never a word of it in a log.

use axum::{
    Json,
    body::Bytes,
    extract::rejection::BytesRejection,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};

/// The longest body that is read. It is far over any token, so that one that is too long is told
/// so by the verifier.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Why there is no answer, in words of ours only.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: &'static str,
}

#[derive(Serialize)]
struct Shown {
    error: &'static str,
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: &'static str) -> Self {
        Self { status, error }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(Shown { error: self.error })).into_response()
    }
}

/// Reads a body. What a parser says of it is not passed on: it may quote a token.
pub(super) fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(status, "the body has more than 1 MiB: no token is that long")
        }
        status => Problem::new(status, "the body broke off"),
    })?;
    serde_json::from_slice(&body).map_err(|_| {
        Problem::new(StatusCode::BAD_REQUEST, "the body is not JSON of the form that is needed")
    })
}
