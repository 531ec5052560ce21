//! The future of [`OidcAuth`](crate::OidcAuth).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderValue, Request, Response};
use kube_oidc::{Claims, Verified};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    bearer::NoToken,
    body::ResponseBody,
    rejection::{Realm, Rejection},
    settings::Settings,
};

pin_project! {
    /// The future of [`OidcAuth`](crate::OidcAuth).
    ///
    /// With known keys it holds no more than the inner service's future.
    pub struct ResponseFuture<S, C, ReqBody>
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
        /// The verdict needs keys.
        Waiting { waiting: Option<Box<Waiting<S, C, ReqBody>>> },
        /// The service is not called.
        Rejected { rejection: Option<Box<(Rejection, Realm)>> },
    }
}

impl<S, C: Claims, ReqBody, F> State<S, C, ReqBody, F> {
    fn rejected(rejection: Rejection, realm: Realm) -> Self {
        Self::Rejected { rejection: Some(Box::new((rejection, realm))) }
    }
}

/// A request that waits for a verdict, then for the service to be ready.
struct Waiting<S, C: Claims, ReqBody> {
    verdict: Option<Verdict<C>>,
    service: S,
    request: Request<ReqBody>,
    realm: Realm,
}

type Verdict<C> = Pin<Box<dyn Future<Output = Result<Verified<C>, Rejection>> + Send>>;

impl<S, C, ReqBody> ResponseFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    pub(crate) fn calling(future: S::Future) -> Self {
        Self { state: State::Calling { future } }
    }

    pub(crate) fn rejected(rejection: Rejection, realm: &Realm) -> Self {
        Self { state: State::rejected(rejection, realm.clone()) }
    }

    pub(crate) fn waiting(
        request: Request<ReqBody>,
        service: S,
        settings: &Arc<Settings<C>>,
        header: Option<HeaderValue>,
    ) -> Self {
        let Some(header) = header else {
            return Self::rejected(NoToken::NoCredentials.into(), &settings.realm);
        };
        let realm = settings.realm.clone();
        let settings = Arc::clone(settings);
        let verdict: Verdict<C> = Box::pin(async move { settings.judge_waiting(header).await });
        let waiting = Box::new(Waiting { verdict: Some(verdict), service, request, realm });
        Self { state: State::Waiting { waiting: Some(waiting) } }
    }
}

impl<S, C, ReqBody, ResBody> Future for ResponseFuture<S, C, ReqBody>
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
                    return future.poll(cx).map_ok(|response| response.map(ResponseBody::inner));
                }
                StateProjection::Rejected { rejection } => {
                    return match rejection.take() {
                        Some(rejected) => {
                            let (rejection, realm) = *rejected;
                            Poll::Ready(Ok(rejection.into_response(&realm)))
                        }
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
                            let Waiting { mut service, request, .. } = *ready;
                            State::Calling { future: service.call(request) }
                        }
                        Poll::Ready(Err(Stopped::Rejected(rejection))) => {
                            State::rejected(rejection, ready.realm)
                        }
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

/// Why a request that waited is not handed on.
enum Stopped<E> {
    Rejected(Rejection),
    Failed(E),
}

impl<S, C, ReqBody> Waiting<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    /// Ready once the token is verified and the service can be called.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<S::Error>>> {
        if let Some(verdict) = &mut self.verdict {
            let verdict = ready!(verdict.as_mut().poll(cx));
            self.verdict = None;
            match verdict {
                Ok(caller) => {
                    self.request.extensions_mut().insert(caller);
                }
                Err(rejection) => {
                    rejection.log();
                    return Poll::Ready(Err(Stopped::Rejected(rejection)));
                }
            }
        }
        self.service.poll_ready(cx).map_err(Stopped::Failed)
    }
}

impl<S, C, ReqBody> fmt::Debug for ResponseFuture<S, C, ReqBody>
where
    S: Service<Request<ReqBody>>,
    C: Claims,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Calling { .. } => "Calling",
            State::Waiting { .. } => "Waiting",
            State::Rejected { .. } => "Rejected",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}
