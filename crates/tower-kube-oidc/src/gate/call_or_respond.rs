//! [`CallOrRespond`]: the future of a layer that has decided.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;

pin_project! {
    /// Calls the service, or answers instead.
    #[derive(Debug)]
    #[project = Projection]
    pub(crate) enum CallOrRespond<F> {
        Calling { #[pin] future: F },
        Answered { response: Option<Box<Response<Bytes>>> },
    }
}

impl<F> CallOrRespond<F> {
    pub(crate) fn calling(future: F) -> Self {
        Self::Calling { future }
    }

    pub(crate) fn answered(response: Response<Bytes>) -> Self {
        Self::Answered { response: Some(Box::new(response)) }
    }
}

impl<F, ResBody, E> Future for CallOrRespond<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projection::Calling { future } => {
                let inner = |body| ResponseBody::inner(body, None);
                future.poll(cx).map_ok(|response| response.map(inner))
            }
            Projection::Answered { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
                // polled after it was done
                None => Poll::Pending,
            },
        }
    }
}
