//! Who is asked whether a token still counts, for `/reviewed`.

use kube_client::Config;
use kube_oidc_testing::TestIssuer;
use kube_oidc_token_review::KubeReviewer;

use crate::error::StartError;

/// The API server of the cluster that this is a pod of.
pub(crate) fn in_cluster() -> Result<KubeReviewer, StartError> {
    Ok(KubeReviewer::in_cluster()?)
}

/// The demo's own issuer, which answers as the API server of its cluster would.
pub(crate) fn embedded(issuer: &TestIssuer) -> Result<KubeReviewer, StartError> {
    let address = issuer.base_url().parse().map_err(StartError::Reviewer)?;
    Ok(KubeReviewer::from_config(Config::new(address))?)
}
