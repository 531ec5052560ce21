//! The service's health as gRPC has it, by the keys that are here.

use std::time::Duration;

use kube_oidc::{Claims, Readiness};
use tonic_health::{ServingStatus, server::HealthReporter};

/// How often the keys are looked at; that costs next to nothing.
const LOOK: Duration = Duration::from_secs(1);

/// Tells a health reporter of `tonic-health` whether services are ready: `SERVING` while the keys
/// are here, fresh or stale, and `NOT_SERVING` before and after. The names are those of gRPC
/// services; the empty one is the server as a whole, which Kubernetes asks for unless told
/// otherwise.
///
/// The first look starts the first fetch of the keys: see [`Readiness`].
///
/// They are told once before this returns. The future that it returns goes on with that and never
/// ends, so it belongs into a task of its own. The health service itself is to be open to probes:
///
/// ```
/// use tower_kube_oidc::{OidcAuthLayer, Readiness, Verifier, report_health};
/// use tonic::transport::Server;
///
/// # async fn f(verifier: Verifier) -> Result<(), Box<dyn std::error::Error>> {
/// let (reporter, health) = tonic_health::server::health_reporter();
/// tokio::spawn(report_health(Readiness::any(&verifier), reporter, [""]).await);
/// Server::builder()
///     .layer(
///         OidcAuthLayer::builder_for(verifier)
///             .add_open_grpc_method("/grpc.health.v1.Health/Check")
///             .add_open_grpc_method("/grpc.health.v1.Health/Watch")
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
    services: impl IntoIterator<Item = impl Into<String>>,
) -> impl Future<Output = ()> + Send + 'static {
    let services: Vec<String> = services.into_iter().map(Into::into).collect();
    let mut told = readiness.is_ready();
    tell(&reporter, &services, told).await;
    async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let ready = readiness.is_ready();
            if ready != told {
                tell(&reporter, &services, ready).await;
                told = ready;
            }
        }
    }
}

async fn tell(reporter: &HealthReporter, services: &[String], ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in services {
        reporter.set_service_status(service, status).await;
    }
}
