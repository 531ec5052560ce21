//! Captures of real kube-apiservers: see the README of each folder of `fixtures`.

use std::time::{Duration, SystemTime};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode},
};
use serde_json::Value;

/// The text of a fixture, without white space at its end. A name without a folder is one of
/// `kube-apiserver`.
#[must_use]
pub fn fixture(name: &str) -> String {
    let folder = if name.contains('/') { "" } else { "kube-apiserver/" };
    let path = format!("{}/fixtures/{folder}{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("a fixture").trim_end().to_owned()
}

/// A fixture that is JSON.
#[must_use]
pub fn decoded(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).expect("JSON")
}

/// A time at which the captured tokens of `kube-apiserver` are valid.
#[must_use]
pub fn pinned_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_250_000)
}

/// A whole HTTP response.
#[derive(Clone, Debug)]
pub struct Capture {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, as it was sent.
    pub body: String,
}

impl Capture {
    /// Reads a `.http` fixture.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let text = fixture(name).replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").expect("a head and a body");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines
            .map(|line| line.split_once(": ").expect("a header"))
            // the server counts for itself
            .filter(|(name, _)| *name != "content-length")
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        Self { status: status.parse().expect("a status"), headers, body: body.to_owned() }
    }

    /// The response as it was sent.
    #[must_use]
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers.iter().cloned());
        response
    }
}
