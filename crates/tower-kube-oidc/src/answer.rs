//! What is answered instead of calling the service.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{
    caching,
    grpc::Flavour,
    head::{OwnedHead, RequestHead},
    rejection::Rejection,
};

/// In which form refusals are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseFormat {
    /// gRPC to those who ask by gRPC or gRPC-Web, and HTTP to everybody else.
    ///
    /// A gRPC refusal has the HTTP status 200. Where a proxy asks this service whether a request
    /// may pass, and goes by the status alone (nginx's `auth_request`, a `ForwardAuth`), a caller
    /// could choose it: take [`Http`](Self::Http) there.
    #[default]
    Auto,
    /// Always HTTP.
    Http,
    /// Always gRPC.
    Grpc,
}

/// Responds to rejected requests, the same way everywhere. Cloning it is cheap.
#[derive(Clone, Default)]
pub(crate) struct Answering(Arc<How>);

#[derive(Clone, Default)]
struct How {
    realm: Realm,
    format: Option<ResponseFormat>,
    map: Option<MapRejection>,
}

type MapRejection =
    Arc<dyn Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes> + Send + Sync>;

impl Answering {
    pub(crate) fn realm(&mut self, realm: String) {
        Arc::make_mut(&mut self.0).realm = Realm(realm.into());
    }

    pub(crate) fn response_format(&mut self, format: ResponseFormat) {
        Arc::make_mut(&mut self.0).format = Some(format);
    }

    /// The form that was asked for.
    pub(crate) fn configured_format(&self) -> Option<ResponseFormat> {
        self.0.format
    }

    /// The same, in this form unless it was asked for another.
    pub(crate) fn or_format(&self, format: ResponseFormat) -> Self {
        let mut answering = self.clone();
        if answering.0.format.is_none() {
            answering.response_format(format);
        }
        answering
    }

    pub(crate) fn map(
        &mut self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) {
        Arc::make_mut(&mut self.0).map = Some(Arc::new(map));
    }

    /// Whether the realm can stand in a header.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.realm.is_sound()
    }

    /// The gRPC that a request is answered in, if it is.
    pub(crate) fn flavour(&self, request: RequestHead<'_>) -> Option<Flavour> {
        match self.0.format.unwrap_or_default() {
            ResponseFormat::Http => None,
            ResponseFormat::Auto => Flavour::of(request),
            ResponseFormat::Grpc => Some(Flavour::of(request).unwrap_or(Flavour::Grpc)),
        }
    }

    pub(crate) fn answer(&self, rejection: Rejection, request: RequestHead<'_>) -> Response<Bytes> {
        let mut response = self.plain_answer(&rejection, self.flavour(request));
        if let Some(map) = &self.0.map {
            response = map(&rejection, request, response);
        }
        response.extensions_mut().insert(rejection);
        response
    }

    fn plain_answer(&self, rejection: &Rejection, flavour: Option<Flavour>) -> Response<Bytes> {
        let mut response = match flavour {
            Some(flavour) => flavour.answer(rejection),
            None => self.0.realm.http_answer(rejection),
        };
        caching::forbid(response.headers_mut());
        response
    }

    /// What it takes to answer a request that is handed on before.
    pub(crate) fn later(&self, request: RequestHead<'_>) -> Later {
        let flavour = self.flavour(request);
        // a copy of the request's head is for a function that changes answers
        let head = self.0.map.is_some().then(|| OwnedHead::of(request));
        Later { answering: self.clone(), flavour, head }
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering")
            .field("realm", &self.0.realm.0)
            .field("format", &self.0.format)
            .finish_non_exhaustive()
    }
}

/// Responds to a request that is handed on already.
pub(crate) struct Later {
    answering: Answering,
    flavour: Option<Flavour>,
    head: Option<OwnedHead>,
}

impl Later {
    /// The gRPC that the answer would be in.
    pub(crate) fn flavour(&self) -> Option<Flavour> {
        self.flavour
    }

    pub(crate) fn answer(&self, rejection: Rejection) -> Response<Bytes> {
        if let Some(head) = &self.head {
            return self.answering.answer(rejection, head.as_ref());
        }
        let mut response = self.answering.plain_answer(&rejection, self.flavour);
        response.extensions_mut().insert(rejection);
        response
    }
}

/// The protection space that a challenge names.
#[derive(Clone)]
struct Realm(Cow<'static, str>);

impl Default for Realm {
    fn default() -> Self {
        Self(Cow::Borrowed("kubernetes"))
    }
}

impl Realm {
    /// Printable ASCII without quotes and backslashes.
    fn is_sound(&self) -> bool {
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        self.0.bytes().all(plain)
    }

    /// A problem document (RFC 9457), with the challenge that its status asks for.
    fn http_answer(&self, rejection: &Rejection) -> Response<Bytes> {
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
