//! The future of [`OidcAuth`](crate::OidcAuth).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use kube_oidc::Claims;
use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::{Instrument as _, Span};

use super::decide::{Admission, Settings, Verdict};
use crate::{
    gate::{Expiry, ResponseBody},
    response::{Rejection, cache_headers},
};

pin_project! {
    /// The future of [`OidcAuth`](crate::OidcAuth).
    ///
    /// With known keys it holds no more than the inner service's future.
    pub struct OidcAuthFuture<S, C, ReqBody>
    where
        S: Service<Request<ReqBody>>,
        C: Claims,
    {
        #[pin]
        state: State<S, C, ReqBody, S::Future>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, C, ReqBody, F>
    where
        C: Claims,
    {
        /// The service was called.
        Calling { #[pin] future: F },
        /// The service was called, and there is more to do with its response.
        Guarded { guarded: Pin<Box<Guarded<F>>> },
        /// The verdict needs keys.
        Waiting { waiting: Option<Box<Waiting<S, C, ReqBody>>> },
        /// The service is not called.
        Answered { response: Option<Box<Response<Bytes>>> },
    }
}

impl<S, C: Claims, ReqBody, F> State<S, C, ReqBody, F> {
    fn calling(future: F, expiry: Option<Expiry>, settings: &Settings<C>) -> Self {
        match (expiry, settings.options.token_header.other_name().cloned()) {
            (None, None) => Self::Calling { future },
            (expiry, token_header) => {
                Self::Guarded { guarded: Box::pin(Guarded { future, expiry, token_header }) }
            }
        }
    }

    fn answered(response: Response<Bytes>) -> Self {
        Self::Answered { response: Some(Box::new(response)) }
    }
}

pin_project! {
    struct Guarded<F> {
        #[pin]
        future: F,
        // the token may expire before the service answers
        expiry: Option<Expiry>,
        // caches do not know that the response depends on this header
        token_header: Option<HeaderName>,
    }
}

type WaitingVerdict<C> = Pin<Box<dyn Future<Output = Verdict<C>> + Send>>;

/// A request that waits for a verdict, then for the service to be ready.
struct Waiting<S, C: Claims, ReqBody> {
    verdict: Option<WaitingVerdict<C>>,
    /// Of the decision.
    span: Span,
    expiry: Option<Expiry>,
    service: S,
    request: Request<ReqBody>,
    settings: Arc<Settings<C>>,
}

impl<S, C, ReqBody> OidcAuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    pub(crate) fn calling(
        future: S::Future,
        expiry: Option<Expiry>,
        settings: &Settings<C>,
    ) -> Self {
        Self { state: State::calling(future, expiry, settings) }
    }

    pub(crate) fn answered(response: Response<Bytes>) -> Self {
        Self { state: State::answered(response) }
    }

    pub(crate) fn waiting(
        request: Request<ReqBody>,
        service: S,
        settings: &Arc<Settings<C>>,
        span: Span,
    ) -> Self {
        let header = request.headers().get(settings.options.token_header.name()).cloned();
        let (judge, settings) = (Arc::clone(settings), Arc::clone(settings));
        let verdict =
            async move { judge.judge_waiting(header.ok_or(Rejection::NoCredentials)?).await };
        let verdict: WaitingVerdict<C> = Box::pin(verdict.instrument(span.clone()));
        let verdict = Some(verdict);
        let waiting = Waiting { verdict, span, expiry: None, service, request, settings };
        Self { state: State::Waiting { waiting: Some(Box::new(waiting)) } }
    }
}

impl<S, C, ReqBody, ResBody> Future for OidcAuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Claims,
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
                StateProjection::Answered { response } => {
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
                        Poll::Ready(Ok(())) => {
                            let Waiting { mut service, request, expiry, settings, .. } = *ready;
                            State::calling(service.call(request), expiry, &settings)
                        }
                        Poll::Ready(Err(Stopped::Refused(response))) => State::answered(*response),
                        Poll::Ready(Err(Stopped::Failed(error))) => {
                            return Poll::Ready(Err(error));
                        }
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
        let mut response = match this.future.poll(cx) {
            Poll::Ready(Ok(response)) => {
                let expiry = this.expiry.take();
                let expiry = expiry.map(|expiry| expiry.ending(response.headers()));
                response.map(|body| ResponseBody::inner(body, expiry))
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                let mut is_over = false;
                if let Some(expiry) = this.expiry {
                    is_over = expiry.poll_over(cx).is_ready();
                }
                let Some(expiry) = this.expiry.take_if(|_| is_over) else { return Poll::Pending };
                expiry.into_answer().map(ResponseBody::own)
            }
        };
        if let Some(name) = this.token_header {
            cache_headers::protect(response.headers_mut(), name);
        }
        Poll::Ready(Ok(response))
    }
}

/// Why a request that waited is not handed on.
enum Stopped<E> {
    Refused(Box<Response<Bytes>>),
    Failed(E),
}

impl<S, C, ReqBody> Waiting<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    /// Ready once the request may pass and the service can be called.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<S::Error>>> {
        if let Some(verdict) = &mut self.verdict {
            let verdict = ready!(verdict.as_mut().poll(cx));
            self.verdict = None;
            let _decision = self.span.enter();
            match self.settings.admit(&mut self.request, verdict) {
                Admission::Pass(expiry) => self.expiry = expiry,
                Admission::Refuse(response) => {
                    return Poll::Ready(Err(Stopped::Refused(Box::new(response))));
                }
            }
        }
        let over = self.expiry.as_mut().is_some_and(|expiry| expiry.poll_over(cx).is_ready());
        if over {
            self.expiry = None;
        } else {
            ready!(self.service.poll_ready(cx)).map_err(Stopped::Failed)?;
        }
        let _decision = self.span.enter();
        let admission = if over {
            self.settings.refuse(&self.request, Rejection::ExpiredInFlight)
        } else {
            // the service may have kept it waiting for longer than its token is good
            self.settings.readmit(&self.request)
        };
        match admission {
            Admission::Pass(_) => Poll::Ready(Ok(())),
            Admission::Refuse(response) => Poll::Ready(Err(Stopped::Refused(Box::new(response)))),
        }
    }
}

impl<S, C, ReqBody> fmt::Debug for OidcAuthFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } | State::Guarded { .. } => "Calling",
            State::Waiting { .. } => "Waiting",
            State::Answered { .. } => "Answered",
        };
        f.debug_tuple("OidcAuthFuture").field(&state).finish()
    }
}
