//! gRPC: which requests are, and what a refusal looks like there.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Method, Response,
    header::{CONTENT_TYPE, TE},
};

use super::{rejection::Rejection, request_head::RequestHead};

/// How an answer has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Grpc,
    GrpcWeb,
    GrpcWebText,
}

impl Flavour {
    /// Whether a request is gRPC: only POST counts, with gRPC's media type, and for gRPC proper
    /// with `te: trailers`, which the protocol demands ([HTTP/2 mapping]). So little that a
    /// browser or a proxy sends by accident is answered with status 200.
    ///
    /// [HTTP/2 mapping]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    pub(crate) fn of(request: RequestHead<'_>) -> Option<Self> {
        if *request.method != Method::POST {
            return None;
        }
        let flavour = Self::of_media_type(request.headers.get(CONTENT_TYPE)?)?;
        (flavour != Self::Grpc || wants_trailers(request.headers)).then_some(flavour)
    }

    /// Which one a message of this media type is in.
    pub(crate) fn of_media_type(content_type: &HeaderValue) -> Option<Self> {
        let media_type = content_type.to_str().ok()?;
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let (prefix, rest) = media_type.split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        // `+proto` and the like name what is inside
        let flavour = rest.split('+').next().unwrap_or_default();
        if flavour.is_empty() {
            Some(Self::Grpc)
        } else if flavour.eq_ignore_ascii_case("-web") {
            Some(Self::GrpcWeb)
        } else if flavour.eq_ignore_ascii_case("-web-text") {
            Some(Self::GrpcWebText)
        } else {
            None
        }
    }

    /// A response that ends with its headers ("Trailers-Only"), which gRPC-Web knows as well: a
    /// client finds the status among the headers, in whichever encoding a body would have been.
    pub(crate) fn answer<B: Default>(self, rejection: &Rejection) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type()));
        headers.insert("grpc-status", rejection.grpc_code().into());
        // printable ASCII without a `%` stands for itself there
        headers.insert("grpc-message", HeaderValue::from_static(rejection.told()));
        if let Some(retry_after) = rejection.retry_after() {
            headers.insert(PUSHBACK, milliseconds(retry_after).into());
        }
        response
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web",
            Self::GrpcWebText => "application/grpc-web-text",
        }
    }
}

/// When to ask again ([retry design](https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback)).
pub(crate) const PUSHBACK: &str = "grpc-retry-pushback-ms";

pub(crate) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const PREFIX: &str = "application/grpc";

fn wants_trailers(headers: &HeaderMap) -> bool {
    let values = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok());
    let mut codings = values.flat_map(|value| value.split(','));
    codings.any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}
