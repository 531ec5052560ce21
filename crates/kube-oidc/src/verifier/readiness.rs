//! [`Readiness`]: whether a service should get requests, by the keys that are here.

use super::Verifier;
use crate::{
    claims::{Claims, ServiceAccountClaims},
    issuer_name::IssuerId,
    observe::display::Shown,
};

/// Whether the keys of some issuers are available, fresh or stale: for a readiness probe.
///
/// The first probe starts the first fetch of each issuer, so a service needs no request and no
/// [`warm_up`](Verifier::warm_up) to become ready: see [`Verifier::is_ready`].
///
/// Stale keys are as good as fresh ones, since tokens are accepted with them. Only issuers that
/// the verifier had when this was made are waited for: one that is added later makes nobody
/// unready, and one that is removed is not missed.
///
/// ```
/// use kube_oidc::{Issuer, Readiness, Verifier};
///
/// let blue = Issuer::new("https://blue.example".parse()?).with_cluster("blue");
/// let green = Issuer::new("https://green.example".parse()?).with_cluster("green");
/// let verifier = Verifier::builder(blue).add_issuer(green).audience("orders").build()?;
///
/// assert!(!Readiness::any(&verifier).is_ready(), "no key set was fetched yet");
/// assert!(!Readiness::all(&verifier).is_ready());
/// assert!(!Readiness::clusters(&verifier, ["blue"])?.is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Readiness<C: Claims = ServiceAccountClaims> {
    verifier: Verifier<C>,
    /// Of each group, one issuer is enough.
    groups: Vec<Vec<IssuerId>>,
}

/// Nobody could be ready by this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadinessError {
    /// The verifier has no issuer of this cluster.
    #[error("the verifier has no issuer of a cluster {}", Shown(.0))]
    UnknownCluster(String),
    /// No cluster is named.
    #[error("no cluster is named: any() is ready with any one")]
    NoCluster,
}

impl<C: Claims> Readiness<C> {
    /// Ready once the keys of one issuer are here, whichever it is.
    pub fn any(verifier: &Verifier<C>) -> Self {
        Self { verifier: verifier.clone(), groups: Vec::new() }
    }

    /// Ready once the keys of every issuer are here: of every one that the verifier has now.
    pub fn all(verifier: &Verifier<C>) -> Self {
        let groups = verifier.issuer_ids().map(|(id, _)| vec![id]).collect();
        Self { verifier: verifier.clone(), groups }
    }

    /// Ready once the keys of each of these clusters are here. Of a cluster with several issuers
    /// one is enough.
    ///
    /// # Errors
    ///
    /// A name that no issuer of the verifier has, or no name.
    pub fn clusters(
        verifier: &Verifier<C>,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, ReadinessError> {
        let group = |name: &str| {
            let with_cluster =
                verifier.issuer_ids().filter(|(_, cluster)| cluster.as_deref() == Some(name));
            let ids: Vec<IssuerId> = with_cluster.map(|(id, _)| id).collect();
            if ids.is_empty() {
                Err(ReadinessError::UnknownCluster(name.to_owned()))
            } else {
                Ok(ids)
            }
        };
        let groups =
            names.into_iter().map(|name| group(name.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { verifier: verifier.clone(), groups })
    }

    /// Returns `true` if they are available now: see [`Verifier::is_ready`].
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.verifier.is_ready()
            && self.groups.iter().all(|group| self.verifier.has_keys_of_one(group))
    }

    /// The verifier that it looks at.
    #[must_use]
    pub fn verifier(&self) -> &Verifier<C> {
        &self.verifier
    }
}

impl<C: Claims> Clone for Readiness<C> {
    fn clone(&self) -> Self {
        Self { verifier: self.verifier.clone(), groups: self.groups.clone() }
    }
}
