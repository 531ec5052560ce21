//! [`CallFuture`]: a call, after its token was read where that is due.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    error::{BoxError, CallError, TokenError, client},
    token_file::TokenFileError,
};

pin_project! {
    /// The future of [`ServiceAccountToken`](crate::ServiceAccountToken).
    pub struct CallFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, B, F> {
        Calling { #[pin] future: F },
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
        Failed { error: Option<TokenError> },
    }
}

pub(super) type HeaderFuture =
    Pin<Box<dyn Future<Output = Result<HeaderValue, TokenFileError>> + Send>>;

/// A request that waits for its token, then for the client to be ready.
struct Waiting<S, B> {
    header: Option<HeaderFuture>,
    inner: S,
    request: Request<B>,
}

impl<S: Service<Request<B>>, B> CallFuture<S, B> {
    pub(super) fn calling(future: S::Future) -> Self {
        Self { state: State::Calling { future } }
    }

    pub(super) fn failed(error: TokenError) -> Self {
        Self { state: State::Failed { error: Some(error) } }
    }

    pub(super) fn waiting(header: HeaderFuture, inner: S, request: Request<B>) -> Self {
        let waiting = Waiting { header: Some(header), inner, request };
        Self { state: State::Waiting { waiting: Some(Box::new(waiting)) } }
    }
}

impl<S, B> Waiting<S, B>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    /// Ready once the request has its token and the client can be called.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if let Some(header) = &mut self.header {
            let header = ready!(header.as_mut().poll(cx));
            self.header = None;
            let header = header.map_err(TokenError::from)?;
            self.request.headers_mut().insert(AUTHORIZATION, header);
        }
        self.inner.poll_ready(cx).map_err(client)
    }
}

impl<S, B> Future for CallFuture<S, B>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<S::Response, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let future = match state.as_mut().project() {
                StateProjection::Calling { future } => return future.poll(cx).map_err(client),
                StateProjection::Failed { error } => {
                    return match error.take() {
                        Some(error) => Poll::Ready(Err(error.into())),
                        // polled after it was done
                        None => Poll::Pending,
                    };
                }
                StateProjection::Waiting { waiting } => {
                    let Some(mut ready) = waiting.take() else { return Poll::Pending };
                    match ready.poll(cx) {
                        Poll::Pending => {
                            *waiting = Some(ready);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(())) => {
                            let Waiting { mut inner, request, .. } = *ready;
                            inner.call(request)
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    }
                }
            };
            state.set(State::Calling { future });
        }
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for CallFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
