//! [`OidcAuthLayer`]: reads the token of each request, verifies it, and decides.

mod bearer;
mod config;
mod decide;
mod future;
mod layer;
mod open_path;
mod options;
mod outcome;
mod service;
mod span;

pub use self::{
    config::LayerError, future::ResponseFuture, layer::OidcAuthLayer, outcome::Outcome,
    service::OidcAuth,
};
