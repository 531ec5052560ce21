//! How the keys of an issuer are fetched over HTTP: root certificates, proxies, and credentials.

use std::{path::PathBuf, sync::Arc};

use super::Issuer;
use crate::{
    error::BuildError,
    issuer_name::IssuerUrl,
    keys::source::{Fetch, HttpFetcher},
};

#[derive(Clone, Default, PartialEq)]
pub(super) struct HttpSettings {
    root_certificates: Vec<Vec<u8>>,
    root_files: Vec<PathBuf>,
    /// The platform's are not trusted.
    exclude_platform_roots: bool,
    proxy: Option<String>,
    credentials: Vec<Credential>,
    credential_origins: Vec<String>,
}

/// What is sent to the origins that keys are read from.
#[derive(Clone, PartialEq)]
enum Credential {
    BearerToken(String),
    BearerTokenFile(PathBuf),
    Header(String, String),
}

/// Follows the error of a connection to the API server of `Issuer::in_cluster`.
const IN_CLUSTER_HINT: &str = "in-cluster fetches trust ca.crt and use no proxy of the \
     environment; add roots with with_additional_root_certificates_file(), or set a proxy with \
     with_fetch_proxy()";

impl Issuer {
    /// Trusts the certificates of a PEM bundle when fetching, instead of the platform's.
    ///
    /// This is the setting for the CA of a private cluster. Several calls add up. An invalid
    /// certificate in the bundle is skipped with a warning.
    #[must_use]
    pub fn with_root_certificates_pem(self, pem: impl Into<Vec<u8>>) -> Self {
        let mut issuer = self.with_additional_root_certificates_pem(pem);
        issuer.http.exclude_platform_roots = true;
        issuer
    }

    /// Trusts the certificates of a PEM file when fetching, instead of the platform's.
    ///
    /// Several calls add up. The file is read at each fetch, so a replaced bundle is picked up. If
    /// the file cannot be read again, the last usable certificates stay in use. An invalid
    /// certificate in the file is skipped with a warning.
    #[must_use]
    pub fn with_root_certificates_file(self, path: impl Into<PathBuf>) -> Self {
        let mut issuer = self.with_additional_root_certificates_file(path);
        issuer.http.exclude_platform_roots = true;
        issuer
    }

    /// Trusts the certificates of a PEM bundle when fetching, in addition to all others.
    ///
    /// The others are the platform's, unless
    /// [`with_root_certificates_pem`](Self::with_root_certificates_pem),
    /// [`with_root_certificates_file`](Self::with_root_certificates_file), or
    /// [`in_cluster`](Self::in_cluster) excludes them.
    #[must_use]
    pub fn with_additional_root_certificates_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.http.root_certificates.push(pem.into());
        self
    }

    /// Trusts the certificates of a PEM file when fetching, in addition to all others.
    ///
    /// The file is read as by [`with_root_certificates_file`](Self::with_root_certificates_file).
    #[must_use]
    pub fn with_additional_root_certificates_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.http.root_files.push(path.into());
        self
    }

    /// Uses this http or https proxy when fetching over https, instead of the environment's.
    ///
    /// Plain http never goes through a proxy. The URL may contain a user name and a password. The
    /// certificate of an https proxy is verified by the same root certificates as the issuer's.
    #[must_use]
    pub fn with_fetch_proxy(mut self, url: impl Into<String>) -> Self {
        self.http.proxy = Some(url.into());
        self
    }

    /// Sends a bearer token when fetching: a kube-apiserver may answer 403 to anonymous readers
    /// of its key set, and `PingOne` wants one too.
    ///
    /// It goes to the origin (scheme, host and port) of the issuer, or of
    /// [`with_jwks_uri`](Self::with_jwks_uri) where that is given, and to no other; a `jwks_uri`
    /// that discovery names on another host gets it only by
    /// [`with_credential_origin`](Self::with_credential_origin).
    #[must_use]
    pub fn with_fetch_bearer_token(self, token: impl Into<String>) -> Self {
        self.with_credential(Credential::BearerToken(token.into()))
    }

    /// Sends the bearer token of a file when fetching, by the rules of
    /// [`with_fetch_bearer_token`](Self::with_fetch_bearer_token). The file is read at each
    /// fetch, as the kubelet rotates it.
    #[must_use]
    pub fn with_fetch_bearer_token_file(self, path: impl Into<PathBuf>) -> Self {
        self.with_credential(Credential::BearerTokenFile(path.into()))
    }

    /// Sends a header when fetching, by the rules of
    /// [`with_fetch_bearer_token`](Self::with_fetch_bearer_token): it may be a secret.
    #[must_use]
    pub fn with_fetch_header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_credential(Credential::Header(name.into(), value.into()))
    }

    fn with_credential(mut self, credential: Credential) -> Self {
        self.http.credentials.push(credential);
        self
    }

    /// Sends bearer token and headers to the origin of this URL as well.
    #[must_use]
    pub fn with_credential_origin(mut self, url: impl Into<String>) -> Self {
        self.http.credential_origins.push(url.into());
        self
    }

    pub(super) fn http_fetcher(&self) -> Result<Arc<dyn Fetch>, BuildError> {
        let http = &self.http;
        let mut fetcher = HttpFetcher::new();
        if self.api_server.is_some() {
            fetcher = fetcher.without_proxy().with_hint(IN_CLUSTER_HINT);
        }
        for pem in &http.root_certificates {
            fetcher = fetcher.with_additional_root_certificates_pem(pem)?;
        }
        for path in &http.root_files {
            fetcher = fetcher.with_additional_root_certificates_file(path);
        }
        if http.exclude_platform_roots {
            fetcher = fetcher.without_platform_roots();
        }
        if let Some(proxy) = &http.proxy {
            fetcher = fetcher.with_proxy(proxy)?;
        }
        let own = self.jwks_uri.as_deref().or(self.url.as_ref().map(IssuerUrl::as_str));
        let others = http.credential_origins.iter().map(String::as_str);
        for origin in own.into_iter().chain(others) {
            for credential in &http.credentials {
                fetcher = match credential {
                    Credential::BearerToken(token) => fetcher.with_bearer_token(origin, token)?,
                    Credential::BearerTokenFile(path) => {
                        fetcher.with_bearer_token_file(origin, path)?
                    }
                    Credential::Header(name, value) => fetcher.with_header(origin, name, value)?,
                };
            }
        }
        Ok(Arc::new(fetcher))
    }
}
