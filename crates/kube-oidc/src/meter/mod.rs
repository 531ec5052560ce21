//! What is counted and measured, with the feature `metrics`. Without it the same calls do nothing.
//!
//! Labels have few values: words of this crate, and names that the operator gave. Nothing that
//! a token says becomes one.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use self::facade::{IssuerMeter, TokenCacheMeter};
#[cfg(not(feature = "metrics"))]
pub(crate) use self::silent::{IssuerMeter, TokenCacheMeter};

/// What came of a key fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// A key set.
    Set,
    Failed,
}

/// What came of asking an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Confirmed,
    Refused,
    Failed,
}

impl Fetched {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 2] = [Self::Set, Self::Failed];

    /// A word for spans and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Failed => "failed",
        }
    }
}

impl Asked {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 3] = [Self::Confirmed, Self::Refused, Self::Failed];

    /// A word for spans and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
