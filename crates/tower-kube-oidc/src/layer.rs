//! [`OidcAuthLayer`]: what to expect, and of whom.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use kube_oidc::{
    BuildError, Claims, InClusterError, Issuer, IssuerUrl, ServiceAccountClaims, Verifier,
    VerifierBuilder,
};
use tower_layer::Layer;

use crate::{rejection::Realm, service::OidcAuth, settings::Settings};

/// Lets only requests through that carry a good token of the issuer, and puts
/// [`Verified`](crate::Verified) claims into their extensions.
///
/// ```
/// use tower_kube_oidc::{IssuerUrl, OidcAuthLayer};
///
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let layer = OidcAuthLayer::new(issuer).audience("orders").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What needs more than an issuer and audiences is set on a [`Verifier`], from which a layer can
/// be made too. Several layers may share one; each may narrow what it accepts and none can loosen
/// it:
///
/// ```
/// use tower_kube_oidc::{Issuer, OidcAuthLayer, Verifier};
///
/// let issuer = Issuer::new("https://127.0.0.1:6443".parse()?)
///     .with_jwks_uri("https://127.0.0.1:6443/openid/v1/jwks");
/// let verifier = Verifier::builder(issuer).audiences(["orders", "refunds"]).build()?;
///
/// let orders = OidcAuthLayer::from(verifier.clone()).audience("orders");
/// let refunds = OidcAuthLayer::from(verifier).audience("refunds");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones, and the services that it is put around, share one key cache.
#[must_use]
pub struct OidcAuthLayer<C: Claims = ServiceAccountClaims>(Arc<Planned<C>>);

/// What clones of a layer share. Axum clones the layers of a handler with every request.
struct Planned<C: Claims> {
    plan: Plan<C>,
    /// Settled when first put around a service.
    settled: OnceLock<Arc<Settings<C>>>,
}

struct Plan<C: Claims> {
    source: Source<C>,
    /// `None`: none was asked for.
    audiences: Option<Vec<String>>,
    api_server_audiences: bool,
    realm: Option<String>,
}

enum Source<C: Claims> {
    /// A verifier of the layer's own, still without audiences.
    Own { builder: Box<VerifierBuilder<C>>, issuer: IssuerUrl },
    /// A verifier that exists, whose expectations the layer cannot loosen.
    Shared(Verifier<C>),
}

/// Why a layer cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The verifier cannot be built.
    #[error(transparent)]
    Verifier(#[from] BuildError),
    /// This process is no pod, or its service account's files are missing.
    #[error(transparent)]
    InCluster(#[from] InClusterError),
    /// A layer that was made from a verifier cannot accept more than that does.
    #[error("the API server's audiences are to be set on the verifier that the layer is made from")]
    SharedVerifier,
    /// The realm holds what a header cannot carry: anything but printable ASCII, a quote, a
    /// backslash.
    #[error("the realm must be printable ASCII without quotes and backslashes")]
    Realm,
}

impl OidcAuthLayer<ServiceAccountClaims> {
    /// Expects tokens of one cluster, by its issuer. Nothing is fetched before the first request.
    ///
    /// Give it an audience of the service's own with [`audience`](Self::audience). Without one it
    /// expects the default audience of a cluster's tokens, which is the issuer, and warns once:
    /// such a token can be replayed by whoever receives it, to the API server and to every other
    /// service that expects the default.
    ///
    /// For more than an issuer and audiences, such as an [`Issuer`] with settings, several
    /// clusters, claims of your own, or a readiness probe, make a [`Verifier`], and the layer from
    /// it: `OidcAuthLayer::from(verifier)`.
    pub fn new(issuer: IssuerUrl) -> Self {
        let builder = Box::new(Verifier::builder(issuer.clone()));
        Self::from_source(Source::Own { builder, issuer })
    }

    /// Expects tokens of the cluster that this process is a pod of, for one audience: see
    /// [`Issuer::in_cluster`].
    ///
    /// # Errors
    ///
    /// What is missing, or an audience that is blank: see [`LayerError`].
    pub fn in_cluster(audience: impl Into<String>) -> Result<Self, LayerError> {
        let verifier = Verifier::builder(Issuer::in_cluster()?).audience(audience).build()?;
        Self::from(verifier).build()
    }
}

impl<C: Claims> OidcAuthLayer<C> {
    fn from_source(source: Source<C>) -> Self {
        Self::planned(Plan { source, audiences: None, api_server_audiences: false, realm: None })
    }

    fn planned(plan: Plan<C>) -> Self {
        Self(Arc::new(Planned { plan, settled: OnceLock::new() }))
    }

    /// The same layer by another plan, which is still to be settled.
    fn replanned(self, change: impl FnOnce(&mut Plan<C>)) -> Self {
        let mut plan = self.0.plan.clone();
        change(&mut plan);
        Self::planned(plan)
    }

    /// Accepts tokens for this audience, beside others that were given here. The first one
    /// replaces the default of [`new`](OidcAuthLayer::new).
    ///
    /// On a layer that was made from a [`Verifier`] it narrows: a token must be for one of the
    /// verifier's audiences *and* for one of the layer's.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.audiences([audience])
    }

    /// Accepts tokens for each of these audiences: see [`audience`](Self::audience).
    pub fn audiences(self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.replanned(|plan| {
            let ours = plan.audiences.get_or_insert_default();
            ours.extend(audiences.into_iter().map(Into::into));
        })
    }

    /// Accepts tokens that were made for the API server: of the issuer's own name and of
    /// [`API_SERVER_AUDIENCES`](crate::API_SERVER_AUDIENCES).
    ///
    /// Such a token is a pod's key to the API server. Whoever receives it can use it there, and
    /// at every other service that accepts it.
    ///
    /// A layer that was made from a [`Verifier`] cannot be told so: set it on the verifier.
    pub fn dangerous_api_server_audiences(self) -> Self {
        self.replanned(|plan| plan.api_server_audiences = true)
    }

    /// Names this realm in challenges: `kubernetes` unless set.
    pub fn realm(self, realm: impl Into<String>) -> Self {
        self.replanned(|plan| plan.realm = Some(realm.into()))
    }

    /// Checks the settings now, so that a service with a wrong one does not start.
    ///
    /// Without it a wrong setting, such as an audience from an environment variable that is
    /// empty, is logged as an error, and every request is answered with 500.
    ///
    /// # Errors
    ///
    /// A setting that cannot work: see [`LayerError`].
    pub fn build(self) -> Result<Self, LayerError> {
        let settings = Arc::new(self.0.plan.settle()?);
        let plan = self.0.plan.clone();
        Ok(Self(Arc::new(Planned { plan, settled: OnceLock::from(settings) })))
    }

    fn settings(&self) -> Arc<Settings<C>> {
        let settle = || {
            Arc::new(self.0.plan.settle().unwrap_or_else(|error| {
                tracing::error!(
                    error = %error,
                    "the OIDC layer is set up wrong: every request is answered with 500"
                );
                Settings::closed()
            }))
        };
        Arc::clone(self.0.settled.get_or_init(settle))
    }
}

impl<C: Claims> Plan<C> {
    fn settle(&self) -> Result<Settings<C>, LayerError> {
        let realm = match &self.realm {
            Some(realm) => Realm::parse(realm).ok_or(LayerError::Realm)?,
            None => Realm::DEFAULT,
        };
        if let Some(audiences) = &self.audiences {
            check_audiences(audiences)?;
        }
        let (verifier, narrower) = match (&self.source, &self.audiences) {
            (Source::Shared(_), _) if self.api_server_audiences => {
                return Err(LayerError::SharedVerifier);
            }
            (Source::Shared(verifier), narrower) => (verifier.clone(), narrower.clone()),
            (Source::Own { builder, issuer }, audiences) => {
                let builder = VerifierBuilder::clone(builder);
                let builder = match audiences {
                    Some(audiences) => builder.audiences(audiences.iter().cloned()),
                    None if self.api_server_audiences => builder,
                    None => {
                        tracing::warn!(
                            issuer = issuer.as_str(),
                            "no audience is set: tokens for the issuer's default audience are \
                             accepted. Whoever receives such a token can replay it to the API \
                             server and to every other service on the default; give the layer an \
                             audience of its own"
                        );
                        builder.audience(issuer.as_str())
                    }
                };
                let builder = if self.api_server_audiences {
                    builder.dangerous_api_server_audiences()
                } else {
                    builder
                };
                (builder.build()?, None)
            }
        };
        Ok(Settings::new(verifier, narrower, realm))
    }
}

/// The list of a layer that narrows is checked like a verifier's own.
fn check_audiences(audiences: &[String]) -> Result<(), BuildError> {
    if audiences.is_empty() {
        Err(BuildError::NoAudience)
    } else if audiences.iter().any(|audience| audience.trim().is_empty()) {
        Err(BuildError::EmptyAudience)
    } else {
        Ok(())
    }
}

impl<C: Claims> From<Verifier<C>> for OidcAuthLayer<C> {
    fn from(verifier: Verifier<C>) -> Self {
        Self::from_source(Source::Shared(verifier))
    }
}

impl<S, C: Claims> Layer<S> for OidcAuthLayer<C> {
    type Service = OidcAuth<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        OidcAuth::new(inner, self.settings())
    }
}

impl<C: Claims> Clone for OidcAuthLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Claims> Clone for Plan<C> {
    fn clone(&self) -> Self {
        let source = match &self.source {
            Source::Own { builder, issuer } => {
                Source::Own { builder: builder.clone(), issuer: issuer.clone() }
            }
            Source::Shared(verifier) => Source::Shared(verifier.clone()),
        };
        Self { source, audiences: self.audiences.clone(), realm: self.realm.clone(), ..*self }
    }
}

impl<C: Claims> fmt::Debug for OidcAuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layer = f.debug_struct("OidcAuthLayer");
        match &self.0.plan.source {
            Source::Own { issuer, .. } => layer.field("issuer", issuer),
            Source::Shared(verifier) => layer.field("verifier", verifier),
        };
        layer
            .field("audiences", &self.0.plan.audiences)
            .field("realm", &self.0.plan.realm)
            .finish_non_exhaustive()
    }
}
