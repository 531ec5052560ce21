//! The decision about a request: whether the API server still accepts its token.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{InvalidToken, ServiceAccountClaims, Verified, Verifier, VerifyError};

use crate::{
    context::{self, Found, Reviewed, TokenToReview},
    gate::{Admission, Decide, Guard},
    response::{Answering, Rejection},
};

/// The claims of tokens that an API server can review.
pub(super) type ReviewClaims = ServiceAccountClaims;

pub(crate) struct ReviewSettings {
    pub(super) verifier: Verifier,
    pub(super) answering: Answering,
}

/// The review of a request, as far as it is cached.
pub(super) enum CachedReview {
    Decided(Result<(), Rejection>),
    /// The API server has to review this token.
    Missing(TokenToReview<ReviewClaims>),
}

impl ReviewSettings {
    /// Takes the token out of a request, and looks up its review.
    pub(super) fn look_up<B>(&self, request: &mut Request<B>) -> CachedReview {
        let token = request.extensions_mut().remove::<TokenToReview<ReviewClaims>>();
        if request.extensions().get::<Reviewed>().is_some() {
            return CachedReview::Decided(Ok(()));
        }
        let found = context::found::<ReviewClaims>(request.extensions());
        CachedReview::Decided(match (found, token) {
            (Found::Caller(_), Some(token)) if !token.verifier().is_clone_of(&self.verifier) => {
                Err(OTHER_VERIFIER)
            }
            (Found::Caller(_), Some(token)) => {
                match self.verifier.verify_with_cached_review(token.as_bytes()) {
                    Some(verdict) => verdict.map(|_| ()).map_err(Rejection::Token),
                    None => return CachedReview::Missing(token),
                }
            }
            (Found::Caller(_), None) => Err(VerifyError::from(InvalidToken::NoReviewer).into()),
            (Found::Reported, _) => Ok(()),
            (Found::OpenPath | Found::Anonymous, _) => Err(Rejection::NoCredentials),
            (Found::Unseen, _) => Err(NO_AUTH_LAYER),
        })
    }

    async fn review(&self, token: TokenToReview<ReviewClaims>) -> Result<Verified, Rejection> {
        Ok(self.verifier.verify_with_review(token.as_bytes()).await?)
    }

    /// Marks a request as reviewed, or responds to it.
    pub(super) fn enforce<B>(
        &self,
        request: &mut Request<B>,
        verdict: Result<(), Rejection>,
    ) -> Result<(), Box<Response<Bytes>>> {
        match context::enforce::<ReviewClaims>(request.extensions(), verdict) {
            Ok(()) => {
                request.extensions_mut().insert(Reviewed);
                Ok(())
            }
            Err(rejection) => Err(Box::new(context::answer_within::<ReviewClaims, _>(
                request,
                &self.answering,
                rejection,
            ))),
        }
    }
}

const OTHER_VERIFIER: Rejection = Rejection::Misconfigured(
    "a route requires a token review by another verifier than that of the OidcAuthLayer around it",
);

const NO_AUTH_LAYER: Rejection = Rejection::Misconfigured(
    "a route demands a token review, but no OidcAuthLayer for its type of claims is around it",
);

/// The decision about a request whose review is not cached.
pub(super) struct PendingReview {
    review: Pin<Box<dyn Future<Output = Result<Verified, Rejection>> + Send>>,
    /// The caller, once its token was reviewed.
    caller: Option<Verified>,
    settings: Arc<ReviewSettings>,
}

impl PendingReview {
    pub(super) fn new(settings: &Arc<ReviewSettings>, token: TokenToReview<ReviewClaims>) -> Self {
        let (reviewer, settings) = (Arc::clone(settings), Arc::clone(settings));
        let review = Box::pin(async move { reviewer.review(token).await });
        Self { review, caller: None, settings }
    }
}

impl<B> Decide<B> for PendingReview {
    fn poll_decision(&mut self, cx: &mut Context<'_>, request: &mut Request<B>) -> Poll<Admission> {
        let verdict = ready!(self.review.as_mut().poll(cx));
        let verdict = verdict.map(|caller| self.caller = Some(caller));
        Poll::Ready(match self.settings.enforce(request, verdict) {
            Ok(()) => Admission::Pass(Guard::default()),
            Err(response) => Admission::Reject(response),
        })
    }

    fn recheck(
        &mut self,
        request: &mut Request<B>,
        has_expired: bool,
    ) -> Result<(), Box<Response<Bytes>>> {
        let is_over = |caller| self.settings.verifier.time_left(caller).is_zero();
        let has_expired = has_expired || self.caller.as_ref().is_some_and(is_over);
        let verdict = if has_expired { Err(Rejection::ExpiredInFlight) } else { Ok(()) };
        self.settings.enforce(request, verdict)
    }
}
