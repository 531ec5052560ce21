//! [`RequireTokenReview`]: the service that the layer makes.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use super::{
    decide::{Looked, decide, look},
    future::RequireTokenReviewFuture,
};
use crate::{
    gate::{ResponseBody, swap_unready_clone},
    response::Answering,
};

/// Calls the inner service for callers whose token the API server still takes: see
/// [`RequireTokenReviewLayer`](crate::RequireTokenReviewLayer).
#[derive(Clone)]
pub struct RequireTokenReview<S> {
    inner: S,
    answering: Answering,
}

impl<S> RequireTokenReview<S> {
    pub(crate) fn new(inner: S, answering: Answering) -> Self {
        Self { inner, answering }
    }
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
        match look(&mut request) {
            Looked::Known(verdict) => match decide(&mut request, verdict, &self.answering) {
                Ok(()) => RequireTokenReviewFuture::calling(self.inner.call(request)),
                Err(response) => RequireTokenReviewFuture::answered(*response),
            },
            Looked::Ask(token) => {
                let (service, answering) =
                    (swap_unready_clone(&mut self.inner), self.answering.clone());
                RequireTokenReviewFuture::waiting(token, service, request, answering)
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireTokenReview<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReview").field("inner", &self.inner).finish_non_exhaustive()
    }
}
