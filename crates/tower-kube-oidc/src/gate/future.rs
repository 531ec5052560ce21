//! [`ResponseFuture`]: the future of the three middlewares. Each decides about a request; what follows
//! from a decision is the same.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{body::ResponseBody, expiry::Expiry, unready_clone::swap_unready_clone};
use crate::response::cache_headers;

/// The response to a rejected request.
type OwnResponse = Box<Response<Bytes>>;

/// The decision about a request.
pub(crate) enum Admission {
    /// The service is called.
    Pass(Guard),
    /// The service is not called.
    Reject(OwnResponse),
}

/// What the response of a called service needs.
#[derive(Default)]
pub(crate) struct Guard {
    /// The token may expire before the response ends.
    pub(crate) expiry: Option<Expiry>,
    /// Caches do not know that the response depends on this header.
    pub(crate) token_header: Option<HeaderName>,
}

/// A decision that has to wait, without the type of the service.
pub(crate) trait Decide<B>: Send {
    /// Makes the decision, and prepares the request if it passes.
    fn poll_decision(&mut self, cx: &mut Context<'_>, request: &mut Request<B>) -> Poll<Admission>;

    /// Decides again when the service is ready, which may take longer than the token is valid.
    fn recheck(&mut self, request: &mut Request<B>, has_expired: bool) -> Result<(), OwnResponse>;
}

pin_project! {
    /// The future of [`OidcAuth`](crate::OidcAuth), [`Authorize`](crate::Authorize), and
    /// [`RequireTokenReview`](crate::RequireTokenReview).
    ///
    /// Without waiting, it holds no more than the future of the inner service.
    pub struct ResponseFuture<S, B>
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
        /// The service was called.
        Calling { #[pin] future: F },
        /// The service was called, and its response needs more.
        Guarded { guarded: Pin<Box<Guarded<F>>> },
        /// There is no decision yet, or the service is not ready.
        Waiting { waiting: Option<Box<Waiting<S, B>>> },
        /// The service is not called.
        Responding { response: Option<OwnResponse> },
    }
}

impl<S, B, F> State<S, B, F> {
    fn calling(future: F, guard: Guard) -> Self {
        if guard.expiry.is_none() && guard.token_header.is_none() {
            return Self::Calling { future };
        }
        Self::Guarded { guarded: Box::pin(Guarded { future, guard }) }
    }

    fn responding(response: OwnResponse) -> Self {
        Self::Responding { response: Some(response) }
    }
}

pin_project! {
    struct Guarded<F> {
        #[pin]
        future: F,
        guard: Guard,
    }
}

/// A request that waits for a decision, then for the service to be ready.
struct Waiting<S, B> {
    decision: Box<dyn Decide<B>>,
    /// `None`: there is no decision yet.
    guard: Option<Guard>,
    service: S,
    request: Request<B>,
}

impl<S: Service<Request<B>>, B> ResponseFuture<S, B> {
    pub(crate) fn decided(service: &mut S, request: Request<B>, admission: Admission) -> Self {
        let state = match admission {
            Admission::Pass(guard) => State::calling(service.call(request), guard),
            Admission::Reject(response) => State::responding(response),
        };
        Self { state }
    }

    /// Waits for a decision, then for the service to be ready.
    pub(crate) fn waiting(
        service: &mut S,
        request: Request<B>,
        decision: impl Decide<B> + 'static,
    ) -> Self
    where
        S: Clone,
    {
        let (decision, service) = (Box::new(decision), swap_unready_clone(service));
        let waiting = Waiting { decision, guard: None, service, request };
        Self { state: State::Waiting { waiting: Some(Box::new(waiting)) } }
    }
}

impl<S: Service<Request<B>>, B> Waiting<S, B> {
    /// Ready with `None` once the service can be called, or with the response to a rejected request.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<OwnResponse>, S::Error>> {
        let guard = match &mut self.guard {
            Some(guard) => guard,
            None => match ready!(self.decision.poll_decision(cx, &mut self.request)) {
                Admission::Pass(guard) => self.guard.insert(guard),
                Admission::Reject(response) => return Poll::Ready(Ok(Some(response))),
            },
        };
        let expiry = guard.expiry.as_mut();
        let has_expired = expiry.is_some_and(|expiry| expiry.poll_over(cx).is_ready());
        if !has_expired {
            ready!(self.service.poll_ready(cx))?;
        }
        Poll::Ready(Ok(self.decision.recheck(&mut self.request, has_expired).err()))
    }
}

impl<S, B, ResBody> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProjection::Calling { future } => {
                    let inner = |body| ResponseBody::inner(body, None);
                    return future.poll(cx).map_ok(|response| response.map(inner));
                }
                StateProjection::Guarded { guarded } => return guarded.as_mut().poll(cx),
                StateProjection::Responding { response } => {
                    return match response.take() {
                        Some(response) => Poll::Ready(Ok(response.map(ResponseBody::own))),
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
                        Poll::Ready(Ok(None)) => {
                            let Waiting { mut service, request, guard, .. } = *ready;
                            State::calling(service.call(request), guard.unwrap_or_default())
                        }
                        Poll::Ready(Ok(Some(response))) => State::responding(response),
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    }
                }
            };
            state.set(next);
        }
    }
}

impl<F, ResBody, E> Future for Guarded<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Guard { expiry, token_header } = this.guard;
        let mut response = match this.future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let expiry = expiry.take().map(|expiry| expiry.ending(response.headers()));
                response.map(|body| ResponseBody::inner(body, expiry))
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                let over = |expiry: &mut Expiry| expiry.poll_over(cx).is_ready();
                let Some(expiry) = expiry.take_if(over) else { return Poll::Pending };
                expiry.into_answer().map(ResponseBody::own)
            }
        };
        if let Some(name) = token_header {
            cache_headers::protect(response.headers_mut(), name);
        }
        Poll::Ready(Ok(response))
    }
}

impl<S: Service<Request<B>>, B> fmt::Debug for ResponseFuture<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } | State::Guarded { .. } => "Calling",
            State::Waiting { .. } => "Waiting",
            State::Responding { .. } => "Responding",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
