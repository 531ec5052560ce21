//! What the service around each route works by: it judges a request.

use std::task::Poll;

use http::{HeaderMap, HeaderValue};
use kube_oidc::{Claims, Verified, Verifier};

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
    pub(crate) fn judge(&self, headers: &mut HeaderMap) -> Poll<Result<Verified<C>, Rejection>> {
        let header = bearer::find(headers);
        let Some(verifier) = &self.verifier else {
            return Poll::Ready(Err(Rejection::Misconfigured));
        };
        let token = match header.and_then(bearer::token) {
            Ok(token) => token,
            Err(no_token) => return Poll::Ready(Err(no_token.into())),
        };
        match verifier.verify_now(token) {
            Poll::Ready(Ok(caller)) => Poll::Ready(self.narrow(caller)),
            other => match (bearer::check(token), other) {
                (Err(no_token), _) => Poll::Ready(Err(no_token.into())),
                (Ok(()), Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
                (Ok(()), _) => Poll::Pending,
            },
        }
    }

    /// Judges the token of a header that was judged before, and waits for keys.
    pub(crate) async fn judge_waiting(
        &self,
        header: HeaderValue,
    ) -> Result<Verified<C>, Rejection> {
        let verifier = self.verifier.as_ref().ok_or(Rejection::Misconfigured)?;
        self.narrow(verifier.verify(bearer::token(&header)?).await?)
    }

    fn narrow(&self, caller: Verified<C>) -> Result<Verified<C>, Rejection> {
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
