//! [`ServiceAccountTokenLayer`]: puts the token into requests, and only into those it is for.

use std::{
    path::PathBuf,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    Request,
    header::{AUTHORIZATION, HOST},
};
use kube_oidc::clock::Clock;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    error::{BoxError, CallError, TokenError, client},
    future::CallFuture,
    origin::Origin,
    token_file::TokenFile,
};
use crate::gate::swap_unready_clone;

/// Sends the token of this pod's service account with each request: the calling side of an
/// [`OidcAuthLayer`](crate::OidcAuthLayer), for tower HTTP clients and tonic channels.
///
/// ```
/// use tower_kube_oidc::ServiceAccountTokenLayer;
///
/// let orders = ServiceAccountTokenLayer::from_file("/var/run/secrets/tokens/orders")
///     .for_origin("https://orders.shop.svc".parse()?);
/// # Ok::<(), tower_kube_oidc::OriginError>(())
/// ```
///
/// The file is a projected volume's, with the audience of the other side. It is read again every
/// minute, as the kubelet replaces the token before it expires; a thousand calls in that minute
/// read it once. The file is read in a thread, and a call waits for it, so it needs a tokio runtime
/// with timers. While the file system hangs, calls send the last token until it expires. Then they
/// fail.
///
/// A token is sent to the origin that it was named for, and to nobody else: scheme, host and port
/// of the request's URI count, and a `Host` header must say the same. A request to another origin
/// fails before anything is sent. So a client that follows redirects goes *outside* of this layer, and
/// each hop comes by here; one that follows them inside would have the header before this layer
/// knows. An `Authorization` header that a request brings is replaced.
///
/// Several servers have a token each:
///
/// ```
/// # use tower_kube_oidc::{OriginError, ServiceAccountTokenLayer};
/// let tokens = ServiceAccountTokenLayer::from_file("/var/run/secrets/tokens/orders")
///     .for_origin("https://orders.shop.svc".parse()?)
///     .merge(
///         ServiceAccountTokenLayer::from_file("/var/run/secrets/tokens/ledger")
///             .for_origin("https://ledger.shop.svc:8443".parse()?),
///     );
/// # Ok::<(), OriginError>(())
/// ```
///
/// A token for the API server is sent nowhere, unless you ask for that with
/// [`dangerous_api_server_audience`](TokenForOrigin::dangerous_api_server_audience). Such a token is
/// recognized by these signs:
///
/// - It has no audience.
/// - Its issuer is one of its audiences.
/// - [`is_api_server_audience`](kube_oidc::is_api_server_audience) is true of an audience.
/// - It has the claim `warnafter`, which only tokens for the API server have.
/// - Its file is in `/var/run/secrets/kubernetes.io/serviceaccount`, directly or through links.
///
/// Other audiences that an API server accepts (`--api-audiences`, or a former issuer) cannot be
/// recognized by the token alone.
///
/// A tonic channel hides from layers where it goes, so it has a layer made for it:
/// [`for_channel`](TokenForOrigin::for_channel).
#[derive(Clone, Debug)]
#[must_use]
pub struct ServiceAccountTokenLayer {
    tokens: Arc<[Named]>,
}

/// A token, and whom it is for.
#[derive(Clone, Debug)]
struct Named {
    origin: Origin,
    /// Whether requests that do not say where they go are for it.
    for_channel: bool,
    file: Arc<TokenFile>,
}

impl ServiceAccountTokenLayer {
    /// Begins a layer with the token in this file: say next whom it is for. The file is read when
    /// the first request is sent.
    pub fn from_file(path: impl Into<PathBuf>) -> TokenForOrigin {
        TokenForOrigin { file: TokenFile::at(path.into()) }
    }

    /// Adds the tokens of another layer for its origins. For an origin of both layers, the token of
    /// this layer is sent.
    #[expect(clippy::needless_pass_by_value, reason = "layers are put together as they are made")]
    pub fn merge(self, other: Self) -> Self {
        Self { tokens: self.tokens.iter().chain(other.tokens.iter()).cloned().collect() }
    }

    /// The file with the token for a request.
    fn file<B>(&self, request: &Request<B>) -> Result<&Arc<TokenFile>, TokenError> {
        let named = self.named(request)?;
        // a shared gateway may go by it
        for host in request.headers().get_all(HOST) {
            let host = host.to_str().ok().and_then(|host| named.origin.of_host(host).ok());
            match host {
                Some(origin) if origin == named.origin => {}
                Some(origin) => return Err(TokenError::NoTokenForOrigin(origin)),
                None => return Err(TokenError::UnknownDestination),
            }
        }
        Ok(&named.file)
    }

    /// Whom a request is for.
    fn named<B>(&self, request: &Request<B>) -> Result<&Named, TokenError> {
        if request.uri().authority().is_none() {
            let mut channels = self.tokens.iter().filter(|named| named.for_channel);
            match (channels.next(), channels.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(TokenError::UnknownDestination),
            }
        } else {
            let origin = Origin::of(request.uri()).map_err(|_| TokenError::UnknownDestination)?;
            let named = self.tokens.iter().find(|named| named.origin == origin);
            named.ok_or(TokenError::NoTokenForOrigin(origin))
        }
    }
}

/// A token of which it is not said yet whom it is for.
#[derive(Debug)]
#[must_use = "it has to be for somebody"]
pub struct TokenForOrigin {
    file: TokenFile,
}

impl TokenForOrigin {
    /// Sends the token to this origin, which has to be where requests really go: a tonic channel
    /// goes where it was made for, so it wants [`for_channel`](Self::for_channel), and a
    /// client that uses a proxy for plain http shows the token to the proxy.
    pub fn for_origin(self, origin: Origin) -> ServiceAccountTokenLayer {
        self.named(origin, false)
    }

    /// Sends the token over a channel that leads to this origin, and hides that from layers: with
    /// every request that does not say where it goes, which with tonic is every one. Put the layer
    /// around this channel and no other.
    ///
    /// ```
    /// use tower::ServiceBuilder;
    /// use tower_kube_oidc::ServiceAccountTokenLayer;
    ///
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// let orders = "https://orders.shop.svc:50051";
    /// let channel = tonic::transport::Channel::from_static(orders).connect_lazy();
    /// let channel = ServiceBuilder::new()
    ///     .layer(
    ///         ServiceAccountTokenLayer::from_file("/var/run/secrets/tokens/orders")
    ///             .for_channel(orders.parse()?),
    ///     )
    ///     .service(channel);
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_channel(self, origin: Origin) -> ServiceAccountTokenLayer {
        self.named(origin, true)
    }

    fn named(self, origin: Origin, for_channel: bool) -> ServiceAccountTokenLayer {
        let named = Named { origin, for_channel, file: Arc::new(self.file) };
        ServiceAccountTokenLayer { tokens: Arc::new([named]) }
    }

    /// Sends the token even if it is valid for the API server, where its recipient can use it.
    pub fn dangerous_api_server_audience(self) -> Self {
        Self { file: self.file.may_open_api_server() }
    }

    /// Reads the time from another clock: for tests.
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { file: self.file.by_clock(Arc::new(clock)) }
    }
}

impl<S> Layer<S> for ServiceAccountTokenLayer {
    type Service = ServiceAccountToken<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServiceAccountToken { inner, layer: self.clone() }
    }
}

/// A client that sends a token with each request: see [`ServiceAccountTokenLayer`].
#[derive(Clone, Debug)]
pub struct ServiceAccountToken<S> {
    inner: S,
    layer: ServiceAccountTokenLayer,
}

impl<S, B> Service<Request<B>> for ServiceAccountToken<S>
where
    S: Service<Request<B>> + Clone,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = CallError;
    type Future = CallFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(client)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let file = match self.layer.file(&request) {
            Ok(file) => file,
            Err(error) => return CallFuture::failed(error),
        };
        match file.known() {
            Some(Ok(header)) => {
                request.headers_mut().insert(AUTHORIZATION, header);
                CallFuture::calling(self.inner.call(request))
            }
            Some(Err(error)) => CallFuture::failed(error.into()),
            None => {
                let file = Arc::clone(file);
                let inner = swap_unready_clone(&mut self.inner);
                CallFuture::waiting(Box::pin(async move { file.header().await }), inner, request)
            }
        }
    }
}
