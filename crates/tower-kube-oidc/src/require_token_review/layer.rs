//! [`RequireTokenReviewLayer`]: requires a token review of each request.

use std::fmt;

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use super::service::RequireTokenReview;
use crate::response::{Answering, Rejection, RequestHead, ResponseFormat};

/// Lets only those callers through whose token the API server still takes: for the few routes that
/// deserve to know of a deleted pod before its token expires. It goes further in than the
/// [`OidcAuthLayer`](crate::OidcAuthLayer), whose verifier has somebody to ask:
/// [`Issuer::with_token_review`](crate::Issuer::with_token_review).
///
/// ```
/// # #[cfg(feature = "axum")]
/// # fn f(api_server: impl kube_oidc::token_review::Reviewer) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{Issuer, OidcAuthLayer, RequireTokenReviewLayer, Verifier};
///
/// # async fn list() {} async fn refund() {}
/// // `api_server` is a `KubeReviewer` of the crate `kube-oidc-token-review`, or one of your own
/// let issuer = Issuer::in_cluster()?.with_token_review(api_server);
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(RequireTokenReviewLayer::new()))
///     .layer(OidcAuthLayer::from(verifier).build()?);
/// # Ok(()) }
/// ```
///
/// What an answer is worth, and for how long, is said in [`token_review`](crate::token_review).
///
/// | who | answer |
/// | --- | --- |
/// | a caller whose token the API server does not take, or whose issuer has nobody to ask | 401 `invalid_token`, `UNAUTHENTICATED` |
/// | a caller whose token nobody could ask about | 503, `UNAVAILABLE` |
/// | nobody: credentials are [optional](crate::OidcAuthLayer::optional), or the path [is open](crate::OidcAuthLayer::open_path) | 401, `UNAUTHENTICATED` |
/// | whoever was looked at by no layer, since it is missing or further in | 500, and the log says so |
///
/// Below a layer that [only reports](crate::OidcAuthLayer::dangerous_report_only) it reports too.
///
/// The `OidcAuthLayer` leaves the token for it where only this crate finds it. It is gone when the
/// service is called, and its memory is overwritten.
#[must_use]
#[derive(Clone, Default)]
pub struct RequireTokenReviewLayer {
    answering: Answering,
}

impl RequireTokenReviewLayer {
    /// Requires a review of each token.
    pub fn new() -> Self {
        Self::default()
    }

    /// In which form refusals are answered: as by the layer further out, unless set. Without such a
    /// layer nobody is let through, and the answer is HTTP.
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.answering.response_format(format);
        self
    }

    /// Lets a function change each answer to a refused request: see
    /// [`OidcAuthLayer::map_rejection`](crate::OidcAuthLayer::map_rejection).
    pub fn map_rejection(
        mut self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.answering.map(map);
        self
    }
}

impl<S> Layer<S> for RequireTokenReviewLayer {
    type Service = RequireTokenReview<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireTokenReview::new(inner, self.answering.clone())
    }
}

impl fmt::Debug for RequireTokenReviewLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReviewLayer").finish_non_exhaustive()
    }
}
