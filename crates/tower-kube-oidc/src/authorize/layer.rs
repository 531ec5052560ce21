//! [`AuthorizeLayer`]: a policy around a route or a service.

use std::{
    fmt,
    sync::{Arc, Once},
};

use bytes::Bytes;
use http::Response;
use kube_oidc::{Claims, Policy, PolicyError, ServiceAccountClaims};
use tower_layer::Layer;

use super::{decide::AuthorizeSettings, service::Authorize};
use crate::response::{Answering, Rejection, RequestHead, ResponseFormat};

/// Lets only those callers through that a [`Policy`] allows; it goes further in than the
/// [`OidcAuthLayer`](crate::OidcAuthLayer) that says who they are.
///
/// ```
/// # #[cfg(feature = "axum")] fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{AuthorizeLayer, IssuerUrl, OidcAuthLayer, in_namespace};
///
/// # async fn list() {} async fn refund() {}
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let payments = in_namespace("payments");
/// let refunds = AuthorizeLayer::only(payments.clone().service_account("refunds")).build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(refunds))
///     .layer(AuthorizeLayer::only(payments.or(in_namespace("batch"))).build()?)
///     .layer(OidcAuthLayer::new(issuer).audience("orders").build()?);
/// # Ok(()) }
/// ```
///
/// In tonic it goes around a single service with `tonic::service::LayerExt::named_layer`.
///
/// | who | answer |
/// | --- | --- |
/// | a caller that the policy does not allow | 403 `insufficient_scope`, `PERMISSION_DENIED` |
/// | nobody: credentials are [optional](crate::OidcAuthLayer::optional), or the path [is open](crate::OidcAuthLayer::open_path) | 401, `UNAUTHENTICATED` |
/// | whoever was looked at by no layer, since it is missing or further in | 500, and the log says so |
///
/// Below a layer that [only reports](crate::OidcAuthLayer::dangerous_report_only) it reports too,
/// and lets everybody through.
#[must_use]
pub struct AuthorizeLayer<C: Claims = ServiceAccountClaims>(Arc<AuthorizeSettings<C>>);

/// Why an [`AuthorizeLayer`] cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// A part of the policy can allow nobody.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The realm holds what a header cannot carry: anything but printable ASCII, a quote, a
    /// backslash.
    #[error("the realm must be printable ASCII without quotes and backslashes")]
    InvalidRealm,
}

impl<C: Claims> AuthorizeLayer<C> {
    /// Allows the callers that the policy allows, and nobody else.
    pub fn only(policy: impl Into<Policy<C>>) -> Self {
        let (policy, answering) = (policy.into(), Answering::default());
        Self(Arc::new(AuthorizeSettings {
            policy,
            and_open_paths: false,
            answering,
            told: Once::new(),
        }))
    }

    /// Lets requests pass as well whose path the layer further out has opened, so that a probe's
    /// path can be among the routes of an app that has one policy for all.
    pub fn and_open_paths(self) -> Self {
        self.changed(|settings| settings.and_open_paths = true)
    }

    /// In which form refusals are answered: as by the layer further out, unless set. Without such a
    /// layer nobody is let through, and the answer is HTTP.
    pub fn response_format(self, format: ResponseFormat) -> Self {
        self.changed(|settings| settings.answering.response_format(format))
    }

    /// Names this realm in challenges: `kubernetes` unless set.
    pub fn realm(self, realm: impl Into<String>) -> Self {
        self.changed(|settings| settings.answering.realm(realm.into()))
    }

    /// Lets a function change each answer to a refused request: see
    /// [`OidcAuthLayer::map_rejection`](crate::OidcAuthLayer::map_rejection).
    pub fn map_rejection(
        self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.changed(|settings| settings.answering.map(map))
    }

    /// Checks the policy now, so that a service with a slip in it does not start. Without it the
    /// slip is logged as an error, and allows nobody.
    ///
    /// # Errors
    ///
    /// What can never allow anybody: see [`AuthorizeError`].
    pub fn build(self) -> Result<Self, AuthorizeError> {
        self.validate()?;
        Ok(self)
    }

    fn validate(&self) -> Result<(), AuthorizeError> {
        self.0.policy.validate()?;
        if self.0.answering.is_sound() { Ok(()) } else { Err(AuthorizeError::InvalidRealm) }
    }

    fn changed(self, change: impl FnOnce(&mut AuthorizeSettings<C>)) -> Self {
        let mut settings = AuthorizeSettings::clone(&self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }
}

impl<S, C: Claims> Layer<S> for AuthorizeLayer<C> {
    type Service = Authorize<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.told.call_once(|| {
            if let Err(error) = self.validate() {
                tracing::error!(%error, policy = %self.0.policy, "a policy has a slip in it");
            }
        });
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
