//! [`AuthorizeLayer`]: a policy around a route or a service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Once},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use kube_oidc::{Claims, Policy, PolicyError, ServiceAccountClaims};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    context::{self, Found},
    gate::{CallOrRespond, ResponseBody},
    response::{Answering, Rejection, RequestHead, ResponseFormat},
};

/// Lets only those callers through that a [`Policy`] allows; it goes further in than the
/// [`OidcAuthLayer`](crate::OidcAuthLayer) that says who they are.
///
/// ```
/// # #[cfg(feature = "axum")] fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use axum::{Router, routing::{get, post}};
/// use tower_kube_oidc::{AuthorizeLayer, IssuerUrl, OidcAuthLayer, in_namespace};
///
/// # async fn list() {} async fn refund() {}
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let payments = in_namespace("payments");
/// let refunds = AuthorizeLayer::only(payments.clone().service_account("refunds")).build()?;
/// let app: Router = Router::new()
///     .route("/orders", get(list))
///     .route("/refunds", post(refund).layer(refunds))
///     .layer(AuthorizeLayer::only(payments.or(in_namespace("batch"))).build()?)
///     .layer(OidcAuthLayer::new(issuer).audience("orders").build()?);
/// # Ok(()) }
/// ```
///
/// In tonic it goes around a single service with `tonic::service::LayerExt::named_layer`.
///
/// | who | answer |
/// | --- | --- |
/// | a caller that the policy does not allow | 403 `insufficient_scope`, `PERMISSION_DENIED` |
/// | nobody: credentials are [optional](crate::OidcAuthLayer::optional), or the path [is open](crate::OidcAuthLayer::open_path) | 401, `UNAUTHENTICATED` |
/// | whoever was looked at by no layer, since it is missing or further in | 500, and the log says so |
///
/// Below a layer that [only reports](crate::OidcAuthLayer::dangerous_report_only) it reports too,
/// and lets everybody through.
#[must_use]
pub struct AuthorizeLayer<C: Claims = ServiceAccountClaims>(Arc<Settings<C>>);

struct Settings<C: Claims> {
    policy: Policy<C>,
    and_open_paths: bool,
    answering: Answering,
    /// Done once the log was told of a slip, if there is one.
    told: Once,
}

/// Why an [`AuthorizeLayer`] cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// A part of the policy can allow nobody.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The realm holds what a header cannot carry: anything but printable ASCII, a quote, a
    /// backslash.
    #[error("the realm must be printable ASCII without quotes and backslashes")]
    InvalidRealm,
}

impl<C: Claims> AuthorizeLayer<C> {
    /// Allows the callers that the policy allows, and nobody else.
    pub fn only(policy: impl Into<Policy<C>>) -> Self {
        let (policy, answering) = (policy.into(), Answering::default());
        Self(Arc::new(Settings { policy, and_open_paths: false, answering, told: Once::new() }))
    }

    /// Lets requests pass as well whose path the layer further out has opened, so that a probe's
    /// path can be among the routes of an app that has one policy for all.
    pub fn and_open_paths(self) -> Self {
        self.changed(|settings| settings.and_open_paths = true)
    }

    /// In which form refusals are answered: as by the layer further out, unless set. Without such a
    /// layer nobody is let through, and the answer is HTTP.
    pub fn response_format(self, format: ResponseFormat) -> Self {
        self.changed(|settings| settings.answering.response_format(format))
    }

    /// Names this realm in challenges: `kubernetes` unless set.
    pub fn realm(self, realm: impl Into<String>) -> Self {
        self.changed(|settings| settings.answering.realm(realm.into()))
    }

    /// Lets a function change each answer to a refused request: see
    /// [`OidcAuthLayer::map_rejection`](crate::OidcAuthLayer::map_rejection).
    pub fn map_rejection(
        self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.changed(|settings| settings.answering.map(map))
    }

    /// Checks the policy now, so that a service with a slip in it does not start. Without it the
    /// slip is logged as an error, and allows nobody.
    ///
    /// # Errors
    ///
    /// What can never allow anybody: see [`AuthorizeError`].
    pub fn build(self) -> Result<Self, AuthorizeError> {
        self.validate()?;
        Ok(self)
    }

    fn validate(&self) -> Result<(), AuthorizeError> {
        self.0.policy.validate()?;
        if self.0.answering.is_sound() { Ok(()) } else { Err(AuthorizeError::InvalidRealm) }
    }

    fn changed(self, change: impl FnOnce(&mut Settings<C>)) -> Self {
        let mut settings = Settings::clone(&self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }
}

impl<C: Claims> Settings<C> {
    fn check<B>(&self, request: &Request<B>) -> Result<(), Rejection> {
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

impl<S, C: Claims> Layer<S> for AuthorizeLayer<C> {
    type Service = Authorize<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.told.call_once(|| {
            if let Err(error) = self.validate() {
                tracing::error!(%error, policy = %self.0.policy, "a policy has a slip in it");
            }
        });
        Authorize { inner, settings: Arc::clone(&self.0) }
    }
}

/// Calls the inner service for callers that a policy allows: see [`AuthorizeLayer`].
pub struct Authorize<S, C: Claims = ServiceAccountClaims> {
    inner: S,
    settings: Arc<Settings<C>>,
}

impl<S, C, ReqBody, ResBody> Service<Request<ReqBody>> for Authorize<S, C>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    C: Claims,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = AuthorizeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let state = match self.settings.check(&request) {
            Ok(()) => CallOrRespond::calling(self.inner.call(request)),
            Err(rejection) => CallOrRespond::answered(context::answer_within::<C, _>(
                &request,
                &self.settings.answering,
                rejection,
            )),
        };
        AuthorizeFuture { state }
    }
}

pin_project! {
    /// The future of [`Authorize`].
    #[derive(Debug)]
    pub struct AuthorizeFuture<F> {
        #[pin]
        state: CallOrRespond<F>,
    }
}

impl<F, ResBody, E> Future for AuthorizeFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().state.poll(cx)
    }
}

impl<C: Claims> Clone for Settings<C> {
    fn clone(&self) -> Self {
        let (policy, answering) = (self.policy.clone(), self.answering.clone());
        Self { policy, and_open_paths: self.and_open_paths, answering, told: Once::new() }
    }
}

impl<C: Claims> Clone for AuthorizeLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Clone, C: Claims> Clone for Authorize<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl<C: Claims> fmt::Debug for AuthorizeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizeLayer").field(&self.0.policy).finish()
    }
}

impl<S: fmt::Debug, C: Claims> fmt::Debug for Authorize<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorize")
            .field("inner", &self.inner)
            .field("policy", &self.settings.policy)
            .finish()
    }
}
