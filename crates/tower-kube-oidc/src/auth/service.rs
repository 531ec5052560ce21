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
    decide::{Admission, Settings},
    future::OidcAuthFuture,
    span,
};
use crate::{
    context,
    gate::{ResponseBody, swap_unready_clone},
};

/// Calls the inner service for requests with a good token: see
/// [`OidcAuthLayer`](crate::OidcAuthLayer).
pub struct OidcAuth<S, C: Claims = ServiceAccountClaims> {
    inner: S,
    settings: Arc<Settings<C>>,
}

impl<S, C: Claims> OidcAuth<S, C> {
    pub(crate) fn new(inner: S, settings: Arc<Settings<C>>) -> Self {
        Self { inner, settings }
    }
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for OidcAuth<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    C: Claims,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = OidcAuthFuture<S, C, ReqBody>;

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
                    let inner = swap_unready_clone(&mut self.inner);
                    return OidcAuthFuture::waiting(request, inner, &self.settings, span);
                }
            },
        };
        drop(decision);
        match admission {
            Admission::Pass(expiry) => {
                OidcAuthFuture::calling(self.inner.call(request), expiry, &self.settings)
            }
            Admission::Refuse(response) => OidcAuthFuture::answered(response),
        }
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
