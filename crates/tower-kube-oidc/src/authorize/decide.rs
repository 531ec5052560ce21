//! The decision about a request: whether a policy allows its caller.

use std::sync::Once;

use http::Request;
use kube_oidc::{Claims, Policy};

use crate::{
    context::{self, Found},
    response::{Answering, Rejection},
};

pub(crate) struct AuthorizeSettings<C: Claims> {
    pub(crate) policy: Policy<C>,
    pub(crate) and_open_paths: bool,
    pub(crate) answering: Answering,
    /// Done once the log was told of a slip, if there is one.
    pub(crate) told: Once,
}

impl<C: Claims> AuthorizeSettings<C> {
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let verdict = match context::found(request.extensions()) {
            Found::Caller(caller) => self.policy.check(caller).map_err(Rejection::Policy),
            Found::Reported => Ok(()),
            Found::OpenPath if self.and_open_paths => Ok(()),
            Found::OpenPath => Err(Rejection::OpenPathNotAllowed),
            Found::Anonymous => Err(Rejection::NoCredentials),
            Found::Unseen => Err(NOBODY_LOOKED),
        };
        context::enforce::<C>(request.extensions(), verdict)
    }
}

const NOBODY_LOOKED: Rejection = Rejection::Misconfigured(
    "a policy wants the caller, but no OidcAuthLayer for its type of claims is around it",
);

impl<C: Claims> Clone for AuthorizeSettings<C> {
    fn clone(&self) -> Self {
        let (policy, answering) = (self.policy.clone(), self.answering.clone());
        Self { policy, and_open_paths: self.and_open_paths, answering, told: Once::new() }
    }
}
