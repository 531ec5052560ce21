//! [`TokenToReview`]: the token of a request, which a layer leaves for a review further in.

use std::{sync::Arc, task::Poll};

use kube_oidc::{Claims, Verifier};
use zeroize::Zeroizing;

use crate::response::Rejection;

/// The token of a request, and who can ask about it. It is never shown.
pub(crate) struct TokenToReview<C: Claims>(Arc<Question<C>>);

struct Question<C: Claims> {
    verifier: Verifier<C>,
    token: Zeroizing<Vec<u8>>,
}

/// The mark of a request whose token was reviewed, so that it need not be twice.
#[derive(Clone)]
pub(crate) struct Reviewed;

impl<C: Claims> TokenToReview<C> {
    pub(crate) fn new(verifier: &Verifier<C>, token: &[u8]) -> Self {
        let (verifier, token) = (verifier.clone(), Zeroizing::new(token.to_vec()));
        Self(Arc::new(Question { verifier, token }))
    }

    pub(crate) fn verifier(&self) -> &Verifier<C> {
        &self.0.verifier
    }

    /// What is known of it. `Pending`: the API server has to be asked, see
    /// [`review`](Self::review).
    pub(crate) fn review_now(&self) -> Poll<Result<(), Rejection>> {
        match self.0.verifier.verify_with_cached_review(&*self.0.token) {
            Some(verdict) => Poll::Ready(verdict.map(|_| ()).map_err(Rejection::Token)),
            None => Poll::Pending,
        }
    }

    pub(crate) async fn review(self) -> Result<(), Rejection> {
        let verdict = self.0.verifier.verify_with_review(&*self.0.token).await;
        verdict.map(|_| ()).map_err(Rejection::Token)
    }
}

impl<C: Claims> Clone for TokenToReview<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
