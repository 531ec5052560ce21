//! What the service around each route works by: it judges a request.

use std::task::Poll;

use http::{HeaderValue, Request};
use kube_oidc::{Claims, Verified, Verifier, VerifyError};

use crate::{
    bearer,
    rejection::{Realm, Rejection},
};

/// The settled settings of a layer, shared by the services that it made.
pub(crate) struct Settings<C: Claims> {
    /// `None`: the layer was set up wrong, and lets nobody through.
    verifier: Option<Verifier<C>>,
    /// Beside the verifier's own.
    narrower: Vec<String>,
    pub(crate) realm: Realm,
}

impl<C: Claims> Settings<C> {
    pub(crate) fn new(verifier: Verifier<C>, narrower: Vec<String>, realm: Realm) -> Self {
        Self { verifier: Some(verifier), narrower, realm }
    }

    pub(crate) fn closed() -> Self {
        Self { verifier: None, narrower: Vec::new(), realm: Realm::DEFAULT }
    }

    /// Judges a request by what is known now. `Pending`: keys are needed, see
    /// [`judge_waiting`](Self::judge_waiting).
    pub(crate) fn judge<B>(&self, request: &Request<B>) -> Poll<Result<Verified<C>, Rejection>> {
        match self.verifier_and_token(request) {
            Ok((verifier, token)) => verifier.verify_now(token).map(|verdict| self.narrow(verdict)),
            Err(rejection) => Poll::Ready(Err(rejection)),
        }
    }

    fn verifier_and_token<'a, B>(
        &'a self,
        request: &'a Request<B>,
    ) -> Result<(&'a Verifier<C>, &'a str), Rejection> {
        let verifier = self.verifier.as_ref().ok_or(Rejection::Misconfigured)?;
        Ok((verifier, bearer::token(bearer::find(request.headers())?)?))
    }

    /// Judges the token of a header, and waits for keys.
    pub(crate) async fn judge_waiting(
        &self,
        header: HeaderValue,
    ) -> Result<Verified<C>, Rejection> {
        let verifier = self.verifier.as_ref().ok_or(Rejection::Misconfigured)?;
        self.narrow(verifier.verify(bearer::token(&header)?).await)
    }

    fn narrow(&self, verdict: Result<Verified<C>, VerifyError>) -> Result<Verified<C>, Rejection> {
        let caller = verdict?;
        let is_ours = |audience: &str| self.narrower.iter().any(|ours| ours == audience);
        if self.narrower.is_empty() || caller.registered().audiences().any(is_ours) {
            Ok(caller)
        } else {
            Err(Rejection::NarrowerAudience)
        }
    }
}
