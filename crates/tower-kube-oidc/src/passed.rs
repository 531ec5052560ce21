//! [`Passed`]: the mark of a request that passed without a caller, or was only looked at.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use kube_oidc::{Claims, ServiceAccountClaims, Verified};

use crate::{
    metrics::count_inner_rejection,
    response::{Answering, Rejection, RequestHead, ResponseFormat},
    token_to_review::{Reviewed, TokenToReview},
};

/// Says in the extensions of a request how it came through an
/// [`OidcAuthLayer`](crate::OidcAuthLayer) that lets more pass than callers with a good token: by
/// an open path, without credentials, or because the layer only reports.
///
/// A request that has neither this nor [`Verified`] claims was seen by no layer.
pub struct Passed<C: Claims = ServiceAccountClaims> {
    pub(crate) how: How,
    /// The layer's type of claims: one that is for others says nothing about these.
    claims: PhantomData<fn() -> C>,
}

#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) why: Why,
    /// Whether the layer only reports, and so what comes after it.
    pub(crate) report_only: bool,
    /// How the layer answers, for what wants a caller after it.
    pub(crate) answering: Answering,
}

#[derive(Clone, Debug)]
pub(crate) enum Why {
    OpenPath,
    Anonymous,
    /// It has a caller, and a layer that only reports.
    Verified,
    WouldBeRejected(Rejection),
}

impl<C: Claims> Passed<C> {
    pub(crate) fn by(how: How) -> Self {
        Self { how, claims: PhantomData }
    }

    /// Whether its path is open to everybody. No token was looked at.
    #[must_use]
    pub fn is_open_path(&self) -> bool {
        matches!(self.how.why, Why::OpenPath)
    }

    /// Whether it brought no credentials, where they are
    /// [`optional`](crate::OidcAuthLayer::optional).
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self.how.why, Why::Anonymous)
    }

    /// Whether the layer [only reports](crate::OidcAuthLayer::dangerous_report_only).
    #[must_use]
    pub fn is_report_only(&self) -> bool {
        self.how.report_only
    }

    /// Why a layer that only reports would have refused it.
    #[must_use]
    pub fn would_be_rejected(&self) -> Option<&Rejection> {
        match &self.how.why {
            Why::WouldBeRejected(rejection) => Some(rejection),
            _ => None,
        }
    }
}

impl<C: Claims> Clone for Passed<C> {
    fn clone(&self) -> Self {
        Self::by(self.how.clone())
    }
}

impl<C: Claims> fmt::Debug for Passed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passed").field(&self.how).finish()
    }
}

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

/// The response format that a layer sets, for policies and layers below it: where the HTTP status
/// is all that counts, it counts for refusals of both, and of layers in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatOfLayer(pub(crate) ResponseFormat);

/// How to answer a request: in the form that a layer further out was told, unless asked for
/// another.
pub(crate) fn answering_within(extensions: &Extensions, answering: &Answering) -> Answering {
    match extensions.get::<FormatOfLayer>() {
        Some(FormatOfLayer(format)) => answering.or_format(*format),
        None => answering.clone(),
    }
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

/// What comes of a refusal by a layer further in: below one that only reports, a line in the log.
pub(crate) fn enforce<C: Claims>(
    extensions: &Extensions,
    verdict: Result<(), Rejection>,
) -> Result<(), Rejection> {
    // that a layer is missing is no matter of a token
    let is_about_token = !matches!(verdict, Err(Rejection::Misconfigured(_)));
    let report_only = extensions.get::<Passed<C>>().is_some_and(Passed::is_report_only);
    let report_only = report_only && is_about_token;
    let verdict = verdict.inspect_err(|rejection| {
        rejection.log(!report_only);
        let outcome = if report_only { "would_be_rejected" } else { "rejected" };
        count_inner_rejection(outcome, rejection.reason());
    });
    if report_only { Ok(()) } else { verdict }
}

/// Responds for a layer further in.
pub(crate) fn answer_within<C: Claims, B>(
    request: &Request<B>,
    answering: &Answering,
    rejection: Rejection,
) -> Response<Bytes> {
    // a token is wanted as the layer wants it, which would have asked for it
    let passed = request.extensions().get::<Passed<C>>();
    let answering = match (&rejection, passed) {
        (Rejection::NoCredentials | Rejection::OpenPathNotAllowed, Some(passed)) => {
            &passed.how.answering
        }
        _ => answering,
    };
    let head = RequestHead::of(request);
    let answering = answering_within(request.extensions(), answering);
    match &rejection {
        // nobody knows who asks for the status, so it says what it means
        Rejection::Misconfigured(_) => {
            answering.or_format(ResponseFormat::Http).answer(rejection, head)
        }
        _ => answering.answer(rejection, head),
    }
}

/// Takes out what a layer puts in, before it decides: what is there afterwards is its own.
pub(crate) fn clear<C: Claims>(extensions: &mut Extensions) {
    extensions.remove::<Verified<C>>();
    extensions.remove::<Passed<C>>();
    extensions.remove::<TokenToReview<C>>();
    extensions.remove::<Reviewed>();
}
