//! [`Authorize`]: the service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use kube_oidc::{Claims, ServiceAccountClaims};
use tower_service::Service;

use super::decide::AuthorizeSettings;
use crate::{
    context,
    gate::{Admission, Guard, ResponseBody, ResponseFuture, define_inner_service_accessors},
};

/// The service of an [`AuthorizeLayer`](crate::AuthorizeLayer). It calls the inner service for
/// callers that a policy allows.
pub struct Authorize<S, C: Claims = ServiceAccountClaims> {
    inner: S,
    settings: Arc<AuthorizeSettings<C>>,
}

impl<S, C: Claims> Authorize<S, C> {
    pub(crate) fn new(inner: S, settings: Arc<AuthorizeSettings<C>>) -> Self {
        Self { inner, settings }
    }

    define_inner_service_accessors!();
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for Authorize<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Claims,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let admission = match self.settings.check(&request) {
            Ok(()) => Admission::Pass(Guard::default()),
            Err(rejection) => Admission::Reject(Box::new(context::answer_within::<C, _>(
                &request,
                &self.settings.answering,
                rejection,
            ))),
        };
        ResponseFuture::decided(&mut self.inner, request, admission)
    }
}

impl<S: Clone, C: Claims> Clone for Authorize<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<S: fmt::Debug, C: Claims> fmt::Debug for Authorize<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("inner", &self.inner)
            .field("policy", &self.settings.policy)
            .finish()
    }
}
