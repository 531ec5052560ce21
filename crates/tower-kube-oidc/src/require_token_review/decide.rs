//! The decision about a request: whether the API server still accepts its token.

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{InvalidToken, ServiceAccountClaims, Verified, Verifier, VerifyError};

use crate::{
    context::{self, Found, Reviewed, TokenToReview},
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

    pub(super) async fn review(
        &self,
        token: TokenToReview<ReviewClaims>,
    ) -> Result<Verified, Rejection> {
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

const NO_AUTH_LAYER: Rejection = Rejection::Misconfigured(
    "a route demands a token review, but no OidcAuthLayer for its type of claims is around it",
);
