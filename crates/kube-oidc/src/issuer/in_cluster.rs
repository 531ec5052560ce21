//! The pod's own view of its cluster: where the API server is, and the files that the kubelet
//! mounts.

#[cfg(feature = "remote-no-provider")]
use std::path::Path;
use std::{env, net::Ipv6Addr, path::PathBuf};

#[cfg(feature = "remote-no-provider")]
use crate::{issuer_name::in_cluster::FOLDER, keys::source::HttpFetcher};
use crate::{
    issuer_name::{IssuerUrl, IssuerUrlError},
    observe::display::shown_url,
};

/// Why a process does not know its cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InClusterError {
    /// A variable that the kubelet sets for every container is missing.
    #[error("this is no pod: {0} is not set")]
    NotInPod(&'static str),
    /// The address in the variables is none.
    #[error("the API server's address `{address}` cannot be used: {source}")]
    #[non_exhaustive]
    InvalidAddress {
        /// The address, without user name, password, and query.
        address: String,
        /// What is wrong with it.
        source: IssuerUrlError,
    },
    /// The service account's files are not mounted.
    #[error(
        "{} is missing: the pod or its service account has automountServiceAccountToken: false",
        .0.display()
    )]
    NoServiceAccount(PathBuf),
}

/// Follows the error of a connection to the API server.
#[cfg(feature = "remote-no-provider")]
const HINT: &str = "HttpFetcher::in_cluster() trusts ca.crt and uses no proxy of the environment; add \
     roots with with_additional_root_certificates_file(), or set a proxy with with_proxy()";

/// The address of the API server, from the environment variables that the kubelet sets.
pub(super) fn api_server() -> Result<IssuerUrl, InClusterError> {
    let variable = |name| {
        env::var(name).ok().filter(|value| !value.is_empty()).ok_or(InClusterError::NotInPod(name))
    };
    parse(&url_of(&variable("KUBERNETES_SERVICE_HOST")?, &variable("KUBERNETES_SERVICE_PORT")?))
}

fn parse(url: &str) -> Result<IssuerUrl, InClusterError> {
    url.parse().map_err(|source| InClusterError::InvalidAddress { address: shown_url(url), source })
}

#[cfg(feature = "remote-no-provider")]
impl HttpFetcher {
    /// Creates the fetcher of [`Issuer::in_cluster`](crate::Issuer::in_cluster): it trusts only the
    /// certificates of `ca.crt`, sends the pod's token, and uses no proxy.
    ///
    /// ```
    /// use kube_oidc::{Issuer, source::HttpFetcher};
    ///
    /// # fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// let fetcher = HttpFetcher::in_cluster()?.with_proxy("http://proxy.example:3128")?;
    /// let issuer = Issuer::in_cluster_via(fetcher)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InClusterError::NoServiceAccount`]: a file is missing.
    pub fn in_cluster() -> Result<Self, InClusterError> {
        Self::in_cluster_at(FOLDER)
    }

    /// Creates the fetcher of [`in_cluster`](Self::in_cluster) from files that are mounted elsewhere:
    /// a folder with `ca.crt` and `token`.
    ///
    /// ```
    /// use kube_oidc::{InClusterError, source::HttpFetcher};
    ///
    /// let fetcher = HttpFetcher::in_cluster_at("/no/such/folder");
    /// assert!(matches!(fetcher, Err(InClusterError::NoServiceAccount(_))));
    /// ```
    ///
    /// # Errors
    ///
    /// [`InClusterError::NoServiceAccount`]: a file is missing.
    pub fn in_cluster_at(folder: impl AsRef<Path>) -> Result<Self, InClusterError> {
        let file = |name| {
            let path = folder.as_ref().join(name);
            if path.exists() { Ok(path) } else { Err(InClusterError::NoServiceAccount(path)) }
        };
        Ok(Self::new()
            .with_root_certificates_file(file("ca.crt")?)
            .with_bearer_token_file(file("token")?)
            .without_proxy()
            .with_hint(HINT))
    }
}

/// An IPv6 address stands in brackets in a URL, and not in the variable.
fn url_of(host: &str, port: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("https://[{address}]:{port}"),
        Err(_) => format!("https://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rule: accepted-forms
    #[test]
    fn addresses_become_urls() {
        assert_eq!(url_of("10.96.0.1", "443"), "https://10.96.0.1:443");
        assert_eq!(url_of("fd00:10:96::1", "443"), "https://[fd00:10:96::1]:443");
        assert_eq!(url_of("kubernetes.default.svc", "6443"), "https://kubernetes.default.svc:6443");
    }

    #[test]
    fn invalid_addresses_are_errors() {
        for address in ["https://10.96.0.1:port", "http://10.96.0.1:443", "10.96.0.1"] {
            let error = parse(address).unwrap_err();
            assert!(matches!(error, InClusterError::InvalidAddress { .. }), "{error}");
        }
    }
}
