//! The command line.

use std::{
    io::IsTerminal as _,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tower_kube_oidc::{
    BuildError, Issuer, IssuerUrl, KeySource, Verifier, VerifierBuilder, source::HttpFetcher,
};
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::EnvFilter;

use crate::{error::StartError, review, serve::Limits};

/// An axum service behind an OIDC layer for Kubernetes tokens
///
/// Without --issuer it starts an issuer of its own, prints two curl lines to try, and has a page
/// that shows what becomes of a token.
///
/// Messages name the methods of the library: a method in parentheses is what a flag calls.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The issuer whose tokens are accepted; without it, one is started. Given more than once, each
    /// needs the name of its cluster: blue=https://...
    #[arg(long, env = "OIDC_ISSUER", value_name = "[CLUSTER=]URL")]
    issuer: Vec<String>,

    /// The issuer of the cluster that this is a pod of, which needs nothing but --audience
    #[arg(long)]
    in_cluster: bool,

    /// Another name of the one issuer, as during a migration; may be given more than once
    /// (`add_alias`)
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,

    /// Serve /reviewed too, which asks the API server whether a token still counts; needs the right
    /// to create tokenreviews (system:auth-delegator)
    #[arg(long)]
    token_review: bool,

    /// The audience that a token must be for; needed with --issuer, else "demo"
    #[arg(long, env = "OIDC_AUDIENCE", value_name = "NAME")]
    pub(crate) audience: Option<String>,

    /// Where to listen
    #[arg(long, env = "LISTEN_ADDR", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: String,

    /// Serve the page that mints and explains tokens to others than this machine too: whoever
    /// reaches it can mint a token for this service
    #[arg(long)]
    pub(crate) dangerous_expose_page: bool,

    /// Where the issuer's keys are, instead of asking its discovery document (`KeySource::jwks`)
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,

    /// A PEM file with certificates to trust when fetching keys, instead of the platform's
    /// (`HttpFetcher::with_root_certificates_file`)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// A file with the bearer token to send when fetching keys; it is read at each fetch
    /// (`HttpFetcher::with_bearer_token_file`)
    #[arg(long, value_name = "FILE")]
    jwks_bearer_token_file: Option<PathBuf>,

    /// A file with the issuer's keys, read again when it changes, instead of fetching them
    /// (`KeySource::file`)
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["jwks_uri", "ca_file", "jwks_bearer_token_file"]
    )]
    jwks_file: Option<PathBuf>,

    /// How long one key fetch takes to come back into the budget of three [default: 10s]
    #[arg(long, value_name = "DURATION")]
    unknown_kid_cooldown: Option<String>,

    /// The shortest lifetime of a key set, whatever its issuer says [default: 60s]
    #[arg(long, value_name = "DURATION")]
    min_key_set_lifetime: Option<String>,

    /// The longest lifetime of a key set, whatever its issuer says [default: 1h]
    #[arg(long, value_name = "DURATION")]
    max_key_set_lifetime: Option<String>,

    /// How long a fetch of keys, and whoever waits for it, may take [default: 5s]
    #[arg(long, value_name = "DURATION")]
    fetch_timeout: Option<String>,

    /// How long past its lifetime a key set is used while its issuer does not answer [default: 24h]
    #[arg(long, value_name = "DURATION")]
    max_stale: Option<String>,

    /// How many connections are open at once; whoever comes later waits to be accepted. Keep it
    /// below the limit of open files, since fetching keys needs some
    #[arg(long, value_name = "NUMBER", default_value = "512")]
    max_connections: NonZeroU16,

    /// How long a connection may be without a request: before the first, between two, or while
    /// one does not end [default: 10s]
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,

    /// How long a request may be without an answer, while its body or keys do not come [default:
    /// 30s]
    #[arg(long, value_name = "DURATION")]
    request_timeout: Option<String>,
}

/// Whether a token file holds what a header can carry: visible ASCII in one piece.
fn is_one_word(content: &[u8]) -> bool {
    let word = content.trim_ascii();
    !word.is_empty() && word.iter().all(u8::is_ascii_graphic)
}

type Set = fn(VerifierBuilder, Duration) -> VerifierBuilder;

impl Args {
    fn is_issuer_given(&self) -> bool {
        self.in_cluster || !self.issuer.is_empty()
    }

    /// The issuers that were asked for, with their settings.
    pub(crate) fn issuers(&self) -> Result<Vec<Issuer>, StartError> {
        if self.is_issuer_given() && self.dangerous_expose_page {
            return Err(StartError::NoPage);
        }
        if self.in_cluster {
            if !self.issuer.is_empty() {
                return Err(StartError::InClusterAlone);
            }
            self.check_settings_of_one_issuer()?;
            let issuer = self.with_other_names(Issuer::in_cluster()?);
            return Ok(vec![if self.token_review {
                issuer.with_token_review(review::in_cluster()?)
            } else {
                issuer
            }]);
        }
        if self.token_review {
            return Err(StartError::ReviewInClusterOnly);
        }
        let [issuer] = &self.issuer[..] else {
            self.check_settings_of_one_issuer()?;
            if !self.alias.is_empty() {
                return Err(StartError::OneIssuerNeeded { flag: "--alias" });
            }
            let issuers = self.issuer.iter();
            return issuers.map(|issuer| named_issuer(issuer, KeySource::discovery())).collect();
        };
        Ok(vec![self.with_other_names(named_issuer(issuer, self.key_source()?)?)])
    }

    /// Where the keys of the one issuer come from.
    fn key_source(&self) -> Result<KeySource, StartError> {
        if let Some(path) = &self.jwks_file {
            check_file("--jwks-file", path, |keys| {
                let given = Issuer::opaque("any", KeySource::fixed(keys));
                Verifier::builder(given).audience("any").build().map(drop)
            })?;
            return Ok(KeySource::file(path));
        }
        let mut fetcher = HttpFetcher::new();
        if let Some(path) = &self.ca_file {
            check_file("--ca-file", path, |pem| {
                HttpFetcher::new().with_root_certificates_pem(&pem).map(drop)
            })?;
            fetcher = fetcher.with_root_certificates_file(path);
        }
        if let Some(path) = &self.jwks_bearer_token_file {
            let token = read("--jwks-bearer-token-file", path)?;
            if !is_one_word(&token) {
                return Err(StartError::TokenFile(path.clone()));
            }
            fetcher = fetcher.with_bearer_token_file(path);
        }
        let source = self.jwks_uri.as_ref().map_or_else(KeySource::discovery, KeySource::jwks);
        Ok(source.via(fetcher).into())
    }

    fn with_other_names(&self, issuer: Issuer) -> Issuer {
        self.alias.iter().fold(issuer, |issuer, name| issuer.add_alias(name.as_str()))
    }

    /// Flags about the keys of an issuer need one, and only one.
    fn check_settings_of_one_issuer(&self) -> Result<(), StartError> {
        let given = [
            ("--jwks-uri", self.jwks_uri.is_some()),
            ("--ca-file", self.ca_file.is_some()),
            ("--jwks-bearer-token-file", self.jwks_bearer_token_file.is_some()),
            ("--jwks-file", self.jwks_file.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(StartError::OneIssuerNeeded { flag }),
            None => Ok(()),
        }
    }

    /// A verifier of these issuers, with the durations that were asked for.
    pub(crate) fn verifier(
        &self,
        issuers: Vec<Issuer>,
        audience: &str,
    ) -> Result<Verifier, StartError> {
        let mut issuers = issuers.into_iter();
        let first = issuers.next().ok_or(StartError::NoIssuer)?;
        let mut builder = issuers.fold(Verifier::builder(first), VerifierBuilder::add_issuer);
        builder = builder.audience(audience);
        let durations: [(_, _, Set); 5] = [
            (
                "--unknown-kid-cooldown",
                &self.unknown_kid_cooldown,
                VerifierBuilder::unknown_kid_cooldown,
            ),
            (
                "--min-key-set-lifetime",
                &self.min_key_set_lifetime,
                VerifierBuilder::min_key_set_lifetime,
            ),
            (
                "--max-key-set-lifetime",
                &self.max_key_set_lifetime,
                VerifierBuilder::max_key_set_lifetime,
            ),
            ("--fetch-timeout", &self.fetch_timeout, VerifierBuilder::fetch_timeout),
            ("--max-stale", &self.max_stale, VerifierBuilder::max_stale),
        ];
        for (flag, value, set) in durations {
            if let Some(value) = value {
                builder = set(builder, duration(flag, value)?);
            }
        }
        Ok(builder.build()?)
    }

    /// What clients may take.
    pub(crate) fn limits(&self) -> Result<Limits, StartError> {
        let given = |flag, value: &Option<String>, default| match value {
            Some(value) => duration(flag, value),
            None => Ok(default),
        };
        Ok(Limits {
            connections: self.max_connections,
            idle: given("--idle-timeout", &self.idle_timeout, Duration::from_secs(10))?,
            request: given("--request-timeout", &self.request_timeout, Duration::from_secs(30))?,
        })
    }
}

fn duration(flag: &'static str, value: &str) -> Result<Duration, StartError> {
    humantime::parse_duration(value).map_err(|source| StartError::Duration {
        flag,
        value: value.to_owned(),
        source,
    })
}

/// `CLUSTER=URL`, or a URL. An issuer has no query, so a `=` before the scheme belongs to a name.
fn named_issuer(text: &str, keys: impl Into<KeySource>) -> Result<Issuer, StartError> {
    let (cluster, url) = match text.split_once('=') {
        Some((cluster, url)) if !cluster.contains(':') => (Some(cluster), url),
        _ => (None, text),
    };
    let url: IssuerUrl = url.parse().map_err(StartError::Issuer)?;
    Ok(cluster.into_iter().fold(Issuer::with_key_source(url, keys), Issuer::with_cluster))
}

/// Reads a file whose absence at start is a mistake. Later it is read again for each fetch.
fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::File { flag, path: path.to_owned(), source })
}

/// Checks a file at start, so that a wrong one is an error and not a line in the log.
fn check_file(
    flag: &'static str,
    path: &Path,
    check: impl FnOnce(Vec<u8>) -> Result<(), BuildError>,
) -> Result<(), StartError> {
    let content = read(flag, path)?;
    // the verifier logs what it skips, with the name of the file
    let checked = tracing::subscriber::with_default(NoSubscriber::new(), || check(content));
    checked.map_err(|error| StartError::Content {
        flag,
        path: path.to_owned(),
        source: Box::new(error),
    })
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
