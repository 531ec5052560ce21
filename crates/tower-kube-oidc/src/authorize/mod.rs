//! [`AuthorizeLayer`]: a policy around a route or a service.

mod decide;
mod future;
mod layer;
mod service;

pub use self::{
    future::AuthorizeFuture,
    layer::{AuthorizeError, AuthorizeLayer},
    service::Authorize,
};
