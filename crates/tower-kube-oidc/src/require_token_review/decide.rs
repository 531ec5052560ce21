//! The decision about a request: whether the API server still accepts its token.

use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{InvalidToken, ServiceAccountClaims, VerifyError};

use crate::{
    context::{self, Found, Reviewed, TokenToReview},
    response::{Answering, Rejection},
};

/// What an API server can be asked about.
pub(crate) type Claimed = ServiceAccountClaims;

/// What is known of a request.
pub(crate) enum Looked {
    Known(Result<(), Rejection>),
    /// The API server has to be asked.
    Ask(TokenToReview<Claimed>),
}

/// Takes the token out, and looks what is known of it.
pub(crate) fn look<B>(request: &mut Request<B>) -> Looked {
    let token = request.extensions_mut().remove::<TokenToReview<Claimed>>();
    if request.extensions().get::<Reviewed>().is_some() {
        return Looked::Known(Ok(()));
    }
    Looked::Known(match (context::found::<Claimed>(request.extensions()), token) {
        (Found::Caller(_), Some(token)) => match token.review_now() {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => return Looked::Ask(token),
        },
        (Found::Caller(_), None) => Err(VerifyError::from(InvalidToken::NoReviewer).into()),
        (Found::Reported, _) => Ok(()),
        (Found::OpenPath | Found::Anonymous, _) => Err(Rejection::NoCredentials),
        (Found::Unseen, _) => Err(Rejection::Misconfigured(
            "a route demands a token review, but no OidcAuthLayer for its type of claims is around it",
        )),
    })
}

/// Marks the request as reviewed, or says why it goes no further.
pub(crate) fn decide<B>(
    request: &mut Request<B>,
    verdict: Result<(), Rejection>,
    answering: &Answering,
) -> Result<(), Box<Response<Bytes>>> {
    match context::enforce::<Claimed>(request.extensions(), verdict) {
        Ok(()) => {
            request.extensions_mut().insert(Reviewed);
            Ok(())
        }
        Err(rejection) => {
            Err(Box::new(context::answer_within::<Claimed, _>(request, answering, rejection)))
        }
    }
}
