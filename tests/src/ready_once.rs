use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;

/// A service that is ready, while its clones fail to become ready.
#[derive(Debug)]
pub struct ReadyOnce {
    ready: bool,
}

impl ReadyOnce {
    /// A service that is ready.
    #[must_use]
    pub fn new() -> Self {
        Self { ready: true }
    }
}

impl Default for ReadyOnce {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for ReadyOnce {
    fn clone(&self) -> Self {
        Self { ready: false }
    }
}

impl Service<Request<Full<Bytes>>> for ReadyOnce {
    type Response = Response<Full<Bytes>>;
    type Error = &'static str;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(if self.ready { Ok(()) } else { Err("not ready") })
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        ready(Ok(Response::default()))
    }
}
