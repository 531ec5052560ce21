//! kube's client without its tracing, which logs each failed request at error level, and with
//! connections that are bounded.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::{
        legacy::{
            self,
            connect::{
                Connected, Connection, HttpConnector,
                proxy::{SocksV5, Tunnel},
            },
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo},
};
use kube_client::{
    Client, Config,
    client::{Body, ConfigExt as _},
};
use kube_oidc::{source::BoundedConnection, token_review::ReviewError};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use tower::{BoxError, Service, ServiceBuilder};

/// The maximum size of a response, with what comes before it. A response holds the token and the
/// user.
const MAX_BYTES: usize = 256 * 1024;

/// Creates a client, whose tasks belong to the runtime of the caller.
///
/// Reads the files of the configuration.
pub(crate) fn client(config: &Config) -> Result<Client, ReviewError> {
    if CryptoProvider::get_default().is_none() {
        // as kube does; it fails if another thread was faster, and then there is one too
        let _ = aws_lc_rs::default_provider().install_default();
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(config.connect_timeout);
    let Some(url) = &config.proxy_url else { return over(tcp, config) };
    let proxy = Matcher::builder().all(url.to_string()).build().intercept(&config.cluster_url);
    match proxy.as_ref().map(|proxy| (proxy, proxy.uri().scheme_str())) {
        Some((proxy, Some("http"))) => over(tunnel(tcp, proxy), config),
        Some((proxy, Some("https"))) => {
            let tls = config.rustls_https_connector_with_connector(tcp).map_err(invalid)?;
            over(tunnel(tls, proxy), config)
        }
        Some((proxy, Some("socks5"))) => over(SocksV5::new(proxy.uri().clone(), tcp), config),
        // the address may hold a password
        _ => Err(ReviewError::new("unsupported proxy; its URL begins with http, https, or socks5")),
    }
}

fn tunnel<C>(connector: C, proxy: &Intercept) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    match proxy.basic_auth() {
        Some(credentials) => tunnel.with_auth(credentials.clone()),
        None => tunnel,
    }
}

/// A client whose connections begin with this connector.
fn over<C>(connector: C, config: &Config) -> Result<Client, ReviewError>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connection + Unpin + Send + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    let tls = config.rustls_https_connector_with_connector(connector).map_err(invalid)?;
    let bounded = ServiceBuilder::new().map_response(Bounded::new).service(tls);
    let http = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(bounded);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(invalid)?)
        .layer(config.extra_headers_layer().map_err(invalid)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

fn invalid(error: kube_client::Error) -> ReviewError {
    ReviewError::new("failed to create the client of the API server").with_source(error)
}

/// A connection to the API server, of which each response is bounded, and all that comes before it.
struct Bounded<C>(TokioIo<BoundedConnection<TokioIo<C>>>);

impl<C> Bounded<C> {
    fn new(connection: C) -> Self {
        let bounded = BoundedConnection::new(TokioIo::new(connection), MAX_BYTES);
        Self(TokioIo::new(bounded.renewed_by_writes()))
    }
}

impl<C: Connection> Connection for Bounded<C> {
    fn connected(&self) -> Connected {
        self.0.inner().get_ref().inner().connected()
    }
}

impl<C: Read + Write + Unpin> Read for Bounded<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<C: Read + Write + Unpin> Write for Bounded<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }
}
