//! Where keys come from: a URL that is fetched, or a set that is given.

mod advice;
mod bounded;
mod discovery;
mod document;
mod extra_requests;
mod file;
mod file_reader;
mod freshness;
#[cfg(feature = "remote-no-provider")]
mod http;
mod load_error;
mod origin;
mod remote;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};

#[cfg(feature = "remote-no-provider")]
pub use self::http::HttpFetcher;
pub use self::{bounded::BoundedConnection, file_reader::FileReader};
pub(crate) use self::{
    document::Discovery,
    file::KeySetFile,
    freshness::Freshness,
    load_error::LoadError,
    origin::Origin,
    remote::{FetchContext, FetchedSet, LoadOutcome, Loaded, Remote},
};
use crate::{error::foreign_error, keys::set::KeySet, observe::display::shown_url};

/// Where the keys of one issuer are read again and again.
#[derive(Debug)]
pub(crate) enum Source {
    Remote(Box<Remote>),
    File(KeySetFile),
}

impl Source {
    pub(crate) async fn load(
        &self,
        last: Option<&KeySet>,
        context: FetchContext<'_>,
    ) -> LoadOutcome {
        match self {
            Self::Remote(remote) => remote.load(last, context).await,
            Self::File(file) => {
                let result = file.load(last, context).await;
                LoadOutcome { result, discovery: Discovery::Unchanged }
            }
        }
    }

    /// Takes what a fetch found out about the place of the keys. What an abandoned fetch found out
    /// is not taken.
    pub(crate) fn note(&self, discovery: Discovery) {
        if let Self::Remote(remote) = self {
            remote.note(discovery);
        }
    }
}

impl From<Remote> for Source {
    fn from(remote: Remote) -> Self {
        Self::Remote(Box::new(remote))
    }
}

/// Reads one URL. [`HttpFetcher`] is the one that is used unless you bring your own.
///
/// An implementation sends the request's [`headers`](FetchRequest::headers) along, adds its own
/// credentials only if the request [allows them](FetchRequest::allows_credentials) and its URL has the
/// origin of the key [source](FetchRequest::source), follows no
/// redirect, does not decode or store answers, stops at [`max_bytes`](FetchRequest::max_bytes),
/// and gives whatever status came back: judging it is not its business. It needs no timeout: the
/// future is dropped when time is up.
///
/// ```
/// use kube_oidc::source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};
///
/// /// Knows one key set by heart.
/// #[derive(Debug)]
/// struct Embedded(&'static str);
///
/// impl Fetch for Embedded {
///     fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
///         Box::pin(async move {
///             match request.url() {
///                 "https://issuer.example/keys" => {
///                     Ok(FetchResponse::new(200, self.0).with_header("cache-control", "max-age=600"))
///                 }
///                 other => Err(FetchError::new(format!("no such URL: {other}"))),
///             }
///         })
///     }
/// }
/// ```
pub trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// Reads the URL of the request.
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_>;

    /// The settings for HTTP that a verifier checks when it is built. Not for implementors.
    #[cfg(feature = "remote-no-provider")]
    #[doc(hidden)]
    fn as_http(&self) -> Option<&HttpFetcher> {
        None
    }
}

/// What [`Fetch::fetch`] gives back.
pub type FetchFuture<'a> =
    Pin<Box<dyn Future<Output = Result<FetchResponse, FetchError>> + Send + 'a>>;

impl<F: Fetch + ?Sized> Fetch for Arc<F> {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        (**self).fetch(request)
    }

    #[cfg(feature = "remote-no-provider")]
    fn as_http(&self) -> Option<&HttpFetcher> {
        (**self).as_http()
    }
}

/// One URL to be read with GET.
#[derive(Clone)]
pub struct FetchRequest {
    url: String,
    source: Option<String>,
    headers: Vec<(&'static str, String)>,
    max_bytes: usize,
    allows_credentials: bool,
    sent: Arc<OnceLock<Sent>>,
}

/// How [`HttpFetcher`] sends a request, for messages.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The proxy, and where its URL comes from.
    pub(crate) proxy: Option<String>,
    pub(crate) has_credentials: bool,
}

/// As much of an answer as is read. A key set of a cluster has about 2 KiB.
const MAX_BYTES: usize = 1024 * 1024;

impl FetchRequest {
    /// A request for JSON at a URL, with the headers that every fetch of ours sends.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let headers = vec![
            ("accept", "application/json, application/jwk-set+json;q=0.9".to_owned()),
            // so that no proxy on the way hands out last week's set
            ("cache-control", "no-cache".to_owned()),
        ];
        Self {
            url: url.into(),
            source: None,
            headers,
            max_bytes: MAX_BYTES,
            allows_credentials: true,
            sent: Arc::default(),
        }
    }

    /// The same request, for another URL: for a fetcher that maps URLs and hands on to another. The
    /// [`source`](Self::source) stays.
    #[must_use]
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Sets the URL of the key source that the request is for: see [`source`](Self::source).
    #[must_use]
    pub fn with_source(mut self, url: impl Into<String>) -> Self {
        self.source = Some(url.into());
        self
    }

    /// Forbids the credentials that the fetcher is configured with.
    ///
    /// A server may reject a credential that it no longer accepts, and serve anonymous readers.
    #[must_use]
    pub fn without_credentials(mut self) -> Self {
        self.allows_credentials = false;
        self
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL of the key source: of the discovery document, or of the key set where its URL is
    /// configured. A verifier sets it in each request. Credentials are for the origin of this URL, so a
    /// request without a source carries none.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The headers to send. There is never a condition (`If-None-Match`, `If-Modified-Since`)
    /// among them: whether a key was removed is not for a server to decide by the validator of an
    /// earlier response. `cache-control: no-cache` asks caches on the way for a fresh response. A
    /// caching proxy may answer from its cache all the same.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// As many bytes of a body as may be read; a longer one is an error: 1 MiB.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Returns `true` if the fetcher may add its own credentials. Defaults to `true`.
    #[must_use]
    pub fn allows_credentials(&self) -> bool {
        self.allows_credentials
    }
}

/// What a URL answered.
#[derive(Clone)]
pub struct FetchResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl FetchResponse {
    /// An answer with a status and a body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// The same answer with one more header. The ones that count are `cache-control`, `age`,
    /// `date`, `expires` and `retry-after`; errors name common values of `content-type` and
    /// `content-encoding`.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The values of a header, whose name is in lower case.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the query may be a secret
        f.debug_struct("FetchRequest")
            .field("url", &shown_url(&self.url))
            .field("max_bytes", &self.max_bytes)
            .field("allows_credentials", &self.allows_credentials)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FetchResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a server may send back credentials
        f.debug_struct("FetchResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

foreign_error! {
    /// A URL could not be read. The text goes to the log and to `Verifier::status`, so it must not
    /// contain secrets.
    FetchError
}
