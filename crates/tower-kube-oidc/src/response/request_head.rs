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
    /// What routers go by, which may be the rest of the path.
    routed_path: &'a str,
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
        let routed_path = uri.path();
        #[cfg(feature = "axum")]
        let uri = extensions.get::<::axum::extract::OriginalUri>().map_or(uri, |whole| &whole.0);
        Self { method, uri, headers, extensions, routed_path }
    }

    /// Whether routers go by this path, or what is left of it in a nested one. After an internal
    /// rewrite they go by another.
    pub(crate) fn is_routed_by(&self, path: &str) -> bool {
        #[cfg(feature = "axum")]
        if let Some(nest) = self.extensions.get::<::axum::extract::NestedPath>() {
            return left_by_nest(path, nest.as_str()) == Some(self.routed_path);
        }
        self.routed_path == path
    }
}

/// The rest of a path without as many leading segments as the pattern of a nest has.
#[cfg(feature = "axum")]
fn left_by_nest<'p>(path: &'p str, pattern: &str) -> Option<&'p str> {
    let segments = pattern.split('/').filter(|segment| !segment.is_empty()).count();
    let rest = (0..segments).try_fold(path, |rest, _| {
        let rest = rest.strip_prefix('/')?;
        rest.get(rest.find('/').unwrap_or(rest.len())..)
    })?;
    // where all of it was stripped, a slash is left
    Some(if rest.is_empty() { "/" } else { rest })
}

/// The same, for when the request is gone.
pub(crate) struct OwnedHead {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    routed_path: String,
}

impl OwnedHead {
    pub(crate) fn of(request: RequestHead<'_>) -> Self {
        Self {
            method: request.method.clone(),
            uri: request.uri.clone(),
            headers: request.headers.clone(),
            extensions: request.extensions.clone(),
            routed_path: request.routed_path.to_owned(),
        }
    }

    pub(crate) fn as_ref(&self) -> RequestHead<'_> {
        let Self { method, uri, headers, extensions, routed_path } = self;
        RequestHead { method, uri, headers, extensions, routed_path }
    }
}
