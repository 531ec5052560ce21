//! The body of an answer: the service's, or ours.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::expiry::Expiry;

pin_project! {
    /// The body of an answer: the inner service's own, or that of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        Inner { #[pin] body: B },
        /// The service's, until the caller's token expires.
        Ending { #[pin] body: B, expiry: Option<Expiry> },
        Own { bytes: Option<Bytes> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B, expiry: Option<Expiry>) -> Self {
        match expiry {
            None => Self { kind: Kind::Inner { body } },
            expiry => Self { kind: Kind::Ending { body, expiry } },
        }
    }

    pub(crate) fn own(bytes: Bytes) -> Self {
        // a body of no bytes is one that has ended
        Self { kind: Kind::Own { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) } }
    }
}

/// An empty body, as layers outside of ours want one: `CorsLayer` for a preflight.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { kind: Kind::Own { bytes: None } }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    /// The inner body's, or [`TokenExpired`](crate::TokenExpired).
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.as_mut().project().kind.project() {
            KindProjection::Inner { body } => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProjection::Own { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            KindProjection::Ending { body, expiry } => {
                let over = expiry.as_mut().is_some_and(|expiry| expiry.poll_over(cx).is_ready());
                let ended = if over { expiry.take() } else { None };
                match ended {
                    None => body
                        .poll_frame(cx)
                        .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
                    Some(ended) => {
                        // the service's body is dropped, and whatever it holds
                        self.set(Self::default());
                        Poll::Ready(Some(ended.end().map(Frame::trailers).map_err(Into::into)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } | Kind::Ending { body, .. } => body.is_end_stream(),
            Kind::Own { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } | Kind::Ending { body, .. } => body.size_hint(),
            Kind::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
