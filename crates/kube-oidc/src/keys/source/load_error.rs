//! [`LoadError`]: why a fetch brought no keys.

use std::{borrow::Cow, fmt, time::Duration};

use super::{FetchError, Origin};
use crate::{error::KeySetError, issuer_name::IssuerUrlError};

/// A fetch that brought no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{url} could not be read")]
    Fetch { url: String, source: FetchError },
    #[error(transparent)]
    File(#[from] FetchError),
    #[error("{url} answered with status {status}{advice}")]
    Status {
        url: String,
        status: u16,
        retry_after: Option<Duration>,
        /// What the status means, and the way out.
        advice: Cow<'static, str>,
    },
    #[error("failed to read the discovery document from {origin}")]
    Metadata { origin: Origin, source: MetadataError },
    #[error("the discovery document names another issuer ({found}); expected {expected}{hint}")]
    OtherIssuer { found: String, expected: String, hint: &'static str },
    #[error("the jwks_uri {url} of the discovery document is not acceptable")]
    JwksUri { url: String, source: IssuerUrlError },
    #[error("failed to read keys from {origin}")]
    KeySet { origin: Origin, source: KeySetError },
    #[error(
        "{url} gave no answer within {timeout:?}{}; a slow issuer needs a longer fetch_timeout(..), \
         which covers discovery document and key set together",
        Through(.proxy.as_deref())
    )]
    Timeout { url: String, timeout: Duration, proxy: Option<String> },
    #[error("the fetcher panicked")]
    Panicked,
}

/// Why a discovery document has no metadata.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the discovery document is not UTF-8")]
    NotUtf8,
    #[error("the discovery document is not well formed: {0}")]
    Malformed(String),
    #[error("the discovery document has no {0}")]
    Missing(&'static str),
}

/// Names the proxy of a request, if there is one.
struct Through<'a>(Option<&'a str>);

impl fmt::Display for Through<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |proxy| write!(f, " through {proxy}"))
    }
}

impl LoadError {
    /// How long the issuer asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the keys may have moved: nobody is at their URL, or they are gone from there.
    pub(super) fn is_about_the_url(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. } | Self::Timeout { .. } | Self::Status { status: 404 | 410, .. }
        )
    }

    /// Whether the server may be down: the last that it said still holds.
    pub(super) fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. }
                | Self::Timeout { .. }
                | Self::Status { status: 429 | 500..=599, .. }
        )
    }
}
