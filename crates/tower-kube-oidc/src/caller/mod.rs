//! How handlers get the caller: an axum extractor and a tonic extension.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(feature = "axum")]
pub use self::axum::{Caller, CallerRejection};
#[cfg(feature = "tonic")]
pub use self::tonic::CallerExt;
