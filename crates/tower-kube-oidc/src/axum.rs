//! The extractor for axum.

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use kube_oidc::{Claims, ServiceAccountClaims, Verified};

use crate::rejection::problem;

/// The workload that sent a request, in an axum handler behind an
/// [`OidcAuthLayer`](crate::OidcAuthLayer).
///
/// ```
/// use tower_kube_oidc::Caller;
///
/// async fn hello(Caller(who): Caller) -> String {
///     format!("hello {}/{}", who.namespace(), who.service_account().name())
/// }
/// ```
///
/// Without the layer there is no caller to speak of: the answer is 500, and the log says why. So it
/// is for `Option<Caller>`, which is never `None` by mistake; routes that need no caller stand
/// outside the layer.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a newtype to be taken apart in a signature")]
pub struct Caller<C: Claims = ServiceAccountClaims>(pub Verified<C>);

impl<C: Claims> Clone for Caller<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Sync, C: Claims> FromRequestParts<S> for Caller<C> {
    type Rejection = MissingLayer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, MissingLayer> {
        parts.extensions.get().cloned().map(Self).ok_or_else(|| {
            tracing::error!(
                "a handler wants the caller, but no OidcAuthLayer for its type of claims is around \
                 it"
            );
            MissingLayer(())
        })
    }
}

/// A request that nobody looked at is not one without a caller: without the layer this is 500 as
/// well, and never `None`.
impl<S: Sync, C: Claims> OptionalFromRequestParts<S> for Caller<C> {
    type Rejection = MissingLayer;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, MissingLayer> {
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await.map(Some)
    }
}

/// A handler wants the caller, and no layer is there to say who it is.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no OidcAuthLayer is around the handler")]
pub struct MissingLayer(());

impl IntoResponse for MissingLayer {
    fn into_response(self) -> Response {
        let detail = "the service is not set up to check tokens";
        problem::<Body>(StatusCode::INTERNAL_SERVER_ERROR, detail).map(Body::new)
    }
}
