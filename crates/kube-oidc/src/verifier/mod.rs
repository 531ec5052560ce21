//! [`Verifier`]: token in, claims out.

mod builder;
mod denylist;
mod explain;
pub mod explanation;
mod judge;
mod operations;
mod readiness;
mod review;
mod select;
mod standing;
mod state;
#[cfg(test)]
mod tests;
mod token_cache;
mod trusted;
mod unverified;
mod validation;
mod waiting;

use std::{fmt, sync::Arc, time::Duration};

pub use self::{
    builder::VerifierBuilder,
    readiness::{Readiness, ReadinessError},
    validation::{API_SERVER_AUDIENCES, is_api_server_audience},
};
use self::{explanation::Explanation, state::State};
use crate::{
    claims::{Claims, ServiceAccountClaims},
    error::{InvalidToken, VerifyError},
    issuer::Issuer,
    verified::Verified,
};

/// Checks tokens, with the public keys of their issuers.
///
/// Cloning it makes another handle to the same keys. It can live in a `static`, be shared by many
/// layers, and be used from several tokio runtimes; it fetches nothing before its first use, and
/// stops refreshing when the last handle is dropped. Fetching needs a tokio runtime with time and
/// I/O enabled, as `#[tokio::main]` makes it; tokens whose keys are known can be checked anywhere.
///
/// ```
/// use kube_oidc::{IssuerUrl, Verifier};
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{}/{}", caller.namespace(), caller.service_account().name());
/// # Ok(())
/// # }
/// ```
///
/// With claims of your own, for issuers that are no clusters:
///
/// ```
/// use kube_oidc::{Issuer, Verifier};
///
/// #[derive(serde::Deserialize)]
/// struct WorkerClaims {
///     client_id: String,
/// }
///
/// # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = Issuer::new("https://auth.pingone.eu/11111111/as".parse()?);
/// let verifier = Verifier::builder(issuer).claims::<WorkerClaims>().audience("orders").build()?;
///
/// let caller = verifier.verify(token).await?;
/// println!("{} until {:?}", caller.client_id, caller.registered().expires_at());
/// # Ok(())
/// # }
/// ```
pub struct Verifier<C: Claims = ServiceAccountClaims> {
    state: Arc<State<C>>,
}

impl Verifier<ServiceAccountClaims> {
    /// Begins a verifier of Kubernetes `ServiceAccount` tokens of one cluster, by its
    /// [`IssuerUrl`](crate::IssuerUrl) or an [`Issuer`].
    ///
    /// An audience has to be given. Every name that the issuer signs is taken for one of the
    /// cluster's service accounts, so trust only a cluster with it.
    pub fn builder(issuer: impl Into<Issuer>) -> VerifierBuilder {
        VerifierBuilder::new(issuer.into())
    }
}

impl<C: Claims> Verifier<C> {
    /// Checks a token, and waits for keys if it has to: at most as long as a fetch may take.
    ///
    /// A token that was verified before is remembered, and costs a hundredth of a signature check
    /// when it comes again: see [`VerifierBuilder::token_cache`].
    ///
    /// # Errors
    ///
    /// [`VerifyError::Invalid`] for a bad token, [`VerifyError::Unavailable`] for one that needs
    /// keys which are not here.
    ///
    /// # Panics
    ///
    /// Where it has to wait in a tokio runtime that was built without time (`enable_time`), as
    /// every timer of tokio does. Outside a runtime it does not panic.
    pub async fn verify(&self, token: impl AsRef<[u8]>) -> Result<Verified<C>, VerifyError> {
        let token = token.as_ref();
        if self.state.require_token_review {
            return self.verify_with_review(token).await;
        }
        self.state.verify_offline(token).await
    }

    /// Verifies a token with the cached keys, without waiting.
    ///
    /// `None` means that the verdict needs keys that are not cached: call [`verify`](Self::verify).
    /// This call waits for no fetch, but a key set that is overdue is refreshed in the background.
    #[must_use = "a token counts only if the verdict is looked at"]
    pub fn verify_with_cached_keys(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        if self.state.require_token_review {
            return self.verify_with_cached_review(token);
        }
        self.state.verify_offline_now(token.as_ref())
    }

    /// Checks a token, and asks the API server whether it still counts, as far as its last answer
    /// is too old: see [`token_review`](crate::token_review). For the few calls that deserve it;
    /// [`VerifierBuilder::require_token_review`] makes [`verify`](Self::verify) do the same.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](Self::verify); [`InvalidToken::NoReviewer`](crate::InvalidToken::NoReviewer)
    /// where the token's issuer has nobody to ask, and [`VerifyError::ReviewUnavailable`] where the
    /// API server does not answer.
    ///
    /// # Panics
    ///
    /// As [`verify`](Self::verify), in a runtime without time.
    pub async fn verify_with_review(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Result<Verified<C>, VerifyError> {
        let token = token.as_ref();
        let verified = self.state.verify_offline(token).await?;
        if let Some(verdict) = self.state.review_now(token, &verified) {
            return verdict.map(|()| verified);
        }
        self.state.review(token, &verified).await?;
        if self.time_left(&verified).is_zero() {
            // it expired, or was taken back, while the API server was asked
            self.state.verify_offline(token).await?;
            // an issuer that was added again in the meantime has been asked nothing
            return Err(InvalidToken::UnknownIssuer.into());
        }
        Ok(verified)
    }

    /// Verifies a token with the cached keys and the cached result of its review, without waiting.
    ///
    /// `None` means that the verdict needs keys that are not cached, or a call to the API server:
    /// call [`verify_with_review`](Self::verify_with_review).
    #[must_use = "a token counts only if the verdict is looked at"]
    pub fn verify_with_cached_review(
        &self,
        token: impl AsRef<[u8]>,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        let token = token.as_ref();
        match self.state.verify_offline_now(token)? {
            Ok(verified) => {
                let review = self.state.review_now(token, &verified)?;
                Some(review.map(|()| verified))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Whether [`verify_with_review`](Self::verify_with_review) has an API server to ask about a caller's
    /// token.
    #[must_use]
    pub fn can_review(&self, caller: &Verified<C>) -> bool {
        caller.basis().is_some_and(|basis| basis.reviewable)
    }

    /// Says what this verifier makes of a token with the keys that are here, check by check: what
    /// stands there, what was expected, and what to do about it. For an operator who wants to know
    /// why a token is refused; never for callers.
    ///
    /// Nothing is fetched for it, counted or remembered, and no API server is asked. It checks every
    /// signature anew.
    ///
    /// ```
    /// # use kube_oidc::Verifier;
    /// # fn f(verifier: Verifier, token: &str) {
    /// println!("{}", verifier.explain(token));
    /// // format     ok       RS256, no typ
    /// // issuer     ok       "https://issuer.example"
    /// // key        ok       kid "5d0c" of the cluster "blue"
    /// // signature  ok       by this key, RS256
    /// // expiry     FAILED   it expired 2 h 4 min ago (leeway 1 min): the caller should read its …
    /// # }
    /// ```
    #[must_use]
    pub fn explain(&self, token: impl AsRef<[u8]>) -> Explanation {
        self.state.explain(token.as_ref(), self.state.now())
    }

    /// Returns `true` if both are handles to the same keys and settings, as clones are.
    #[must_use]
    pub fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// The audiences of which a token must have one.
    pub fn audiences(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.state.validation.audiences.iter().map(String::as_str)
    }

    /// Returns how long from now on a caller's token would be accepted, as far as is known now:
    /// until its expiry and the leeway are over, or its issuer's former name ends. Zero at once
    /// where [`verify`](Self::verify) would reject the token: its issuer, its key, or the issuer's
    /// name is not trusted any more, or its `jti` is denied. While no key of the issuer may be
    /// used, the last known key set decides.
    #[must_use]
    pub fn time_left(&self, caller: &Verified<C>) -> Duration {
        self.state.time_left(caller, self.state.now())
    }
}

impl<C: Claims> Clone for Verifier<C> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<C: Claims> fmt::Debug for Verifier<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.state.issuers.load();
        let issuers: Vec<&str> = issuers.iter().map(|issuer| &**issuer.names.label()).collect();
        f.debug_struct("Verifier")
            .field("issuers", &issuers)
            .field("audiences", &self.state.validation.audiences)
            .finish_non_exhaustive()
    }
}
