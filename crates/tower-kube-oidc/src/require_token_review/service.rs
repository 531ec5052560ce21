//! [`RequireTokenReview`]: the service that the layer makes.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    decide::{CachedReview, ReviewSettings},
    future::RequireTokenReviewFuture,
};
use crate::gate::{ResponseBody, define_inner_service_accessors, swap_unready_clone};

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
    type Future = RequireTokenReviewFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.settings.look_up(&mut request) {
            CachedReview::Decided(verdict) => match self.settings.enforce(&mut request, verdict) {
                Ok(()) => RequireTokenReviewFuture::calling(self.inner.call(request)),
                Err(response) => RequireTokenReviewFuture::answered(*response),
            },
            CachedReview::Missing(token) => {
                let service = swap_unready_clone(&mut self.inner);
                let settings = Arc::clone(&self.settings);
                RequireTokenReviewFuture::waiting(token, service, request, settings)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireTokenReview<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReview").field("inner", &self.inner).finish_non_exhaustive()
    }
}
