//! [`Expiry`]: ends a call when its token expires.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use kube_oidc::{Claims, Verified, Verifier};

use crate::{grpc::Flavour, rejection::Rejection};

/// How often the time of day is looked at: timers stand still while a machine is suspended.
const LOOK: Duration = Duration::from_secs(10);

/// When a call ends, and how.
pub(crate) struct Expiry(Box<Inner>);

struct Inner {
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    flavour: Option<Flavour>,
    /// For a call that was not answered yet.
    answer: Response<Bytes>,
}

impl Expiry {
    pub(crate) fn of<C: Claims>(
        verifier: Verifier<C>,
        caller: Verified<C>,
        flavour: Option<Flavour>,
        answer: Response<Bytes>,
    ) -> Self {
        let over = Box::pin(async move {
            loop {
                let left = verifier.time_left(&caller);
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK)).await;
            }
        });
        Self(Box::new(Inner { over, flavour, answer }))
    }

    /// Ready once the token has expired. Not to be polled after that.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.over.as_mut().poll(cx)
    }

    /// What is answered if the service did not answer yet.
    pub(crate) fn into_answer(self) -> Response<Bytes> {
        Rejection::ExpiredMeanwhile.log(true);
        self.0.answer
    }

    /// How a body ends that has begun: gRPC has words for it. Elsewhere a body that just ended
    /// would seem whole, so it breaks off.
    pub(crate) fn end(&mut self) -> Result<HeaderMap, Expired> {
        Rejection::ExpiredMeanwhile.log(true);
        match self.0.flavour {
            Some(Flavour::Grpc) => {
                let mut trailers = std::mem::take(self.0.answer.headers_mut());
                trailers.remove(http::header::CONTENT_TYPE);
                Ok(trailers)
            }
            Some(Flavour::GrpcWeb | Flavour::GrpcWebText) | None => Err(Expired(())),
        }
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry").finish_non_exhaustive()
    }
}

/// A body was broken off, because the caller's token expired: see
/// [`OidcAuthLayer::end_streams_at_expiry`](crate::OidcAuthLayer::end_streams_at_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's token has expired")]
pub struct Expired(());
