//! [`OidcAuth`]: the service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, header::AUTHORIZATION};
use kube_oidc::{Claims, ServiceAccountClaims, Verified};
use tower_service::Service;

use crate::{body::ResponseBody, future::ResponseFuture, settings::Settings};

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
    type Future = ResponseFuture<S, C, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        // what is in the extensions afterwards was put there by this verification
        request.extensions_mut().remove::<Verified<C>>();
        match self.settings.judge(request.headers_mut()) {
            Poll::Ready(Ok(caller)) => {
                request.extensions_mut().insert(caller);
                ResponseFuture::calling(self.inner.call(request))
            }
            Poll::Ready(Err(rejection)) => {
                rejection.log();
                ResponseFuture::rejected(rejection, &self.settings.realm)
            }
            Poll::Pending => {
                let header = request.headers().get(AUTHORIZATION).cloned();
                // a clone that was not polled ready: while it waits it holds no permit of the
                // inner service, and the one that is ready stays for a request that can use it
                ResponseFuture::waiting(request, self.inner.clone(), &self.settings, header)
            }
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
