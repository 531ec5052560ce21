//! What is known of the keys of each issuer, for probes, dashboards and people.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::{
    algorithm::Algorithm,
    observe::display::{Cut, Span},
};

/// How an issuer's keys are: see [`Verifier::status`](crate::Verifier::status).
///
/// It shows as a line for people:
/// `https://issuer.example (blue): fresh, 2 keys, fetched 3 min ago, next fetch in 41 min`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct IssuerStatus {
    /// The issuer as the operator configured it; of [`Issuer::in_cluster`](crate::Issuer::in_cluster)
    /// the address of the API server. Logs and metrics have the same label. It never changes, so the
    /// metrics of an issuer stay one time series.
    pub issuer: String,
    /// The name that the API server of [`Issuer::in_cluster`](crate::Issuer::in_cluster) reports: the
    /// `iss` of its tokens. `None`: the first fetch is not over, or the issuer is another.
    pub reported_name: Option<String>,
    /// The cluster that it is of, by the operator's name.
    pub cluster: Option<String>,
    /// Whether its keys are here.
    pub state: KeyState,
    /// The keys that are here, of which none may be usable any more: see `state`.
    pub keys: Vec<KeyInfo>,
    /// When keys were fetched, or confirmed, for the last time.
    pub last_success: Option<SystemTime>,
    /// When a fetch failed for the last time, and why.
    pub last_error: Option<FetchFailure>,
    /// How long ago keys were fetched or confirmed, by the greater of what both clocks say. `None`:
    /// there are none yet, or they are given and do not age.
    pub age: Option<Duration>,
    /// By how much they are past their lifetime: zero while they are fresh.
    pub stale_for: Duration,
    /// When the next fetch is due. `None`: nobody asked for keys yet, or a fetch is going on, or
    /// the keys are given and not fetched.
    pub next_fetch: Option<Duration>,
    /// How many fetches were begun.
    pub fetches: u64,
    /// How many of them failed.
    pub failures: u64,
    /// When a token of this issuer was accepted for the last time: when the old issuer of a
    /// migration is not seen any more, it can go.
    pub last_seen: Option<SystemTime>,
    /// The other names whose tokens are valid now: those of
    /// [`Issuer::add_alias`](crate::Issuer::add_alias), and former names of an issuer of
    /// [`Issuer::in_cluster`](crate::Issuer::in_cluster).
    pub aliases: Vec<AliasStatus>,
    /// How many requests were accepted with a token that should have been replaced (`warnafter`):
    /// their callers do not read their token files again.
    pub past_warn_after: u64,
    /// How many requests were accepted with a token that is for the API server as well, which this
    /// service could replay there.
    pub for_api_server: u64,
    /// Whether the issuer has a reviewer: see
    /// [`Issuer::with_token_review`](crate::Issuer::with_token_review).
    pub has_reviewer: bool,
}

/// Another name of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AliasStatus {
    /// The name.
    pub name: String,
    /// When a token of this name was accepted for the last time.
    pub last_seen: Option<SystemTime>,
    /// How long a former name stays valid, unless a document names it again. `None`: it is
    /// configured, and does not end.
    pub valid_for: Option<Duration>,
}

/// Whether the keys of an issuer are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// There are none that may be used: tokens are answered with 503.
    Unavailable,
    /// They are within their lifetime.
    Fresh,
    /// They are past it, because the issuer does not answer, and in use still.
    Stale,
}

/// A key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// Its name.
    pub kid: Option<String>,
    /// What it may check.
    pub algorithms: Vec<Algorithm>,
}

/// A fetch that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchFailure {
    /// When.
    pub at: SystemTime,
    /// Why, in words for people.
    pub error: String,
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "unavailable",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        })
    }
}

impl fmt::Display for IssuerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Cut(&self.issuer).fmt(f)?;
        if let Some(cluster) = &self.cluster {
            write!(f, " ({cluster})")?;
        }
        let keys = self.keys.len();
        write!(f, ": {}, {keys} {}", self.state, if keys == 1 { "key" } else { "keys" })?;
        if let Some(name) = &self.reported_name {
            write!(f, ", named {}", Cut(name))?;
        }
        for former in &self.aliases {
            if let Some(left) = former.valid_for {
                write!(f, ", formerly {} (for {})", Cut(&former.name), Span(left))?;
            }
        }
        if let Some(next) = self.next_fetch {
            write!(f, ", next fetch in {}", Span(next))?;
        }
        if let (Some(failure), true) = (&self.last_error, self.state != KeyState::Fresh) {
            write!(f, ", last error: {}", failure.error)?;
        }
        Ok(())
    }
}
