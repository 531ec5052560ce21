//! The service's health as gRPC has it, by the keys that are here.

use std::time::Duration;

use kube_oidc::{Claims, Readiness};
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often the keys are looked at; that costs next to nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Tells a health reporter of `tonic-health` whether a service is ready, for as long as the
/// reporter is asked: `SERVING` while the keys are here, fresh or stale, and `NOT_SERVING` before
/// and after. The name is that of a gRPC service, or empty for the server as a whole.
///
/// It never ends, so give it a task of its own. The health service itself is to be open to probes:
///
/// ```
/// use tower_kube_oidc::{OidcAuthLayer, Readiness, Verifier, report_health};
/// use tonic::transport::Server;
///
/// # async fn f(verifier: Verifier) -> Result<(), Box<dyn std::error::Error>> {
/// let (reporter, health) = tonic_health::server::health_reporter();
/// tokio::spawn(report_health(Readiness::any(&verifier), reporter, ""));
/// Server::builder()
///     .layer(
///         OidcAuthLayer::from(verifier)
///             .open_grpc_method("/grpc.health.v1.Health/Check")
///             .open_grpc_method("/grpc.health.v1.Health/Watch")
///             .build()?,
///     )
///     .add_service(health)
///     .serve("[::]:50051".parse()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
pub async fn report_health<C: Claims>(
    readiness: Readiness<C>,
    reporter: HealthReporter,
    service: impl AsRef<str>,
) {
    let mut told = None;
    loop {
        let ready = readiness.is_ready();
        if told != Some(ready) {
            let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
            reporter.set_service_status(service.as_ref(), status).await;
            told = Some(ready);
        }
        tokio::time::sleep(LOOK).await;
    }
}
