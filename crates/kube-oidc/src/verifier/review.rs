//! The step after the offline check, where it is demanded: whether the API server takes the token.

use std::sync::Arc;

use super::state::State;
use crate::{
    claims::Claims,
    error::{InvalidToken, VerifyError},
    token_review::{Expected, ReviewCache},
    verified::Verified,
};

impl<C: Claims> State<C> {
    /// What the API server's last answer says of a token that was verified.
    pub(super) fn review_now(
        &self,
        token: &[u8],
        verified: &Verified<C>,
    ) -> Option<Result<(), VerifyError>> {
        match self.answers_for(verified) {
            Ok(answers) => answers.recall(token),
            Err(refusal) => Some(Err(refusal.into())),
        }
    }

    /// The same, and asks it if there is none.
    #[cold]
    pub(super) async fn review(
        &self,
        token: &[u8],
        verified: &Verified<C>,
    ) -> Result<(), VerifyError> {
        let answers = self.answers_for(verified)?;
        match answers.recall(token) {
            Some(verdict) => verdict,
            None => answers.ask(token, self.expected(verified)?).await,
        }
    }

    /// Those of the issuer whose key signed the token, and of no other.
    fn answers_for(&self, verified: &Verified<C>) -> Result<Arc<ReviewCache>, InvalidToken> {
        let id = verified.basis().ok_or(InvalidToken::UnknownIssuer)?.issuer;
        let issuers = self.issuers.load();
        let issuer = issuers.by_id(id).ok_or(InvalidToken::UnknownIssuer)?;
        issuer.answers.clone().ok_or(InvalidToken::NoReviewer)
    }

    fn expected(&self, verified: &Verified<C>) -> Result<Expected, InvalidToken> {
        let (username, uid) = verified.user().ok_or(InvalidToken::NoReviewer)?;
        let mut audiences = self.validation.audiences.to_vec();
        if self.validation.issuer_is_audience {
            audiences.push(verified.registered().issuer().to_owned());
        }
        Ok(Expected { username: username.to_owned(), uid: uid.to_owned(), audiences })
    }
}
