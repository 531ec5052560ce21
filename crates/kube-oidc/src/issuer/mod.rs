//! [`Issuer`]: an issuer that a verifier trusts, and where its keys come from.

mod in_cluster;
mod key_source;

use std::{fmt, sync::Arc, time::Duration};

pub(crate) use self::key_source::KeyPlace;
use self::key_source::{Kind, Location};
pub use self::{
    in_cluster::InClusterError,
    key_source::{KeySource, RemoteKeySource},
};
#[cfg(feature = "remote-no-provider")]
use crate::keys::source::HttpFetcher;
use crate::{
    algorithm::Algorithm,
    clock::Clock,
    error::BuildError,
    issuer_name::{
        API_SERVER_KEYS, DEFAULT_FORMER_FOR, DISCOVERY, IssuerUrl, LearnedNames, NameListener,
        Names, Transport, check_name,
    },
    keys::{
        Keys,
        cache::{KeyCache, KeyCacheSettings},
        set::KeySet,
        source::{Fetch, KeySetFile, Remote, Source},
    },
    observe::Observed,
    token_review::TokenReviewConfig,
};

/// An issuer that a verifier trusts, and where its keys come from.
///
/// An [`IssuerUrl`] alone is an issuer whose keys are found by discovery. For keys from elsewhere, or
/// with settings for fetching them, see [`KeySource`]. The settings are checked when the verifier is
/// built.
///
/// ```
/// use kube_oidc::{Issuer, KeySource, Verifier};
///
/// let keys = KeySource::jwks("https://auth.pingone.eu/11111111/as/jwks");
/// let issuer = Issuer::with_key_source("https://auth.pingone.eu/11111111/as".parse()?, keys);
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Issuer {
    name: Arc<str>,
    cluster: Option<Arc<str>>,
    user_prefix: Option<Arc<str>>,
    /// `None`: the name is no URL.
    url: Option<IssuerUrl>,
    keys: KeySource,
    aliases: Vec<Arc<str>>,
    /// How long a former name stays valid.
    former_for: Duration,
    token_review: Option<TokenReviewConfig>,
}

impl Issuer {
    /// An issuer whose keys are found by discovery, at
    /// `<issuer>/.well-known/openid-configuration`.
    #[cfg(feature = "remote-no-provider")]
    #[must_use]
    pub fn new(url: IssuerUrl) -> Self {
        Self::with_key_source(url, KeySource::discovery())
    }

    /// An issuer whose keys come from this source.
    #[must_use]
    pub fn with_key_source(url: IssuerUrl, keys: impl Into<KeySource>) -> Self {
        Self::named(url.shared_text(), Some(url), keys.into())
    }

    /// An issuer whose name is no URL, such as `auth.openshift.io` or `rke`. Its discovery document
    /// cannot be found by its name, so [`KeySource::discovery`] is a build error.
    ///
    /// With the name `kubernetes/serviceaccount`, here or in [`add_alias`](Self::add_alias), bound tokens
    /// of that issuer are accepted. Tokens from Secrets, which have the same `iss` and no `exp`, are
    /// still rejected as [`Reason::LegacyToken`](crate::Reason::LegacyToken).
    #[must_use]
    pub fn opaque(name: impl Into<Arc<str>>, keys: impl Into<KeySource>) -> Self {
        Self::named(name.into(), None, keys.into())
    }

    /// The issuer of the cluster that this process runs in as a pod. No setting is needed: the
    /// address of the API server is in the environment, its certificate authority and a token for
    /// reading its keys are in files, and the API server reports the name of the issuer: see
    /// [`api_server`](Self::api_server).
    ///
    /// The API server's certificate must be signed by `ca.crt`: the platform's root certificates are
    /// not trusted, since the pod's token is sent to the API server. The proxy of the environment is
    /// not used. For an API server behind another authority or a proxy, see
    /// [`in_cluster_via`](Self::in_cluster_via).
    ///
    /// # Errors
    ///
    /// What is missing: see [`InClusterError`].
    #[cfg(feature = "remote-no-provider")]
    pub fn in_cluster() -> Result<Self, InClusterError> {
        let api_server = in_cluster::api_server()?;
        Ok(Self::api_server(api_server, HttpFetcher::in_cluster()?))
    }

    /// The issuer of the cluster that this process runs in as a pod, with a fetcher that is
    /// configured otherwise: [`in_cluster`](Self::in_cluster) uses
    /// [`HttpFetcher::in_cluster`](crate::source::HttpFetcher::in_cluster).
    ///
    /// # Errors
    ///
    /// The address of the API server is missing or invalid: see [`InClusterError`].
    pub fn in_cluster_via(fetcher: impl Fetch) -> Result<Self, InClusterError> {
        Ok(Self::api_server(in_cluster::api_server()?, fetcher))
    }

    /// The issuer of the cluster with the API server at this URL. The API server reports the name of
    /// the issuer.
    ///
    /// The name is learned at the first fetch, and looked for at each later one. A token of another
    /// name that a key of the cluster signed starts a fetch, at most one per cooldown. When the API
    /// server reports another name, the verifier follows with one warning: the new name counts at
    /// once, and the former name stays valid for 24 hours
    /// ([`accept_former_names_for`](Self::accept_former_names_for)). A process that starts after the
    /// change does not know the former name: [`add_alias`](Self::add_alias) configures it. The keys
    /// are the API server's own, at `/openid/v1/jwks`.
    ///
    /// A name that another cluster of the verifier is configured with outranks the same name that
    /// is learned here: see [`VerifierBuilder::add_issuer`](crate::VerifierBuilder::add_issuer).
    ///
    /// Where the API server answers 401, as after the key that signed the pod's token was removed, the
    /// keys are read once without credentials. That succeeds if anonymous readers are allowed.
    ///
    /// ```
    /// use kube_oidc::{Issuer, source::HttpFetcher};
    ///
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// let fetcher = HttpFetcher::in_cluster_at("/mnt/other-cluster")?;
    /// let issuer = Issuer::api_server("https://10.96.0.1:443".parse()?, fetcher);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn api_server(url: IssuerUrl, fetcher: impl Fetch) -> Self {
        let keys = RemoteKeySource { location: Location::ApiServer, fetcher: None }.via(fetcher);
        Self::named(url.shared_text(), Some(url), keys.into())
    }

    /// Accepts tokens of this issuer name as well, with the same keys: an API server may have
    /// several names (`--service-account-issuer`, more than once), and keeps its keys when the
    /// name changes. The discovery document may name any of them. Configure both names before a
    /// cluster changes its issuer, in either order, and remove the old one when no token has it
    /// any more:
    ///
    /// ```
    /// use kube_oidc::{Issuer, Verifier};
    ///
    /// let issuer = Issuer::new("https://new.example".parse()?).add_alias("https://old.example");
    /// let verifier = Verifier::builder(issuer).audience("orders").build()?;
    ///
    /// for name in &verifier.status()[0].aliases {
    ///     println!("{} was last seen {:?}", name.name, name.last_seen);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn add_alias(mut self, name: impl Into<Arc<str>>) -> Self {
        self.aliases.push(name.into());
        self
    }

    /// Sets how long the former name of an issuer of an [`api_server`](Self::api_server) stays valid
    /// after a discovery document last named it. Defaults to 24 h, as in OpenShift. With zero it
    /// ends when the API server reports another name.
    ///
    /// Up to 8 names are remembered. Names of [`add_alias`](Self::add_alias) do not end.
    #[must_use]
    pub fn accept_former_names_for(mut self, duration: Duration) -> Self {
        self.former_for = duration;
        self
    }

    fn named(name: Arc<str>, url: Option<IssuerUrl>, keys: KeySource) -> Self {
        Self {
            name,
            cluster: None,
            user_prefix: None,
            url,
            keys,
            aliases: Vec::new(),
            former_for: DEFAULT_FORMER_FOR,
            token_review: None,
        }
    }

    /// Says which cluster this issuer is of, by a name of the operator's own:
    /// [`Verified::cluster`](crate::Verified::cluster) gives it to handlers.
    ///
    /// A namespace and a service account of the same names exist in every cluster, so a verifier
    /// with several issuers wants a name for each. Issuers of one cluster share it, as during a
    /// migration from one issuer to another.
    #[must_use]
    pub fn with_cluster(mut self, name: impl Into<Arc<str>>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// Puts a prefix before the user name and the groups of this cluster's callers, such as
    /// `blue:`: see [`UserInfo`](crate::UserInfo).
    #[must_use]
    pub fn with_user_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.user_prefix = Some(prefix.into());
        self
    }

    /// Says who asks the API server whether a token of this issuer still counts, where that is
    /// demanded: see [`token_review`](crate::token_review). It sees no other issuer's tokens.
    #[must_use]
    pub fn with_token_review(mut self, review: impl Into<TokenReviewConfig>) -> Self {
        self.token_review = Some(review.into());
        self
    }

    /// The name, as it stands in `iss`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its tokens may have in `iss`, for one verifier: clones share no state.
    pub(crate) fn names(&self, listener: Arc<dyn NameListener>) -> Names {
        if self.is_api_server() {
            let learned = LearnedNames::new(self.former_for, listener);
            Names::learned(&self.name, &self.aliases, learned)
        } else {
            Names::configured(&self.name, &self.aliases)
        }
    }

    fn is_api_server(&self) -> bool {
        matches!(&self.keys.0, Kind::Remote(RemoteKeySource { location: Location::ApiServer, .. }))
    }

    pub(crate) fn cluster(&self) -> Option<&Arc<str>> {
        self.cluster.as_ref()
    }

    pub(crate) fn token_review(&self) -> Option<&TokenReviewConfig> {
        self.token_review.as_ref()
    }

    pub(crate) fn user_prefix(&self) -> Option<&Arc<str>> {
        self.user_prefix.as_ref()
    }

    /// The place that the keys are read from. `None`: the keys are given.
    pub(crate) fn key_place(&self) -> Option<KeyPlace> {
        self.keys.place(|| self.url.as_ref().map(IssuerUrl::discovery_url))
    }

    /// Prepares the keys of this issuer. Nothing is fetched.
    pub(crate) fn keys(
        &self,
        allowed: &Arc<[Algorithm]>,
        settings: &KeyCacheSettings,
        clock: &Arc<dyn Clock>,
        names: &Arc<Names>,
        observed: &Arc<Observed>,
    ) -> Result<Keys, BuildError> {
        if self.name.trim().is_empty() {
            return Err(BuildError::EmptyIssuer);
        }
        for name in [&self.name].into_iter().chain(&self.aliases) {
            check_name(name).map_err(|source| BuildError::url(name, source))?;
        }
        let mut settings = settings.clone();
        let source = match &self.keys.0 {
            Kind::Fixed(document) => {
                let (keys, skipped) = KeySet::parse(document, allowed, None)?;
                observed.log_skipped(&skipped);
                return Ok(Keys::Fixed(keys));
            }
            Kind::File(path) => {
                settings.max_stale = Duration::MAX;
                Source::File(KeySetFile::new(path.clone()))
            }
            Kind::Remote(remote) => self.remote(remote, names, observed)?.into(),
        };
        let (observed, allowed) = (Arc::clone(observed), Arc::clone(allowed));
        let cache = KeyCache::new(observed, source, allowed, settings, Arc::clone(clock));
        Ok(Keys::Fetched(cache))
    }

    fn remote(
        &self,
        source: &RemoteKeySource,
        names: &Arc<Names>,
        observed: &Arc<Observed>,
    ) -> Result<Remote, BuildError> {
        let transport = self.url.as_ref().map_or(Transport::Https, IssuerUrl::transport);
        let endpoint = |text: &str| {
            let url = transport.parse_endpoint(text);
            url.map_err(|source| BuildError::url(text, source))
        };
        let fetcher = source.fetcher.clone().ok_or(BuildError::NoFetcher)?;
        let names = Arc::clone(names);
        let remote = match (&source.location, &self.url) {
            (Location::Jwks(url), _) => Remote::known(endpoint(url)?, fetcher),
            (Location::DiscoveryAt(url), _) => {
                endpoint(url)?;
                Remote::discovered(url.clone(), transport, names, fetcher)
            }
            (Location::Discovery, Some(issuer)) => {
                Remote::discovered(issuer.discovery_url(), transport, names, fetcher)
            }
            (Location::ApiServer, Some(api_server)) => {
                let at = |path| endpoint(&format!("{api_server}{path}"));
                let (document, jwks_uri) = (at(DISCOVERY)?, at(API_SERVER_KEYS)?);
                Remote::api_server(&document, jwks_uri, names, Arc::clone(observed), fetcher)
            }
            (Location::Discovery | Location::ApiServer, None) => {
                return Err(BuildError::OpaqueDiscovery(self.name.to_string()));
            }
        };
        #[cfg(feature = "remote-no-provider")]
        remote.check_credentials()?;
        Ok(remote)
    }
}

#[cfg(feature = "remote-no-provider")]
impl From<IssuerUrl> for Issuer {
    fn from(url: IssuerUrl) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
