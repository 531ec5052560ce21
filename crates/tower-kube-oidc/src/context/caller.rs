//! The caller that an outer layer found, as inner layers and handlers see it.

use http::Extensions;
use kube_oidc::{Claims, Verified};

use super::passed_mark::{Passed, Why};
#[cfg(any(feature = "axum", feature = "tonic"))]
use crate::response::Rejection;

/// Who sent a request; `None` where a layer let it pass without a caller.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn caller<C: Claims>(
    extensions: &Extensions,
) -> Result<Option<&Verified<C>>, Rejection> {
    match extensions.get::<Verified<C>>() {
        None if extensions.get::<Passed<C>>().is_none() => Err(Rejection::Misconfigured(
            "a handler wants the caller, but no OidcAuthLayer for its type of claims is around it",
        )),
        caller => Ok(caller),
    }
}

/// Why a request that passed has no caller.
#[cfg(any(feature = "axum", feature = "tonic"))]
pub(crate) fn why_no_caller<C: Claims>(passed: Option<&Passed<C>>) -> Rejection {
    let reported = passed.and_then(Passed::would_be_rejected);
    reported.cloned().unwrap_or(Rejection::NoCredentials)
}

/// What a layer further in finds of the caller.
pub(crate) enum Found<'a, C: Claims> {
    Caller(&'a Verified<C>),
    /// It has none, which the layer further out has reported.
    Reported,
    OpenPath,
    Anonymous,
    /// No layer has looked at it.
    Unseen,
}

pub(crate) fn found<C: Claims>(extensions: &Extensions) -> Found<'_, C> {
    let why = extensions.get::<Passed<C>>().map(|passed| &passed.how.why);
    match (extensions.get::<Verified<C>>(), why) {
        (Some(caller), _) => Found::Caller(caller),
        (None, Some(Why::WouldBeRejected(_))) => Found::Reported,
        (None, Some(Why::OpenPath)) => Found::OpenPath,
        (None, Some(Why::Anonymous)) => Found::Anonymous,
        (None, Some(Why::Verified) | None) => Found::Unseen,
    }
}
