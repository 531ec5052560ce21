//! [`AuthorizeLayer`]: a policy around a route or a service.

mod builder;
mod decide;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    builder::{AuthorizeLayerBuilder, AuthorizeLayerError},
    layer::AuthorizeLayer,
    service::Authorize,
};
