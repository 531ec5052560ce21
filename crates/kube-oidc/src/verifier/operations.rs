//! Operations on a running verifier: status, refresh, and changes to what is trusted.

use std::sync::{Arc, PoisonError};

use tokio::runtime::Handle;

use super::{Verifier, select::next_of, trusted::TrustedIssuer};
use crate::{
    claims::Claims,
    error::{BuildError, KeysUnavailable},
    issuer::Issuer,
    issuer_name::IssuerId,
    keys::cache::KeyCache,
    observe::status::IssuerStatus,
};

impl<C: Claims> Verifier<C> {
    /// How the keys of each issuer are, in the order in which the issuers were given.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        let now = self.state.now();
        self.state.issuers.load().iter().map(|issuer| issuer.status(now)).collect()
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
        let issuers = self.state.issuers.load();
        issuers.iter().filter(|issuer| self.has_keys_of(issuer)).count() > 0
    }

    fn has_keys_of(&self, issuer: &TrustedIssuer) -> bool {
        let now = self.state.now();
        let has_keys = issuer.keys.with_current(now, |keys| keys.is_some());
        if !has_keys && let Some(cache) = issuer.keys.cache() {
            cache.probe();
        }
        has_keys
    }

    /// Whether keys of one of these issuers are here, or none of them is trusted any more.
    pub(crate) fn has_keys_of_one(&self, ids: &[IssuerId]) -> bool {
        let issuers = self.state.issuers.load();
        let mut trusted = ids.iter().filter_map(|id| issuers.by_id(*id)).peekable();
        trusted.peek().is_none() || trusted.any(|issuer| self.has_keys_of(issuer))
    }

    /// The issuers, each with the name of its cluster.
    pub(crate) fn issuer_ids(&self) -> impl Iterator<Item = (IssuerId, Option<Arc<str>>)> {
        let issuers = self.state.issuers.load();
        let ids: Vec<_> =
            issuers.iter().map(|issuer| (issuer.id, issuer.cluster.clone())).collect();
        ids.into_iter()
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
        let denylist = &self.state.denylist;
        // first by the name, so that an issuer which learns it meanwhile finds it
        denylist.distrust_key(issuer, kid);
        // a learned name may be forgotten, and the label never is
        for known in self.state.issuers.load().iter() {
            if known.names.ever_answered_to(issuer) {
                denylist.distrust_key(known.names.label(), kid);
            }
        }
    }

    /// Trusts one more issuer from now on: see
    /// [`VerifierBuilder::add_issuer`](crate::VerifierBuilder::add_issuer). Its keys are fetched when
    /// they are needed, and whether they are available does not affect the others. The exception
    /// is a cluster whose API server reports the name that this issuer is configured with: its tokens
    /// wait for the first answer of this issuer, be it an error.
    ///
    /// # Errors
    ///
    /// Its settings cannot work, it is there already, or the names of clusters are missing.
    pub fn add_issuer(&self, issuer: impl Into<Issuer>) -> Result<(), BuildError> {
        let _changing = self.state.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let issuer = self.state.trust(&issuer.into())?;
        let more = self.state.issuers.load().with(issuer)?;
        self.state.issuers.store(Arc::new(more));
        Ok(())
    }

    /// Trusts an issuer no more: its tokens are refused from now on, and its keys are forgotten.
    /// Where clusters share the name, it ends for all of them: see
    /// [`remove_cluster`](Self::remove_cluster). `false`: it was not there.
    #[must_use = "it says whether the issuer was there"]
    pub fn remove_issuer(&self, name: &str) -> bool {
        let now = self.state.now();
        self.remove(|issuer| issuer.names.answer_to(name, now))
    }

    /// Trusts a cluster no more, by the operator's name for it: all of its issuers are removed.
    /// `false`: there were none.
    #[must_use = "it says whether the cluster was there"]
    pub fn remove_cluster(&self, name: &str) -> bool {
        self.remove(|issuer| issuer.cluster.as_deref() == Some(name))
    }

    fn remove(&self, is_meant: impl Fn(&TrustedIssuer) -> bool) -> bool {
        let _changing = self.state.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let others = self.state.issuers.load().without(is_meant);
        let found = others.is_some();
        if let Some(others) = others {
            self.state.issuers.store(Arc::new(others));
        }
        found
    }

    /// Refuses the token of this `jti`, from now on and for as long as this verifier lives: for a
    /// token that leaked.
    pub fn deny_jti(&self, jti: &str) {
        self.state.denylist.deny_jti(jti);
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
        let now = self.state.now();
        for issuer in self.state.issuers.load().iter() {
            let (fetches, reviews) = (issuer.keys.cache().is_some(), issuer.answers.is_some());
            issuer.observed.meter.record(&issuer.status(now), fetches, reviews);
        }
        self.state.tokens.meter.record(self.state.tokens.len());
    }

    fn caches(&self) -> Vec<KeyCache> {
        let issuers = self.state.issuers.load();
        issuers.iter().filter_map(|issuer| issuer.keys.cache().cloned()).collect()
    }
}
