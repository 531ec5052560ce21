//! The future of [`RequireTokenReview`](crate::RequireTokenReview).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::Verified;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::decide::{ReviewClaims, ReviewSettings};
use crate::{
    context::TokenToReview,
    gate::{CallOrRespond, ResponseBody},
    response::Rejection,
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
        token: TokenToReview<ReviewClaims>,
        service: S,
        request: Request<ReqBody>,
        settings: Arc<ReviewSettings>,
    ) -> Self {
        let reviewer = Arc::clone(&settings);
        let review = Review::Pending(Box::pin(async move { reviewer.review(token).await }));
        let waiting = Waiting { review, settings, service, request };
        Self { state: State::Waiting { waiting: Some(Box::new(waiting)) } }
    }
}

/// A request that waits for its review, then for the service to be ready.
struct Waiting<S, ReqBody> {
    review: Review,
    settings: Arc<ReviewSettings>,
    service: S,
    request: Request<ReqBody>,
}

enum Review {
    /// Holds the token.
    Pending(Pin<Box<dyn Future<Output = Result<Verified, Rejection>> + Send>>),
    /// Without a caller, the failure of the review was only reported.
    Done(Option<Verified>),
}

/// Why a request that waited is not handed on.
enum Stopped<E> {
    Refused(Box<Response<Bytes>>),
    Failed(E),
}

impl<S, ReqBody> Waiting<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    /// Ready once the request may pass and the service can be called.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<S::Error>>> {
        if let Review::Pending(review) = &mut self.review {
            let (caller, verdict) = match ready!(review.as_mut().poll(cx)) {
                Ok(caller) => (Some(caller), Ok(())),
                Err(rejection) => (None, Err(rejection)),
            };
            self.review = Review::Done(caller);
            self.enforce(verdict)?;
        }
        ready!(self.service.poll_ready(cx)).map_err(Stopped::Failed)?;
        // the token may have expired while the service was not ready
        let is_expired = matches!(&self.review, Review::Done(Some(caller))
            if self.settings.verifier.time_left(caller).is_zero());
        let in_time = if is_expired { Err(Rejection::ExpiredInFlight) } else { Ok(()) };
        Poll::Ready(self.enforce(in_time))
    }

    fn enforce(&mut self, verdict: Result<(), Rejection>) -> Result<(), Stopped<S::Error>> {
        self.settings.enforce(&mut self.request, verdict).map_err(Stopped::Refused)
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
