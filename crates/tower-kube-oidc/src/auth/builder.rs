//! [`OidcAuthLayerBuilder`]: the settings of a layer, which are checked before there is a layer.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, Method, Response};
use kube_oidc::{
    BuildError, Claims, InClusterError, Issuer, ServiceAccountClaims, Verifier, VerifierBuilder,
};

use super::{
    bearer::TokenHeader,
    decide::AuthSettings,
    layer::OidcAuthLayer,
    open_path::Open,
    options::{Mode, RequestOptions},
    outcome::Outcome,
};
use crate::{
    metrics::RequestMeter,
    response::{Rejection, RequestHead, ResponseFormat},
};

/// Builds an [`OidcAuthLayer`]. It is no layer itself.
///
/// `T` is the source of trust. With a [`VerifierBuilder`], from
/// [`OidcAuthLayer::builder`], the builder sets what is accepted; with a [`Verifier`], from
/// [`OidcAuthLayer::builder_for`], it can only narrow what the verifier accepts.
///
/// Setters replace the value that was set before; methods that begin with `add_` append.
#[must_use]
pub struct OidcAuthLayerBuilder<T = VerifierBuilder, C: Claims = ServiceAccountClaims> {
    trust: T,
    /// A token must be for one of these as well.
    narrowed: Option<Vec<String>>,
    options: RequestOptions<C>,
    faults: Vec<OidcAuthLayerError>,
}

/// Why a layer could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcAuthLayerError {
    /// Several settings are invalid. None of these is `Multiple`.
    #[error("{}", joined(.0))]
    Multiple(Vec<Self>),
    /// The verifier could not be built.
    #[error(transparent)]
    Verifier(#[from] BuildError),
    /// This process is not a pod, or the files of its service account are missing.
    #[error(transparent)]
    InCluster(#[from] InClusterError),
    /// The layer is narrowed to no audience, so no token could be accepted.
    #[error("no audience is given: name one with narrow_audiences()")]
    NoAudience,
    /// An audience that the layer is narrowed to is none of the verifier's, so no token could be
    /// accepted for it.
    #[error("the verifier does not accept the audience {0:?}, to which the layer is narrowed")]
    UnknownAudience(String),
    /// The realm contains a character that is not printable ASCII, a quote, or a backslash.
    #[error("invalid realm; expected printable ASCII without quotes and backslashes")]
    InvalidRealm,
    /// An open path can never be the path of a request, or is for no method.
    #[error(
        "invalid open path {0:?}: expected a path that begins with a slash, without a query or a \
         pattern, and at least one method"
    )]
    InvalidOpenPath(String),
}

fn joined(faults: &[OidcAuthLayerError]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}

impl<C: Claims> OidcAuthLayer<C> {
    /// Begins a layer that verifies tokens with this verifier, and can only narrow what it accepts.
    /// `OidcAuthLayer::from(verifier)` is the layer without further settings.
    pub fn builder_for(verifier: Verifier<C>) -> OidcAuthLayerBuilder<Verifier<C>, C> {
        OidcAuthLayerBuilder::new(verifier)
    }
}

impl OidcAuthLayer {
    /// Begins a layer that accepts the tokens of this issuer: an [`IssuerUrl`](crate::IssuerUrl) or an
    /// [`Issuer`]. An audience has to be set.
    pub fn builder(issuer: impl Into<Issuer>) -> OidcAuthLayerBuilder<VerifierBuilder> {
        OidcAuthLayerBuilder::new(Verifier::builder(issuer))
    }

    /// Accepts tokens of the cluster that this process is a pod of, for one audience: see
    /// [`Issuer::in_cluster`].
    ///
    /// # Errors
    ///
    /// What is missing, or an audience that is blank: see [`OidcAuthLayerError`].
    #[cfg(any(feature = "remote", feature = "remote-no-provider"))]
    pub fn in_cluster(audience: impl Into<String>) -> Result<Self, OidcAuthLayerError> {
        Self::builder(Issuer::in_cluster()?).audience(audience).build()
    }
}

impl OidcAuthLayerBuilder {
    /// Accepts tokens for this audience, instead of those set before. What
    /// [`dangerous_api_server_audiences`](Self::dangerous_api_server_audiences) accepts stays accepted.
    ///
    /// Choose a name that belongs to this service. Each receiver of a token can replay the token
    /// wherever its audience is accepted.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.with_verifier(|verifier| verifier.audience(audience))
    }

    /// Accepts tokens for one of these audiences, instead of those set before.
    pub fn audiences(self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.with_verifier(|verifier| verifier.audiences(audiences))
    }

    /// Accepts tokens for this audience as well.
    pub fn add_audience(self, audience: impl Into<String>) -> Self {
        self.with_verifier(|verifier| verifier.add_audience(audience))
    }

    /// Accepts tokens for the API server as well: see
    /// [`VerifierBuilder::dangerous_api_server_audiences`].
    pub fn dangerous_api_server_audiences(self) -> Self {
        self.with_verifier(VerifierBuilder::dangerous_api_server_audiences)
    }

    /// Trusts one more issuer: see [`VerifierBuilder::add_issuer`].
    pub fn add_issuer(self, issuer: impl Into<Issuer>) -> Self {
        self.with_verifier(|verifier| verifier.add_issuer(issuer))
    }

    fn with_verifier(self, change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        Self { trust: change(self.trust), ..self }
    }

    /// Checks the settings and builds the layer. Nothing is fetched.
    ///
    /// # Errors
    ///
    /// Every invalid setting, such as a missing audience: see [`OidcAuthLayerError`].
    pub fn build(self) -> Result<OidcAuthLayer, OidcAuthLayerError> {
        let verifier = self.trust.build();
        finish(verifier, None, self.options, self.faults)
    }
}

impl<C: Claims> OidcAuthLayerBuilder<Verifier<C>, C> {
    /// Accepts only tokens for one of these audiences, each of which is one of
    /// [`Verifier::audiences`].
    pub fn narrow_audiences(
        mut self,
        audiences: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.narrowed = Some(audiences.into_iter().map(Into::into).collect());
        self
    }

    /// Checks the settings and builds the layer.
    ///
    /// # Errors
    ///
    /// Every invalid setting: see [`OidcAuthLayerError`].
    pub fn build(self) -> Result<OidcAuthLayer<C>, OidcAuthLayerError> {
        let Self { trust: verifier, narrowed, options, mut faults } = self;
        if let Some(audiences) = &narrowed {
            let is_unknown = |audience: &&String| !verifier.audiences().any(|it| it == **audience);
            let unknown = audiences.iter().filter(is_unknown).cloned();
            faults.extend(unknown.map(OidcAuthLayerError::UnknownAudience));
            if audiences.is_empty() {
                faults.push(OidcAuthLayerError::NoAudience);
            }
        }
        finish(Ok(verifier), narrowed, options, faults)
    }
}

fn finish<C: Claims>(
    verifier: Result<Verifier<C>, BuildError>,
    narrowed: Option<Vec<String>>,
    options: RequestOptions<C>,
    mut faults: Vec<OidcAuthLayerError>,
) -> Result<OidcAuthLayer<C>, OidcAuthLayerError> {
    if !options.answering.is_sound() {
        faults.push(OidcAuthLayerError::InvalidRealm);
    }
    let verifier = match verifier {
        Ok(verifier) => Some(verifier),
        Err(BuildError::Multiple(errors)) => {
            faults.extend(errors.into_iter().map(Into::into));
            None
        }
        Err(error) => {
            faults.push(error.into());
            None
        }
    };
    match (verifier, faults.len()) {
        (Some(verifier), 0) => {
            let meter = RequestMeter::default();
            Ok(OidcAuthLayer::of(AuthSettings { verifier, narrowed, options, meter }))
        }
        (_, 1) => Err(faults.remove(0)),
        _ => Err(OidcAuthLayerError::Multiple(faults)),
    }
}

impl<T, C: Claims> OidcAuthLayerBuilder<T, C> {
    pub(super) fn new(trust: T) -> Self {
        Self { trust, narrowed: None, options: RequestOptions::default(), faults: Vec::new() }
    }

    /// Lets requests without credentials pass too, as those of nobody: `Option<Caller>` is `None`,
    /// and a [policy](crate::AuthorizeLayer) allows them nothing.
    ///
    /// Without credentials is a request that has no `Authorization`, or one of another scheme.
    /// Whoever sends a bearer token has to send a good one: it is answered as if it were required.
    pub fn optional(mut self) -> Self {
        self.options.mode = Mode::Optional;
        self
    }

    /// Refuses nobody: says in the log what would be refused and why, marks the request
    /// ([`Passed::would_be_rejected`](crate::Passed::would_be_rejected)), and lets it pass. For a roll-out, until nothing is
    /// reported any more.
    ///
    /// [`Verified`](crate::Verified) claims are there for good tokens only, so handlers take
    /// `Option<Caller>` meanwhile. A [policy](crate::AuthorizeLayer) below reports as well, and refuses
    /// nobody, even if a layer further out does. A request may wait for keys as it would if they
    /// counted.
    pub fn dangerous_report_only(mut self) -> Self {
        self.options.mode = Mode::ReportOnly;
        self
    }

    /// Lets GET and HEAD requests for this path pass, whoever sends them: for health probes.
    ///
    /// The path is compared byte for byte with that of the request: `/healthz/`, `/healthz;a` and
    /// `/%68ealthz` are others. In an axum router that is nested in another it is the whole path
    /// that counts, which needs the feature `axum`; a path that was rewritten on its way here is
    /// not open. No token is looked at. A
    /// [policy](crate::AuthorizeLayer) below lets such requests pass only if it says so.
    pub fn add_open_path(self, path: impl Into<String>) -> Self {
        self.add_open(Open::path(path.into(), None))
    }

    /// [`add_open_path`](Self::add_open_path) for these methods only, instead of GET and HEAD.
    pub fn add_open_path_for(
        self,
        methods: impl IntoIterator<Item = Method>,
        path: impl Into<String>,
    ) -> Self {
        let methods = Some(methods.into_iter().collect());
        self.add_open(Open::path(path.into(), methods))
    }

    /// Lets calls of this gRPC method pass, whoever makes them, by its full name:
    /// `/grpc.health.v1.Health/Check`.
    pub fn add_open_grpc_method(self, method: impl Into<String>) -> Self {
        self.add_open_path_for([Method::POST], method)
    }

    /// Lets requests pass that fit a predicate, whoever sends them. What it lets through is open
    /// to everybody, so look at what a caller cannot choose, and compare whole paths.
    pub fn add_open_when(
        self,
        is_open: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.add_open(Ok(Open::When(Arc::new(is_open))))
    }

    fn add_open(mut self, open: Result<Open, String>) -> Self {
        match open {
            Ok(open) => self.options.open.push(open),
            Err(path) => self.faults.push(OidcAuthLayerError::InvalidOpenPath(path)),
        }
        self
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
    pub fn token_header(mut self, name: HeaderName) -> Self {
        self.options.token_header = TokenHeader::named(name);
        self
    }

    /// Takes the header with the token away before the service is called, so that it can neither
    /// pass it on nor log it: the whole header, whatever its scheme. Layers further in do not see it
    /// either.
    pub fn remove_token_header(mut self) -> Self {
        self.options.remove_token_header = true;
        self
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
    pub fn end_streams_at_expiry(mut self) -> Self {
        self.options.end_streams = true;
        self
    }

    /// In which form refusals are answered: HTTP or gRPC, as the request is, unless set.
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.options.answering.response_format(format);
        self
    }

    /// Names this realm in challenges: `kubernetes` unless set.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.options.answering.realm(realm.into());
        self
    }

    /// Lets a function change each answer to a refused request, or write another. The service is
    /// not called, whatever the answer. The rejection is for operators: tell callers no more than
    /// they need.
    ///
    /// ```
    /// use http::HeaderValue;
    /// # use tower_kube_oidc::{IssuerUrl, OidcAuthLayer};
    /// # fn f(issuer: IssuerUrl) {
    /// let layer = OidcAuthLayer::builder(issuer).audience("orders").map_rejection(
    ///     |rejection, _request, mut answer| {
    ///         answer.headers_mut().insert("x-refused", HeaderValue::from_static(rejection.reason()));
    ///         answer
    ///     },
    /// ).build();
    /// # }
    /// ```
    pub fn map_rejection(
        mut self,
        map: impl Fn(&Rejection, RequestHead<'_>, Response<Bytes>) -> Response<Bytes>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.options.answering.map(map);
        self
    }

    /// Shows a function what becomes of each request, before the service is called or the answer
    /// sent: for counting, and for logs of your own. What
    /// [`end_streams_at_expiry`](Self::end_streams_at_expiry) ends later is not shown again.
    ///
    /// ```
    /// # use tower_kube_oidc::{IssuerUrl, OidcAuthLayer, Outcome};
    /// # fn f(issuer: IssuerUrl) {
    /// let layer = OidcAuthLayer::builder(issuer).audience("orders").on_outcome(|outcome, request| {
    ///     if let Outcome::Rejected(why) = outcome {
    ///         eprintln!("{} {}: {why}", request.method, request.uri.path());
    ///     }
    /// }).build();
    /// # }
    /// ```
    pub fn on_outcome(
        mut self,
        on_outcome: impl Fn(Outcome<'_, C>, RequestHead<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.options.on_outcome = Some(Arc::new(on_outcome));
        self
    }
}

impl<T: fmt::Debug, C: Claims> fmt::Debug for OidcAuthLayerBuilder<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcAuthLayerBuilder").field("trust", &self.trust).finish_non_exhaustive()
    }
}
