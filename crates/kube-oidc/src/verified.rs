//! [`Verified`]: the proof that a token was checked.

use std::{fmt, ops::Deref, sync::Arc};

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
}

impl<C: Claims> Verified<C> {
    pub(crate) fn new(kept: C::Kept, cluster: Option<Arc<str>>) -> Self {
        Self(Arc::new(Inner { kept, cluster }))
    }

    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &C {
        C::claims(&self.0.kept)
    }

    /// The registered claims, whatever the type of the others.
    #[must_use]
    pub fn registered(&self) -> &RegisteredClaims {
        C::registered(&self.0.kept)
    }

    /// The cluster that the token is of, by the name that the operator gave it with
    /// [`Issuer::of_cluster`](crate::Issuer::of_cluster). A namespace and a service account of
    /// the same names exist in every cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&str> {
        self.0.cluster.as_deref()
    }
}

#[cfg(feature = "test-util")]
impl Verified<ServiceAccountClaims> {
    /// Calls claims verified that nobody verified: for unit tests of handlers and policies, with
    /// [`ServiceAccountClaims::for_test`].
    #[must_use]
    pub fn dangerous_without_verification(claims: ServiceAccountClaims) -> Self {
        Self::new(claims, None)
    }

    /// The same claims, as those of a cluster: see [`cluster`](Self::cluster).
    #[must_use]
    pub fn in_cluster_named(self, name: &str) -> Self {
        Self::new(self.0.kept.clone(), Some(name.into()))
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
