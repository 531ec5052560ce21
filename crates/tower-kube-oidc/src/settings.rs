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
    narrower: Option<Vec<String>>,
    pub(crate) realm: Realm,
}

impl<C: Claims> Settings<C> {
    pub(crate) fn new(verifier: Verifier<C>, narrower: Option<Vec<String>>, realm: Realm) -> Self {
        Self { verifier: Some(verifier), narrower, realm }
    }

    pub(crate) fn closed() -> Self {
        Self { verifier: None, narrower: None, realm: Realm::DEFAULT }
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
        let is_for = |ours: &Vec<String>| {
            caller.registered().audiences().any(|found| ours.iter().any(|ours| ours == found))
        };
        if self.narrower.as_ref().is_none_or(is_for) {
            Ok(caller)
        } else {
            Err(Rejection::NarrowerAudience)
        }
    }
}
