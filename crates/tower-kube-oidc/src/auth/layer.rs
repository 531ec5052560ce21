//! [`OidcAuthLayer`]: what to expect, and of whom.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderName, Method, Response};
use kube_oidc::{Claims, Issuer, IssuerUrl, ServiceAccountClaims, Verifier};
use tower_layer::Layer;

use super::{
    bearer::TokenHeader,
    config::{LayerError, Plan, Source},
    decide::Settings,
    open_path::Open,
    options::{Manner, Mode},
    outcome::Outcome,
    service::OidcAuth,
};
use crate::response::{Rejection, RequestHead, ResponseFormat};

/// Lets only requests through that carry a good token of the issuer, and puts
/// [`Verified`](crate::Verified) claims into their extensions.
///
/// ```
/// use tower_kube_oidc::{IssuerUrl, OidcAuthLayer};
///
/// let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
/// let layer = OidcAuthLayer::new(issuer).audience("orders").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What needs more than an issuer and audiences is set on a [`Verifier`], from which a layer can
/// be made too. Several layers may share one; each may narrow what it accepts and none can loosen
/// it:
///
/// ```
/// use tower_kube_oidc::{Issuer, OidcAuthLayer, Verifier};
///
/// let issuer = Issuer::new("https://127.0.0.1:6443".parse()?)
///     .with_jwks_uri("https://127.0.0.1:6443/openid/v1/jwks");
/// let verifier = Verifier::builder(issuer).audiences(["orders", "refunds"]).build()?;
///
/// let orders = OidcAuthLayer::from(verifier.clone()).audience("orders");
/// let refunds = OidcAuthLayer::from(verifier).audience("refunds");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones, and the services that it is put around, share one key cache.
#[must_use]
pub struct OidcAuthLayer<C: Claims = ServiceAccountClaims>(Arc<Planned<C>>);

/// What clones of a layer share. Axum clones the layers of a handler with every request.
struct Planned<C: Claims> {
    plan: Plan<C>,
    /// Settled when first put around a service.
    settled: OnceLock<Arc<Settings<C>>>,
}

impl OidcAuthLayer<ServiceAccountClaims> {
    /// Expects tokens of one cluster, by its issuer. Nothing is fetched before the first request.
    ///
    /// Give it an audience of the service's own with [`audience`](Self::audience). Without one it
    /// expects the default audience of a cluster's tokens, which is the issuer, and warns once:
    /// such a token can be replayed by whoever receives it, to the API server and to every other
    /// service that expects the default.
    ///
    /// For more than an issuer and audiences, such as an [`Issuer`] with settings, several
    /// clusters, claims of your own, or a readiness probe, make a [`Verifier`], and the layer from
    /// it: `OidcAuthLayer::from(verifier)`.
    pub fn new(issuer: IssuerUrl) -> Self {
        let builder = Box::new(Verifier::builder(issuer.clone()));
        Self::from_source(Source::Own { builder, issuer })
    }

    /// Expects tokens of the cluster that this process is a pod of, for one audience: see
    /// [`Issuer::in_cluster`].
    ///
    /// # Errors
    ///
    /// What is missing, or an audience that is blank: see [`LayerError`].
    pub fn in_cluster(audience: impl Into<String>) -> Result<Self, LayerError> {
        let verifier = Verifier::builder(Issuer::in_cluster()?).audience(audience).build()?;
        Self::from(verifier).build()
    }
}

impl<C: Claims> OidcAuthLayer<C> {
    fn from_source(source: Source<C>) -> Self {
        Self::planned(Plan::new(source))
    }

    fn planned(plan: Plan<C>) -> Self {
        Self(Arc::new(Planned { plan, settled: OnceLock::new() }))
    }

    /// The same layer by another plan, which is still to be settled.
    fn replanned(self, change: impl FnOnce(&mut Plan<C>)) -> Self {
        let mut plan = self.0.plan.clone();
        change(&mut plan);
        Self::planned(plan)
    }

    /// Accepts tokens for this audience, beside others that were given here. The first one
    /// replaces the default of [`new`](OidcAuthLayer::new).
    ///
    /// On a layer that was made from a [`Verifier`] it narrows: a token must be for one of the
    /// verifier's audiences *and* for one of the layer's.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.audiences([audience])
    }

    /// Accepts tokens for each of these audiences: see [`audience`](Self::audience).
    pub fn audiences(self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.replanned(|plan| {
            let ours = plan.audiences.get_or_insert_default();
            ours.extend(audiences.into_iter().map(Into::into));
        })
    }

    /// Accepts tokens that were made for the API server: of the issuer's own name and of
    /// [`API_SERVER_AUDIENCES`](crate::API_SERVER_AUDIENCES).
    ///
    /// Such a token is a pod's key to the API server. Whoever receives it can use it there, and
    /// at every other service that accepts it.
    ///
    /// A layer that was made from a [`Verifier`] cannot be told so: set it on the verifier.
    pub fn dangerous_api_server_audiences(self) -> Self {
        self.replanned(|plan| plan.api_server_audiences = true)
    }

    /// Lets requests without credentials pass too, as those of nobody: `Option<Caller>` is `None`,
    /// and a [policy](crate::AuthorizeLayer) allows them nothing.
    ///
    /// Without credentials is a request that has no `Authorization`, or one of another scheme.
    /// Whoever sends a bearer token has to send a good one: it is answered as if it were required.
    pub fn optional(self) -> Self {
        self.in_mode(Mode::Optional)
    }

    /// Refuses nobody: says in the log what would be refused and why, marks the request
    /// ([`Passed::would_be_rejected`](crate::Passed::would_be_rejected)), and lets it pass. For a roll-out, until nothing is
    /// reported any more.
    ///
    /// [`Verified`](crate::Verified) claims are there for good tokens only, so handlers take
    /// `Option<Caller>` meanwhile. A [policy](crate::AuthorizeLayer) below reports as well, and refuses
    /// nobody, even if a layer further out does. A request may wait for keys as it would if they
    /// counted.
    pub fn dangerous_report_only(self) -> Self {
        self.in_mode(Mode::ReportOnly)
    }

    fn in_mode(self, mode: Mode) -> Self {
        self.mannered(|manner| manner.mode = mode)
    }

    /// Lets GET and HEAD requests for this path pass, whoever sends them: for health probes.
    ///
    /// The path is compared byte for byte with that of the request: `/healthz/`, `/healthz;a` and
    /// `/%68ealthz` are others. In an axum router that is nested in another it is the whole path
    /// that counts, which needs the feature `axum`; a path that was rewritten on its way here is
    /// not open. No token is looked at. A
    /// [policy](crate::AuthorizeLayer) below lets such requests pass only if it says so.
    pub fn open_path(self, path: impl Into<String>) -> Self {
        self.open(Open::Path { path: path.into(), methods: None })
    }

    /// [`open_path`](Self::open_path) for these methods only, instead of GET and HEAD.
    pub fn open_path_for(
        self,
        methods: impl IntoIterator<Item = Method>,
        path: impl Into<String>,
    ) -> Self {
        let methods = Some(methods.into_iter().collect());
        self.open(Open::Path { path: path.into(), methods })
    }

    /// Lets calls of this gRPC method pass, whoever makes them, by its full name:
    /// `/grpc.health.v1.Health/Check`.
    pub fn open_grpc_method(self, method: impl Into<String>) -> Self {
        self.open_path_for([Method::POST], method)
    }

    /// Lets requests pass that fit a predicate, whoever sends them. What it lets through is open
    /// to everybody, so look at what a caller cannot choose, and compare whole paths.
    pub fn open_when(
        self,
        is_open: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.open(Open::When(Arc::new(is_open)))
    }

    fn open(self, open: Open) -> Self {
        self.mannered(|manner| manner.open.push(open))
    }

    /// Reads the token from this header, and from no other: with `Bearer` before it or bare.
    ///
    /// Only for a proxy that moves it there. A request with a bearer token in `Authorization` is
    /// then refused with 400, since nobody could say which of the two speaks for it.
    ///
    /// Caches protect responses to requests with `Authorization` only ([RFC 9111, 3.5]). Each response
    /// therefore gets `Vary: <name>`, and `Cache-Control: private` if it has no `Cache-Control`.
    ///
    /// [RFC 9111, 3.5]: https://www.rfc-editor.org/rfc/rfc9111#section-3.5
    pub fn token_header(self, name: HeaderName) -> Self {
        self.mannered(|manner| manner.token_header = TokenHeader::named(name))
    }

    /// Takes the header with the token away before the service is called, so that it can neither
    /// pass it on nor log it: the whole header, whatever its scheme. Layers further in do not see it
    /// either.
    pub fn remove_token_header(self) -> Self {
        self.mannered(|manner| manner.remove_token_header = true)
    }

    /// Ends a call when its token expires, leeway included; without this a stream goes on for as
    /// long as both ends want.
    ///
    /// A call that was not answered by then is answered with 401 or `UNAUTHENTICATED`, and the
    /// service's future is dropped. A body that has begun ends with that status where it is gRPC,
    /// and breaks off elsewhere. A key that was taken back and a denied `jti` end it too, within
    /// ten seconds. What a connection is upgraded to, such as a WebSocket, is not seen from here,
    /// nor is a request's own stream that a handler has given to a task of its own.
    ///
    /// # Panics
    ///
    /// Where a call is made in a tokio runtime that was built without time, as every timer does.
    pub fn end_streams_at_expiry(self) -> Self {
        self.mannered(|manner| manner.end_streams = true)
    }

    /// In which form refusals are answered: HTTP or gRPC, as the request is, unless set.
    pub fn response_format(self, format: ResponseFormat) -> Self {
        self.mannered(|manner| manner.answering.response_format(format))
    }

    /// Names this realm in challenges: `kubernetes` unless set.
    pub fn realm(self, realm: impl Into<String>) -> Self {
        self.mannered(|manner| manner.answering.realm(realm.into()))
    }

    /// Lets a function change each answer to a refused request, or write another. The service is
    /// not called, whatever the answer. The rejection is for operators: tell callers no more than
    /// they need.
    ///
    /// ```
    /// use http::HeaderValue;
    /// # use tower_kube_oidc::{IssuerUrl, OidcAuthLayer};
    /// # fn f(issuer: IssuerUrl) {
    /// let layer = OidcAuthLayer::new(issuer).audience("orders").map_rejection(
    ///     |rejection, _request, mut answer| {
    ///         answer.headers_mut().insert("x-refused", HeaderValue::from_static(rejection.reason()));
    ///         answer
    ///     },
    /// );
    /// # }
    /// ```
    pub fn map_rejection(
        self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.mannered(|manner| manner.answering.map(map))
    }

    /// Shows a function what becomes of each request, before the service is called or the answer
    /// sent: for counting, and for logs of your own. What
    /// [`end_streams_at_expiry`](Self::end_streams_at_expiry) ends later is not shown again.
    ///
    /// ```
    /// # use tower_kube_oidc::{IssuerUrl, OidcAuthLayer, Outcome};
    /// # fn f(issuer: IssuerUrl) {
    /// let layer = OidcAuthLayer::new(issuer).audience("orders").on_outcome(|outcome, request| {
    ///     if let Outcome::Rejected(why) = outcome {
    ///         eprintln!("{} {}: {why}", request.method, request.uri.path());
    ///     }
    /// });
    /// # }
    /// ```
    pub fn on_outcome(
        self,
        on_outcome: impl Fn(Outcome<'_, C>, RequestHead<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.mannered(|manner| manner.on_outcome = Some(Arc::new(on_outcome)))
    }

    fn mannered(self, change: impl FnOnce(&mut Manner<C>)) -> Self {
        self.replanned(|plan| change(&mut plan.manner))
    }

    /// Checks the settings now, so that a service with a wrong one does not start.
    ///
    /// Without it a wrong setting, such as an audience from an environment variable that is
    /// empty, is logged as an error, and every request is answered with 500.
    ///
    /// # Errors
    ///
    /// A setting that cannot work: see [`LayerError`].
    pub fn build(self) -> Result<Self, LayerError> {
        let settings = Arc::new(self.0.plan.settle()?);
        let plan = self.0.plan.clone();
        Ok(Self(Arc::new(Planned { plan, settled: OnceLock::from(settings) })))
    }

    fn settings(&self) -> Arc<Settings<C>> {
        let settle = || {
            Arc::new(self.0.plan.settle().unwrap_or_else(|error| {
                tracing::error!(
                    error = %error,
                    "the OIDC layer is set up wrong: every request is answered with 500"
                );
                Settings::closed(self.0.plan.manner.clone())
            }))
        };
        Arc::clone(self.0.settled.get_or_init(settle))
    }
}

impl<C: Claims> From<Verifier<C>> for OidcAuthLayer<C> {
    fn from(verifier: Verifier<C>) -> Self {
        Self::from_source(Source::Shared(verifier))
    }
}

impl<S, C: Claims> Layer<S> for OidcAuthLayer<C> {
    type Service = OidcAuth<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        OidcAuth::new(inner, self.settings())
    }
}

impl<C: Claims> Clone for OidcAuthLayer<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Claims> fmt::Debug for OidcAuthLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layer = f.debug_struct("OidcAuthLayer");
        match &self.0.plan.source {
            Source::Own { issuer, .. } => layer.field("issuer", issuer),
            Source::Shared(verifier) => layer.field("verifier", verifier),
        };
        layer
            .field("audiences", &self.0.plan.audiences)
            .field("mode", &self.0.plan.manner.mode)
            .field("open", &self.0.plan.manner.open)
            .finish_non_exhaustive()
    }
}
