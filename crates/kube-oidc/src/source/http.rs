//! The fetcher that speaks HTTP: reqwest, with rustls and aws-lc-rs.

use std::{fmt, sync::OnceLock};

use reqwest::{
    Certificate, Client, Response, Url,
    header::{AUTHORIZATION, HeaderValue},
    redirect::Policy,
};
use url::Origin;

use super::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse};
use crate::error::BuildError;

/// Fetches over HTTP/1.1 or HTTP/2, with TLS by rustls and the platform's root certificates.
///
/// Redirects are not followed. The proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`) is used
/// for https; plain http never goes through a proxy. Its client is made at the first fetch, so
/// that a container without root certificates has a failing fetch, which is logged and tried
/// again, and not a service that does not start.
#[derive(Default)]
pub struct HttpFetcher {
    roots: Vec<Certificate>,
    credentials: Vec<(Origin, HeaderValue)>,
    https: OnceLock<Client>,
    plain: OnceLock<Client>,
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
        let certificates = Certificate::from_pem_bundle(pem)
            .map_err(|error| BuildError::RootCertificates(crate::shown::chain(&error)))?;
        if certificates.is_empty() {
            let problem = "there is no certificate in the PEM text".to_owned();
            return Err(BuildError::RootCertificates(problem));
        }
        self.roots.extend(certificates);
        Ok(self)
    }

    /// Sends a bearer token to the origin (scheme, host and port) of a URL, and nowhere else.
    ///
    /// # Errors
    ///
    /// [`BuildError::FetchToken`]: no header can carry the token.
    pub fn with_bearer_token(mut self, url: &Url, token: &str) -> Result<Self, BuildError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| BuildError::FetchToken)?;
        value.set_sensitive(true);
        self.credentials.push((url.origin(), value));
        Ok(self)
    }

    fn client(&self, url: &Url) -> Result<&Client, FetchError> {
        let plain = url.scheme() != "https";
        let cell = if plain { &self.plain } else { &self.https };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = Client::builder()
            .redirect(Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .tls_certs_merge(self.roots.iter().cloned())
            .user_agent(concat!("kube-oidc/", env!("CARGO_PKG_VERSION")));
        let builder = if plain { builder.no_proxy() } else { builder.https_only(true) };
        let client = builder
            .build()
            .map_err(|error| FetchError::new("no HTTP client could be made").with_source(error))?;
        Ok(cell.get_or_init(|| client))
    }

    async fn get(&self, request: &FetchRequest) -> Result<FetchResponse, FetchError> {
        let failed = |error| FetchError::new("the request failed").with_source(error);
        let url = Url::parse(request.url())
            .map_err(|error| FetchError::new("it is not a URL").with_source(error))?;
        let mut get = self.client(&url)?.get(url.clone());
        for (name, value) in request.headers() {
            get = get.header(name, value);
        }
        let origin = url.origin();
        if let Some((_, value)) = self.credentials.iter().find(|(to, _)| *to == origin) {
            get = get.header(AUTHORIZATION, value.clone());
        }
        let mut response = get.send().await.map_err(|error| failed(error.without_url()))?;
        let body = read(&mut response, request.max_bytes()).await?;
        let answer = FetchResponse::new(response.status().as_u16(), body);
        let headers = response.headers().iter();
        Ok(headers.fold(answer, |answer, (name, value)| match value.to_str() {
            Ok(value) => answer.with_header(name.as_str(), value),
            Err(_) => answer,
        }))
    }
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
        let origins: Vec<String> =
            self.credentials.iter().map(|(origin, _)| origin.ascii_serialization()).collect();
        f.debug_struct("HttpFetcher")
            .field("extra_roots", &self.roots.len())
            .field("credentials_for", &origins)
            .finish_non_exhaustive()
    }
}
