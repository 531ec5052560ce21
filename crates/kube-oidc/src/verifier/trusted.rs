//! The issuers that a verifier trusts.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    claims::Claims,
    clock::Moment,
    error::BuildError,
    issuer::{Issuer, IssuerId, Names},
    key_set::Key,
    keys::Keys,
    observed::Observed,
    shown::Shown,
    status::{IssuerStatus, KeyState},
    token_review::Answers,
    verified::Basis,
};

use super::Inner;

/// An issuer, and its keys.
pub(super) struct TrustedIssuer {
    pub(super) id: IssuerId,
    pub(super) names: Names,
    /// As the operator calls it.
    pub(super) cluster: Option<Arc<str>>,
    /// Before the names of its users.
    pub(super) user_prefix: Option<Arc<str>>,
    pub(super) keys: Keys,
    /// What its API server says of its tokens, where there is somebody to ask it.
    pub(super) answers: Option<Arc<Answers>>,
    pub(super) observed: Arc<Observed>,
    /// How many tokens were accepted that should have been replaced.
    past_warn_after: AtomicU64,
    /// How many that are for the API server too.
    for_api_server: AtomicU64,
    /// Whether the log tells that another cluster lists a key of this one.
    told_shared: AtomicBool,
}

/// What is to be said of a token that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Ordinary,
    /// It should have been replaced.
    PastWarnAfter,
}

/// Issuers that may stand beside each other: where there are several, each has the name of its
/// cluster. Clusters may share the name of their issuer; what tells their tokens apart is the key.
#[derive(Clone, Default)]
pub(super) struct TrustedIssuers(Vec<Arc<TrustedIssuer>>);

impl TrustedIssuers {
    pub(super) fn new(issuers: Vec<Arc<TrustedIssuer>>) -> Result<Self, BuildError> {
        for (index, issuer) in issuers.iter().enumerate() {
            if issuer.cluster.is_none() && issuers.len() > 1 {
                return Err(BuildError::ClusterName(issuer.names.label().to_string()));
            }
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

    /// Those whose token this may be, by its `iss`. The name of a pod's own cluster may not be
    /// known yet.
    pub(super) fn candidates(&self, iss: &str) -> impl Iterator<Item = &TrustedIssuer> {
        let is_one = move |issuer: &&Arc<TrustedIssuer>| {
            issuer.names.contain(iss) || issuer.names.may_be_any()
        };
        self.0.iter().filter(is_one).map(|issuer| &**issuer)
    }

    /// The very one, if it is still among them.
    pub(super) fn by_id(&self, id: IssuerId) -> Option<&TrustedIssuer> {
        self.0.iter().find(|issuer| issuer.id == id).map(|issuer| &**issuer)
    }

    /// Another cluster's issuer of the same name that lists a key too, in the last set that is
    /// known of it: then nobody can tell whose tokens that key signs.
    pub(super) fn sharer(
        &self,
        issuer: &TrustedIssuer,
        iss: &str,
        key: &Key,
    ) -> Option<&TrustedIssuer> {
        if self.0.len() == 1 {
            return None;
        }
        self.candidates(iss)
            .filter(|other| other.cluster != issuer.cluster)
            .find(|other| other.keys.with_last(|keys| keys.has_numbers_of(key)))
    }
}

impl Deref for TrustedIssuers {
    type Target = [Arc<TrustedIssuer>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl TrustedIssuer {
    pub(super) fn new<C: Claims>(issuer: &Issuer, inner: &Inner<C>) -> Result<Self, BuildError> {
        let (names, cluster) = (issuer.names(), issuer.cluster().cloned());
        if cluster.as_ref().is_some_and(|cluster| cluster.trim().is_empty()) {
            return Err(BuildError::ClusterName(names.label().to_string()));
        }
        let observed = Arc::new(Observed::new(Arc::clone(names.label()), cluster.clone()));
        let keys = issuer.keys(&inner.allowed, &inner.settings, &inner.clock, &observed)?;
        let review = |review| Answers::new(review, Arc::clone(&observed), Arc::clone(&inner.clock));
        let answers = issuer.token_review().map(review).transpose()?.map(Arc::new);
        if answers.is_some() && !C::KUBERNETES {
            return Err(BuildError::ReviewOfOtherClaims);
        }
        if answers.is_none() && inner.review_every_token {
            return Err(BuildError::NoReviewer(names.label().to_string()));
        }
        Ok(Self {
            id: IssuerId::next(),
            names,
            cluster,
            user_prefix: issuer.user_prefix().cloned(),
            keys,
            answers,
            observed,
            past_warn_after: AtomicU64::new(0),
            for_api_server: AtomicU64::new(0),
            told_shared: AtomicBool::new(false),
        })
    }

    /// Counts a token that is accepted.
    pub(super) fn note_accepted(&self, iss: &str, basis: &Basis, now: Moment) -> Noted {
        self.names.note_seen(iss, now.wall);
        if basis.for_api_server {
            self.for_api_server.fetch_add(1, Ordering::Relaxed);
            self.observed.meter.for_api_server();
        }
        if basis.warn_from.is_some_and(|from| now.seconds() >= from) {
            self.past_warn_after.fetch_add(1, Ordering::Relaxed);
            self.observed.meter.past_warn_after();
            return Noted::PastWarnAfter;
        }
        Noted::Ordinary
    }

    /// Two issuers of one name are of two clusters, with keys of their own.
    fn check_beside(&self, other: &Self) -> Result<(), BuildError> {
        if !self.names.overlap(&other.names) {
            return Ok(());
        }
        let issuer = self.names.label().to_string();
        if self.cluster == other.cluster {
            return Err(BuildError::DuplicateIssuer(issuer));
        }
        match self.keys.shared_with(&other.keys) {
            Some(key) => Err(BuildError::SharedKey { issuer, key }),
            None => Ok(()),
        }
    }

    /// Tells once that tokens are refused for a key that is in another cluster's set as well.
    pub(super) fn tell_shared(&self, other: &Self, key: &Key) {
        if !self.told_shared.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                issuer = %self.names.label(),
                cluster = self.cluster.as_deref(),
                other_cluster = other.cluster.as_deref(),
                kid = %Shown(key.kid().unwrap_or_default()),
                "two clusters that share the name of their issuer list one key: the tokens that \
                 it signs are refused"
            );
        }
    }

    pub(super) fn status(&self) -> IssuerStatus {
        let mut status = IssuerStatus {
            issuer: self.names.shown(),
            cluster: self.cluster.as_deref().map(str::to_owned),
            state: KeyState::Empty,
            keys: Vec::new(),
            last_success: None,
            last_error: None,
            age: None,
            stale_for: Duration::ZERO,
            next_fetch: None,
            fetches: 0,
            failures: 0,
            last_seen: self.names.last_seen(),
            also_named: self.names.also_named(),
            past_warn_after: self.past_warn_after.load(Ordering::Relaxed),
            for_api_server: self.for_api_server.load(Ordering::Relaxed),
        };
        self.keys.describe(&mut status);
        status
    }
}
