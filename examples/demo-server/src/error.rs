//! Why the server does not start, each in one line.

use std::{io, path::PathBuf};

use tower_kube_oidc::{BuildError, IssuerUrlError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("--issuer cannot be used: {0}")]
    Issuer(#[source] IssuerUrlError),
    #[error("{flag} needs --issuer")]
    IssuerNeeded { flag: &'static str },
    #[error("--issuer needs --audience: the name that callers ask for in their projected token")]
    AudienceNeeded,
    #[error("--ca-file {} cannot be read: {source}", .path.display())]
    CaFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Verifier(#[from] BuildError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error("cannot serve: {0}")]
    Serve(#[source] io::Error),
}
