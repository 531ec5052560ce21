//! [`Verifier`]: token in, claims out.

mod builder;
mod denylist;
mod explain;
pub mod explanation;
mod judge;
mod readiness;
mod review;
mod standing;
#[cfg(test)]
mod tests;
mod token_cache;
mod trusted;
mod validation;
mod waiting;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

pub use self::{
    builder::VerifierBuilder,
    readiness::{Readiness, ReadinessError},
    validation::{API_SERVER_AUDIENCES, is_api_server_audience},
};
use self::{
    denylist::Denylist,
    explanation::Explanation,
    token_cache::TokenCache,
    trusted::{TrustedIssuer, TrustedIssuers},
    validation::Validation,
    waiting::next_of,
};
use crate::{
    algorithm::Algorithm,
    claims::{Claims, ServiceAccountClaims},
    clock::{Clock, Moment},
    error::{BuildError, InvalidToken, KeysUnavailable, VerifyError},
    issuer::Issuer,
    issuer_name::IssuerId,
    keys::cache::{KeyCache, Settings},
    observe::status::IssuerStatus,
    verified::Verified,
};

/// Checks tokens, with the public keys of their issuers.
///
/// Cloning it makes another handle to the same keys. It can live in a `static`, be shared by many
/// layers, and be used from several tokio runtimes; it fetches nothing before its first use, and
/// stops refreshing when the last handle is dropped. Fetching needs a tokio runtime with time and
/// I/O enabled, as `#[tokio::main]` makes it; tokens whose keys are known can be checked anywhere.
///
/// ```
/// use kube_oidc::{IssuerUrl, Verifier};
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{}/{}", caller.namespace(), caller.service_account().name());
/// # Ok(())
/// # }
/// ```
///
/// With claims of your own, for issuers that are no clusters:
///
/// ```
/// use kube_oidc::{Issuer, Verifier};
///
/// #[derive(serde::Deserialize)]
/// struct WorkerClaims {
///     client_id: String,
/// }
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = Issuer::new("https://auth.pingone.eu/11111111/as".parse()?);
/// let verifier = Verifier::builder(issuer).claims::<WorkerClaims>().audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{} until {:?}", caller.client_id, caller.registered().expires_at());
/// # Ok(())
/// # }
/// ```
pub struct Verifier<C: Claims = ServiceAccountClaims> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Claims> {
    issuers: ArcSwap<TrustedIssuers>,
    /// Held while the list of issuers is changed.
    changing: Mutex<()>,
    settings: Settings,
    allowed: Arc<[Algorithm]>,
    validation: Validation,
    denylist: Arc<Denylist>,
    tokens: TokenCache<C>,
    require_token_review: bool,
    clock: Arc<dyn Clock>,
}

impl Verifier<ServiceAccountClaims> {
    /// Begins a verifier of Kubernetes `ServiceAccount` tokens of one cluster, by its
    /// [`IssuerUrl`](crate::IssuerUrl) or an [`Issuer`].
    ///
    /// An audience has to be given. Every name that the issuer signs is taken for one of the
    /// cluster's service accounts, so trust only a cluster with it.
    pub fn builder(issuer: impl Into<Issuer>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }
}

impl<C: Claims> Verifier<C> {
    /// Checks a token, and waits for keys if it has to: at most as long as a fetch may take.
    ///
    /// A token that was verified before is remembered, and costs a hundredth of a signature check
    /// when it comes again: see [`VerifierBuilder::token_cache`].
    ///
    /// # Errors
    ///
    /// [`VerifyError::Invalid`] for a bad token, [`VerifyError::Unavailable`] for one that needs
    /// keys which are not here.
    ///
    /// # Panics
    ///
    /// Where it has to wait in a tokio runtime that was built without time (`enable_time`), as
    /// every timer of tokio does. Outside a runtime it does not panic.
    pub async fn verify(&self, token: impl AsRef<[u8]>) -> Result<Verified<C>, VerifyError> {
        let token = token.as_ref();
        if self.inner.require_token_review {
            return self.verify_with_review(token).await;
        }
        self.inner.verify_offline(token).await
    }

    /// Verifies a token with the cached keys, without waiting.
    ///
    /// `None` means that the verdict needs keys that are not cached: call [`verify`](Self::verify).
    /// This call waits for no fetch, but a key set that is overdue is refreshed in the background.
    #[must_use = "a token counts only if the verdict is looked at"]
    pub fn verify_with_cached_keys(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        if self.inner.require_token_review {
            return self.verify_with_cached_review(token);
        }
        ready(self.inner.verify_offline_now(token.as_ref()))
    }

    /// Checks a token, and asks the API server whether it still counts, as far as its last answer
    /// is too old: see [`token_review`](crate::token_review). For the few calls that deserve it;
    /// [`VerifierBuilder::require_token_review`] makes [`verify`](Self::verify) do the same.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](Self::verify); [`InvalidToken::NoReviewer`](crate::InvalidToken::NoReviewer)
    /// where the token's issuer has nobody to ask, and [`VerifyError::ReviewUnavailable`] where the
    /// API server does not answer.
    ///
    /// # Panics
    ///
    /// As [`verify`](Self::verify), in a runtime without time.
    pub async fn verify_with_review(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Result<Verified<C>, VerifyError> {
        let token = token.as_ref();
        let verified = self.inner.verify_offline(token).await?;
        if let Poll::Ready(verdict) = self.inner.review_now(token, &verified) {
            return verdict.map(|()| verified);
        }
        self.inner.review(token, &verified).await?;
        if self.time_left(&verified).is_zero() {
            // it expired, or was taken back, while the API server was asked
            self.inner.verify_offline(token).await?;
            // an issuer that was added again in the meantime has been asked nothing
            return Err(InvalidToken::UnknownIssuer.into());
        }
        Ok(verified)
    }

    /// Verifies a token with the cached keys and the cached result of its review, without waiting.
    ///
    /// `None` means that the verdict needs keys that are not cached, or a call to the API server:
    /// call [`verify_with_review`](Self::verify_with_review).
    #[must_use = "a token counts only if the verdict is looked at"]
    pub fn verify_with_cached_review(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        let token = token.as_ref();
        ready(match self.inner.verify_offline_now(token) {
            Poll::Ready(Ok(verified)) => {
                self.inner.review_now(token, &verified).map_ok(|()| verified)
            }
            other => other,
        })
    }

    /// Whether [`verify_with_review`](Self::verify_with_review) has an API server to ask about a caller's
    /// token.
    #[must_use]
    pub fn can_review(&self, caller: &Verified<C>) -> bool {
        caller.basis().is_some_and(|basis| basis.reviewable)
    }

    /// Says what this verifier makes of a token with the keys that are here, check by check: what
    /// stands there, what was expected, and what to do about it. For an operator who wants to know
    /// why a token is refused; never for callers.
    ///
    /// Nothing is fetched for it, counted or remembered, and no API server is asked. It checks every
    /// signature anew.
    ///
    /// ```
    /// # use kube_oidc::Verifier;
    /// # fn f(verifier: Verifier, token: &str) {
    /// println!("{}", verifier.explain(token));
    /// // format     ok       RS256, no typ
    /// // issuer     ok       "https://issuer.example"
    /// // key        ok       kid "5d0c" of the cluster "blue"
    /// // signature  ok       by this key, RS256
    /// // expiry     FAILED   it expired 2 h 4 min ago (leeway 1 min): the caller should read its …
    /// # }
    /// ```
    #[must_use]
    pub fn explain(&self, token: impl AsRef<[u8]>) -> Explanation {
        self.inner.explain(token.as_ref(), Moment::now(&*self.inner.clock))
    }

    /// The audiences of which a token must have one.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.inner.validation.audiences.iter().map(String::as_str)
    }

    /// How the keys of each issuer are, in the order in which the issuers were given.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = Moment::now(&*self.inner.clock);
        self.inner.issuers.load().iter().map(|issuer| issuer.status(now)).collect()
    }

    /// Returns `true` if the keys of at least one issuer are available, fresh or stale: for a
    /// readiness probe.
    ///
    /// In a tokio runtime, the first call starts the first fetch of each issuer, and a key set that is
    /// overdue is refreshed in the background. Later calls start no fetch that the timer would not
    /// start: a failed fetch is retried with the backoff, however often a probe comes. A service that
    /// is asked late calls [`warm_up`](Self::warm_up) when it starts.
    /// [`Readiness`](crate::Readiness) can wait for particular issuers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // all of them, so that each issuer without keys gets its fetch
        let issuers = self.inner.issuers.load();
        issuers.iter().filter(|issuer| self.has_keys_of(issuer)).count() > 0
    }

    fn has_keys_of(&self, issuer: &TrustedIssuer) -> bool {
        let now = Moment::now(&*self.inner.clock);
        let has_keys = issuer.keys.with_current(now, |keys| keys.is_some());
        if !has_keys && let Some(cache) = issuer.keys.cache() {
            cache.probe();
        }
        has_keys
    }

    /// Whether keys of one of these issuers are here, or none of them is trusted any more.
    pub(crate) fn has_keys_of_one(&self, ids: &[IssuerId]) -> bool {
        let issuers = self.inner.issuers.load();
        let mut trusted = ids.iter().filter_map(|id| issuers.by_id(*id)).peekable();
        trusted.peek().is_none() || trusted.any(|issuer| self.has_keys_of(issuer))
    }

    /// The issuers, each with the name of its cluster.
    pub(crate) fn issuer_ids(&self) -> impl Iterator<Item = (IssuerId, Option<Arc<str>>)> {
        let issuers = self.inner.issuers.load();
        let ids: Vec<_> =
            issuers.iter().map(|issuer| (issuer.id, issuer.cluster.clone())).collect();
        ids.into_iter()
    }

    /// Returns how long from now on a caller's token would be accepted, as far as is known now:
    /// until its expiry and the leeway are over, or its issuer's former name ends. Zero at once
    /// where [`verify`](Self::verify) would reject the token: its issuer, its key, or the issuer's
    /// name is not trusted any more, or its `jti` is denied. While no key of the issuer may be
    /// used, the last known key set decides.
    #[must_use]
    pub fn time_left(&self, caller: &Verified<C>) -> Duration {
        self.inner.time_left(caller, Moment::now(&*self.inner.clock))
    }

    /// Begins to fetch the keys of every issuer, and does not wait for them. It is never needed;
    /// the first request then finds them here. Outside a tokio runtime it does nothing.
    pub fn warm_up(&self) {
        if let Ok(runtime) = Handle::try_current() {
            for cache in self.caches() {
                runtime.spawn(async move { cache.wait_for(None, |_| true).await.map(|_| ()) });
            }
        }
    }

    /// Waits until the keys of at least one issuer are here, however long that takes: for a gate
    /// at start, which is never needed.
    pub async fn ready(&self) {
        if self.is_ready() {
            return;
        }
        let caches = self.caches();
        next_of(&mut caches.iter().map(|cache| Box::pin(cache.ready())).collect()).await;
    }

    /// Fetches the keys of every issuer now, and waits for them.
    ///
    /// A key that an issuer no longer lists is rejected from then on. Where several API servers or a
    /// caching proxy answer for one issuer, one of them may still list a removed key:
    /// [`distrust_key`](Self::distrust_key) does not depend on that. The budget of fetches and the
    /// backoff do not count. A `Retry-After` of an issuer is honored.
    ///
    /// # Errors
    ///
    /// The keys of an issuer could not be fetched. Those of the others were, and the last good
    /// ones of this one stay in use.
    pub async fn refresh_keys(&self) -> Result<(), KeysUnavailable> {
        let caches = self.caches();
        let mut refreshes =
            caches.iter().map(|cache| Box::pin(cache.refresh())).collect::<Vec<_>>();
        let mut result = Ok(());
        while !refreshes.is_empty() {
            result = result.and(next_of(&mut refreshes).await);
        }
        result
    }

    /// Refuses every token that a key of an issuer signed, from now on and for as long as this
    /// verifier lives, whatever its issuer says: for a key that leaked. The issuer may be one that
    /// is added or whose name is learned later.
    ///
    /// A key that its issuer lists under several names, or under a name and without one, is distrusted
    /// under all of them for as long as the key set has the distrusted name. A key without any name
    /// cannot be distrusted.
    ///
    /// Needs no fetch. It is needed beside the removal of a leaked key where an API server of several,
    /// or a cache, may list the key again.
    pub fn distrust_key(&self, issuer: &str, kid: &str) {
        let denylist = &self.inner.denylist;
        // first by the name, so that an issuer which learns it meanwhile finds it
        denylist.distrust_key(issuer, kid);
        // a learned name may be forgotten, and the label never is
        for known in self.inner.issuers.load().iter() {
            if known.names.ever_answered_to(issuer) {
                denylist.distrust_key(known.names.label(), kid);
            }
        }
    }

    /// Trusts one more issuer from now on: see [`VerifierBuilder::issuer`]. Its keys are fetched
    /// when they are needed, and whether they are available does not affect the others. The exception
    /// is a cluster whose API server reports the name that this issuer is configured with: its tokens
    /// wait for the first answer of this issuer, be it an error.
    ///
    /// # Errors
    ///
    /// Its settings cannot work, it is there already, or the names of clusters are missing.
    pub fn add_issuer(&self, issuer: impl Into<Issuer>) -> Result<(), BuildError> {
        let inner = &*self.inner;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let more = inner.issuers.load().with(TrustedIssuer::new(&issuer.into(), inner)?)?;
        inner.issuers.store(Arc::new(more));
        Ok(())
    }

    /// Trusts an issuer no more: its tokens are refused from now on, and its keys are forgotten.
    /// Where clusters share the name, it ends for all of them: see
    /// [`remove_cluster`](Self::remove_cluster). `false`: it was not there.
    #[must_use = "it says whether the issuer was there"]
    pub fn remove_issuer(&self, name: &str) -> bool {
        let now = Moment::now(&*self.inner.clock);
        self.remove(|issuer| issuer.names.answer_to(name, now))
    }

    /// Trusts a cluster no more, by the operator's name for it: all of its issuers are removed.
    /// `false`: there were none.
    #[must_use = "it says whether the cluster was there"]
    pub fn remove_cluster(&self, name: &str) -> bool {
        self.remove(|issuer| issuer.cluster.as_deref() == Some(name))
    }

    fn remove(&self, is_meant: impl Fn(&TrustedIssuer) -> bool) -> bool {
        let inner = &*self.inner;
        let _changing = inner.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let others = inner.issuers.load().without(is_meant);
        let found = others.is_some();
        if let Some(others) = others {
            inner.issuers.store(Arc::new(others));
        }
        found
    }

    /// Refuses the token of this `jti`, from now on and for as long as this verifier lives: for a
    /// token that leaked.
    pub fn deny_jti(&self, jti: &str) {
        self.inner.denylist.deny_jti(jti);
    }

    /// Shows how the keys of each issuer are now, and how many tokens are remembered, to the
    /// recorder of the `metrics` crate: gauges, which somebody has to read off. Call it before each
    /// scrape, or every few seconds. What is counted needs no call, but is shown by it before it
    /// happened for the first time: with 0, so that the first time is seen as a change.
    ///
    /// The gauges of an issuer that is removed become `NaN`. Install the recorder before the
    /// verifier is used: counters that counted without one go on without.
    #[cfg(feature = "metrics")]
    pub fn record_metrics(&self) {
        let now = Moment::now(&*self.inner.clock);
        for issuer in self.inner.issuers.load().iter() {
            let (fetches, reviews) = (issuer.keys.cache().is_some(), issuer.answers.is_some());
            issuer.observed.meter.record(&issuer.status(now), fetches, reviews);
        }
        self.inner.tokens.meter.record(self.inner.tokens.len());
    }

    fn caches(&self) -> Vec<KeyCache> {
        let issuers = self.inner.issuers.load();
        issuers.iter().filter_map(|issuer| issuer.keys.cache().cloned()).collect()
    }
}

impl<C: Claims> Clone for Verifier<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

fn ready<T>(verdict: Poll<T>) -> Option<T> {
    match verdict {
        Poll::Ready(verdict) => Some(verdict),
        Poll::Pending => None,
    }
}

impl<C: Claims> fmt::Debug for Verifier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.inner.issuers.load();
        let issuers: Vec<&str> = issuers.iter().map(|issuer| &**issuer.names.label()).collect();
        f.debug_struct("Verifier")
            .field("issuers", &issuers)
            .field("audiences", &self.inner.validation.audiences)
            .finish_non_exhaustive()
    }
}
