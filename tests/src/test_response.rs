//! HTTP requests of tests, and the responses.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower_kube_oidc::Rejection;

/// A client for all tests. It keeps no connections, since each test has its own runtime.
#[must_use]
pub fn http_client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        builder.build().expect("a client")
    });
    CLIENT.clone()
}

/// A whole response.
#[derive(Clone, Debug, Default)]
pub struct TestResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The rejection that a layer leaves for outer layers. No server sends it.
    pub rejection: Option<Rejection>,
    /// The body.
    pub body: String,
}

impl TestResponse {
    /// Sends a request over the network.
    pub async fn to(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("a response");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.expect("a whole body");
        Self { status, headers, rejection: None, body }
    }

    /// Reads the response of a service.
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            rejection: parts.extensions.get::<Rejection>().cloned(),
            body: String::from_utf8(body.into()).expect("a body in UTF-8"),
        }
    }

    /// A header.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        self.headers.get(name.as_ref()).map(|value| value.to_str().expect("a readable header"))
    }

    /// The reason code of the rejection.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        self.rejection.as_ref().map(Rejection::reason)
    }

    /// The status code, and the reason code in the header `x-reason` of a rejection.
    #[must_use]
    pub fn outcome(&self) -> (u16, Option<&str>) {
        (self.status, self.header("x-reason"))
    }

    /// The body as JSON, of a response with status 200.
    #[must_use]
    pub fn ok_json(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body in JSON")
    }
}
