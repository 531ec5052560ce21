//! [`AuthorizeLayer`]: a policy around a route or a service.

mod builder;
mod decide;
mod future;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    builder::{AuthorizeLayerBuilder, AuthorizeLayerError},
    future::AuthorizeFuture,
    layer::AuthorizeLayer,
    service::Authorize,
};
