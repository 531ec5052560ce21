//! [`ReadinessProbe`]: the service behind a readiness probe.

use std::{
    convert::Infallible,
    future,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use kube_oidc::{Claims, IssuerStatus, Readiness, ServiceAccountClaims};
use tower_service::Service;

/// Answers a readiness probe: 200 while the keys are available, fresh or stale, and 503 before and
/// after, with a line for each issuer.
///
/// The first probe starts the first fetch of the keys: see [`Readiness`]. With
/// [`warm_up`](crate::Verifier::warm_up) at start, the fetch does not wait for the first probe.
///
/// ```
/// # #[cfg(feature = "axum")] fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::get};
/// use tower_kube_oidc::{IssuerUrl, OidcAuthLayer, Readiness, ReadinessProbe, Verifier};
///
/// # async fn list() {}
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route_service("/readyz", ReadinessProbe::new(Readiness::any(&verifier)))
///     .layer(OidcAuthLayer::builder_for(verifier).add_open_path("/readyz").build()?);
/// # Ok(()) }
/// ```
///
/// The lines name issuers and clusters, and say whether their keys are fresh, stale or not here;
/// whoever may ask can read them.
#[derive(Debug)]
#[must_use]
pub struct ReadinessProbe<C: Claims = ServiceAccountClaims>(Readiness<C>);

impl<C: Claims> ReadinessProbe<C> {
    /// Answers by this readiness.
    pub fn new(readiness: Readiness<C>) -> Self {
        Self(readiness)
    }
}

impl<ReqBody, C: Claims> Service<Request<ReqBody>> for ReadinessProbe<C> {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<ReqBody>) -> Self::Future {
        let ready = self.0.is_ready();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        // why keys are not here is not for everybody who may ask
        let line = |issuer: IssuerStatus| match issuer.cluster {
            Some(cluster) => format!("{} ({cluster}): {}\n", issuer.issuer, issuer.state),
            None => format!("{}: {}\n", issuer.issuer, issuer.state),
        };
        let lines = self.0.verifier().status().into_iter().map(line);
        let mut response = Response::new(lines.collect());
        *response.status_mut() = status;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        future::ready(Ok(response))
    }
}

impl<C: Claims> Clone for ReadinessProbe<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
