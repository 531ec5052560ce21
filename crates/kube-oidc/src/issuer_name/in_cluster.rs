//! The name that a pod has for the API server of its own cluster.

use std::path::Path;

/// Where the kubelet mounts the files of a pod's service account.
pub(crate) const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Whether a URL names the API server as pods see it.
fn is_api_server(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
    host.is_some_and(|host| {
        host == "kubernetes.default.svc" || host.starts_with("kubernetes.default.svc.")
    })
}

/// Whether this process is a pod, and the URL names its own API server.
pub(crate) fn is_own_api_server(url: &str) -> bool {
    is_api_server(url) && Path::new(FOLDER).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_is_known_by_its_service() {
        for url in [
            "https://kubernetes.default.svc",
            "https://kubernetes.default.svc:443/x",
            "https://kubernetes.default.svc.cluster.local",
        ] {
            assert!(is_api_server(url), "{url}");
        }
        for url in ["https://kubernetes.default.svcx", "https://a/kubernetes.default.svc", ""] {
            assert!(!is_api_server(url), "{url}");
        }
    }
}
