//! Keys that are fetched: by discovery, or from a URL that is known.

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time;
use url::Url;

use super::{
    Fetch, FetchError, FetchRequest, FetchResponse, discovery,
    extra_requests::ExtraRequests,
    freshness::{Freshness, age, retry_after},
};
use crate::{
    algorithm::Algorithm,
    clock::{Clock, Moment},
    issuer::{Change, Names},
    issuer_url::{IssuerUrl, IssuerUrlError, Transport},
    key_set::{KeySet, KeySetError, SkippedKey},
    observed::Observed,
    shown::{Span, chain, shown_origin, shown_url},
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
#[expect(clippy::large_enum_variant, reason = "there is one for each issuer")]
enum Location {
    Known(Url),
    /// The document is kept for its own lifetime.
    Discovered {
        document: String,
        trust: Trust,
        found: Mutex<Option<Found>>,
    },
}

/// What a discovery document is believed.
#[derive(Debug)]
enum Trust {
    /// Where the keys of the issuer of these names are, if the document names one of them.
    Issuer { transport: Transport, names: Arc<Names> },
    /// The name of the issuer. The keys are the API server's own, wherever the document says that
    /// they are: on EKS it has named a private node.
    ApiServer { jwks_uri: Url, names: Arc<Names>, observed: Arc<Observed> },
}

#[derive(Clone, Debug)]
pub(crate) struct Found {
    jwks_uri: Url,
    /// The name that an API server reports.
    name: Option<String>,
    at: Moment,
    lifetime: Duration,
    /// The document is read again before it is believed, as after the keys were not there.
    suspect: bool,
}

/// What a fetch found out about the place of the keys.
#[derive(Debug, Default)]
pub(crate) enum Discovery {
    #[default]
    Unchanged,
    /// The document was read.
    Read(Found),
    /// The server of the document is down, so the last known URL of the keys was used.
    Outage(String),
    /// The keys are gone from their URL.
    Suspect,
    /// The document is gone, or is not a document of this issuer.
    Lost,
}

/// The end of a fetch.
#[derive(Debug)]
pub(crate) struct LoadOutcome {
    pub(crate) result: Result<Loaded, LoadError>,
    /// For [`Source::note`](super::Source::note), unless the fetch was abandoned.
    pub(crate) discovery: Discovery,
}

/// How a set is fetched and judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) allowed: &'a [Algorithm],
    pub(crate) freshness: &'a Freshness,
    /// For the discovery document and the set together.
    pub(crate) timeout: Duration,
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

/// A fetch that did not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{url} could not be read")]
    Fetch { url: String, source: FetchError },
    #[error(transparent)]
    File(#[from] FetchError),
    #[error("{url} answered with status {status}{}", advice(*.status, .location.as_deref()))]
    Status {
        url: String,
        status: u16,
        retry_after: Option<Duration>,
        /// Where a redirect leads: scheme, host, and port.
        location: Option<String>,
    },
    #[error("the discovery document is not UTF-8")]
    NotUtf8,
    #[error("the discovery document is not well formed: {0}")]
    Metadata(String),
    #[error("the discovery document has no {0}")]
    MissingMetadata(&'static str),
    #[error("the discovery document names another issuer ({found}); expected {expected}{hint}")]
    OtherIssuer { found: String, expected: String, hint: &'static str },
    #[error("the jwks_uri {url} of the discovery document is not acceptable")]
    JwksUri { url: String, source: IssuerUrlError },
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error("{url} gave no answer within {timeout:?}")]
    Timeout { url: String, timeout: Duration },
    #[error("the fetcher panicked")]
    Panicked,
}

fn advice(status: u16, location: Option<&str>) -> Cow<'static, str> {
    let advice = match status {
        304 => ", which is no answer to a request without a condition",
        300..=399 => {
            let location = location.map(|to| format!(" to {to}")).unwrap_or_default();
            return format!(", a redirect{location}; redirects are not followed").into();
        }
        401 | 403 => {
            ": it wants credentials. A kube-apiserver does unless anonymous readers are bound to \
             the ClusterRole system:service-account-issuer-discovery; a bearer token for fetching \
             keys is sent to the issuer's own origin only"
        }
        _ => "",
    };
    advice.into()
}

impl LoadError {
    /// How long the issuer asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the keys may have moved: nobody is at their URL, or they are gone from there.
    fn is_about_the_url(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. } | Self::Timeout { .. } | Self::Status { status: 404 | 410, .. }
        )
    }

    /// Whether the server may be down: the last that it said still holds.
    fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. }
                | Self::Timeout { .. }
                | Self::Status { status: 429 | 500..=599, .. }
        )
    }
}

impl Found {
    /// Whether the document has to be read again before it is believed.
    fn is_due(&self, now: Moment) -> bool {
        self.suspect || now.since(self.at) >= self.lifetime
    }
}

impl Remote {
    pub(crate) fn discovered(
        issuer: &IssuerUrl,
        names: Arc<Names>,
        fetcher: Arc<dyn Fetch>,
    ) -> Self {
        let trust = Trust::Issuer { transport: issuer.transport(), names };
        Self::by_document(issuer.discovery_url(), trust, fetcher)
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
        Self::at(Location::Discovered { document, trust, found: Mutex::new(None) }, fetcher)
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

    /// Fetches the set, after the discovery document where that is due, all within its time.
    pub(crate) async fn load(&self, last: Option<&KeySet>, manner: Manner<'_>) -> LoadOutcome {
        let deadline = time::Instant::now() + manner.timeout;
        let mut discovery = Discovery::Unchanged;
        let result = match &self.location {
            Location::Known(url) => self.keys(url, last, manner, deadline).await,
            Location::Discovered { document, trust, found } => {
                let known = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let place = Place { document, trust, known };
                self.load_discovered(&place, last, manner, deadline, &mut discovery).await
            }
        };
        match &discovery {
            Discovery::Outage(error) if result.is_ok() => self.log_outage(error),
            Discovery::Read(_) => self.logged_outage.store(false, Ordering::Relaxed),
            _ => {}
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
        let Location::Discovered { trust, found, .. } = &self.location else { return };
        if let (
            Discovery::Read(Found { name: Some(name), at, .. }),
            Trust::ApiServer { names, observed, .. },
        ) = (&discovery, trust)
        {
            learn(names, observed, name, *at);
        }
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match discovery {
            Discovery::Unchanged | Discovery::Outage(_) => {}
            Discovery::Read(read) => *found = Some(read),
            Discovery::Suspect => found.iter_mut().for_each(|found| found.suspect = true),
            Discovery::Lost => *found = None,
        }
    }

    async fn load_discovered(
        &self,
        place: &Place<'_>,
        last: Option<&KeySet>,
        manner: Manner<'_>,
        deadline: time::Instant,
        discovery: &mut Discovery,
    ) -> Result<Loaded, LoadError> {
        let now = Moment::now(manner.clock);
        let known = match &place.known {
            Some(known) if !known.is_due(now) => known,
            _ => {
                let url = self.locate(place, now, manner, deadline, discovery).await?;
                return self.keys(&url, last, manner, deadline).await;
            }
        };
        let loaded = self.keys(&known.jwks_uri, last, manner, deadline).await;
        if loaded.as_ref().is_err_and(LoadError::is_about_the_url) {
            *discovery = Discovery::Suspect;
        }
        let loaded = loaded?;
        let is_news = last.is_none_or(|last| !loaded.set.keys.is_same(last));
        let window = manner.budget_window;
        if !manner.is_forced || is_news || !self.extra_requests.take(window, now) {
            return Ok(loaded);
        }
        // a key is missing, and the keys may have moved
        let url = self.locate(place, now, manner, deadline, discovery).await?;
        if url == known.jwks_uri || !self.extra_requests.take(window, now) {
            return Ok(loaded);
        }
        self.keys(&url, last, manner, deadline).await
    }

    /// Reads the document. While its server is down, the last known URL of the keys holds; the
    /// document then gets a part of the time, and leaves the rest to the keys.
    async fn locate(
        &self,
        place: &Place<'_>,
        now: Moment,
        manner: Manner<'_>,
        deadline: time::Instant,
        discovery: &mut Discovery,
    ) -> Result<Url, LoadError> {
        let Some(known) = &place.known else {
            let read = self.discover(place, now, manner, deadline).await?;
            return Ok(keep(read, discovery));
        };
        let left = deadline.saturating_duration_since(time::Instant::now());
        match self.discover(place, now, manner, deadline - left / 2).await {
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
        manner: Manner<'_>,
        deadline: time::Instant,
    ) -> Result<Loaded, LoadError> {
        let response = self.fetch(url.as_str(), manner, deadline).await?;
        if manner.is_forced {
            self.log_cached(url, &response);
        }
        let lifetime = manner.freshness.lifetime(&response);
        let (keys, skipped) = KeySet::parse(response.body(), manner.allowed, last)?;
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
                jwks_uri = shown_url(url.as_str()),
                age = %Span(age),
                "a cache answered a forced fetch of keys"
            );
        }
    }

    async fn discover(
        &self,
        place: &Place<'_>,
        now: Moment,
        manner: Manner<'_>,
        deadline: time::Instant,
    ) -> Result<Found, LoadError> {
        let response = self.fetch(place.document, manner, deadline).await?;
        let (jwks_uri, name) = match place.trust {
            Trust::Issuer { transport, names } => {
                (discovery::jwks_uri(response.body(), *transport, names, now)?, None)
            }
            Trust::ApiServer { jwks_uri, .. } => {
                (jwks_uri.clone(), Some(discovery::issuer(response.body())?))
            }
        };
        let lifetime = manner.freshness.lifetime(&response);
        // each fetch looks for the name in the document of an API server
        let suspect = name.is_some();
        Ok(Found { jwks_uri, name, at: now, lifetime, suspect })
    }

    /// Fetches, and lets only 200 pass.
    ///
    /// An API server that rejects the pod's token, because the key that signed it was removed, may
    /// serve anonymous readers: it is asked once more without the token, and first so the next time.
    async fn fetch(
        &self,
        url: &str,
        manner: Manner<'_>,
        deadline: time::Instant,
    ) -> Result<FetchResponse, LoadError> {
        let is_anonymous = self.is_anonymous.load(Ordering::Relaxed);
        let response = self.send(url, is_anonymous, manner, deadline).await;
        let is_denied = match &response {
            Err(LoadError::Status { status, .. }) => {
                *status == 401 || *status == 403 && is_anonymous
            }
            _ => false,
        };
        let (window, now) = (manner.budget_window, Moment::now(manner.clock));
        if !is_denied || !self.is_api_server() || !self.extra_requests.take(window, now) {
            return response;
        }
        let other = self.send(url, !is_anonymous, manner, deadline).await;
        if other.is_ok() {
            self.is_anonymous.store(!is_anonymous, Ordering::Relaxed);
            return other;
        }
        response
    }

    async fn send(
        &self,
        url: &str,
        is_anonymous: bool,
        manner: Manner<'_>,
        deadline: time::Instant,
    ) -> Result<FetchResponse, LoadError> {
        let request = FetchRequest::new(url);
        let request = if is_anonymous { request.without_credentials() } else { request };
        let (requested, url) = (url, shown_url(url));
        let response = match time::timeout_at(deadline, self.fetcher.fetch(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(source)) => return Err(LoadError::Fetch { url, source }),
            Err(_) => return Err(LoadError::Timeout { url, timeout: manner.timeout }),
        };
        match response.status() {
            200 => Ok(response),
            status => Err(LoadError::Status {
                url,
                status,
                retry_after: retry_after(&response, manner.clock.wall()),
                location: response
                    .header("location")
                    .map(|to| shown_origin(to, Url::parse(requested).ok().as_ref())),
            }),
        }
    }

    fn is_api_server(&self) -> bool {
        matches!(&self.location, Location::Discovered { trust: Trust::ApiServer { .. }, .. })
    }
}

/// A discovery document, and what is known from it.
struct Place<'a> {
    document: &'a str,
    trust: &'a Trust,
    known: Option<Found>,
}

/// Keeps a document that was read: an issuer that is slow would be asked for it again and again
/// otherwise.
fn keep(read: Found, discovery: &mut Discovery) -> Url {
    let jwks_uri = read.jwks_uri.clone();
    *discovery = Discovery::Read(read);
    jwks_uri
}

/// Takes the name that an API server reports.
fn learn(names: &Names, observed: &Observed, name: &str, now: Moment) {
    let (issuer, cluster) = observed.names();
    match names.learn(name, now) {
        None | Some(Change::None) => {}
        Some(Change::First) => {
            tracing::info!(
                issuer,
                cluster,
                name = shown_origin(name, None),
                "learned the issuer's name"
            );
        }
        Some(Change::Replaced { former, valid_for, is_flood }) => {
            observed.meter.name_changed();
            if !is_flood {
                tracing::warn!(
                    issuer,
                    cluster,
                    name = shown_origin(name, None),
                    former = shown_origin(&former, None),
                    former_valid_for = %Span(valid_for),
                    "the issuer's name changed"
                );
            }
        }
    }
}
