//! [`OidcAuthLayer`]: authenticates the workload that sends a request.

use std::{fmt, sync::Arc};

use kube_oidc::{Claims, ServiceAccountClaims, Verifier};
use tower_layer::Layer;

use super::{decide::AuthSettings, options::RequestOptions, service::OidcAuth};
use crate::metrics::RequestMeter;

/// Lets only requests through that carry a good token of the issuer, and puts
/// [`Verified`](crate::Verified) claims into their extensions.
///
/// ```
/// use tower_kube_oidc::{IssuerUrl, OidcAuthLayer};
///
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let layer = OidcAuthLayer::builder(issuer).audience("orders").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Settings of the verification beyond issuers and audiences are set on a [`Verifier`], from which a
/// layer is built too. Several layers may share one verifier; each may narrow what it accepts, and none
/// can loosen it:
///
/// ```
/// use tower_kube_oidc::{Issuer, KeySource, OidcAuthLayer, Verifier};
///
/// let keys = KeySource::jwks("https://127.0.0.1:6443/openid/v1/jwks");
/// let issuer = Issuer::with_key_source("https://127.0.0.1:6443".parse()?, keys);
/// let verifier = Verifier::builder(issuer).audiences(["orders", "refunds"]).build()?;
///
/// let orders = OidcAuthLayer::builder_for(verifier.clone()).narrow_audiences(["orders"]).build()?;
/// let refunds = OidcAuthLayer::builder_for(verifier).narrow_audiences(["refunds"]).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones, and the services that it is put around, share one key cache.
///
/// # Errors at run time
///
/// A layer that was built has no invalid setting. What can still fail:
///
/// | cause | effect |
/// | --- | --- |
/// | a token is missing, malformed, or rejected | 401 or 400, see [what callers see](crate#what-callers-see) |
/// | the keys for a token are not available, because a URL or a file cannot be read | 503, and an error in the log |
/// | an [`AuthorizeLayer`](crate::AuthorizeLayer), a [`RequireTokenReviewLayer`](crate::RequireTokenReviewLayer), or an extractor runs without this layer, or outside of it | 500, and an error in the log |
/// | a route is added after `Router::layer` | no check: the route is open |
/// | [`end_streams_at_expiry`](crate::OidcAuthLayerBuilder::end_streams_at_expiry) in a tokio runtime without time | a panic at the call |
#[must_use]
pub struct OidcAuthLayer<C: Claims = ServiceAccountClaims>(Arc<AuthSettings<C>>);

impl OidcAuthLayer {
    /// Accepts the tokens of one cluster, by its issuer, for the default audience: the issuer. Nothing
    /// is fetched before the first request.
    ///
    /// This is for a first try. Each receiver of such a token can replay it to the API server, and to
    /// every other service that accepts the default audience, so the log has a warning. A service sets
    /// an audience of its own by [`builder`](Self::builder).
    #[cfg(any(feature = "remote", feature = "remote-no-provider"))]
    #[expect(clippy::needless_pass_by_value, reason = "as for every other constructor")]
    pub fn new(issuer: kube_oidc::IssuerUrl) -> Self {
        tracing::warn!(
            issuer = issuer.as_str(),
            "no audience is set: tokens for the issuer's default audience are accepted. Whoever \
             receives such a token can replay it to the API server and to every other service on the \
             default; give the layer an audience of its own"
        );
        Self::from(Verifier::dangerous_default_audience(&issuer))
    }
}

impl<C: Claims> OidcAuthLayer<C> {
    pub(super) fn of(settings: AuthSettings<C>) -> Self {
        Self(Arc::new(settings))
    }
}

impl<C: Claims> From<Verifier<C>> for OidcAuthLayer<C> {
    fn from(verifier: Verifier<C>) -> Self {
        let (options, meter) = (RequestOptions::default(), RequestMeter::default());
        Self::of(AuthSettings { verifier, narrowed: None, options, meter })
    }
}

impl<S, C: Claims> Layer<S> for OidcAuthLayer<C> {
    type Service = OidcAuth<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        OidcAuth::new(inner, Arc::clone(&self.0))
    }
}

impl<C: Claims> Clone for OidcAuthLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Claims> fmt::Debug for OidcAuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcAuthLayer")
            .field("verifier", &self.0.verifier)
            .field("audiences", &self.0.narrowed)
            .field("mode", &self.0.options.mode)
            .field("open", &self.0.options.open)
            .finish_non_exhaustive()
    }
}
