//! [`RequestHead`]: what hooks and predicates see of a request.

use http::{Extensions, HeaderMap, Method, Request, Uri, request::Parts};

/// A request without its body, as hooks and predicates see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The URI as the caller sent it. Inside `Router::nest` axum strips what the outer router
    /// matched from the request's own; with the feature `axum` this is the whole one still.
    pub uri: &'a Uri,
    /// The headers. The one with the token is marked sensitive, so `Debug` does not show it.
    pub headers: &'a HeaderMap,
    /// The extensions.
    pub extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        let (method, headers) = (request.method(), request.headers());
        Self::new(method, request.uri(), headers, request.extensions())
    }

    #[cfg_attr(not(feature = "axum"), expect(dead_code, reason = "extractors have parts"))]
    pub(crate) fn of_parts(parts: &'a Parts) -> Self {
        Self::new(&parts.method, &parts.uri, &parts.headers, &parts.extensions)
    }

    fn new(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    ) -> Self {
        #[cfg(feature = "axum")]
        let uri = extensions.get::<::axum::extract::OriginalUri>().map_or(uri, |whole| &whole.0);
        Self { method, uri, headers, extensions }
    }
}
