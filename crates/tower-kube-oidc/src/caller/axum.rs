//! The extractor for axum.

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::request::Parts;
use kube_oidc::{Claims, ServiceAccountClaims, Verified};

use crate::{
    context::{self, Passed},
    response::{Answering, Rejection, RequestHead, ResponseFormat},
};

/// The workload that sent a request, in an axum handler behind an
/// [`OidcAuthLayer`](crate::OidcAuthLayer).
///
/// ```
/// use tower_kube_oidc::Caller;
///
/// async fn hello(Caller(who): Caller) -> String {
///     format!("hello {}/{}", who.namespace(), who.service_account().name())
/// }
///
/// // behind a layer whose credentials are `optional()`
/// async fn welcome(caller: Option<Caller>) -> String {
///     match caller {
///         Some(Caller(who)) => format!("hello {}", who.subject()),
///         None => "hello".to_owned(),
///     }
/// }
/// ```
///
/// Where the layer let a request pass without a caller, `Option<Caller>` is `None`, and `Caller`
/// answers what the layer would have: 401. Without the layer nobody looked at the request, so both
/// answer 500, and the log says why.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "a newtype to be taken apart in a signature")]
pub struct Caller<C: Claims = ServiceAccountClaims>(pub Verified<C>);

impl<C: Claims> Clone for Caller<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Sync, C: Claims> FromRequestParts<S> for Caller<C> {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, CallerRejection> {
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?.ok_or_else(
            || {
                let passed = parts.extensions.get::<Passed<C>>();
                let answering =
                    passed.map(|passed| passed.how.answering.clone()).unwrap_or_default();
                let answering = context::answering_within(&parts.extensions, &answering);
                CallerRejection::new(context::why_no_caller(passed), &answering, parts)
            },
        )
    }
}

impl<S: Sync, C: Claims> OptionalFromRequestParts<S> for Caller<C> {
    type Rejection = CallerRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, CallerRejection> {
        match context::caller(&parts.extensions) {
            Ok(caller) => Ok(caller.cloned().map(Self)),
            Err(nobody) => {
                let answering = Answering::default().or_format(ResponseFormat::Http);
                Err(CallerRejection::new(nobody, &answering, parts))
            }
        }
    }
}

/// A handler wants the caller, and there is none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct CallerRejection {
    rejection: Rejection,
    answer: Box<http::Response<Bytes>>,
}

impl CallerRejection {
    fn new(rejection: Rejection, answering: &Answering, parts: &Parts) -> Self {
        rejection.log(true);
        let answer = answering.answer(rejection.clone(), RequestHead::of_parts(parts));
        Self { rejection, answer: Box::new(answer) }
    }

    /// Why there is none.
    #[must_use]
    pub fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl IntoResponse for CallerRejection {
    fn into_response(self) -> Response {
        self.answer.map(Body::from)
    }
}
