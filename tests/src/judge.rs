//! Verdicts, each held against its explanation.

use kube_oidc::{Claims, Reason, Verified, Verifier, VerifyError, explanation::CheckStatus};

/// Judges tokens, and sees to it that what the verifier would explain is what it does.
pub trait Judge<C: Claims> {
    /// [`Verifier::verify`].
    fn judge(
        &self,
        token: impl AsRef<[u8]> + Send + Sync,
    ) -> impl Future<Output = Result<Verified<C>, VerifyError>> + Send;

    /// [`Verifier::verify_with_cached_keys`].
    fn judge_now(&self, token: impl AsRef<[u8]>) -> Option<Result<Verified<C>, VerifyError>>;
}

impl<C: Claims> Judge<C> for Verifier<C> {
    async fn judge(
        &self,
        token: impl AsRef<[u8]> + Send + Sync,
    ) -> Result<Verified<C>, VerifyError> {
        let verdict = self.verify(&token).await;
        assert_explained(self, token.as_ref(), &verdict);
        verdict
    }

    fn judge_now(&self, token: impl AsRef<[u8]>) -> Option<Result<Verified<C>, VerifyError>> {
        let verdict = self.verify_with_cached_keys(&token);
        if let Some(verdict) = &verdict {
            assert_explained(self, token.as_ref(), verdict);
        }
        verdict
    }
}

/// Returns the reason for which a token is rejected, if it is.
pub async fn rejection<C: Claims>(
    verifier: &Verifier<C>,
    token: impl AsRef<[u8]> + Send + Sync,
) -> Option<Reason> {
    verifier.judge(token).await.err().map(|error| error.reason())
}

/// An explanation says what became of the token, finds a reason for it among the checks, and holds
/// no part of the token.
fn assert_explained<C: Claims>(
    verifier: &Verifier<C>,
    token: &[u8],
    verdict: &Result<Verified<C>, VerifyError>,
) {
    let explanation = verifier.explain(token);
    let said = verdict.as_ref().map(|_| ()).map_err(VerifyError::reason);
    match said.map_err(without_fetching) {
        // what is said once keys are there, is another matter
        Err(Reason::KeysUnavailable) => assert!(!explanation.is_accepted(), "\n{explanation}"),
        said => assert_eq!(explanation.verdict, said, "\n{explanation}"),
    }
    let findings = || explanation.steps.iter().map(|step| step.status);
    match explanation.verdict {
        Ok(()) => {
            assert!(findings().all(|finding| finding == CheckStatus::Passed), "\n{explanation}");
        }
        Err(reason) => {
            let found = findings().any(|finding| match finding {
                CheckStatus::Failed(found) => without_fetching(found) == without_fetching(reason),
                CheckStatus::Unknown => matches!(
                    without_fetching(reason),
                    Reason::KeysUnavailable | Reason::ReviewUnavailable
                ),
                _ => false,
            });
            assert!(found, "{reason} has no check\n{explanation}");
        }
    }
    let shown = format!("{explanation} {} {explanation:?}", explanation.one_line());
    let parts = token.split(|byte| *byte == b'.').filter(|part| part.len() > 20);
    for part in parts.filter_map(|part| std::str::from_utf8(part).ok()) {
        assert!(!shown.contains(part), "a part of the token is in its explanation");
    }
}

/// Whoever would fetch keys says so in several ways; an explanation fetches none.
fn without_fetching(reason: Reason) -> Reason {
    match reason {
        Reason::UnknownKey | Reason::TooManyWaiting => Reason::KeysUnavailable,
        other => other,
    }
}
