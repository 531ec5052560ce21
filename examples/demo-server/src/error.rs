//! Why the server does not start, each in one line.

use std::{io, path::PathBuf};

use axum::http::uri::InvalidUri;
use kube_oidc_token_review::KubeReviewerError;
use tower_kube_oidc::{BuildError, InClusterError, IssuerUrlError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("--issuer cannot be used: {0}")]
    Issuer(#[source] IssuerUrlError),
    #[error("{flag} needs one --issuer, and only one")]
    OneIssuerNeeded { flag: &'static str },
    #[error("there is no issuer")]
    NoIssuer,
    #[error("{flag} {value} is no duration such as 500ms, 30s or 24h: {source}")]
    Duration { flag: &'static str, value: String, source: humantime::DurationError },
    #[error(
        "--issuer and --in-cluster need --audience (OIDC_AUDIENCE): the name that callers ask for in \
         their projected token, such as --audience orders"
    )]
    AudienceNeeded,
    #[error("{flag} {} cannot be read: {source}", .path.display())]
    File { flag: &'static str, path: PathBuf, source: io::Error },
    #[error("{flag} {} cannot be used: {source}", .path.display())]
    Content { flag: &'static str, path: PathBuf, source: Box<BuildError> },
    #[error(
        "--jwks-bearer-token-file {} cannot be used: it does not hold one token, and nothing else",
        .0.display()
    )]
    TokenFile(PathBuf),
    #[error(
        "each --issuer (OIDC_ISSUER) of several, and each with a =, needs the name of its cluster, such \
         as --issuer blue=https://..."
    )]
    ClusterNames,
    #[error("--in-cluster finds its own issuer: leave --issuer out")]
    InClusterAlone,
    #[error(
        "--in-cluster cannot be used: {0}; outside a cluster, give its issuer with --issuer URL"
    )]
    InCluster(#[from] InClusterError),
    #[error("--token-review is for --in-cluster: another cluster's API server may not be asked")]
    ReviewInClusterOnly,
    #[error("--token-review cannot be used: {0}")]
    TokenReview(#[from] KubeReviewerError),
    #[error("the demo's own issuer cannot be asked: {0}")]
    Reviewer(#[source] InvalidUri),
    #[error("--dangerous-expose-page is for the demo's own issuer: leave --issuer out")]
    NoPage,
    #[error("--audience (OIDC_AUDIENCE): {0}")]
    Audience(BuildError),
    #[error(transparent)]
    Verifier(BuildError),
    #[error("{}", joined(.0))]
    Several(Vec<Self>),
    #[error(
        "--listen (LISTEN_ADDR): cannot listen on {address}: {source}; give an address of this machine \
         and a free port, such as 127.0.0.1:8080"
    )]
    Listen { address: String, source: io::Error },
    #[error("the metrics cannot be collected: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("cannot serve: {0}")]
    Serve(#[source] io::Error),
}

impl From<BuildError> for StartError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::NoAudience | BuildError::EmptyAudience => Self::Audience(error),
            BuildError::MissingClusterName(_) => Self::ClusterNames,
            BuildError::Multiple(errors) => {
                Self::Several(errors.into_iter().map(Self::from).collect())
            }
            other => Self::Verifier(other),
        }
    }
}

fn joined(errors: &[StartError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}
