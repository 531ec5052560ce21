//! The response to a rejected request, in the format that the request or the layer asks for.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;

use super::{
    cache_headers,
    grpc::Flavour,
    problem::Realm,
    rejection::Rejection,
    request_head::{OwnedHead, RequestHead},
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
pub(crate) struct Answering(Arc<ResponderConfig>);

#[derive(Clone, Default)]
struct ResponderConfig {
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
        cache_headers::forbid(response.headers_mut());
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
