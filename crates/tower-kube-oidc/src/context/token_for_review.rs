//! [`TokenToReview`]: the token of a request, which a layer leaves for a review further in.

use std::sync::Arc;

use kube_oidc::{Claims, Verifier};
use zeroize::Zeroizing;

/// The token of a request. It has no `Debug`, and its memory is overwritten.
pub(crate) struct TokenToReview<C: Claims> {
    token: Arc<Zeroizing<Vec<u8>>>,
    /// The verifier that accepted it.
    verifier: Verifier<C>,
}

/// The mark of a request whose token was reviewed, so that several layers review it once.
#[derive(Clone)]
pub(crate) struct Reviewed;

impl<C: Claims> TokenToReview<C> {
    pub(crate) fn new(verifier: &Verifier<C>, token: &[u8]) -> Self {
        let (token, verifier) = (Arc::new(Zeroizing::new(token.to_vec())), verifier.clone());
        Self { token, verifier }
    }

    pub(crate) fn verifier(&self) -> &Verifier<C> {
        &self.verifier
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.token
    }
}

impl<C: Claims> Clone for TokenToReview<C> {
    fn clone(&self) -> Self {
        Self { token: Arc::clone(&self.token), verifier: self.verifier.clone() }
    }
}
