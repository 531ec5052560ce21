//! Why a verifier could not be built: `BuildError`.

use super::KeySetError;
use crate::{
    issuer_name::IssuerUrlError,
    observe::display::{Shown, shown_url},
};

/// Why a verifier could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Several settings are invalid. None of these is `Multiple`.
    #[error("{}", joined(.0))]
    Multiple(Vec<Self>),
    /// No audience was given. A verifier without one would take tokens that are for others.
    #[error("no audience is given: name one with audience()")]
    NoAudience,
    /// An audience is empty or blank: often an environment variable that is set to nothing.
    #[error("an audience is empty (an environment variable that is set to nothing?)")]
    EmptyAudience,
    /// No algorithm is allowed.
    #[error("no algorithm is allowed")]
    NoAlgorithm,
    /// A URL to read keys from is invalid, or the name of an issuer is a list or the URL of a
    /// document.
    #[error("the URL `{url}` is not acceptable: {source}")]
    #[non_exhaustive]
    InvalidUrl {
        /// The URL, without user name, password, and query.
        url: String,
        /// What is wrong with it.
        source: IssuerUrlError,
    },
    /// An issuer's name that is no URL is empty.
    #[error("the name of an issuer is empty")]
    EmptyIssuer,
    /// An issuer's name is no URL, so its discovery document cannot be found.
    #[error("the issuer {} is no URL: expected another key source than discovery()", Shown(.0))]
    OpaqueDiscovery(String),
    /// Two issuers of one cluster have one name.
    #[error("the issuer {} is given twice for one cluster", Shown(.0))]
    DuplicateIssuer(String),
    /// Two clusters share the name of their issuer, and the key sets that were given for them
    /// share a key: nobody could tell whose tokens it signs.
    #[error("two clusters with the issuer {} have the key {} in common", Shown(.issuer), Shown(.key))]
    #[non_exhaustive]
    SharedKey {
        /// The issuer.
        issuer: String,
        /// The `kid` of the key.
        key: String,
    },
    /// Two clusters share the name of their issuer, and their keys are read from one place: no key
    /// would distinguish their tokens.
    #[error(
        "the clusters {} and {} share the issuer {} and read their keys from {}; each cluster needs \
         its own key set URL or file",
        Shown(&.clusters[0]), Shown(&.clusters[1]), Shown(.issuer), Shown(.place)
    )]
    #[non_exhaustive]
    SharedKeyPlace {
        /// The name of both issuers.
        issuer: String,
        /// The names of the clusters.
        clusters: [String; 2],
        /// The URL of the discovery document or of the key set, or the file.
        place: String,
    },
    /// The issuer has no cluster's name, or a blank one, beside others in the verifier.
    #[error("the issuer {} needs the name of its cluster: Issuer::with_cluster()", Shown(.0))]
    MissingClusterName(String),
    /// A duration is out of its range.
    #[error("{name} must be {range}")]
    #[non_exhaustive]
    DurationOutOfRange {
        /// The setting.
        name: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// The root certificates are not PEM, or hold no certificate.
    #[error("the root certificates cannot be used: {0}")]
    InvalidRootCertificates(String),
    /// A header or bearer token for fetching keys has an invalid value, which is not shown.
    #[error("invalid value of the header `{name}` for fetching keys")]
    #[non_exhaustive]
    InvalidFetchHeader {
        /// The name of the header.
        name: String,
    },
    /// A header for fetching keys has an invalid name. The name may contain the value, so neither
    /// is shown.
    #[error("invalid name of a header for fetching keys")]
    FetchHeaderName,
    /// The proxy for fetching keys is not a URL of an http or https proxy. The URL is not shown.
    #[error("invalid proxy for fetching keys: {0}")]
    InvalidProxy(String),
    /// Every token is to be reviewed, and this issuer has no reviewer.
    #[error("the issuer {} has no reviewer: Issuer::with_token_review()", Shown(.0))]
    NoReviewer(String),
    /// An API server reviews the tokens of service accounts, and claims of another type are read.
    #[error("tokens can be reviewed only where their claims are ServiceAccountClaims")]
    ReviewNeedsServiceAccountClaims,
    /// The token cache is to remember tokens in next to no memory.
    #[error("the token cache needs at least 64 KiB: token_cache(0) switches it off")]
    TokenCacheTooSmall,
    /// A fixed key set cannot be used.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// The issuer's keys have to be fetched, and there is no fetcher.
    #[error("no fetcher: enable the feature `remote`, or set one with RemoteKeySource::via()")]
    NoFetcher,
}

impl BuildError {
    /// All of these faults, if there are any.
    pub(crate) fn all(faults: impl IntoIterator<Item = Self>) -> Result<(), Self> {
        let mut all = Vec::new();
        for fault in faults {
            match fault {
                Self::Multiple(faults) => all.extend(faults),
                fault => all.push(fault),
            }
        }
        match all.pop() {
            None => Ok(()),
            Some(fault) if all.is_empty() => Err(fault),
            Some(fault) => {
                all.push(fault);
                Err(Self::Multiple(all))
            }
        }
    }

    pub(crate) fn url(url: &str, source: IssuerUrlError) -> Self {
        Self::InvalidUrl { url: shown_url(url), source }
    }
}

fn joined(faults: &[BuildError]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}
