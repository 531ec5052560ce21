//! The decision about a request: whether a policy allows its caller.

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
}

impl<C: Claims> AuthorizeSettings<C> {
    pub(crate) fn new(policy: Policy<C>) -> Self {
        Self { policy, and_open_paths: false, answering: Answering::default() }
    }

    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
        let verdict = match context::found(request.extensions()) {
            Found::Caller(caller) => self.policy.check(caller).map_err(Rejection::Policy),
            Found::Reported => Ok(()),
            Found::OpenPath if self.and_open_paths => Ok(()),
            Found::OpenPath => Err(Rejection::OpenPathNotAllowed),
            Found::Anonymous => Err(Rejection::NoCredentials),
            Found::Unseen => Err(NO_AUTH_LAYER),
        };
        context::enforce::<C>(request.extensions(), verdict)
    }
}

const NO_AUTH_LAYER: Rejection = Rejection::Misconfigured(
    "a policy wants the caller, but no OidcAuthLayer for its type of claims is around it",
);
