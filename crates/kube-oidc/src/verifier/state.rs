//! The state that the clones of a verifier share.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::{
    denylist::Denylist,
    token_cache::TokenCache,
    trusted::{TrustedIssuer, TrustedIssuers},
    validation::Validation,
};
use crate::{
    algorithm::Algorithm,
    claims::Claims,
    clock::{Clock, Moment},
    error::BuildError,
    issuer::Issuer,
    keys::cache::KeyCacheSettings,
};

pub(super) struct State<C: Claims> {
    pub(super) issuers: ArcSwap<TrustedIssuers>,
    /// Held while the list of issuers is changed.
    pub(super) changing: Mutex<()>,
    pub(super) settings: KeyCacheSettings,
    pub(super) allowed: Arc<[Algorithm]>,
    pub(super) validation: Validation,
    pub(super) denylist: Arc<Denylist>,
    pub(super) tokens: TokenCache<C>,
    pub(super) require_token_review: bool,
    pub(super) clock: Arc<dyn Clock>,
}

impl<C: Claims> State<C> {
    pub(super) fn now(&self) -> Moment {
        Moment::now(&*self.clock)
    }

    /// Prepares an issuer that is not in the list yet. Nothing is fetched.
    pub(super) fn trust(&self, issuer: &Issuer) -> Result<TrustedIssuer, BuildError> {
        let trusted =
            TrustedIssuer::new(issuer, &self.denylist, &self.allowed, &self.settings, &self.clock)?;
        if trusted.answers.is_some() && !C::KUBERNETES {
            return Err(BuildError::ReviewNeedsServiceAccountClaims);
        }
        if trusted.answers.is_none() && self.require_token_review {
            return Err(BuildError::NoReviewer(trusted.names.label().to_string()));
        }
        Ok(trusted)
    }
}
