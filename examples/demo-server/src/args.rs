//! The command line.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::Parser;
use tower_kube_oidc::{Issuer, IssuerUrl};
use tracing_subscriber::EnvFilter;

use crate::error::StartError;

/// An axum service behind an OIDC layer for Kubernetes tokens
///
/// Without --issuer it starts an issuer of its own and prints two curl lines to try.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The issuer whose tokens are accepted; without it, one is started
    #[arg(long, env = "OIDC_ISSUER", value_name = "URL")]
    issuer: Option<String>,

    /// The audience that a token must be for; needed with --issuer, else "demo"
    #[arg(long, env = "OIDC_AUDIENCE", value_name = "NAME")]
    pub(crate) audience: Option<String>,

    /// Where to listen
    #[arg(long, env = "LISTEN_ADDR", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    /// Where the issuer's keys are, instead of asking its discovery document
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,

    /// A PEM file with certificates to trust when fetching keys, beside the platform's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl Args {
    /// The issuer that was asked for, with its settings.
    pub(crate) fn issuer(&self) -> Result<Option<Issuer>, StartError> {
        let Some(issuer) = &self.issuer else {
            let alone =
                [("--jwks-uri", self.jwks_uri.is_some()), ("--ca-file", self.ca_file.is_some())];
            return match alone.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(StartError::IssuerNeeded { flag }),
                None => Ok(None),
            };
        };
        let url: IssuerUrl = issuer.parse().map_err(StartError::Issuer)?;
        let mut issuer = Issuer::new(url);
        if let Some(jwks_uri) = &self.jwks_uri {
            issuer = issuer.with_jwks_uri(jwks_uri);
        }
        if let Some(path) = &self.ca_file {
            let pem = std::fs::read(path)
                .map_err(|source| StartError::CaFile { path: path.clone(), source })?;
            issuer = issuer.with_root_certificates_pem(pem);
        }
        Ok(Some(issuer))
    }
}

/// Logs to stderr; `RUST_LOG` says how much.
pub(crate) fn init_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
