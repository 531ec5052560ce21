//! The future of [`Authorize`](crate::Authorize).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use crate::gate::{CallOrRespond, ResponseBody};

pin_project! {
    /// The future of [`Authorize`](crate::Authorize).
    #[derive(Debug)]
    pub struct AuthorizeFuture<F> {
        #[pin]
        state: CallOrRespond<F>,
    }
}

impl<F> AuthorizeFuture<F> {
    pub(crate) fn new(state: CallOrRespond<F>) -> Self {
        Self { state }
    }
}

impl<F, ResBody, E> Future for AuthorizeFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}
