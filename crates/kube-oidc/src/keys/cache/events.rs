//! The log lines about the keys of an issuer: one for each change of state, not for each fetch.

use std::sync::PoisonError;

use super::{Shared, Snapshot, changes::Change};
use crate::{
    keys::source::LoadError,
    observe::{display::chain, status::FetchFailure},
};

impl Shared {
    /// One line for each change of state, not for each fetch.
    pub(super) fn log_success(&self, new: &Snapshot, last: Option<&Snapshot>, was_failing: bool) {
        let (issuer, cluster) = self.observed.names();
        let keys = new.keys().len();
        if last.is_none_or(|last| last.set.skipped != new.set.skipped) {
            self.observed.log_skipped(&new.set.skipped);
        }
        {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let last = last.map(Snapshot::keys);
            for kid in last.map_or_else(Vec::new, |last| changes.note_removed(new.keys(), last)) {
                tracing::warn!(issuer, cluster, kid, "the issuer lists a removed key again");
            }
            if let Some(Change { added, removed }) = changes.note(new.keys(), new.at) {
                tracing::info!(issuer, cluster, added, removed, "the issuer's keys changed");
            }
        }
        if last.is_none() {
            tracing::info!(issuer, cluster, keys, "the keys of the issuer are here");
        } else if was_failing {
            tracing::info!(
                issuer,
                cluster,
                keys,
                "the issuer answers again, and its keys are fresh"
            );
        } else {
            tracing::debug!(issuer, cluster, keys, "the keys of the issuer were refreshed");
        }
    }

    pub(super) fn note_failure(&self, error: &LoadError, was_failing: bool, usable: bool) {
        let (issuer, cluster) = self.observed.names();
        let error = chain(error);
        {
            let mut history = self.history();
            history.failures += 1;
            history.last_error = Some(FetchFailure { at: self.clock.wall(), error: error.clone() });
        }
        if !was_failing && self.observed.is_own_api_server {
            tracing::warn!(
                issuer,
                cluster,
                "this process is a pod, and the issuer is its own API server's name: \
                 Issuer::in_cluster() knows its address, certificate authority and token"
            );
        }
        match (was_failing, usable) {
            (false, true) => tracing::warn!(
                issuer,
                cluster,
                error,
                "the keys of the issuer could not be refreshed: the last good ones stay in use"
            ),
            (false, false) => tracing::error!(
                issuer,
                cluster,
                error,
                "the keys of the issuer could not be fetched: its tokens are answered with 503"
            ),
            (true, _) => {
                tracing::debug!(issuer, cluster, error, "the keys still cannot be fetched");
            }
        }
    }
}
