//! [`RequireTokenReview`]: the service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::decide::{CachedReview, PendingReview, ReviewSettings};
use crate::gate::{Admission, Guard, ResponseBody, ResponseFuture, define_inner_service_accessors};

/// The service of a [`RequireTokenReviewLayer`](crate::RequireTokenReviewLayer). It calls the inner
/// service for callers whose token the API server still accepts.
#[derive(Clone)]
pub struct RequireTokenReview<S> {
    inner: S,
    settings: Arc<ReviewSettings>,
}

impl<S> RequireTokenReview<S> {
    pub(super) fn new(inner: S, settings: Arc<ReviewSettings>) -> Self {
        Self { inner, settings }
    }

    define_inner_service_accessors!();
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireTokenReview<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.settings.look_up(&mut request) {
            CachedReview::Decided(verdict) => {
                let admission = match self.settings.enforce(&mut request, verdict) {
                    Ok(()) => Admission::Pass(Guard::default()),
                    Err(response) => Admission::Reject(response),
                };
                ResponseFuture::decided(&mut self.inner, request, admission)
            }
            CachedReview::Missing(token) => {
                let pending = PendingReview::new(&self.settings, token);
                ResponseFuture::waiting(&mut self.inner, request, pending)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireTokenReview<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReview").field("inner", &self.inner).finish_non_exhaustive()
    }
}
