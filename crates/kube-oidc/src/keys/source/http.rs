//! The fetcher that speaks HTTP: hyper, with rustls and aws-lc-rs.

mod certificates;
mod connect;
mod exchange;
mod proxy;
mod roots;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use hyper::{
    Uri,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use url::{Origin, Url};

use self::{
    connect::{Dialer, Route},
    proxy::Proxy,
    roots::Roots,
};
use super::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse, FileReader, Sent};
use crate::{error::BuildError, issuer_name::Transport, observe::display::chain};

/// How this crate introduces itself to servers and proxies.
const AGENT: &str = concat!("kube-oidc/", env!("CARGO_PKG_VERSION"));

/// The bytes that a connection may receive beside the body: heads, TLS, and chunk sizes.
const OVERHEAD_BYTES: usize = 1024 * 1024;

/// A fetcher over HTTP/1.1, with TLS by rustls and the platform's root certificates.
///
/// Each fetch uses a connection of its own, which ends with the fetch, so a fetcher works in several
/// runtimes. A connection that receives more than 1 MiB beside the body fails. Redirects are not
/// followed. Compressed responses are neither requested nor decompressed.
///
/// The proxy of the environment (`HTTPS_PROXY` or `ALL_PROXY`, `NO_PROXY`) is used for https unless
/// another one is set. Plain http never goes through a proxy.
///
/// Files are read at each fetch, so that rotated files are picked up. If a certificate bundle cannot
/// be read again, the last usable one stays in use. If a token file cannot be read, the fetch fails.
///
/// Credentials are sent to the origin (scheme, host, and port) of the key source: of the discovery
/// document, or of the key set where its URL is configured. A `jwks_uri` in the discovery document on
/// another origin gets them only by [`add_credential_origin`](Self::add_credential_origin). Over plain
/// http, credentials are sent to loopback only.
///
/// The rustls crypto provider is the one that the application installed, and else aws-lc-rs, which
/// needs the feature `remote`.
#[derive(Default)]
pub struct HttpFetcher {
    roots: Roots,
    proxy: Proxy,
    credentials: Vec<Credential>,
    /// Credentials are sent to these as well.
    credential_origins: Vec<Origin>,
    dialer: Dialer,
    /// Follows the error of a failed connection.
    hint: Option<&'static str>,
}

enum Credential {
    Header(HeaderName, HeaderValue),
    /// A bearer token, read at each fetch.
    TokenFile(FileReader),
}

impl HttpFetcher {
    /// Creates a fetcher with the platform's root certificates and no credentials.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of a PEM bundle instead of the platform's.
    ///
    /// Several calls add up. An invalid certificate in the bundle is skipped with a warning.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidRootCertificates`]: the bundle has no usable certificate.
    pub fn with_root_certificates_pem(self, pem: impl AsRef<[u8]>) -> Result<Self, BuildError> {
        Ok(self.with_additional_root_certificates_pem(pem)?.without_platform_roots())
    }

    /// Trusts the certificates of a PEM file instead of the platform's.
    ///
    /// Several calls add up. The file is read at each fetch. An invalid certificate in the file is
    /// skipped with a warning. A file without a usable certificate fails the fetch, or leaves the
    /// last usable certificates in use.
    #[must_use]
    pub fn with_root_certificates_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_additional_root_certificates_file(path).without_platform_roots()
    }

    /// Trusts the certificates of a PEM bundle in addition to all others.
    ///
    /// The others are the platform's, unless
    /// [`with_root_certificates_pem`](Self::with_root_certificates_pem) or
    /// [`with_root_certificates_file`](Self::with_root_certificates_file) excludes them.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidRootCertificates`]: the bundle has no usable certificate.
    pub fn with_additional_root_certificates_pem(
        mut self,
        pem: impl AsRef<[u8]>,
    ) -> Result<Self, BuildError> {
        self.roots.add_pem(pem.as_ref()).map_err(BuildError::InvalidRootCertificates)?;
        Ok(self)
    }

    /// Trusts the certificates of a PEM file in addition to all others.
    ///
    /// The file is read as by [`with_root_certificates_file`](Self::with_root_certificates_file).
    #[must_use]
    pub fn with_additional_root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.roots.add_file(path.into());
        self
    }

    /// Uses this http or https proxy for https, instead of the environment's.
    ///
    /// User name and password in the URL go to the proxy in `Proxy-Authorization`. The certificate
    /// of an https proxy is verified by the same root certificates as the issuer's.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidProxy`]: the URL is not one of an http or https proxy.
    pub fn with_proxy(mut self, url: &str) -> Result<Self, BuildError> {
        self.proxy =
            Proxy::given(url).map_err(|problem| BuildError::InvalidProxy(problem.to_owned()))?;
        Ok(self)
    }

    /// Uses no proxy, whatever the environment says.
    #[must_use]
    pub fn without_proxy(mut self) -> Self {
        self.proxy = Proxy::None;
        self
    }

    fn without_platform_roots(mut self) -> Self {
        self.roots.exclude_platform();
        self
    }

    /// Adds a hint to the errors of failed connections.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Sends a bearer token ([RFC 6750, section 2.1]): a kube-apiserver may answer 403 to anonymous
    /// readers of its key set.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidFetchHeader`]: no header can carry the token.
    ///
    /// [RFC 6750, section 2.1]: https://www.rfc-editor.org/rfc/rfc6750#section-2.1
    pub fn with_bearer_token(self, token: &str) -> Result<Self, BuildError> {
        self.with_header(AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Sends the bearer token in this file. The file is read at each fetch, since the kubelet rotates
    /// it. Whitespace around the token is ignored.
    #[must_use]
    pub fn with_bearer_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.credentials.push(Credential::TokenFile(FileReader::new(path.into())));
        self
    }

    /// Sends a header, which may be a secret, by the rules for credentials.
    ///
    /// # Errors
    ///
    /// [`BuildError::FetchHeaderName`] or [`BuildError::InvalidFetchHeader`]: the name or the value is
    /// invalid.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, BuildError> {
        let header = HeaderName::try_from(name).map_err(|_| BuildError::FetchHeaderName)?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| BuildError::InvalidFetchHeader { name: header.to_string() })?;
        value.set_sensitive(true);
        self.credentials.push(Credential::Header(header, value));
        Ok(self)
    }

    /// Sends the credentials to the origin of this URL as well.
    ///
    /// # Errors
    ///
    /// [`BuildError::InvalidUrl`]: the URL is neither https nor plain http on loopback.
    pub fn add_credential_origin(mut self, url: &str) -> Result<Self, BuildError> {
        let url = Transport::HttpOnLoopback
            .parse_endpoint(url)
            .map_err(|source| BuildError::url(url, source))?;
        self.credential_origins.push(url.origin());
        Ok(self)
    }

    /// Checks that credentials can be sent to a key source.
    pub(crate) fn check_source(&self, url: &str) -> Result<(), BuildError> {
        if self.credentials.is_empty() {
            return Ok(());
        }
        let endpoint = Transport::HttpOnLoopback.parse_endpoint(url);
        endpoint.map(drop).map_err(|source| BuildError::url(url, source))
    }

    /// Whether both fetchers have the same configured proxy, or none.
    pub(crate) fn has_proxy_of(&self, other: &Self) -> bool {
        let given = |proxy: &Proxy| match proxy {
            Proxy::Given(server) => Some((server.uri().clone(), server.basic_auth().cloned())),
            Proxy::OfEnvironment | Proxy::None => None,
        };
        given(&self.proxy) == given(&other.proxy)
    }

    /// The headers that go to this URL in addition to those of the request.
    async fn credentials(
        &self,
        request: &FetchRequest,
        url: &Url,
    ) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        let origin = url.origin();
        let source = || request.source().and_then(|url| Url::parse(url).ok());
        let is_of_source = || source().is_some_and(|url| url.origin() == origin);
        if !request.allows_credentials()
            || self.credentials.is_empty()
            || !(self.credential_origins.contains(&origin) || is_of_source())
        {
            return Ok(headers);
        }
        if Transport::HttpOnLoopback.parse_endpoint(url.as_str()).is_err() {
            return Err(FetchError::new("credentials are not sent over plain http"));
        }
        for credential in &self.credentials {
            match credential {
                Credential::Header(name, value) => {
                    headers.insert(name, value.clone());
                }
                Credential::TokenFile(file) => {
                    headers.insert(AUTHORIZATION, bearer_of_file(file).await?);
                }
            }
        }
        Ok(headers)
    }

    async fn get(&self, request: &FetchRequest) -> Result<FetchResponse, FetchError> {
        let (url, uri) = parse(request.url())?;
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers() {
            let value = HeaderValue::from_str(value)
                .map_err(|error| FetchError::new(format!("invalid {name}")).with_source(error))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let credentials = self.credentials(request, &url).await?;
        let has_credentials = !credentials.is_empty();
        headers.extend(credentials);
        let route = Route {
            dialer: &self.dialer,
            proxy: self.proxy.choose(&uri)?,
            tls: if url.scheme() == "https" { Some(self.roots.tls().await?) } else { None },
            max_bytes: request.max_bytes().saturating_add(OVERHEAD_BYTES),
        };
        let proxy = route.proxy.as_ref().map(ToString::to_string);
        // a request that is sent twice is sent alike
        let _ = request.sent.set(Sent { proxy, has_credentials });
        let response = self.get_by(&route, &uri, headers, request.max_bytes()).await;
        response.map_err(|error| match &route.proxy {
            Some(proxy) => {
                let (error, hint) = (chain(&error), proxy.hint());
                FetchError::new(format!("failed to fetch through {proxy}: {error}; {hint}"))
            }
            None => error,
        })
    }

    async fn get_by(
        &self,
        route: &Route<'_>,
        uri: &Uri,
        headers: HeaderMap,
        max_bytes: usize,
    ) -> Result<FetchResponse, FetchError> {
        let stream = route.connect(uri).await.map_err(|error| match self.hint {
            Some(hint) => FetchError::new(format!("{}; {hint}", chain(&error))),
            None => error,
        })?;
        exchange::get(stream, uri, headers, max_bytes).await
    }
}

fn parse(text: &str) -> Result<(Url, Uri), FetchError> {
    let url =
        Url::parse(text).map_err(|error| FetchError::new("invalid URL").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(FetchError::new("unsupported scheme in the URL; expected https or http"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::new("unsupported credentials in the URL"));
    }
    let uri = url.as_str().parse::<Uri>();
    let uri = uri.map_err(|error| FetchError::new("invalid URL").with_source(error))?;
    Ok((url, uri))
}

async fn bearer_of_file(file: &FileReader) -> Result<HeaderValue, FetchError> {
    let token = file.read().await?;
    let unusable = || FetchError::new(format!("no bearer token in `{}`", file.path().display()));
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(unusable());
    }
    let value = [b"Bearer ", token].concat();
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

impl Fetch for HttpFetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move { self.get(&request).await })
    }

    fn as_http(&self) -> Option<&HttpFetcher> {
        Some(self)
    }
}

impl fmt::Debug for HttpFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFetcher")
            .field("root_certificates", &self.roots.given())
            .field("root_files", &self.roots.files())
            .field("credentials", &self.credentials.len())
            .finish_non_exhaustive()
    }
}
