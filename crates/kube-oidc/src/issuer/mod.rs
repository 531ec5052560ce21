//! [`Issuer`]: an issuer that a verifier trusts, and where its keys come from.

#[cfg(feature = "remote-no-provider")]
mod fetching;
mod in_cluster;
mod key_place;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "remote-no-provider")]
use self::fetching::HttpSettings;
pub use self::in_cluster::InClusterError;
pub(crate) use self::key_place::KeyPlace;
use crate::{
    algorithm::Algorithm,
    clock::Clock,
    error::BuildError,
    issuer_name::{
        API_SERVER_KEYS, DEFAULT_FORMER_FOR, DISCOVERY, IssuerUrl, LearnedNames, NameListener,
        Names, Transport, check_name, in_cluster::FOLDER,
    },
    keys::{
        Keys,
        cache::{KeyCache, Settings},
        set::KeySet,
        source::{Fetch, KeySetFile, Remote, Source},
    },
    observe::{Observed, display::shown_url},
    token_review::TokenReviewConfig,
};

/// An issuer that a verifier trusts, and where its keys come from.
///
/// An [`IssuerUrl`] alone is one: its keys are found by discovery. The methods are for issuers
/// whose keys are elsewhere or guarded. What they are given is checked when the verifier is built.
///
/// ```
/// use kube_oidc::{Issuer, Verifier};
///
/// let issuer = Issuer::new("https://auth.pingone.eu/11111111/as".parse()?)
///     .with_jwks_uri("https://auth.pingone.eu/11111111/as/jwks")
///     .with_fetch_bearer_token("token for the key endpoint");
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
    jwks_uri: Option<String>,
    key_set: Option<Vec<u8>>,
    key_set_file: Option<PathBuf>,
    /// The API server of a pod's own cluster, which reports the name.
    api_server: Option<IssuerUrl>,
    aliases: Vec<Arc<str>>,
    /// How long a former name stays valid.
    former_for: Duration,
    fetcher: Option<Arc<dyn Fetch>>,
    token_review: Option<TokenReviewConfig>,
    #[cfg(feature = "remote-no-provider")]
    http: HttpSettings,
}

impl Issuer {
    /// An issuer whose keys are found by discovery, at
    /// `<issuer>/.well-known/openid-configuration`.
    #[must_use]
    pub fn new(url: IssuerUrl) -> Self {
        Self::named(url.shared_text(), Some(url))
    }

    /// An issuer whose name is no URL, such as `auth.openshift.io` or `rke`. Its keys cannot be
    /// discovered, so the https URL of its key set is demanded.
    ///
    /// With the name `kubernetes/serviceaccount`, here or in [`add_alias`](Self::add_alias), bound tokens
    /// of that issuer are accepted. Tokens from Secrets, which have the same `iss` and no `exp`, are
    /// still rejected as [`Reason::LegacyToken`](crate::Reason::LegacyToken).
    #[must_use]
    pub fn opaque(name: &str, jwks_uri: impl Into<String>) -> Self {
        Self::named(name.into(), None).with_jwks_uri(jwks_uri)
    }

    /// The issuer of the cluster that this process runs in as a pod. No setting is needed: the
    /// address of the API server is in the environment, its certificate authority and a token for
    /// reading its keys are in files, and the API server reports the name of the issuer.
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
    /// is learned here: see [`VerifierBuilder::issuer`](crate::VerifierBuilder::issuer).
    ///
    /// The API server's certificate must be signed by `ca.crt`: the platform's root certificates are
    /// not trusted, since the pod's token is sent to the API server. The proxy of the environment is
    /// not used. For an API server behind another authority or a proxy, use
    /// `with_additional_root_certificates_file` and `with_fetch_proxy`.
    ///
    /// Where the API server answers 401, as after the key that signed the pod's token was removed, the
    /// keys are read once without the token. That succeeds if anonymous readers are allowed.
    ///
    /// # Errors
    ///
    /// What is missing: see [`InClusterError`].
    pub fn in_cluster() -> Result<Self, InClusterError> {
        Self::in_cluster_at(&in_cluster::api_server()?, FOLDER)
    }

    /// The same for an API server that is elsewhere, or files that are mounted elsewhere: a folder
    /// with `ca.crt` and `token`.
    ///
    /// ```
    /// use kube_oidc::{InClusterError, Issuer};
    ///
    /// let issuer = Issuer::in_cluster_at("https://10.96.0.1:443", "/no/such/folder");
    /// assert!(matches!(issuer, Err(InClusterError::NoServiceAccount(_))));
    /// ```
    ///
    /// # Errors
    ///
    /// What is missing: see [`InClusterError`].
    pub fn in_cluster_at(
        api_server: &str,
        folder: impl AsRef<Path>,
    ) -> Result<Self, InClusterError> {
        let url: IssuerUrl = api_server.parse().map_err(|source| {
            InClusterError::InvalidAddress { address: shown_url(api_server), source }
        })?;
        let ca_file = in_cluster::file(folder.as_ref(), "ca.crt")?;
        let token_file = in_cluster::file(folder.as_ref(), "token")?;
        let mut issuer = Self::named(url.shared_text(), Some(url.clone()));
        issuer.api_server = Some(url);
        Ok(issuer.with_pod_files(ca_file, token_file))
    }

    #[cfg(feature = "remote-no-provider")]
    fn with_pod_files(self, ca_file: PathBuf, token_file: PathBuf) -> Self {
        self.with_root_certificates_file(ca_file).with_fetch_bearer_token_file(token_file)
    }

    /// A fetcher of one's own looks after certificates and tokens.
    #[cfg(not(feature = "remote-no-provider"))]
    fn with_pod_files(self, _: PathBuf, _: PathBuf) -> Self {
        self
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

    /// Sets how long the former name of an issuer of [`in_cluster`](Self::in_cluster) stays valid
    /// after a discovery document last named it. Defaults to 24 h, as in OpenShift. With zero it
    /// ends when the API server reports another name.
    ///
    /// Up to 8 names are remembered. Names of [`add_alias`](Self::add_alias) do not end.
    #[must_use]
    pub fn accept_former_names_for(mut self, duration: Duration) -> Self {
        self.former_for = duration;
        self
    }

    fn named(name: Arc<str>, url: Option<IssuerUrl>) -> Self {
        Self {
            name,
            cluster: None,
            user_prefix: None,
            url,
            jwks_uri: None,
            key_set: None,
            key_set_file: None,
            api_server: None,
            aliases: Vec::new(),
            former_for: DEFAULT_FORMER_FOR,
            fetcher: None,
            token_review: None,
            #[cfg(feature = "remote-no-provider")]
            http: HttpSettings::default(),
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

    /// Reads the keys from this URL, without discovery. It must be https; plain http is accepted
    /// on loopback if the issuer itself is plain http on loopback.
    ///
    /// A `kubectl proxy` is therefore no place of keys for other issuers: save them with
    /// `kubectl get --raw /openid/v1/jwks > keys.json`, and use
    /// [`with_key_set_file`](Self::with_key_set_file).
    #[must_use]
    pub fn with_jwks_uri(mut self, jwks_uri: impl Into<String>) -> Self {
        self.jwks_uri = Some(jwks_uri.into());
        self
    }

    /// Reads the keys from a file, such as a mounted `ConfigMap`, which is read again when it
    /// changes: every 10 seconds, and for a `kid` that is not in it. It does not age; while it
    /// cannot be read, or its file system hangs, the last set stays in use, and the log warns.
    #[must_use]
    pub fn with_key_set_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_set_file = Some(path.into());
        self
    }

    /// Uses a key set document that is given, and fetches nothing. It does not age: after a
    /// rotation the verifier has to be built anew.
    #[must_use]
    pub fn with_key_set(mut self, jwks: impl Into<Vec<u8>>) -> Self {
        self.key_set = Some(jwks.into());
        self
    }

    /// Fetches with a fetcher of your own. The other settings for fetching are then its business.
    #[must_use]
    pub fn with_fetcher(mut self, fetcher: impl Fetch) -> Self {
        self.fetcher = Some(Arc::new(fetcher));
        self
    }

    /// The name, as it stands in `iss`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its tokens may have in `iss`, for one verifier: clones share no state.
    pub(crate) fn names(&self, listener: Arc<dyn NameListener>) -> Names {
        if self.api_server.is_some() {
            let learned = LearnedNames::new(self.former_for, listener);
            Names::learned(&self.name, &self.aliases, learned)
        } else {
            Names::configured(&self.name, &self.aliases)
        }
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

    /// Makes the place where the keys of this issuer are.
    pub(crate) fn keys(
        &self,
        allowed: &Arc<[Algorithm]>,
        settings: &Settings,
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
        if let Some(document) = &self.key_set {
            let (keys, skipped) = KeySet::parse(document, allowed, None)?;
            observed.log_skipped(&skipped);
            return Ok(Keys::Fixed(keys));
        }
        let mut settings = settings.clone();
        let source = if let Some(path) = &self.key_set_file {
            settings.max_stale = Duration::MAX;
            Source::File(KeySetFile::new(path.clone()))
        } else {
            self.remote(names, observed)?.into()
        };
        let (observed, allowed) = (Arc::clone(observed), Arc::clone(allowed));
        let cache = KeyCache::new(observed, source, allowed, settings, Arc::clone(clock));
        Ok(Keys::Fetched(cache))
    }

    fn remote(&self, names: &Arc<Names>, observed: &Arc<Observed>) -> Result<Remote, BuildError> {
        let transport = self.url.as_ref().map_or(Transport::Https, IssuerUrl::transport);
        let jwks_uri = self.jwks_uri.as_deref().map(|url| endpoint(transport, url)).transpose()?;
        let fetcher = match &self.fetcher {
            Some(fetcher) => Arc::clone(fetcher),
            None => self.http_fetcher()?,
        };
        if let Some(api_server) = &self.api_server {
            let at = |path| endpoint(transport, &format!("{api_server}{path}"));
            let document = at(DISCOVERY)?;
            let jwks_uri = at(API_SERVER_KEYS)?;
            let (names, observed) = (Arc::clone(names), Arc::clone(observed));
            return Ok(Remote::api_server(&document, jwks_uri, names, observed, fetcher));
        }
        match (jwks_uri, &self.url) {
            (Some(jwks_uri), _) => Ok(Remote::known(jwks_uri, fetcher)),
            (None, Some(url)) => Ok(Remote::discovered(url, Arc::clone(names), fetcher)),
            (None, None) => Err(BuildError::NoFetcher),
        }
    }

    #[cfg(not(feature = "remote-no-provider"))]
    #[expect(clippy::unused_self, reason = "the same call with and without the feature")]
    fn http_fetcher(&self) -> Result<Arc<dyn Fetch>, BuildError> {
        Err(BuildError::NoFetcher)
    }
}

fn endpoint(transport: Transport, text: &str) -> Result<url::Url, BuildError> {
    transport.parse_endpoint(text).map_err(|source| BuildError::url(text, source))
}

impl From<IssuerUrl> for Issuer {
    fn from(url: IssuerUrl) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the bearer token stays out
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .field("jwks_uri", &self.jwks_uri.as_deref().map(shown_url))
            .finish_non_exhaustive()
    }
}
