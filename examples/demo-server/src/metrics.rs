//! `/metrics`, in the text form of Prometheus.

use axum::{
    Router,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tower_kube_oidc::Verifier;

/// Upper ends for what asks somebody over a network, which has 5 s for it.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Counts from now on: before a verifier is used, since counters that were used without a recorder
/// go on without.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// Open, as the probes are. In production it belongs on a port of its own, or behind a
/// `NetworkPolicy`: it names the issuers, and says who is refused how often.
pub(crate) fn router(verifier: Verifier, recorder: PrometheusHandle) -> Router {
    let scrape = async move || {
        verifier.record_metrics();
        // what was measured since the last time goes into the buckets, so it does not heap up
        recorder.run_upkeep();
        let headers = [
            (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
            (CACHE_CONTROL, "no-store"),
        ];
        (headers, recorder.render()).into_response()
    };
    Router::new().route("/metrics", get(scrape))
}
