//! The pod's own view of its cluster: where the API server is, and the files that the kubelet
//! mounts.

use std::{
    env,
    net::Ipv6Addr,
    path::{Path, PathBuf},
};

use crate::issuer_name::IssuerUrlError;

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

/// The address of the API server as the kubelet tells it, as a URL.
pub(super) fn api_server() -> Result<String, InClusterError> {
    let variable = |name| {
        env::var(name).ok().filter(|value| !value.is_empty()).ok_or(InClusterError::NotInPod(name))
    };
    Ok(url_of(&variable("KUBERNETES_SERVICE_HOST")?, &variable("KUBERNETES_SERVICE_PORT")?))
}

/// An IPv6 address stands in brackets in a URL, and not in the variable.
fn url_of(host: &str, port: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("https://[{address}]:{port}"),
        Err(_) => format!("https://{host}:{port}"),
    }
}

/// A file of the service account, which must be there.
pub(super) fn file(folder: &Path, name: &str) -> Result<PathBuf, InClusterError> {
    let path = folder.join(name);
    if path.exists() { Ok(path) } else { Err(InClusterError::NoServiceAccount(path)) }
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
}
