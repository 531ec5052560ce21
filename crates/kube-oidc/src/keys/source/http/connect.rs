//! One connection for one request: TCP, a proxy, and TLS, with a limit on the received bytes.

use std::{error::Error, future, net::SocketAddr, pin::Pin, sync::Arc, task, vec};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderValue, USER_AGENT},
};
use hyper_util::{
    client::{
        legacy::connect::{
            HttpConnector,
            dns::{GaiResolver, Name},
            proxy::Tunnel,
        },
        proxy::matcher::Intercept,
    },
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{AGENT, certificates, proxy};
use crate::keys::source::{BoundedConnection, FetchError};

/// A connection, whatever its layers are.
pub(super) type Stream = Pin<Box<dyn Duplex>>;

pub(super) trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

type BoxError = Box<dyn Error + Send + Sync>;

/// Opens TCP connections to the host and port of a URL.
#[derive(Clone)]
pub(super) struct Dialer(Arc<dyn Fn(Uri) -> Dialing + Send + Sync>);

type Dialing = Pin<Box<dyn Future<Output = Result<TcpStream, BoxError>> + Send>>;

impl Dialer {
    pub(super) fn new<R>(resolver: R) -> Self
    where
        R: Service<Name> + Clone + Send + Sync + 'static,
        R::Response: Iterator<Item = SocketAddr> + Send,
        R::Error: Into<BoxError>,
        R::Future: Send,
    {
        let mut connector = HttpConnector::new_with_resolver(Resolver(resolver));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        Self(Arc::new(move |uri| {
            let mut connector = connector.clone();
            Box::pin(async move {
                future::poll_fn(|cx| connector.poll_ready(cx)).await?;
                Ok(connector.call(uri).await?.into_inner())
            })
        }))
    }
}

impl Default for Dialer {
    fn default() -> Self {
        Self::new(GaiResolver::new())
    }
}

/// Resolves `localhost` to addresses of loopback only (RFC 6761, 6.3): plain http is accepted there.
#[derive(Clone)]
struct Resolver<R>(R);

impl<R> Service<Name> for Resolver<R>
where
    R: Service<Name>,
    R::Response: Iterator<Item = SocketAddr>,
    R::Error: Into<BoxError>,
    R::Future: Send + 'static,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_localhost = name.as_str().eq_ignore_ascii_case("localhost");
        let resolving = self.0.call(name);
        Box::pin(async move {
            let mut addresses: Vec<_> = resolving.await.map_err(Into::into)?.collect();
            if is_localhost {
                addresses.retain(|address| address.ip().is_loopback());
                if addresses.is_empty() {
                    return Err("`localhost` resolves to no loopback address".into());
                }
            }
            Ok(addresses.into_iter())
        })
    }
}

/// How to reach a server.
pub(super) struct Route<'a> {
    pub(super) dialer: &'a Dialer,
    pub(super) proxy: Option<proxy::Chosen>,
    /// `None`: plain http.
    pub(super) tls: Option<TlsConnector>,
    /// The maximum number of received bytes, those of TLS and of a proxy included.
    pub(super) max_bytes: usize,
}

impl Route<'_> {
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Stream, FetchError> {
        let stream = match &self.proxy {
            None => self
                .dial(uri)
                .await
                .map_err(|error| FetchError::new("failed to connect").with_source(error))?,
            Some(proxy) => self
                .tunnel(&proxy.server, uri)
                .await
                .map_err(|error| FetchError::new("failed to open a tunnel").with_source(error))?,
        };
        match &self.tls {
            Some(tls) => handshake(tls, uri, stream)
                .await
                .map_err(|error| FetchError::new("TLS handshake failed").with_source(error)),
            None => Ok(stream),
        }
    }

    async fn dial(&self, uri: &Uri) -> Result<Stream, BoxError> {
        let stream = (self.dialer.0)(uri.clone()).await?;
        Ok(Box::pin(BoundedConnection::new(stream, self.max_bytes)))
    }

    async fn tunnel(&self, proxy: &Intercept, uri: &Uri) -> Result<Stream, BoxError> {
        let mut stream = self.dial(proxy.uri()).await?;
        if let (Some("https"), Some(tls)) = (proxy.uri().scheme_str(), &self.tls) {
            stream = handshake(tls, proxy.uri(), stream).await?;
        }
        let headers = HeaderMap::from_iter([(USER_AGENT, HeaderValue::from_static(AGENT))]);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), Opened(Some(stream)));
        tunnel = tunnel.with_headers(headers);
        if let Some(credentials) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(credentials.clone());
        }
        Ok(tunnel.call(uri.clone()).await?.into_inner())
    }
}

/// The open connection to a proxy, as `Tunnel` takes one.
struct Opened(Option<Stream>);

impl Service<Uri> for Opened {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let stream = self.0.take().map(TokioIo::new);
        future::ready(stream.ok_or_else(|| "the connection is in use".into()))
    }
}

/// Verifies the certificate of the server that a URL names.
async fn handshake(tls: &TlsConnector, uri: &Uri, stream: Stream) -> Result<Stream, BoxError> {
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(host.to_owned())?;
    match tls.connect(name, stream).await {
        Ok(stream) => Ok(Box::pin(stream)),
        Err(error) => Err(certificates::shown(&error).into()),
    }
}
