//! Keys that are fetched: by discovery, or from a URL that is known.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time;
use url::Url;

use super::{
    Fetch, FetchError, FetchRequest, FetchResponse, discovery,
    freshness::{Freshness, retry_after},
};
use crate::{
    algorithm::Algorithm,
    clock::{Clock, Moment},
    in_cluster::LearntName,
    issuer_url::{IssuerUrl, IssuerUrlError},
    key_set::{KeySet, KeySetError, SkippedKey},
    shown::{Shown, shown_origin, shown_url},
};

/// Where the keys of one issuer are fetched.
#[derive(Debug)]
pub(crate) struct Remote {
    location: Location,
    fetcher: Arc<dyn Fetch>,
}

#[derive(Debug)]
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
    /// That it is this issuer's, and where its keys are.
    Issuer(IssuerUrl),
    /// The name of the issuer, at the first time. The keys are the API server's own, wherever it
    /// says that they are: on EKS it has named a private node.
    ApiServer { jwks_uri: Url, name: LearntName },
}

#[derive(Clone, Debug)]
struct Found {
    jwks_uri: Url,
    at: Moment,
    lifetime: Duration,
    /// The keys were not there any more: the document is read again before it is believed.
    suspect: bool,
}

/// How a set is fetched and judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner<'a> {
    pub(crate) allowed: &'a [Algorithm],
    pub(crate) freshness: &'a Freshness,
    /// For the discovery document and the set together.
    pub(crate) timeout: Duration,
    pub(crate) clock: &'a dyn Clock,
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
    #[error(
        "the API server issues tokens as {found} now, and did as {pinned}: accept_issuer() if that \
         is meant"
    )]
    IssuerChanged { pinned: String, found: String },
    #[error("the jwks_uri {url} of the discovery document is not acceptable")]
    JwksUri { url: String, source: IssuerUrlError },
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
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
            Self::Fetch { .. } | Self::Timeout(_) | Self::Status { status: 404 | 410, .. }
        )
    }
}

impl Remote {
    pub(crate) fn discovered(issuer: IssuerUrl, fetcher: Arc<dyn Fetch>) -> Self {
        let document = issuer.discovery_url();
        Self::by_document(document, Trust::Issuer(issuer), fetcher)
    }

    /// The keys of an API server, which says who it issues tokens as.
    pub(crate) fn api_server(
        document: &Url,
        jwks_uri: Url,
        name: LearntName,
        fetcher: Arc<dyn Fetch>,
    ) -> Self {
        Self::by_document(document.to_string(), Trust::ApiServer { jwks_uri, name }, fetcher)
    }

    fn by_document(document: String, trust: Trust, fetcher: Arc<dyn Fetch>) -> Self {
        Self {
            location: Location::Discovered { document, trust, found: Mutex::new(None) },
            fetcher,
        }
    }

    pub(crate) fn known(jwks_uri: Url, fetcher: Arc<dyn Fetch>) -> Self {
        Self { location: Location::Known(jwks_uri), fetcher }
    }

    /// Fetches the set, after the discovery document where that is due, all within its time.
    pub(crate) async fn load(
        &self,
        last: Option<&KeySet>,
        manner: Manner<'_>,
    ) -> Result<Loaded, LoadError> {
        let before = self.found();
        let load = async {
            let url = self.jwks_uri(before.clone(), manner).await?;
            self.keys(url, last, manner).await
        };
        let loaded = time::timeout(manner.timeout, load).await;
        let loaded = loaded.unwrap_or(Err(LoadError::Timeout(manner.timeout)));
        if loaded.as_ref().is_err_and(LoadError::is_about_the_url) {
            self.suspect(before);
        }
        loaded
    }

    async fn keys(
        &self,
        url: Url,
        last: Option<&KeySet>,
        manner: Manner<'_>,
    ) -> Result<Loaded, LoadError> {
        let response = self.fetch(FetchRequest::new(url.as_str()), manner.clock).await?;
        let lifetime = manner.freshness.lifetime(&response);
        let (keys, skipped) = KeySet::parse(response.body(), manner.allowed, last)?;
        Ok(Loaded { lifetime, set: FetchedSet { keys, skipped } })
    }

    async fn jwks_uri(&self, known: Option<Found>, manner: Manner<'_>) -> Result<Url, LoadError> {
        let (document, trust, found) = match &self.location {
            Location::Known(url) => return Ok(url.clone()),
            Location::Discovered { document, trust, found } => (document, trust, found),
        };
        let now = Moment::now(manner.clock);
        let fresh = known.filter(|known| now.since(known.at) < known.lifetime);
        if let Some(known) = fresh.as_ref().filter(|known| !known.suspect) {
            return Ok(known.jwks_uri.clone());
        }
        match (self.discover(document, trust, now, manner).await, fresh) {
            (Ok(read), _) => {
                let jwks_uri = read.jwks_uri.clone();
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
                Ok(jwks_uri)
            }
            // it may be the document's server that is away, and not the keys'; a document that
            // was read and is wrong is another matter
            (Err(LoadError::Fetch { .. } | LoadError::Status { .. }), Some(suspect)) => {
                Ok(suspect.jwks_uri)
            }
            (Err(error), _) => Err(error),
        }
    }

    async fn discover(
        &self,
        document: &str,
        trust: &Trust,
        now: Moment,
        manner: Manner<'_>,
    ) -> Result<Found, LoadError> {
        let response = self.fetch(FetchRequest::new(document), manner.clock).await?;
        let jwks_uri = match trust {
            Trust::Issuer(issuer) => discovery::jwks_uri(response.body(), issuer)?,
            Trust::ApiServer { jwks_uri, name } => {
                learn(name, &discovery::issuer(response.body())?)?;
                jwks_uri.clone()
            }
        };
        let lifetime = manner.freshness.lifetime(&response);
        Ok(Found { jwks_uri, at: now, lifetime, suspect: false })
    }

    /// Fetches, and lets only 200 pass.
    async fn fetch(
        &self,
        request: FetchRequest,
        clock: &dyn Clock,
    ) -> Result<FetchResponse, LoadError> {
        let requested = request.url().to_owned();
        let url = shown_url(&requested);
        let response = match self.fetcher.fetch(request).await {
            Ok(response) => response,
            Err(source) => return Err(LoadError::Fetch { url, source }),
        };
        match response.status() {
            200 => Ok(response),
            status => Err(LoadError::Status {
                url,
                status,
                retry_after: retry_after(&response, clock.wall()),
                location: response
                    .header("location")
                    .map(|to| shown_origin(to, Url::parse(&requested).ok().as_ref())),
            }),
        }
    }

    fn found(&self) -> Option<Found> {
        match &self.location {
            Location::Known(_) => None,
            Location::Discovered { found, .. } => {
                found.lock().unwrap_or_else(PoisonError::into_inner).clone()
            }
        }
    }

    /// Marks the document that a failed load began with. One that was read during that load is
    /// new, and stays: else an issuer that is slow would be asked for it for ever.
    fn suspect(&self, before: Option<Found>) {
        if let (Location::Discovered { found, .. }, Some(before)) = (&self.location, before) {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = found.as_mut().filter(|found| found.at == before.at) {
                found.suspect = true;
            }
        }
    }
}

fn learn(name: &LearntName, found: &str) -> Result<(), LoadError> {
    let first = !name.is_known();
    name.tell(found).map_err(|pinned| LoadError::IssuerChanged {
        pinned: Shown(&pinned).to_string(),
        found: Shown(found).to_string(),
    })?;
    if first {
        tracing::info!(
            issuer = %Shown(found),
            "the API server says that it issues tokens by this name"
        );
    }
    Ok(())
}
