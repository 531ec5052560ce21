//! [`OidcAuth`]: the service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use kube_oidc::{Claims, ServiceAccountClaims};
use tower_service::Service;

use super::{
    decide::{AuthSettings, PendingDecision},
    span,
};
use crate::{
    context,
    gate::{ResponseBody, ResponseFuture, define_inner_service_accessors},
};

/// Calls the inner service for requests with a good token: see
/// [`OidcAuthLayer`](crate::OidcAuthLayer).
pub struct OidcAuth<S, C: Claims = ServiceAccountClaims> {
    inner: S,
    settings: Arc<AuthSettings<C>>,
}

impl<S, C: Claims> OidcAuth<S, C> {
    pub(crate) fn new(inner: S, settings: Arc<AuthSettings<C>>) -> Self {
        Self { inner, settings }
    }

    define_inner_service_accessors!();
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for OidcAuth<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    C: Claims,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let span = span::of_decision();
        let decision = span.enter();
        context::clear::<C>(request.extensions_mut());
        let admission = match self.settings.admit_open(&mut request) {
            Some(admission) => admission,
            None => match self.settings.judge(request.headers_mut()) {
                Poll::Ready(verdict) => self.settings.admit(&mut request, verdict),
                Poll::Pending => {
                    drop(decision);
                    let pending = PendingDecision::new(&self.settings, request.headers(), span);
                    return ResponseFuture::waiting(&mut self.inner, request, pending);
                }
            },
        };
        drop(decision);
        ResponseFuture::decided(&mut self.inner, request, admission)
    }
}

impl<S: Clone, C: Claims> Clone for OidcAuth<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<S: fmt::Debug, C: Claims> fmt::Debug for OidcAuth<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcAuth").field("inner", &self.inner).finish_non_exhaustive()
    }
}
