//! [`Expiry`]: ends a call when its token expires.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use kube_oidc::{Claims, Verified, Verifier};

use crate::{
    metrics::count_late_rejection,
    response::{Later, Rejection, grpc::Flavour},
};

/// How often the time of day is looked at: timers stand still while a machine is suspended.
const LOOK: Duration = Duration::from_secs(10);

/// When a call ends, and how.
pub(crate) struct Expiry(Box<Inner>);

struct Inner {
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    later: Later,
    /// Whether a body that has begun can end with trailers that say so.
    has_trailers: bool,
}

impl Expiry {
    pub(crate) fn of<C: Claims>(verifier: Verifier<C>, caller: Verified<C>, later: Later) -> Self {
        let over = Box::pin(async move {
            loop {
                let left = verifier.time_left(&caller);
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LOOK)).await;
            }
        });
        Self(Box::new(Inner { over, later, has_trailers: false }))
    }

    /// Ready once the token has expired. Not to be polled after that.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.over.as_mut().poll(cx)
    }

    /// What is answered if the service did not answer yet.
    pub(crate) fn into_answer(self) -> Response<Bytes> {
        count_late_rejection(Rejection::ExpiredInFlight.reason());
        self.refuse()
    }

    fn refuse(self) -> Response<Bytes> {
        Rejection::ExpiredInFlight.log(true);
        self.0.later.answer(Rejection::ExpiredInFlight)
    }

    /// The same for the body of a response with these headers.
    pub(crate) fn ending(mut self, headers: &HeaderMap) -> Self {
        let answer = self.0.later.flavour();
        let body = headers.get(CONTENT_TYPE).and_then(Flavour::of_media_type);
        self.0.has_trailers = answer == Some(Flavour::Grpc) && body == answer;
        self
    }

    /// How a body ends that has begun: gRPC has words for it. Elsewhere a body that just ended
    /// would seem whole, so it breaks off.
    pub(crate) fn end(self) -> Result<HeaderMap, TokenExpired> {
        if self.0.has_trailers {
            let (mut answer, _) = self.refuse().into_parts();
            for field in [CONTENT_TYPE, CACHE_CONTROL] {
                answer.headers.remove(field);
            }
            Ok(answer.headers)
        } else {
            Rejection::ExpiredInFlight.log(true);
            Err(TokenExpired(()))
        }
    }
}

impl fmt::Debug for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expiry").finish_non_exhaustive()
    }
}

/// A body was broken off, because the caller's token expired: see
/// [`OidcAuthLayerBuilder::end_streams_at_expiry`](crate::OidcAuthLayerBuilder::end_streams_at_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller's token has expired")]
pub struct TokenExpired(());
