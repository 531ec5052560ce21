//! [`RequireTokenReviewLayer`]: a token review around a route or a service.

mod future;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{InvalidToken, ServiceAccountClaims, VerifyError};
use tower_layer::Layer;
use tower_service::Service;

pub use self::future::RequireTokenReviewFuture;
use crate::{
    context::{self, Found, Reviewed, TokenToReview},
    gate::{ResponseBody, swap_unready_clone},
    response::{Answering, Rejection, RequestHead, ResponseFormat},
};

/// Lets only those callers through whose token the API server still takes: for the few routes that
/// deserve to know of a deleted pod before its token expires. It goes further in than the
/// [`OidcAuthLayer`](crate::OidcAuthLayer), whose verifier has somebody to ask:
/// [`Issuer::with_token_review`](crate::Issuer::with_token_review).
///
/// ```
/// # #[cfg(feature = "axum")]
/// # fn f(api_server: impl kube_oidc::token_review::Reviewer) -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{Issuer, OidcAuthLayer, RequireTokenReviewLayer, Verifier};
///
/// # async fn list() {} async fn refund() {}
/// // `api_server` is a `KubeReviewer` of the crate `kube-oidc-token-review`, or one of your own
/// let issuer = Issuer::in_cluster()?.with_token_review(api_server);
/// let verifier = Verifier::builder(issuer).audience("orders").build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(RequireTokenReviewLayer::new()))
///     .layer(OidcAuthLayer::from(verifier).build()?);
/// # Ok(()) }
/// ```
///
/// What an answer is worth, and for how long, is said in [`token_review`](crate::token_review).
///
/// | who | answer |
/// | --- | --- |
/// | a caller whose token the API server does not take, or whose issuer has nobody to ask | 401 `invalid_token`, `UNAUTHENTICATED` |
/// | a caller whose token nobody could ask about | 503, `UNAVAILABLE` |
/// | nobody: credentials are [optional](crate::OidcAuthLayer::optional), or the path [is open](crate::OidcAuthLayer::open_path) | 401, `UNAUTHENTICATED` |
/// | whoever was looked at by no layer, since it is missing or further in | 500, and the log says so |
///
/// Below a layer that [only reports](crate::OidcAuthLayer::dangerous_report_only) it reports too.
///
/// The `OidcAuthLayer` leaves the token for it where only this crate finds it. It is gone when the
/// service is called, and its memory is overwritten.
#[must_use]
#[derive(Clone, Default)]
pub struct RequireTokenReviewLayer {
    answering: Answering,
}

/// What an API server can be asked about.
type Claimed = ServiceAccountClaims;

impl RequireTokenReviewLayer {
    /// Requires a review of each token.
    pub fn new() -> Self {
        Self::default()
    }

    /// In which form refusals are answered: as by the layer further out, unless set. Without such a
    /// layer nobody is let through, and the answer is HTTP.
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.answering.response_format(format);
        self
    }

    /// Lets a function change each answer to a refused request: see
    /// [`OidcAuthLayer::map_rejection`](crate::OidcAuthLayer::map_rejection).
    pub fn map_rejection(
        mut self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.answering.map(map);
        self
    }
}

/// What is known of a request.
enum Looked {
    Known(Result<(), Rejection>),
    /// The API server has to be asked.
    Ask(TokenToReview<Claimed>),
}

/// Takes the token out, and looks what is known of it.
fn look<B>(request: &mut Request<B>) -> Looked {
    let token = request.extensions_mut().remove::<TokenToReview<Claimed>>();
    if request.extensions().get::<Reviewed>().is_some() {
        return Looked::Known(Ok(()));
    }
    Looked::Known(match (context::found::<Claimed>(request.extensions()), token) {
        (Found::Caller(_), Some(token)) => match token.review_now() {
            Poll::Ready(verdict) => verdict,
            Poll::Pending => return Looked::Ask(token),
        },
        (Found::Caller(_), None) => Err(VerifyError::from(InvalidToken::NoReviewer).into()),
        (Found::Reported, _) => Ok(()),
        (Found::OpenPath | Found::Anonymous, _) => Err(Rejection::NoCredentials),
        (Found::Unseen, _) => Err(Rejection::Misconfigured(
            "a route demands a token review, but no OidcAuthLayer for its type of claims is around it",
        )),
    })
}

/// Marks the request as reviewed, or says why it goes no further.
fn decide<B>(
    request: &mut Request<B>,
    verdict: Result<(), Rejection>,
    answering: &Answering,
) -> Result<(), Box<Response<Bytes>>> {
    match context::enforce::<Claimed>(request.extensions(), verdict) {
        Ok(()) => {
            request.extensions_mut().insert(Reviewed);
            Ok(())
        }
        Err(rejection) => {
            Err(Box::new(context::answer_within::<Claimed, _>(request, answering, rejection)))
        }
    }
}

impl<S> Layer<S> for RequireTokenReviewLayer {
    type Service = RequireTokenReview<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireTokenReview { inner, answering: self.answering.clone() }
    }
}

/// Calls the inner service for callers whose token the API server still takes: see
/// [`RequireTokenReviewLayer`].
#[derive(Clone)]
pub struct RequireTokenReview<S> {
    inner: S,
    answering: Answering,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireTokenReview<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireTokenReviewFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match look(&mut request) {
            Looked::Known(verdict) => match decide(&mut request, verdict, &self.answering) {
                Ok(()) => RequireTokenReviewFuture::calling(self.inner.call(request)),
                Err(response) => RequireTokenReviewFuture::answered(*response),
            },
            Looked::Ask(token) => {
                let (service, answering) =
                    (swap_unready_clone(&mut self.inner), self.answering.clone());
                RequireTokenReviewFuture::waiting(token, service, request, answering)
            }
        }
    }
}

impl fmt::Debug for RequireTokenReviewLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReviewLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for RequireTokenReview<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireTokenReview").field("inner", &self.inner).finish_non_exhaustive()
    }
}
