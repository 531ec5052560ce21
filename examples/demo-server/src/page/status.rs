//! How the keys are: those that the issuer publishes, and those that the verifier has.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use tower_kube_oidc::{Algorithm, IssuerStatus, KeyState};

use super::{Page, explain::seconds};

/// Times are in seconds since the epoch.
#[derive(Serialize)]
pub(super) struct Status {
    now: u64,
    /// Whom tokens should be for.
    audience: String,
    issuer: Published,
    cache: Option<Cache>,
}

#[derive(Serialize)]
struct Published {
    url: String,
    is_up: bool,
    keys: Vec<PublishedKey>,
}

#[derive(Serialize)]
pub(super) struct PublishedKey {
    kid: String,
    algorithm: String,
    /// Whether new tokens are signed by it.
    signs: bool,
}

#[derive(Serialize)]
struct Cache {
    /// `fresh`, `stale` or `unavailable`.
    state: &'static str,
    keys: Vec<CachedKey>,
    last_success: Option<u64>,
    last_error: Option<Failure>,
    next_fetch_in: Option<u64>,
    fetches: u64,
    failures: u64,
    last_seen: Option<u64>,
    past_warn_after: u64,
}

#[derive(Serialize)]
struct CachedKey {
    kid: Option<String>,
    algorithms: Vec<&'static str>,
}

#[derive(Serialize)]
struct Failure {
    at: u64,
    error: String,
}

pub(super) async fn status(State(page): State<Arc<Page>>) -> Json<Status> {
    Json(page.status())
}

impl Page {
    pub(super) fn status(&self) -> Status {
        Status {
            now: seconds(SystemTime::now()),
            audience: self.audience.clone(),
            issuer: Published {
                url: self.issuer.url().to_owned(),
                is_up: self.is_up.load(Ordering::Relaxed),
                keys: self.published_keys(),
            },
            // beside the demo's own issuer there is no other
            cache: self.verifier.status().into_iter().next().map(Into::into),
        }
    }

    pub(super) fn published_keys(&self) -> Vec<PublishedKey> {
        let signing = self.issuer.signing_key();
        let set = self.issuer.key_set();
        let keys = set["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |key: &Value, member: &str| key[member].as_str().unwrap_or_default().to_owned();
        keys.iter()
            .map(|key| PublishedKey {
                kid: text(key, "kid"),
                algorithm: text(key, "alg"),
                signs: key["kid"] == signing.kid(),
            })
            .collect()
    }
}

impl From<IssuerStatus> for Cache {
    fn from(status: IssuerStatus) -> Self {
        let keys = status.keys.into_iter().map(|key| CachedKey {
            kid: key.kid,
            algorithms: key.algorithms.into_iter().map(Algorithm::name).collect(),
        });
        Self {
            state: match status.state {
                KeyState::Fresh => "fresh",
                KeyState::Stale => "stale",
                _ => "unavailable",
            },
            keys: keys.collect(),
            last_success: status.last_success.map(seconds),
            last_error: status
                .last_error
                .map(|failure| Failure { at: seconds(failure.at), error: failure.error }),
            next_fetch_in: status.next_fetch.map(|next| next.as_secs()),
            fetches: status.fetches,
            failures: status.failures,
            last_seen: status.last_seen.map(seconds),
            past_warn_after: status.past_warn_after,
        }
    }
}
