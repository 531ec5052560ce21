use std::{
    convert::Infallible,
    future::{Pending, pending},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Notify;
use tower::Service;

/// A service that is ready once and never answers. It tells when it is called, and when a clone
/// of it is asked to be ready, which it never is.
#[derive(Debug)]
pub struct Busy {
    ready: bool,
    told: Arc<Notify>,
}

impl Busy {
    /// One that tells here.
    #[must_use]
    pub fn telling(told: &Arc<Notify>) -> Self {
        Self { ready: true, told: Arc::clone(told) }
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        Self { ready: false, told: Arc::clone(&self.told) }
    }
}

impl<B> Service<Request<B>> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pending<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.told.notify_one();
        Poll::Pending
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.told.notify_one();
        pending()
    }
}
