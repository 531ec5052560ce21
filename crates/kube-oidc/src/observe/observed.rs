//! What an issuer is called in logs, spans and metrics.

use std::{fmt, sync::Arc};

use crate::observe::meter::IssuerMeter;

/// The number of unusable keys that one line describes.
const MAX_SKIPPED: usize = 4;

/// An issuer by the operator's names for it: several clusters may share the name of their issuer.
pub(crate) struct Observed {
    pub(crate) issuer: Arc<str>,
    pub(crate) cluster: Option<Arc<str>>,
    /// Whether this process is a pod, and the issuer has the name of the pod's own API server.
    pub(crate) is_own_api_server: bool,
    pub(crate) meter: IssuerMeter,
}

impl Observed {
    pub(crate) fn new(issuer: Arc<str>, cluster: Option<Arc<str>>) -> Self {
        let meter = IssuerMeter::new(Arc::clone(&issuer), cluster.clone());
        Self { issuer, cluster, is_own_api_server: false, meter }
    }

    /// Issuer and cluster, for an event.
    pub(crate) fn names(&self) -> (&str, Option<&str>) {
        (&self.issuer, self.cluster.as_deref())
    }

    /// Logs the keys of a set that are not used: one line, whatever their number.
    pub(crate) fn log_skipped(&self, skipped: &[impl fmt::Display]) {
        if skipped.is_empty() {
            return;
        }
        let (issuer, cluster) = self.names();
        let first: Vec<String> =
            skipped.iter().take(MAX_SKIPPED).map(ToString::to_string).collect();
        let (keys, skipped) = (first.join("; "), skipped.len());
        tracing::warn!(issuer, cluster, skipped, keys, "skipped unusable keys of the issuer");
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.names()).finish()
    }
}
