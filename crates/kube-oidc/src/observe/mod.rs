//! What operators see of an issuer: metrics, its status, and texts for logs and errors.

pub(crate) mod display;
pub(crate) mod meter;
mod observed;
pub(crate) mod status;

pub(crate) use self::observed::Observed;
