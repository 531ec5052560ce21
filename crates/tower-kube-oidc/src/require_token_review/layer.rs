//! [`RequireTokenReviewLayer`]: requires a token review of each request.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{decide::ReviewSettings, service::RequireTokenReview};

/// A layer that requires a successful token review, for routes that must reject tokens of deleted
/// pods before they expire.
///
/// The layer is made from a [`Verifier`](crate::Verifier), each of whose issuers has a reviewer:
/// [`Issuer::with_token_review`](crate::Issuer::with_token_review). An
/// [`OidcAuthLayer`](crate::OidcAuthLayer) from the same verifier must wrap it.
///
/// ```
/// # #[cfg(feature = "axum")]
/// # fn f(api_server: impl kube_oidc::token_review::Reviewer) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{Issuer, OidcAuthLayer, RequireTokenReviewLayer, Verifier};
///
/// # async fn list() {} async fn refund() {}
/// // `api_server` is a `KubeReviewer` of the crate `kube-oidc-token-review`, or your own reviewer
/// let issuer = Issuer::in_cluster()?.with_token_review(api_server);
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(RequireTokenReviewLayer::new(&verifier)?))
///     .layer(OidcAuthLayer::from(verifier));
/// # Ok(()) }
/// ```
///
/// See [`token_review`](crate::token_review) for caching, and for the behavior while the API server
/// is unavailable. If several of these layers wrap a route, a token is reviewed once, by the outermost
/// of them.
///
/// The `OidcAuthLayer` leaves the token in an extension that only this crate can read. The extension
/// is removed before the service is called, and its memory is overwritten.
///
/// # Responses
///
/// | request | response |
/// | --- | --- |
/// | the API server rejects its token | 401 `invalid_token`, `UNAUTHENTICATED` |
/// | the issuer of its token has no reviewer: it was added to the verifier later | 401 `invalid_token`, `UNAUTHENTICATED` |
/// | the API server does not respond | 503, `UNAVAILABLE` |
/// | anonymous, because credentials are [optional](crate::OidcAuthLayerBuilder::optional), or for an [open path](crate::OidcAuthLayerBuilder::add_open_path) | 401, `UNAUTHENTICATED` |
/// | no `OidcAuthLayer` for `ServiceAccountClaims` wraps the layer, it is an inner layer, or it has another verifier | 500, `INTERNAL`, and an error in the log; if that verifier has no reviewer either, 401 |
///
/// If the outer layer [only reports](crate::OidcAuthLayerBuilder::dangerous_report_only), this layer only
/// reports too, except for the last row.
#[must_use]
#[derive(Clone)]
pub struct RequireTokenReviewLayer(Arc<ReviewSettings>);

impl RequireTokenReviewLayer {
    pub(super) fn of(settings: ReviewSettings) -> Self {
        Self(Arc::new(settings))
    }
}

impl<S> Layer<S> for RequireTokenReviewLayer {
    type Service = RequireTokenReview<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireTokenReview::new(inner, Arc::clone(&self.0))
    }
}

impl fmt::Debug for RequireTokenReviewLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequireTokenReviewLayer").field(&self.0.verifier).finish()
    }
}
