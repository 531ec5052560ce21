//! The issuers that a verifier trusts.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use super::denylist::Denylist;
use crate::{
    algorithm::Algorithm,
    clock::{Clock, Moment},
    error::BuildError,
    issuer::{Issuer, KeyPlace},
    issuer_name::{Claim, Held, IssuerId, Names, in_cluster::is_own_api_server},
    keys::{
        Keys,
        cache::KeyCacheSettings,
        set::{Key, KeySet},
    },
    observe::{
        Observed,
        display::Shown,
        meter::IssuerEvent,
        status::{IssuerStatus, KeyState},
    },
    token_review::ReviewCache,
    verified::Basis,
};
#[cfg(feature = "remote-no-provider")]
use crate::{
    issuer_name::IssuerUrl,
    keys::{
        cache::KeyCache,
        source::{HttpFetcher, Remote},
    },
};

/// An issuer, and its keys.
pub(super) struct TrustedIssuer {
    pub(super) id: IssuerId,
    pub(super) names: Arc<Names>,
    /// As the operator calls it.
    pub(super) cluster: Option<Arc<str>>,
    /// Before the names of its users.
    pub(super) user_prefix: Option<Arc<str>>,
    pub(super) keys: Keys,
    key_place: Option<KeyPlace>,
    /// What its API server says of its tokens, where there is somebody to ask it.
    pub(super) answers: Option<Arc<ReviewCache>>,
    pub(super) observed: Arc<Observed>,
    /// How many tokens were accepted that should have been replaced.
    past_warn_after: AtomicU64,
    /// How many that are for the API server too.
    for_api_server: AtomicU64,
    /// Whether the log has a line about a key that another cluster lists too.
    logged_rival: AtomicBool,
}

/// What is to be said of a token that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Ordinary,
    /// It should have been replaced.
    PastWarnAfter,
}

/// Another cluster's issuer with the same name that lists the same key.
pub(super) enum Rival<'a> {
    /// The name is configured there, and learned here: the key signs for the other cluster.
    Outranks(&'a TrustedIssuer),
    /// Both have the name alike: the key signs for neither.
    Shares(&'a TrustedIssuer),
}

/// Issuers that may stand beside each other: where there are several, each has the name of its
/// cluster. Clusters may share the name of their issuer; what tells their tokens apart is the key.
#[derive(Clone, Default)]
pub(super) struct TrustedIssuers(Vec<Arc<TrustedIssuer>>);

impl TrustedIssuers {
    #[cfg(feature = "remote-no-provider")]
    pub(super) fn one(issuer: TrustedIssuer) -> Self {
        Self(vec![Arc::new(issuer)])
    }

    pub(super) fn new(issuers: Vec<Arc<TrustedIssuer>>) -> Result<Self, BuildError> {
        for (index, issuer) in issuers.iter().enumerate() {
            for other in &issuers[..index] {
                issuer.check_beside(other)?;
            }
        }
        Ok(Self(issuers))
    }

    /// The same, and one more.
    pub(super) fn with(&self, issuer: TrustedIssuer) -> Result<Self, BuildError> {
        let mut issuers = self.0.clone();
        issuers.push(Arc::new(issuer));
        Self::new(issuers)
    }

    /// The same without some, or `None` where there are no such.
    pub(super) fn without(&self, is_meant: impl Fn(&TrustedIssuer) -> bool) -> Option<Self> {
        let others: Vec<_> = self.0.iter().filter(|issuer| !is_meant(issuer)).cloned().collect();
        (others.len() < self.0.len()).then_some(Self(others))
    }

    /// The issuers whose token this may be, by its `iss`: first those that are configured with the
    /// name, then those that learned it or have not learned any yet.
    pub(super) fn candidates(
        &self,
        iss: &str,
        now: Moment,
    ) -> impl Iterator<Item = &TrustedIssuer> {
        let by = move |claim| {
            self.0.iter().filter(move |issuer| issuer.names.contain_by(claim, iss, now))
        };
        let unnamed = self.0.iter().filter(move |issuer| {
            issuer.names.may_be_any() && !issuer.names.contain_by(Claim::Configured, iss, now)
        });
        by(Claim::Configured).chain(by(Claim::Learned)).chain(unnamed).map(|issuer| &**issuer)
    }

    /// Whether one of them is configured with a name.
    pub(super) fn are_configured_with(&self, name: &str) -> bool {
        self.0.iter().any(|issuer| issuer.names.is_configured(name))
    }

    /// The very one, if it is still among them.
    pub(super) fn by_id(&self, id: IssuerId) -> Option<&TrustedIssuer> {
        self.0.iter().find(|issuer| issuer.id == id).map(|issuer| &**issuer)
    }

    /// Why a key does not sign for an issuer under a name, though the issuer lists the key: another
    /// cluster has the name as well, and lists the key too, in its last known set.
    pub(super) fn rival(
        &self,
        issuer: &TrustedIssuer,
        claim: Claim,
        iss: &str,
        key: &Key,
        now: Moment,
    ) -> Option<Rival<'_>> {
        if self.0.len() == 1 {
            return None;
        }
        let outranking = match claim {
            Claim::Configured => None,
            Claim::Learned => self.other_with(issuer, Claim::Configured, iss, key, now),
        };
        let equal = || self.other_with(issuer, claim, iss, key, now);
        outranking.map(Rival::Outranks).or_else(|| equal().map(Rival::Shares))
    }

    /// Issuers of other clusters that are configured with a name, where this issuer is not: each may
    /// list a key of this one.
    pub(super) fn outranking<'a>(
        &'a self,
        issuer: &'a TrustedIssuer,
        iss: &'a str,
        now: Moment,
    ) -> impl Iterator<Item = &'a TrustedIssuer> {
        let is_one = move |other: &&Arc<TrustedIssuer>| {
            other.cluster != issuer.cluster
                && other.names.contain_by(Claim::Configured, iss, now)
                && !issuer.names.contain_by(Claim::Configured, iss, now)
        };
        self.0.iter().filter(is_one).map(|other| &**other)
    }

    /// Whether an issuer has to wait with its keys for the first answer of one that outranks it.
    pub(super) fn is_outranked_by_unknown(
        &self,
        issuer: &TrustedIssuer,
        iss: &str,
        now: Moment,
    ) -> bool {
        let is_unknown =
            |other: &TrustedIssuer| other.keys.cache().is_some_and(|cache| !cache.has_answered());
        self.0.len() > 1 && self.outranking(issuer, iss, now).any(is_unknown)
    }

    /// Issuers whose API server may report a name by now that they never had, where `is_signed`
    /// finds that their keys signed a token of that name.
    pub(super) fn renamed<'a>(
        &'a self,
        iss: &'a str,
        now: Moment,
        is_signed: impl Fn(&TrustedIssuer, &KeySet) -> bool + 'a,
    ) -> impl Iterator<Item = &'a TrustedIssuer> {
        let is_one = move |issuer: &&Arc<TrustedIssuer>| {
            issuer.names.may_learn(iss)
                && issuer.keys.peek(now, |keys| keys.is_some_and(|keys| is_signed(issuer, keys)))
        };
        self.0.iter().filter(is_one).map(|issuer| &**issuer)
    }

    /// Logs once that a key of an issuer that is configured with a name is also listed by a cluster
    /// that learned the name.
    pub(super) fn log_outranked(&self, issuer: &TrustedIssuer, iss: &str, key: &Key, now: Moment) {
        if self.0.len() == 1 {
            return;
        }
        if let Some(learning) = self.other_with(issuer, Claim::Learned, iss, key, now) {
            learning.log_rival(&Rival::Outranks(issuer), key);
        }
    }

    /// Another cluster's issuer that has a name by this claim, and lists a key.
    fn other_with(
        &self,
        issuer: &TrustedIssuer,
        claim: Claim,
        iss: &str,
        key: &Key,
        now: Moment,
    ) -> Option<&TrustedIssuer> {
        let is_one = |other: &&Arc<TrustedIssuer>| {
            other.cluster != issuer.cluster
                && other.names.contain_by(claim, iss, now)
                && other.keys.with_last(|keys| keys.has_numbers_of(key))
        };
        self.0.iter().find(is_one).map(|other| &**other)
    }
}

impl Deref for TrustedIssuers {
    type Target = [Arc<TrustedIssuer>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl TrustedIssuer {
    pub(super) fn new(
        issuer: &Issuer,
        denylist: &Arc<Denylist>,
        allowed: &Arc<[Algorithm]>,
        settings: &KeyCacheSettings,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let names = Arc::new(issuer.names(denylist.clone()));
        let cluster = issuer.cluster();
        if cluster.is_some_and(|cluster| cluster.trim().is_empty()) {
            return Err(BuildError::MissingClusterName(names.label().to_string()));
        }
        let observed = observed(&names, cluster.cloned());
        let keys = issuer.keys(allowed, settings, clock, &names, &observed)?;
        let review = |review| ReviewCache::new(review, Arc::clone(&observed), Arc::clone(clock));
        let answers = issuer.token_review().map(review).transpose()?.map(Arc::new);
        Ok(Self::of(issuer, names, observed, keys, answers))
    }

    /// An issuer whose keys are found by discovery, over HTTP with the default settings.
    #[cfg(feature = "remote-no-provider")]
    pub(super) fn discovered(
        url: &IssuerUrl,
        allowed: &Arc<[Algorithm]>,
        settings: &KeyCacheSettings,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let issuer = Issuer::new(url.clone());
        let names = Arc::new(Names::configured(&url.shared_text(), &[]));
        let observed = observed(&names, None);
        let fetcher = Arc::new(HttpFetcher::new());
        let source =
            Remote::discovered(url.discovery_url(), url.transport(), Arc::clone(&names), fetcher);
        let (allowed, clock) = (Arc::clone(allowed), Arc::clone(clock));
        let cache = KeyCache::new(Arc::clone(&observed), source, allowed, settings.clone(), clock);
        Self::of(&issuer, names, observed, Keys::Fetched(cache), None)
    }

    fn of(
        issuer: &Issuer,
        names: Arc<Names>,
        observed: Arc<Observed>,
        keys: Keys,
        answers: Option<Arc<ReviewCache>>,
    ) -> Self {
        Self {
            id: IssuerId::next(),
            names,
            cluster: issuer.cluster().cloned(),
            user_prefix: issuer.user_prefix().cloned(),
            keys,
            key_place: issuer.key_place(),
            answers,
            observed,
            past_warn_after: AtomicU64::new(0),
            for_api_server: AtomicU64::new(0),
            logged_rival: AtomicBool::new(false),
        }
    }

    /// Whether one of some keys of this issuer is distrusted, by name.
    pub(super) fn is_distrusted<'k>(
        &self,
        denylist: &Denylist,
        kids: impl IntoIterator<Item = &'k str>,
    ) -> bool {
        denylist.is_distrusted(kids, |name| self.names.ever_answered_to(name))
    }

    /// Counts a token that is accepted.
    pub(super) fn note_accepted(
        &self,
        name: &Held<'_>,
        basis: &Basis,
        for_api_server: bool,
        now: Moment,
    ) -> Noted {
        name.note_seen(now.wall);
        if for_api_server {
            self.for_api_server.fetch_add(1, Ordering::Relaxed);
            self.observed.meter.count(IssuerEvent::ForApiServer);
        }
        if basis.warn_from.is_some_and(|from| now.seconds() >= from) {
            self.past_warn_after.fetch_add(1, Ordering::Relaxed);
            self.observed.meter.count(IssuerEvent::PastWarnAfter);
            return Noted::PastWarnAfter;
        }
        Noted::Ordinary
    }

    /// Two issuers are of named clusters. Two of one name are of two clusters, whose keys are different
    /// and elsewhere.
    fn check_beside(&self, other: &Self) -> Result<(), BuildError> {
        let is_one_name = self.names.overlap(&other.names);
        let issuer = self.names.label().to_string();
        if is_one_name && self.cluster == other.cluster {
            return Err(BuildError::DuplicateIssuer(issuer));
        }
        let (Some(cluster), Some(other_cluster)) = (&self.cluster, &other.cluster) else {
            let nameless = if self.cluster.is_none() { self } else { other };
            return Err(BuildError::MissingClusterName(nameless.names.label().to_string()));
        };
        if !is_one_name {
            return Ok(());
        }
        if let Some(place) = self.key_place.as_ref().filter(|_| self.key_place == other.key_place) {
            return Err(BuildError::SharedKeyPlace {
                issuer,
                clusters: [other_cluster, cluster].map(ToString::to_string),
                place: place.to_string(),
            });
        }
        match self.keys.shared_with(&other.keys) {
            Some(key) => Err(BuildError::SharedKey { issuer, key }),
            None => Ok(()),
        }
    }

    /// Logs once that another cluster with the same name lists a key of this issuer.
    pub(super) fn log_rival(&self, rival: &Rival<'_>, key: &Key) {
        if self.logged_rival.swap(true, Ordering::Relaxed) {
            return;
        }
        let (issuer, cluster) = self.observed.names();
        let (other, effect) = match rival {
            Rival::Outranks(other) => (other, "its tokens count for other_cluster"),
            Rival::Shares(other) => (other, "its tokens are rejected"),
        };
        tracing::warn!(
            issuer,
            cluster,
            other_cluster = other.cluster.as_deref(),
            kid = %Shown(key.kid().unwrap_or_default()),
            effect,
            "two clusters with one issuer name list one key"
        );
    }

    pub(super) fn status(&self, now: Moment) -> IssuerStatus {
        let mut status = IssuerStatus {
            issuer: self.names.label().to_string(),
            reported_name: self.names.reported().map(|name| name.to_string()),
            cluster: self.cluster.as_deref().map(str::to_owned),
            state: KeyState::Unavailable,
            keys: Vec::new(),
            last_success: None,
            last_error: None,
            age: None,
            stale_for: Duration::ZERO,
            next_fetch: None,
            fetches: 0,
            failures: 0,
            last_seen: self.names.last_seen(now),
            aliases: self.names.others(now),
            past_warn_after: self.past_warn_after.load(Ordering::Relaxed),
            for_api_server: self.for_api_server.load(Ordering::Relaxed),
            has_reviewer: self.answers.is_some(),
        };
        self.keys.describe(&mut status);
        status
    }
}

fn observed(names: &Names, cluster: Option<Arc<str>>) -> Arc<Observed> {
    let observed = Observed::new(Arc::clone(names.label()), cluster);
    Arc::new(Observed { is_own_api_server: is_own_api_server(names.label()), ..observed })
}
