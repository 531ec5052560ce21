//! [`KeySource`]: where the keys of an issuer come from.

use std::{fmt, path::PathBuf, ptr, sync::Arc};

#[cfg(feature = "remote-no-provider")]
use crate::keys::source::HttpFetcher;
use crate::{keys::source::Fetch, observe::display::shown_url};

/// Where the keys of an issuer come from. An [`Issuer`](crate::Issuer) has exactly one source.
///
/// ```
/// use kube_oidc::{Issuer, KeySource, Verifier, source::HttpFetcher};
///
/// let fetcher = HttpFetcher::new().with_bearer_token("token for the key endpoint")?;
/// let keys = KeySource::jwks("https://auth.pingone.eu/11111111/as/jwks").via(fetcher);
/// let issuer = Issuer::with_key_source("https://auth.pingone.eu/11111111/as".parse()?, keys);
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct KeySource(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Fixed(Vec<u8>),
    File(PathBuf),
    Remote(RemoteKeySource),
}

/// A [`KeySource`] that is fetched: by default over HTTP, by an
/// [`HttpFetcher`](crate::source::HttpFetcher) without settings.
#[derive(Clone)]
pub struct RemoteKeySource {
    pub(super) location: Location,
    /// `None`: there is no default.
    pub(super) fetcher: Option<Arc<dyn Fetch>>,
}

#[derive(Clone)]
pub(super) enum Location {
    /// Below the URL of the issuer.
    Discovery,
    DiscoveryAt(String),
    Jwks(String),
    /// The API server at the URL of the issuer, which reports the name.
    ApiServer,
}

impl KeySource {
    /// Finds the keys by the discovery document at `<issuer>/.well-known/openid-configuration`
    /// ([OpenID Connect Discovery 1.0, section 4][discovery]). This is the source of
    /// [`Issuer::new`](crate::Issuer::new).
    ///
    /// [discovery]: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
    #[must_use]
    pub fn discovery() -> RemoteKeySource {
        RemoteKeySource { location: Location::Discovery, fetcher: default_fetcher() }
    }

    /// Finds the keys by the discovery document at this URL, as `discoveryURL` of a Kubernetes
    /// `AuthenticationConfiguration`. The `issuer` in the document must be the name of the issuer.
    ///
    /// The URL must be https; plain http is accepted on loopback if the issuer itself is plain http on
    /// loopback.
    #[must_use]
    pub fn discovery_at(url: impl Into<String>) -> RemoteKeySource {
        RemoteKeySource { location: Location::DiscoveryAt(url.into()), fetcher: default_fetcher() }
    }

    /// Reads the keys from this URL, without discovery.
    ///
    /// The URL must be https; plain http is accepted on loopback if the issuer itself is plain http on
    /// loopback. For other issuers, a `kubectl proxy` is therefore no source: save the keys with
    /// `kubectl get --raw /openid/v1/jwks > keys.json`, and use [`file`](Self::file).
    #[must_use]
    pub fn jwks(url: impl Into<String>) -> RemoteKeySource {
        RemoteKeySource { location: Location::Jwks(url.into()), fetcher: default_fetcher() }
    }

    /// Reads the keys from a file, such as a mounted `ConfigMap`.
    ///
    /// The file is read again every 10 seconds, and for a `kid` that is not in it. Its keys do not
    /// become stale. While the file cannot be read, or its file system hangs, the last key set stays
    /// in use, and the log has a warning.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Kind::File(path.into()))
    }

    /// Uses this JWKS document ([RFC 7517, section 5](https://www.rfc-editor.org/rfc/rfc7517#section-5)),
    /// and fetches nothing. After a rotation, a new verifier has to be built.
    #[must_use]
    pub fn fixed(jwks: impl Into<Vec<u8>>) -> Self {
        Self(Kind::Fixed(jwks.into()))
    }

    /// The place that the keys are read from. `None`: the keys are given.
    pub(super) fn place(&self, discovery_url: impl FnOnce() -> Option<String>) -> Option<KeyPlace> {
        let remote = match &self.0 {
            Kind::Fixed(_) => return None,
            Kind::File(path) => return Some(KeyPlace::File(path.clone())),
            Kind::Remote(remote) => remote,
        };
        // spelled in one way
        let normalized = |url: &String| url::Url::parse(url).map_or(url.clone(), String::from);
        let url = match &remote.location {
            Location::Discovery | Location::ApiServer => discovery_url()?,
            Location::DiscoveryAt(url) | Location::Jwks(url) => normalized(url),
        };
        Some(KeyPlace::Url(url, remote.fetcher.clone()?))
    }
}

impl RemoteKeySource {
    /// Fetches with this fetcher, such as an [`HttpFetcher`](crate::source::HttpFetcher) with root
    /// certificates, a proxy, or credentials.
    #[must_use]
    pub fn via(mut self, fetcher: impl Fetch) -> Self {
        self.fetcher = Some(Arc::new(fetcher));
        self
    }
}

impl From<RemoteKeySource> for KeySource {
    fn from(source: RemoteKeySource) -> Self {
        Self(Kind::Remote(source))
    }
}

/// Where keys are read, and how: one URL may mean two servers by way of two proxies.
pub(crate) enum KeyPlace {
    File(PathBuf),
    Url(String, Arc<dyn Fetch>),
}

impl PartialEq for KeyPlace {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Url(one, fetcher), Self::Url(other, other_fetcher)) => {
                one == other && is_same(fetcher, other_fetcher)
            }
            _ => false,
        }
    }
}

/// Whether two fetchers reach the same server by the same URL: another proxy may lead elsewhere, and so
/// may a fetcher of another type.
fn is_same(one: &Arc<dyn Fetch>, other: &Arc<dyn Fetch>) -> bool {
    #[cfg(feature = "remote-no-provider")]
    if let (Some(one), Some(other)) = (one.as_http(), other.as_http()) {
        return one.has_proxy_of(other);
    }
    ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

/// Fetches over HTTP with the default settings, where that can be done.
#[cfg_attr(
    feature = "remote-no-provider",
    expect(clippy::unnecessary_wraps, reason = "there is none without the feature")
)]
fn default_fetcher() -> Option<Arc<dyn Fetch>> {
    #[cfg(feature = "remote-no-provider")]
    return Some(Arc::new(HttpFetcher::new()));
    #[cfg(not(feature = "remote-no-provider"))]
    None
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url, _) => f.write_str(&shown_url(url)),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place(|| None) {
            Some(place) => write!(f, "KeySource({place})"),
            None => f.debug_struct("KeySource").finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for RemoteKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeySource::from(self.clone()).fmt(f)
    }
}
