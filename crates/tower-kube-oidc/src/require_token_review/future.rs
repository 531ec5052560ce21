//! The future of [`RequireTokenReview`](crate::RequireTokenReview).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{Verified, Verifier};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::decide::{Claimed, decide};
use crate::{
    context::TokenToReview,
    gate::{CallOrRespond, ResponseBody},
    response::{Answering, Rejection},
};

pin_project! {
    /// The future of [`RequireTokenReview`](crate::RequireTokenReview).
    pub struct RequireTokenReviewFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, ReqBody, F> {
        Decided { #[pin] future: CallOrRespond<F> },
        Waiting { waiting: Option<Box<Waiting<S, ReqBody>>> },
    }
}

impl<S, ReqBody> RequireTokenReviewFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn calling(future: S::Future) -> Self {
        Self { state: State::Decided { future: CallOrRespond::calling(future) } }
    }

    pub(super) fn answered(response: Response<Bytes>) -> Self {
        Self { state: State::Decided { future: CallOrRespond::answered(response) } }
    }

    pub(super) fn waiting(
        token: TokenToReview<Claimed>,
        service: S,
        request: Request<ReqBody>,
        answering: Answering,
    ) -> Self {
        let verifier = token.verifier().clone();
        let verdict = Box::pin(token.review());
        let waiting = Waiting { verdict: Some(verdict), verifier, service, request, answering };
        Self { state: State::Waiting { waiting: Some(Box::new(waiting)) } }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>;

/// A request that waits for an answer of the API server, then for the service to be ready.
struct Waiting<S, ReqBody> {
    verdict: Option<Answer>,
    verifier: Verifier,
    service: S,
    request: Request<ReqBody>,
    answering: Answering,
}

/// Why a request that waited is not handed on.
enum Stopped<E> {
    Refused(Box<Response<Bytes>>),
    Failed(E),
}

impl<S, ReqBody> Waiting<S, ReqBody> {
    fn decide(&mut self, verdict: Result<(), Rejection>) -> Result<(), Box<Response<Bytes>>> {
        decide(&mut self.request, verdict, &self.answering)
    }

    /// The service may have kept it waiting for longer than its token is good.
    fn check_time(&self) -> Result<(), Rejection> {
        let caller = self.request.extensions().get::<Verified>();
        if caller.is_some_and(|caller| self.verifier.time_left(caller).is_zero()) {
            Err(Rejection::ExpiredInFlight)
        } else {
            Ok(())
        }
    }
}

impl<S, ReqBody> Waiting<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    /// Ready once the request may pass and the service can be called.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<S::Error>>> {
        if let Some(verdict) = &mut self.verdict {
            let verdict = ready!(verdict.as_mut().poll(cx));
            // the token goes with it
            self.verdict = None;
            self.decide(verdict).map_err(Stopped::Refused)?;
        }
        ready!(self.service.poll_ready(cx)).map_err(Stopped::Failed)?;
        let in_time = self.check_time();
        Poll::Ready(self.decide(in_time).map_err(Stopped::Refused))
    }
}

impl<S, ReqBody, ResBody> Future for RequireTokenReviewFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let decided = match state.as_mut().project() {
                StateProjection::Decided { future } => return future.poll(cx),
                StateProjection::Waiting { waiting } => {
                    let Some(mut ready) = waiting.take() else { return Poll::Pending };
                    match ready.poll(cx) {
                        Poll::Pending => {
                            *waiting = Some(ready);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(())) => {
                            let Waiting { mut service, request, .. } = *ready;
                            CallOrRespond::calling(service.call(request))
                        }
                        Poll::Ready(Err(Stopped::Refused(response))) => {
                            CallOrRespond::answered(*response)
                        }
                        Poll::Ready(Err(Stopped::Failed(error))) => {
                            return Poll::Ready(Err(error));
                        }
                    }
                }
            };
            state.set(State::Decided { future: decided });
        }
    }
}

impl<S, ReqBody> fmt::Debug for RequireTokenReviewFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Decided { .. } => "Decided",
            State::Waiting { .. } => "Waiting",
        };
        f.debug_tuple("RequireTokenReviewFuture").field(&state).finish()
    }
}
