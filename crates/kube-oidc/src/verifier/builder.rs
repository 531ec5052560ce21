//! [`VerifierBuilder`]: what to expect, checked before there is a verifier.

use std::{
    fmt,
    marker::PhantomData,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    Verifier,
    state::State,
    token_cache::{TokenCache, TokenCacheSettings},
    trusted::TrustedIssuers,
    validation::{API_SERVER_AUDIENCES, Validation},
};
use crate::{
    algorithm::Algorithm,
    claims::{Claims, ServiceAccountClaims},
    clock::{Clock, SystemClock},
    error::BuildError,
    issuer::Issuer,
    keys::cache::KeyCacheSettings,
};

/// A longer leeway needs a method that says `dangerous`.
const MAX_LEEWAY: Duration = Duration::from_secs(300);

/// Makes a [`Verifier`].
#[must_use]
pub struct VerifierBuilder<C: Claims = ServiceAccountClaims> {
    config: Config,
    claims: PhantomData<fn() -> C>,
}

/// The settings of a verifier, which are checked by `build`.
#[derive(Clone)]
struct Config {
    issuers: Vec<Issuer>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    /// Its audiences are set by `build`.
    validation: Validation,
    leeway_limit: Duration,
    settings: KeyCacheSettings,
    token_cache: TokenCacheSettings,
    require_token_review: bool,
    clock: Arc<dyn Clock>,
}

impl VerifierBuilder {
    pub(super) fn new(issuer: Issuer) -> Self {
        Self { config: Config::new(vec![issuer]), claims: PhantomData }
    }
}

impl<C: Claims> VerifierBuilder<C> {
    /// Accepts tokens for this audience, instead of those set before. What
    /// [`dangerous_api_server_audiences`](Self::dangerous_api_server_audiences) accepts stays accepted.
    ///
    /// Choose a name that belongs to this service. Each receiver of a token can replay the token
    /// wherever its audience is accepted.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.audiences([audience])
    }

    /// Accepts tokens for one of these audiences, instead of those set before.
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }

    /// Accepts tokens for this audience as well.
    pub fn add_audience(mut self, audience: impl Into<String>) -> Self {
        self.config.audiences.push(audience.into());
        self
    }

    /// Accepts tokens for the API server as well: for their own issuer, which is the default audience
    /// of a `TokenRequest`, and for [`API_SERVER_AUDIENCES`].
    ///
    /// Such a token is a pod's credential for the API server. Each receiver can use it there, and at
    /// every other service that accepts it.
    pub fn dangerous_api_server_audiences(mut self) -> Self {
        self.config.validation.issuer_is_audience = true;
        self
    }

    /// Refuses tokens that are for others as well: whoever else receives such a token can replay
    /// it here, and this service can replay it there.
    pub fn require_single_audience(mut self) -> Self {
        self.config.validation.require_single_audience = true;
        self
    }

    /// Rejects tokens that are valid for the API server as well: a caller should not hand out the
    /// key to the API server. A token is one of these if an audience is a name of its issuer
    /// (configured, learned, or former), or a name that
    /// [`is_api_server_audience`](crate::is_api_server_audience) knows, or if the token has
    /// `warnafter`, which no other token has. Other names of an API server (`--api-audiences`) are
    /// not recognized.
    pub fn reject_api_server_audiences(mut self) -> Self {
        self.config.validation.reject_api_server_audiences = true;
        self
    }

    /// Refuses tokens that should have been replaced by now.
    ///
    /// A kubelet that asks for a pod's default token, for an hour, gets one that is good for a year
    /// from an API server with `--service-account-extend-token-expiration`, which is its default;
    /// what was asked for is in `warnafter`. Without this a token is accepted after that, logged, and counted:
    /// [`IssuerStatus::past_warn_after`](crate::IssuerStatus::past_warn_after). A caller that
    /// uses one does not read its token file again.
    pub fn reject_past_warn_after(mut self) -> Self {
        self.config.validation.reject_past_warn_after = true;
        self
    }

    /// Accepts tokens that are bound to a key of their sender, without a proof of that key.
    ///
    /// A token with the claim `cnf` ([RFC 7800]) demands such a proof: a client certificate
    /// ([RFC 8705]) or a `DPoP` header ([RFC 9449]). This crate verifies neither, so it rejects the
    /// token as [`Reason::SenderConstrained`](crate::Reason::SenderConstrained). Without the proof,
    /// a stolen token is as good as the caller's own.
    ///
    /// This setting is for services behind a gateway that verifies the proof of each request. The
    /// service must not be reachable by another way. A `cnf` that is not an object is always rejected.
    ///
    /// [RFC 7800]: https://www.rfc-editor.org/rfc/rfc7800
    /// [RFC 8705]: https://www.rfc-editor.org/rfc/rfc8705#section-3
    /// [RFC 9449]: https://www.rfc-editor.org/rfc/rfc9449#section-7
    pub fn dangerous_accept_sender_constrained_tokens(mut self) -> Self {
        self.config.validation.accept_sender_constrained = true;
        self
    }

    /// Refuses tokens that were issued longer ago than this, by `iat`, however long they are good.
    /// One without `iat` is refused too.
    pub fn max_token_age(mut self, age: Duration) -> Self {
        self.config.validation.max_age = Some(age);
        self
    }

    /// Refuses tokens that are good for longer than this from `iat` to `exp`, from their first
    /// second on. One without `iat` is refused too. A year and some minutes is what an API server
    /// extends lifetimes to.
    pub fn max_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.validation.max_lifetime = Some(lifetime);
        self
    }

    /// Trusts one more issuer, with the same expectations. Its tokens are checked with its own
    /// keys only. Each issuer then needs the name of its cluster: [`Issuer::with_cluster`].
    ///
    /// ```
    /// use kube_oidc::{Issuer, Verifier};
    ///
    /// let blue = Issuer::new("https://blue.example".parse()?).with_cluster("blue");
    /// let green = Issuer::new("https://green.example".parse()?).with_cluster("green");
    /// let verifier = Verifier::builder(blue).add_issuer(green).audience("orders").build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Clusters may share the name of their issuer, as those do that were set up with
    /// `https://kubernetes.default.svc.cluster.local`. Then a token is of the cluster whose key
    /// signed it, so each needs a place of its own to read keys from. Tokens of a key that two of
    /// them list are rejected, and the log warns; so configure a shared name only for clusters that
    /// trust each other with that. A name that [`Issuer::in_cluster`] learns does not count against
    /// a configured one: a key that both clusters list signs for the cluster that is configured with
    /// the name.
    ///
    /// ```
    /// use kube_oidc::{Issuer, IssuerUrl, KeySource, Verifier};
    ///
    /// let shared: IssuerUrl = "https://kubernetes.default.svc.cluster.local".parse()?;
    /// let cluster = |name: &'static str| {
    ///     let keys = KeySource::jwks(format!("https://{name}.example:6443/openid/v1/jwks"));
    ///     Issuer::with_key_source(shared.clone(), keys).with_cluster(name)
    /// };
    /// let verifier = Verifier::builder(cluster("blue"))
    ///     .add_issuer(cluster("green"))
    ///     .audience("orders")
    ///     .build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_issuer(mut self, issuer: impl Into<Issuer>) -> Self {
        self.config.issuers.push(issuer.into());
        self
    }

    /// Reads claims of another type: see [`Verifier`], and [`Claims`] for the requirements on
    /// registered claims.
    pub fn claims<D: Claims>(self) -> VerifierBuilder<D> {
        VerifierBuilder { config: self.config, claims: PhantomData }
    }

    /// Allows these signature algorithms only. By default all of [`Algorithm`] are, each where
    /// the key permits it.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.config.algorithms = algorithms.into_iter().collect();
        self
    }

    /// How far the clocks of issuer and verifier may differ: 60 s unless set, as the API server
    /// has it from go-jose; at most 5 min.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.config.validation.leeway = leeway;
        self.config.leeway_limit = MAX_LEEWAY;
        self
    }

    /// A leeway without a limit: an expired token is accepted for as long.
    pub fn dangerous_leeway(mut self, leeway: Duration) -> Self {
        self.config.validation.leeway = leeway;
        self.config.leeway_limit = Duration::MAX;
        self
    }

    /// Requires this `typ`, such as `at+jwt` ([RFC 9068]). By default, `typ` may be absent or `JWT`, as
    /// in Kubernetes, and every other type is rejected.
    ///
    /// [RFC 9068]: https://www.rfc-editor.org/rfc/rfc9068#section-2.1
    pub fn token_type(mut self, typ: impl Into<String>) -> Self {
        self.config.validation.token_types.clear();
        self.add_token_type(typ)
    }

    /// Accepts this `typ` as well, as while an issuer changes its type. `JWT` also stands for an absent
    /// `typ`.
    pub fn add_token_type(mut self, typ: impl Into<String>) -> Self {
        self.config.validation.token_types.push(typ.into());
        self
    }

    /// Sets how long one key fetch takes to come back into the budget of an issuer. Defaults to
    /// 10 s; 100 ms to 1 h.
    ///
    /// The budget holds three fetches, and each fetch takes one: for an unknown key, for a signature
    /// that fails under a known one, after a failure, or as a refresh. So whatever callers send, an
    /// issuer gets at most five fetches in any three cooldowns and one per cooldown on average.
    /// Refreshes that your settings make more frequent come on top.
    ///
    /// A new key is found by its first token, even beside callers of another cluster whose tokens
    /// have unknown keys. With endless different unknown keys, it is found after one cooldown, and
    /// until then its tokens are rejected (401). Tokens of cached keys wait for no fetch.
    ///
    /// A signature that fails under a known `kid`, a `kid` that is known for another algorithm only,
    /// and a token without `kid` that no key or the only fitting key verifies may mean a rotation as
    /// well. Such tokens start at most one fetch per cooldown together, and never the last one of the
    /// budget. Without a newer key set, they are rejected by the cached one (401).
    ///
    /// Without usable keys, a longer cooldown than 10 s counts as 10 s.
    pub fn unknown_kid_cooldown(mut self, cooldown: Duration) -> Self {
        self.config.settings.unknown_kid_cooldown = Some(cooldown);
        self
    }

    /// Removes the budget of [`unknown_kid_cooldown`](Self::unknown_kid_cooldown): every unknown
    /// key starts a fetch, so a caller that sends junk makes this service load its issuer without a
    /// pause. For tests that rotate keys.
    pub fn dangerous_no_unknown_kid_cooldown(mut self) -> Self {
        self.config.settings.unknown_kid_cooldown = None;
        self
    }

    /// Sets the time for a fetch of discovery document and key set together.
    ///
    /// Defaults to 5 s, as in panva's `jose`. The range is 100 ms to 1 h. A request waits no longer
    /// for a fetch.
    ///
    /// A document that is read again gets half of the time, so that a document that hangs leaves the
    /// rest to the key set. If the key set runs out of time behind a document, the next fetch reads the
    /// key set first. An issuer that needs most of the time for each of the two is therefore ready
    /// after the second fetch. For a slow issuer, set a longer time.
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.config.settings.fetch_timeout = timeout;
        self
    }

    /// The shortest lifetime of a key set, whatever its issuer says: 60 s unless set, at
    /// least 100 ms. Issuers that forbid caching (`no-store`, `max-age=0`) still throttle: EKS
    /// answers 429 and asks its callers to cache.
    pub fn min_key_set_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.settings.freshness.min = lifetime;
        self
    }

    /// The lifetime of a key set whose issuer says nothing about it: 10 min unless set, as panva's
    /// `jose` and Envoy have it.
    pub fn default_key_set_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.settings.freshness.default = lifetime;
        self
    }

    /// At which part of its lifetime a key set is refreshed in the background: somewhere within
    /// 0.75 to 0.85 unless set, each time anew, so that a fleet does not knock at once: the width
    /// is the jitter, and 0.2 of an hour is room for a dozen retries before the set is stale.
    /// Within 0.1 to 0.95.
    pub fn refresh_at_fraction(mut self, part: RangeInclusive<f64>) -> Self {
        self.config.settings.refresh_at_fraction = part;
        self
    }

    /// Sets the first and the last step of the backoff after failed fetches. Defaults to 1 s to
    /// 60 s; 100 ms to 1 h.
    ///
    /// Steps double, and a retry comes somewhere within its step, at the earliest after 100 ms
    /// ("full jitter" of AWS's architecture blog). While callers wait, because no keys are usable or
    /// a token needs an unknown key, a step is at most 10 s. A `Retry-After` is honored beyond that:
    /// up to an hour, and up to a minute without usable keys. Retries also keep the budget of
    /// [`unknown_kid_cooldown`](Self::unknown_kid_cooldown).
    pub fn backoff(mut self, steps: RangeInclusive<Duration>) -> Self {
        self.config.settings.backoff = steps;
        self
    }

    /// The longest lifetime of a key set, whatever its issuer says: 1 h unless set, at most
    /// 24 h. EKS has sent `max-age=604800`, and those who obeyed it failed after a rotation. While its
    /// issuer answers, a key that was removed from the set is rejected after this time at the latest;
    /// while it does not, see [`max_stale`](Self::max_stale).
    pub fn max_key_set_lifetime(mut self, lifetime: Duration) -> Self {
        self.config.settings.freshness.max = lifetime;
        self
    }

    /// How long past its lifetime a key set is used while its issuer does not answer: 24 h unless
    /// set, as long as AKS keeps an old key; at most 30 days.
    pub fn max_stale(mut self, max_stale: Duration) -> Self {
        self.config.settings.max_stale = max_stale;
        self
    }

    /// How many verified tokens are remembered, so that their signatures need not be checked again
    /// when they come again: 10,000 unless set, and `0` for none.
    ///
    /// What is remembered is the token and its claims, for 10 minutes and never past the token's
    /// end, and it counts only while its key is in its issuer's set. Memory holds it until others
    /// push it out, or the verifier is dropped: who can read the memory of this process finds
    /// tokens there, expired ones too. With [`token_cache_digests`](Self::token_cache_digests) it
    /// finds none.
    pub fn token_cache(mut self, tokens: usize) -> Self {
        self.config.token_cache.entries = tokens;
        self
    }

    /// Sets how much memory cached tokens may take, in bytes, at least 64 KiB. Defaults to 32 MiB.
    ///
    /// A token takes about 2 KiB. The memory of custom claims is estimated as that of a
    /// `serde_json::Value`, which needs up to 100 bytes for each byte of a payload.
    pub fn token_cache_bytes(mut self, bytes: usize) -> Self {
        self.config.token_cache.bytes = bytes;
        self
    }

    /// Remembers SHA-256 digests of tokens, and not the tokens. A hit costs somewhat more, the
    /// digest, and less memory.
    pub fn token_cache_digests(mut self) -> Self {
        self.config.token_cache.digests = true;
        self
    }

    /// Asks the API server about every token that passes the other checks, as far as its last answer
    /// is not too old: see [`token_review`](crate::token_review). Each issuer then needs somebody
    /// to ask: [`Issuer::with_token_review`].
    ///
    /// A request whose token was not asked for lately waits for the answer. Where that is too much
    /// for every route, single ones can demand it.
    pub fn require_token_review(mut self) -> Self {
        self.config.require_token_review = true;
        self
    }

    /// Reads the time from another clock: for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.config.clock = Arc::new(clock);
        self
    }

    /// Checks the settings and builds the verifier. Nothing is fetched.
    ///
    /// # Errors
    ///
    /// Every invalid setting, and of each issuer the first: see [`BuildError`].
    pub fn build(self) -> Result<Verifier<C>, BuildError> {
        let Self { mut config, .. } = self;
        let mut faults: Vec<BuildError> = config.faults().collect();
        let issuers = std::mem::take(&mut config.issuers);
        let state = config.into_state();
        let mut trusted = Vec::with_capacity(issuers.len());
        for issuer in &issuers {
            match state.trust(issuer) {
                Ok(issuer) => trusted.push(Arc::new(issuer)),
                Err(fault) => faults.push(fault),
            }
        }
        match TrustedIssuers::new(trusted) {
            Ok(issuers) => state.issuers.store(Arc::new(issuers)),
            Err(fault) => faults.push(fault),
        }
        BuildError::all(faults)?;
        Ok(Verifier { state: Arc::new(state) })
    }
}

impl Config {
    fn new(issuers: Vec<Issuer>) -> Self {
        Self {
            issuers,
            audiences: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            validation: Validation::default(),
            leeway_limit: MAX_LEEWAY,
            settings: KeyCacheSettings::default(),
            token_cache: TokenCacheSettings::default(),
            require_token_review: false,
            clock: Arc::new(SystemClock),
        }
    }

    fn faults(&self) -> impl Iterator<Item = BuildError> {
        let Validation { leeway, max_age, max_lifetime, issuer_is_audience, .. } = self.validation;
        let is_blank = |audience: &String| audience.trim().is_empty();
        let is_short = |limit: Option<Duration>| limit.is_some_and(|limit| limit.as_secs() < 1);
        let out_of_range = |name, range| BuildError::DurationOutOfRange { name, range };
        let faults = [
            (self.audiences.is_empty() && !issuer_is_audience).then_some(BuildError::NoAudience),
            self.audiences.iter().any(is_blank).then_some(BuildError::EmptyAudience),
            self.algorithms.is_empty().then_some(BuildError::NoAlgorithm),
            (leeway > self.leeway_limit)
                .then(|| out_of_range("leeway", "at most 5 min; dangerous_leeway has no limit")),
            is_short(max_age).then(|| out_of_range("max_token_age", "at least 1 s")),
            is_short(max_lifetime).then(|| out_of_range("max_token_lifetime", "at least 1 s")),
            self.token_cache.check().err(),
        ];
        faults.into_iter().flatten().chain(self.settings.faults())
    }

    /// The state of a verifier without issuers.
    fn into_state<C: Claims>(self) -> State<C> {
        let mut audiences = self.audiences;
        if self.validation.issuer_is_audience {
            audiences.extend(API_SERVER_AUDIENCES.map(str::to_owned));
        }
        State {
            issuers: ArcSwap::default(),
            changing: Mutex::default(),
            settings: self.settings,
            allowed: self.algorithms.into(),
            validation: Validation { audiences: audiences.into(), ..self.validation },
            denylist: Arc::default(),
            tokens: TokenCache::new(&self.token_cache),
            require_token_review: self.require_token_review,
            clock: self.clock,
        }
    }
}

impl Verifier {
    /// Creates a verifier for one cluster that accepts the default audience of its tokens: the issuer.
    ///
    /// Each receiver of such a token can replay it to the API server, and to every other service that
    /// accepts the default audience. [`builder`](Self::builder) sets an audience of the service. All
    /// other settings are the defaults of [`VerifierBuilder`]. Nothing is fetched.
    #[cfg(feature = "remote-no-provider")]
    #[must_use]
    pub fn dangerous_default_audience(issuer: &crate::issuer_name::IssuerUrl) -> Self {
        let mut config = Config::new(Vec::new());
        config.audiences = vec![issuer.as_str().to_owned()];
        let state = config.into_state();
        let trusted = super::trusted::TrustedIssuer::discovered(
            issuer,
            &state.allowed,
            &state.settings,
            &state.clock,
        );
        state.issuers.store(Arc::new(TrustedIssuers::one(trusted)));
        Self { state: Arc::new(state) }
    }
}

impl<C: Claims> Clone for VerifierBuilder<C> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), claims: PhantomData }
    }
}

impl<C: Claims> fmt::Debug for VerifierBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifierBuilder")
            .field("issuers", &self.config.issuers)
            .field("audiences", &self.config.audiences)
            .field("algorithms", &self.config.algorithms)
            .finish_non_exhaustive()
    }
}
