//! [`AuthorizeLayer`]: a policy around a route or a service.

use std::{fmt, sync::Arc};

use kube_oidc::{Claims, Policy, PolicyError, Rule, ServiceAccountClaims};
use tower_layer::Layer;

use super::{decide::AuthorizeSettings, service::Authorize};

/// A layer that allows only the callers that a [`Policy`] allows.
///
/// An [`OidcAuthLayer`](crate::OidcAuthLayer) must wrap it, because that layer verifies the caller.
///
/// ```
/// # #[cfg(feature = "axum")] fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{AuthorizeLayer, IssuerUrl, OidcAuthLayer, in_namespace};
///
/// # async fn list() {} async fn refund() {}
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let payments = in_namespace("payments");
/// let refunds = AuthorizeLayer::only(payments.clone().service_account("refunds"))?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(refunds))
///     .layer(AuthorizeLayer::only(payments.or(in_namespace("batch")))?)
///     .layer(OidcAuthLayer::builder(issuer).audience("orders").build()?);
/// # Ok(()) }
/// ```
///
/// In tonic, `tonic::service::LayerExt::named_layer` puts it around a single service. Settings of
/// the responses are set with a [`builder`](Self::builder). A policy for custom claims becomes a
/// layer by `AuthorizeLayer::from(policy)`.
///
/// # Responses
///
/// A layer is always valid. These requests are rejected:
///
/// | request | response |
/// | --- | --- |
/// | the policy does not allow its caller | 403 `insufficient_scope`, `PERMISSION_DENIED` |
/// | anonymous, because credentials are [optional](crate::OidcAuthLayerBuilder::optional) | 401, `UNAUTHENTICATED` |
/// | for an [open path](crate::OidcAuthLayerBuilder::add_open_path), without [`and_open_paths`](crate::AuthorizeLayerBuilder::and_open_paths) | 401, `UNAUTHENTICATED` |
/// | no `OidcAuthLayer` for this type of claims wraps the layer, or it is an inner layer | 500, `INTERNAL`, and an error in the log |
///
/// If the outer layer [only reports](crate::OidcAuthLayerBuilder::dangerous_report_only), this layer only
/// reports too, except for the last row.
#[must_use]
pub struct AuthorizeLayer<C: Claims = ServiceAccountClaims>(Arc<AuthorizeSettings<C>>);

impl AuthorizeLayer {
    /// Allows only the callers that this rule allows.
    ///
    /// # Errors
    ///
    /// Every part of the rule that could never allow a caller: see [`PolicyError`].
    pub fn only(rule: impl Into<Rule>) -> Result<Self, PolicyError> {
        Policy::new(rule).map(Self::from)
    }
}

impl<C: Claims> AuthorizeLayer<C> {
    pub(super) fn of(settings: AuthorizeSettings<C>) -> Self {
        Self(Arc::new(settings))
    }
}

impl<C: Claims> From<Policy<C>> for AuthorizeLayer<C> {
    fn from(policy: Policy<C>) -> Self {
        Self::of(AuthorizeSettings::new(policy))
    }
}

impl<S, C: Claims> Layer<S> for AuthorizeLayer<C> {
    type Service = Authorize<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorize::new(inner, Arc::clone(&self.0))
    }
}

impl<C: Claims> Clone for AuthorizeLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Claims> fmt::Debug for AuthorizeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizeLayer").field(&self.0.policy).finish()
    }
}
