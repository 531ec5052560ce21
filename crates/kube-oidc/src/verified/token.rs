//! A verified token: `Verified`, the proof that a token was checked.

use std::{
    fmt,
    mem::size_of,
    ops::Deref,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Basis;
use crate::claims::{Claims, RegisteredClaims, ServiceAccountClaims};

/// Claims of a token that passed every check. Only a [`Verifier`](crate::Verifier) makes one, but
/// for the `dangerous_` one of the feature `test-util`.
///
/// It dereferences to the claims, and a clone of it is another handle to the same ones.
///
/// It says what was true when the token was checked: the workload may be deleted and the token
/// expire while a long request or stream goes on. [`RegisteredClaims::expires_at`] says when.
pub struct Verified<C: Claims = ServiceAccountClaims>(Arc<Inner<C>>);

struct Inner<C: Claims> {
    kept: C::Kept,
    cluster: Option<Arc<str>>,
    user_prefix: Option<Arc<str>>,
    basis: Option<Basis>,
}

impl<C: Claims> Verified<C> {
    pub(crate) fn new(
        kept: C::Kept,
        cluster: Option<Arc<str>>,
        user_prefix: Option<Arc<str>>,
        basis: Basis,
    ) -> Self {
        Self(Arc::new(Inner { kept, cluster, user_prefix, basis: Some(basis) }))
    }

    pub(crate) fn basis(&self) -> Option<&Basis> {
        self.0.basis.as_ref()
    }

    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Inner<C>>() + 2 * size_of::<usize>() + C::bytes(&self.0.kept)
    }

    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &C {
        C::claims(&self.0.kept)
    }

    /// When the verifier would stop to accept the token: its expiry and the leeway. `None`: never.
    pub(crate) fn accepted_until(&self) -> Option<SystemTime> {
        match self.0.basis {
            Some(basis) => UNIX_EPOCH.checked_add(Duration::from_secs(basis.good_until)),
            None => Some(self.registered().expires_at()),
        }
    }

    /// The registered claims, whatever the type of the others.
    #[must_use]
    pub fn registered(&self) -> &RegisteredClaims {
        C::registered(&self.0.kept)
    }

    /// The name and the uid by which the API server knows the caller, of a service account.
    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        C::user(&self.0.kept)
    }

    /// The cluster that the token is of, by the name that the operator gave it with
    /// [`Issuer::with_cluster`](crate::Issuer::with_cluster). A namespace and a service account of
    /// the same names exist in every cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.0.cluster.as_deref()
    }

    pub(crate) fn user_prefix(&self) -> Option<&str> {
        self.0.user_prefix.as_deref()
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Verified<ServiceAccountClaims> {
    /// Calls claims verified that nobody verified: for unit tests of handlers and policies, with
    /// [`ServiceAccountClaims::for_test`].
    #[must_use]
    pub fn dangerous_without_verification(claims: ServiceAccountClaims) -> Self {
        Self(Arc::new(Inner { kept: claims, cluster: None, user_prefix: None, basis: None }))
    }

    /// The same claims, as those of a cluster: see [`cluster`](Self::cluster).
    #[must_use]
    pub fn with_cluster(self, name: &str) -> Self {
        let kept = self.0.kept.clone();
        let cluster = Some(name.into());
        Self(Arc::new(Inner { kept, cluster, user_prefix: None, basis: None }))
    }
}

impl<C: Claims> Clone for Verified<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Claims> Deref for Verified<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.claims()
    }
}

impl<C: Claims + fmt::Debug> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verified").field(self.claims()).finish()
    }
}
