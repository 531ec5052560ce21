//! How a service tells probes whether the keys are available.

#[cfg(feature = "tonic-health")]
mod grpc;
mod readiness_probe;

#[cfg(feature = "tonic-health")]
pub use self::grpc::report_health;
pub use self::readiness_probe::ReadinessProbe;
