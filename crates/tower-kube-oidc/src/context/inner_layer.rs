//! How an inner layer rejects a request: in the words and the mode of the outer one.

use bytes::Bytes;
use http::{Extensions, Request, Response};
use kube_oidc::Claims;

use super::{format_of_layer::answering_within, passed_mark::Passed};
use crate::{
    metrics::count_inner_rejection,
    response::{Answering, Rejection, RequestHead, ResponseFormat},
};

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
