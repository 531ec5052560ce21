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

/// An event that is counted for an issuer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IssuerEvent {
    /// A token's key is not in the key set.
    UnknownKid,
    /// A token was accepted after its `warnafter`.
    PastWarnAfter,
    /// A token was accepted that is valid for the API server as well.
    ForApiServer,
    /// The API server reported another issuer name.
    NameChange,
}

impl IssuerEvent {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 4] =
        [Self::UnknownKid, Self::PastWarnAfter, Self::ForApiServer, Self::NameChange];
}

/// What came of a key fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// A key set.
    Updated,
    Failed,
}

/// What came of asking an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Authenticated,
    Rejected,
    Failed,
}

impl Fetched {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 2] = [Self::Updated, Self::Failed];

    /// A word for spans and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Failed => "failed",
        }
    }
}

impl Asked {
    #[cfg(feature = "metrics")]
    const ALL: [Self; 3] = [Self::Authenticated, Self::Rejected, Self::Failed];

    /// A word for spans and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authenticated => "authenticated",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }
}
