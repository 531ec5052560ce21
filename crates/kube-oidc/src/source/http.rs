//! The fetcher that speaks HTTP: reqwest, with rustls and aws-lc-rs.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Proxy, Response, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use url::Origin;

use super::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};
use crate::{error::BuildError, issuer_url::Transport, shown::chain};

/// Fetches over HTTP/1.1, with TLS by rustls and the platform's root certificates.
///
/// Redirects are not followed, and packed answers are neither asked for nor unpacked. The proxy of
/// the environment (`HTTPS_PROXY`, `NO_PROXY`) is used for https unless another is set; plain http
/// never goes through a proxy. Its client is made at the first fetch, so that a container without
/// root certificates has a failing fetch, which is logged and tried again, and not a service that
/// does not start.
///
/// Files are read at each fetch, so that what rotates is picked up: a certificate bundle that
/// cannot be read any more leaves the last good one in use, and a token file that cannot be read
/// fails the fetch.
#[derive(Default)]
pub struct HttpFetcher {
    roots: Vec<Certificate>,
    root_files: Vec<PathBuf>,
    proxy: Option<Proxy>,
    credentials: Vec<Credential>,
    https: Mutex<Option<HttpsClient>>,
    plain: Mutex<Option<Client>>,
}

/// A client, and the contents of the files that it was made with.
struct HttpsClient {
    files: Vec<Vec<u8>>,
    client: Client,
}

/// What is sent to one origin, and to no other.
struct Credential {
    origin: Origin,
    kind: CredentialKind,
}

enum CredentialKind {
    Header(HeaderName, HeaderValue),
    /// A bearer token, read at each fetch.
    TokenFile(Arc<Path>),
}

impl HttpFetcher {
    /// A fetcher with the platform's root certificates and no credentials.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of a PEM bundle beside the platform's.
    ///
    /// # Errors
    ///
    /// [`BuildError::RootCertificates`]: the text is not PEM, or holds no certificate.
    pub fn with_root_certificates_pem(mut self, pem: &[u8]) -> Result<Self, BuildError> {
        self.roots.extend(certificates(pem).map_err(BuildError::RootCertificates)?);
        Ok(self)
    }

    /// Trusts the certificates of a PEM file beside the platform's. It is read at each fetch.
    #[must_use]
    pub fn with_root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.root_files.push(path.into());
        self
    }

    /// Goes through this proxy for https.
    ///
    /// # Errors
    ///
    /// [`BuildError::Proxy`]: it is no URL of a proxy.
    pub fn with_proxy(mut self, url: &str) -> Result<Self, BuildError> {
        self.proxy = Some(Proxy::https(url).map_err(|error| BuildError::Proxy(chain(&error)))?);
        Ok(self)
    }

    /// Sends a bearer token to the origin (scheme, host and port) of a URL, and nowhere else. The
    /// URL must be https, or plain http on loopback.
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`], or [`BuildError::FetchHeader`]: no header can carry the token.
    pub fn with_bearer_token(self, url: &str, token: &str) -> Result<Self, BuildError> {
        self.with_header(url, AUTHORIZATION.as_str(), &format!("Bearer {token}"))
    }

    /// Sends the bearer token of a file to the origin of a URL, and nowhere else. The file is
    /// read at each fetch, as the kubelet rotates it; white space around the token is left out.
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`]: it is neither https nor plain http on loopback.
    pub fn with_bearer_token_file(
        self,
        url: &str,
        path: impl AsRef<Path>,
    ) -> Result<Self, BuildError> {
        self.with_credential(url, CredentialKind::TokenFile(path.as_ref().into()))
    }

    /// Sends a header to the origin of a URL, and nowhere else: it may be a secret.
    ///
    /// # Errors
    ///
    /// [`BuildError::Url`], or [`BuildError::FetchHeader`]: it is no header.
    pub fn with_header(self, url: &str, name: &str, value: &str) -> Result<Self, BuildError> {
        let bad = || BuildError::FetchHeader { name: crate::shown::Shown(name).to_string() };
        let header = HeaderName::try_from(name).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        self.with_credential(url, CredentialKind::Header(header, value))
    }

    fn with_credential(mut self, url: &str, kind: CredentialKind) -> Result<Self, BuildError> {
        // never over plain http, but for loopback
        let origin = Transport::HttpOnLoopback
            .parse_endpoint(url)
            .map_err(|source| BuildError::Url { url: url.to_owned(), source })?
            .origin();
        self.credentials.push(Credential { origin, kind });
        Ok(self)
    }

    fn client(&self, url: &Url) -> Result<Client, FetchError> {
        if url.scheme() == "https" { self.https_client() } else { self.plain_client() }
    }

    fn plain_client(&self) -> Result<Client, FetchError> {
        let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*plain {
            return Ok(client.clone());
        }
        let client = build(Client::builder().no_proxy())?;
        Ok(plain.insert(client).clone())
    }

    /// The client of before, or a new one if a file changed.
    fn https_client(&self) -> Result<Client, FetchError> {
        let mut https = self.https.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.root_files.iter().map(read_file).collect::<Result<Vec<_>, _>>();
        let made = match (made, &*https) {
            (Ok(files), Some(last)) if files == last.files => return Ok(last.client.clone()),
            (Ok(files), _) => self.build_https(files),
            (Err(error), _) => Err(error),
        };
        match (made, &*https) {
            (Ok(made), _) => Ok(https.insert(made).client.clone()),
            (Err(error), Some(last)) => {
                tracing::warn!(
                    error = chain(&error),
                    "the root certificates for fetching keys cannot be read again: the last good \
                     ones stay in use"
                );
                Ok(last.client.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn build_https(&self, files: Vec<Vec<u8>>) -> Result<HttpsClient, FetchError> {
        let mut roots = self.roots.clone();
        for (path, pem) in self.root_files.iter().zip(&files) {
            roots.extend(certificates(pem).map_err(|problem| {
                FetchError::new(format!("{} cannot be used: {problem}", path.display()))
            })?);
        }
        let builder = Client::builder().https_only(true).tls_certs_merge(roots);
        let builder = match &self.proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder,
        };
        Ok(HttpsClient { client: build(builder)?, files })
    }

    /// What is sent to this origin beside the request's own headers.
    fn credentials(&self, origin: &Origin) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        for credential in self.credentials.iter().filter(|credential| credential.origin == *origin)
        {
            match &credential.kind {
                CredentialKind::Header(name, value) => {
                    headers.insert(name, value.clone());
                }
                CredentialKind::TokenFile(path) => {
                    headers.insert(AUTHORIZATION, bearer_of_file(path)?);
                }
            }
        }
        Ok(headers)
    }

    async fn get(&self, request: &FetchRequest) -> Result<FetchResponse, FetchError> {
        let url = Url::parse(request.url())
            .map_err(|error| FetchError::new("it is not a URL").with_source(error))?;
        let mut get = self.client(&url)?.get(url.clone());
        for (name, value) in request.headers() {
            get = get.header(name, value);
        }
        let credentials = if request.allows_credentials() {
            self.credentials(&url.origin())?
        } else {
            HeaderMap::new()
        };
        let mut response = get.headers(credentials).send().await.map_err(|error| {
            FetchError::new("the request failed").with_source(error.without_url())
        })?;
        let body = read(&mut response, request.max_bytes()).await?;
        let answer = FetchResponse::new(response.status().as_u16(), body);
        let headers = response.headers().iter();
        Ok(headers.fold(answer, |answer, (name, value)| match value.to_str() {
            Ok(value) => answer.with_header(name.as_str(), value),
            Err(_) => answer,
        }))
    }
}

/// How long a connection is kept: the keys are asked for as soon as the document is read, and the
/// next fetch is minutes away. Until then a server that goes on sending would make work for nothing.
const KEPT_FOR: Duration = Duration::from_secs(1);

/// What every client has in common.
fn build(builder: ClientBuilder) -> Result<Client, FetchError> {
    if cfg!(not(feature = "remote")) && rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(FetchError::new(
            "no rustls crypto provider is installed: with the feature `remote-no-provider` the \
             application installs one, and with `remote` it is aws-lc-rs",
        ));
    }
    builder
        // another crate of the application may have switched these on
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        // two small answers need no more, and what an HTTP/2 error says may be the server's words
        .http1_only()
        .pool_idle_timeout(KEPT_FOR)
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .user_agent(concat!("kube-oidc/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| FetchError::new("no HTTP client could be made").with_source(error))
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let certificates = Certificate::from_pem_bundle(pem).map_err(|error| chain(&error))?;
    if certificates.is_empty() {
        return Err("there is no certificate in the PEM text".to_owned());
    }
    Ok(certificates)
}

fn read_file(path: impl AsRef<Path>) -> Result<Vec<u8>, FetchError> {
    let path = path.as_ref();
    std::fs::read(path).map_err(|error| {
        FetchError::new(format!("{} cannot be read", path.display())).with_source(error)
    })
}

fn bearer_of_file(path: &Path) -> Result<HeaderValue, FetchError> {
    let token = read_file(path)?;
    let unusable = || FetchError::new(format!("{} holds no bearer token", path.display()));
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(unusable());
    }
    let value = [b"Bearer ", token].concat();
    let mut value = HeaderValue::from_bytes(&value).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a body up to a limit, whatever length it claims to have.
async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(FetchError::new(format!("the answer has more than {limit} bytes")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(
                    FetchError::new("the answer broke off").with_source(error.without_url())
                );
            }
        }
    }
}

impl Fetch for HttpFetcher {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move { self.get(&request).await })
    }
}

impl fmt::Debug for HttpFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origins: Vec<String> = self
            .credentials
            .iter()
            .map(|credential| credential.origin.ascii_serialization())
            .collect();
        f.debug_struct("HttpFetcher")
            .field("extra_roots", &self.roots.len())
            .field("root_files", &self.root_files)
            .field("credentials_for", &origins)
            .finish_non_exhaustive()
    }
}
