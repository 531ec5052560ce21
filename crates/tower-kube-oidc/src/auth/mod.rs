//! [`OidcAuthLayer`]: reads the token of each request, verifies it, and decides.

mod bearer;
mod builder;
mod decide;
mod layer;
mod open_path;
mod options;
mod outcome;
mod service;
mod span;

pub use self::{
    builder::{OidcAuthLayerBuilder, OidcAuthLayerError},
    layer::OidcAuthLayer,
    outcome::Outcome,
    service::OidcAuth,
};
