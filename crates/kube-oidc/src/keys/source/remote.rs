//! Keys that are fetched: by discovery, or from a URL that is known.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time;
use url::Url;

use super::{
    Fetch, FetchRequest, FetchResponse, LoadError, Origin,
    advice::{Place, advice},
    document::{Discovery, Document, Found, Trust},
    extra_requests::ExtraRequests,
    freshness::{Freshness, age, retry_after},
};
use crate::{
    algorithm::Algorithm,
    clock::{Clock, Moment},
    error::SkippedKey,
    issuer_name::{Names, Transport},
    keys::set::KeySet,
    observe::{
        Observed,
        display::{Span, chain, shown_origin, shown_url},
    },
};

/// Where the keys of one issuer are fetched.
#[derive(Debug)]
pub(crate) struct Remote {
    location: Location,
    fetcher: Arc<dyn Fetch>,
    extra_requests: ExtraRequests,
    /// Whether the API server answered without the pod's token, and not with it.
    is_anonymous: AtomicBool,
    /// Whether the log has a line that a forced fetch was answered from a cache.
    logged_cache: AtomicBool,
    /// Whether the log has a line that the document's server is down.
    logged_outage: AtomicBool,
}

#[derive(Debug)]
enum Location {
    Known(Url),
    Discovered(Box<Document>),
}

/// The end of a fetch.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    pub(crate) result: Result<Loaded, LoadError>,
    /// For [`Source::note`](super::Source::note), unless the fetch was abandoned.
    pub(crate) discovery: Discovery,
}

/// The settings and the circumstances of one fetch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchContext<'a> {
    pub(crate) allowed: &'a [Algorithm],
    pub(crate) freshness: &'a Freshness,
    /// For the discovery document and the set together.
    pub(crate) timeout: Duration,
    /// The end of `timeout`, or of the part of it that a document gets.
    pub(crate) deadline: time::Instant,
    pub(crate) clock: &'a dyn Clock,
    /// Whether a key is looked for that the last set lacks, or an operator wants a new set.
    pub(crate) is_forced: bool,
    /// In which time five fetches may begin at most. `None`: there is no limit.
    pub(crate) budget_window: Option<Duration>,
}

/// A fetch that brought what it should.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) lifetime: Duration,
    pub(crate) set: FetchedSet,
}

/// A set, and what came with it.
#[derive(Debug)]
pub(crate) struct FetchedSet {
    pub(crate) keys: KeySet,
    pub(crate) skipped: Vec<SkippedKey>,
}

impl Remote {
    pub(crate) fn discovered(
        document: String,
        transport: Transport,
        names: Arc<Names>,
        fetcher: Arc<dyn Fetch>,
    ) -> Self {
        Self::by_document(document, Trust::Issuer { transport, names }, fetcher)
    }

    /// The keys of an API server, which reports the names of its issuer.
    pub(crate) fn api_server(
        document: &Url,
        jwks_uri: Url,
        names: Arc<Names>,
        observed: Arc<Observed>,
        fetcher: Arc<dyn Fetch>,
    ) -> Self {
        let trust = Trust::ApiServer { jwks_uri, names, observed };
        Self::by_document(document.to_string(), trust, fetcher)
    }

    fn by_document(document: String, trust: Trust, fetcher: Arc<dyn Fetch>) -> Self {
        Self::at(Location::Discovered(Box::new(Document::new(document, trust))), fetcher)
    }

    pub(crate) fn known(jwks_uri: Url, fetcher: Arc<dyn Fetch>) -> Self {
        Self::at(Location::Known(jwks_uri), fetcher)
    }

    fn at(location: Location, fetcher: Arc<dyn Fetch>) -> Self {
        Self {
            location,
            fetcher,
            extra_requests: ExtraRequests::default(),
            is_anonymous: AtomicBool::new(false),
            logged_cache: AtomicBool::new(false),
            logged_outage: AtomicBool::new(false),
        }
    }

    /// The URL that this source is configured with.
    fn url(&self) -> &str {
        match &self.location {
            Location::Known(url) => url.as_str(),
            Location::Discovered(document) => &document.url,
        }
    }

    /// Credentials are never sent over plain http, except on loopback.
    #[cfg(feature = "remote-no-provider")]
    pub(crate) fn check_credentials(&self) -> Result<(), crate::error::BuildError> {
        match self.fetcher.as_http() {
            Some(http) => http.check_source(self.url()),
            None => Ok(()),
        }
    }

    /// Fetches the set, after the discovery document where that is due, all within its time.
    pub(crate) async fn load(
        &self,
        last: Option<&KeySet>,
        context: FetchContext<'_>,
    ) -> LoadOutcome {
        let mut discovery = Discovery::Unchanged;
        let result = match &self.location {
            Location::Known(url) => self.keys(url, last, context).await,
            Location::Discovered(document) => {
                self.load_discovered(document, last, context, &mut discovery).await
            }
        };
        match &discovery {
            Discovery::Outage(error) if result.is_ok() => self.log_outage(error),
            Discovery::Read(_) => self.logged_outage.store(false, Ordering::Relaxed),
            _ => {}
        }
        if let Err(LoadError::Timeout { .. }) = &result {
            discovery = match discovery {
                Discovery::Read(read) => Discovery::Slow(Some(read)),
                Discovery::Outage(_) => Discovery::Slow(None),
                other => other,
            };
        }
        LoadOutcome { result, discovery }
    }

    fn log_outage(&self, error: &str) {
        if !self.logged_outage.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "failed to read the discovery document; using the last known key set URL"
            );
        }
    }

    /// Takes what a fetch found out about the place of the keys.
    pub(crate) fn note(&self, discovery: Discovery) {
        if let Location::Discovered(document) = &self.location {
            document.note(discovery);
        }
    }

    async fn load_discovered(
        &self,
        document: &Document,
        last: Option<&KeySet>,
        context: FetchContext<'_>,
        discovery: &mut Discovery,
    ) -> Result<Loaded, LoadError> {
        let now = Moment::now(context.clock);
        let known = document.known();
        let known = match &known {
            Some(known) if !known.is_due(now) => known,
            _ => {
                let url = self.locate(document, known.as_ref(), now, context, discovery).await?;
                return self.keys(&url, last, context).await;
            }
        };
        let loaded = self.keys(&known.jwks_uri, last, context).await;
        if loaded.as_ref().is_err_and(LoadError::is_about_the_url) {
            *discovery = Discovery::Suspect;
        }
        let loaded = loaded?;
        let is_news = last.is_none_or(|last| !loaded.set.keys.is_same(last));
        let window = context.budget_window;
        if !context.is_forced || is_news || !self.extra_requests.take(window, now) {
            return Ok(loaded);
        }
        // a key is missing, and the keys may have moved
        let url = self.locate(document, Some(known), now, context, discovery).await?;
        if url == known.jwks_uri || !self.extra_requests.take(window, now) {
            return Ok(loaded);
        }
        self.keys(&url, last, context).await
    }

    /// Reads the document. While its server is down, the last known URL of the keys holds; the
    /// document then gets a part of the time, and leaves the rest to the keys.
    async fn locate(
        &self,
        document: &Document,
        known: Option<&Found>,
        now: Moment,
        context: FetchContext<'_>,
        discovery: &mut Discovery,
    ) -> Result<Url, LoadError> {
        let Some(known) = known else {
            let read = self.discover(document, now, context).await?;
            return Ok(keep(read, discovery));
        };
        let left = context.deadline.saturating_duration_since(time::Instant::now());
        let half = FetchContext { deadline: context.deadline - left / 2, ..context };
        match self.discover(document, now, half).await {
            Ok(read) => Ok(keep(read, discovery)),
            Err(error) if error.is_outage() => {
                *discovery = Discovery::Outage(chain(&error));
                Ok(known.jwks_uri.clone())
            }
            Err(error) => {
                *discovery = Discovery::Lost;
                Err(error)
            }
        }
    }

    async fn keys(
        &self,
        url: &Url,
        last: Option<&KeySet>,
        context: FetchContext<'_>,
    ) -> Result<Loaded, LoadError> {
        let response = self.fetch(url.as_str(), context).await?;
        if context.is_forced {
            self.log_cached(url, &response);
        }
        let lifetime = context.freshness.lifetime(&response);
        let parsed = KeySet::parse(response.body(), context.allowed, last);
        let (keys, skipped) = parsed.map_err(|source| {
            let origin = Origin::response(self.shown(url.as_str()), &response);
            LoadError::KeySet { origin, source }
        })?;
        Ok(Loaded { lifetime, set: FetchedSet { keys, skipped } })
    }

    /// A cache in between may answer for the issuer, whatever it is asked for, and then a removed
    /// key stays in use (RFC 9111, 5.1).
    fn log_cached(&self, url: &Url, response: &FetchResponse) {
        let age = age(response);
        if age.is_zero() {
            self.logged_cache.store(false, Ordering::Relaxed);
        } else if !self.logged_cache.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                jwks_uri = self.shown(url.as_str()),
                age = %Span(age),
                "a cache answered a forced fetch of keys"
            );
        }
    }

    async fn discover(
        &self,
        document: &Document,
        now: Moment,
        context: FetchContext<'_>,
    ) -> Result<Found, LoadError> {
        let response = self.fetch(&document.url, context).await?;
        document.read(&response, context.freshness, now)
    }

    /// Fetches, and lets only 200 pass.
    ///
    /// An API server that rejects the pod's token, because the key that signed it was removed, may
    /// serve anonymous readers: it is asked once more without the token, and first so the next time.
    async fn fetch(
        &self,
        url: &str,
        context: FetchContext<'_>,
    ) -> Result<FetchResponse, LoadError> {
        let is_anonymous = self.is_anonymous.load(Ordering::Relaxed);
        let response = self.send(url, is_anonymous, context).await;
        let is_denied = match &response {
            Err(LoadError::Status { status, .. }) => {
                *status == 401 || *status == 403 && is_anonymous
            }
            _ => false,
        };
        let (window, now) = (context.budget_window, Moment::now(context.clock));
        if !is_denied || !self.is_api_server() || !self.extra_requests.take(window, now) {
            return response;
        }
        let other = self.send(url, !is_anonymous, context).await;
        if other.is_ok() {
            self.is_anonymous.store(!is_anonymous, Ordering::Relaxed);
            return other;
        }
        // of two errors, the one of the token says more
        if is_anonymous { other } else { response }
    }

    async fn send(
        &self,
        url: &str,
        is_anonymous: bool,
        context: FetchContext<'_>,
    ) -> Result<FetchResponse, LoadError> {
        let request = FetchRequest::new(url).with_source(self.url());
        let request = if is_anonymous { request.without_credentials() } else { request };
        let sent = Arc::clone(&request.sent);
        let shown = || self.shown(url);
        let response = match time::timeout_at(context.deadline, self.fetcher.fetch(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(source)) => return Err(LoadError::Fetch { url: shown(), source }),
            Err(_) => {
                let proxy = sent.get().and_then(|sent| sent.proxy.clone());
                let timeout = context.timeout;
                return Err(LoadError::Timeout { url: shown(), timeout, proxy });
            }
        };
        match response.status() {
            200 => Ok(response),
            status => {
                let base = Url::parse(url).ok();
                let location = response.header("location");
                let location = location.map(|to| shown_origin(to, base.as_ref()));
                let has_credentials = sent.get().map(|sent| sent.has_credentials);
                Err(LoadError::Status {
                    url: shown(),
                    status,
                    retry_after: retry_after(&response, context.clock.wall()),
                    advice: advice(status, location.as_deref(), self.place(url), has_credentials),
                })
            }
        }
    }

    /// Shows a URL of this issuer: without its path if a document names it.
    fn shown(&self, url: &str) -> String {
        match &self.location {
            Location::Discovered(document) if !document.is_api_servers() && document.url != url => {
                let origin = shown_origin(url, None);
                format!(
                    "{origin} (the jwks_uri of the discovery document; KeySource::jwks(..) overrides \
                     the URL)"
                )
            }
            _ => shown_url(url),
        }
    }

    fn place(&self, url: &str) -> Place {
        match &self.location {
            Location::Discovered(document) if document.is_api_servers() => Place::ApiServer,
            Location::Discovered(document) if document.url == url && document.is_below_root() => {
                Place::BelowRoot
            }
            _ => Place::Other,
        }
    }

    fn is_api_server(&self) -> bool {
        matches!(&self.location, Location::Discovered(document) if document.is_api_servers())
    }
}

/// Keeps a document that was read: an issuer that is slow would be asked for it again and again
/// otherwise.
fn keep(read: Found, discovery: &mut Discovery) -> Url {
    let jwks_uri = read.jwks_uri.clone();
    *discovery = Discovery::Read(read);
    jwks_uri
}
