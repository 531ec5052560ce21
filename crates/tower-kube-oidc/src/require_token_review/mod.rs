//! [`RequireTokenReviewLayer`]: a token review around a route or a service.

mod decide;
mod future;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    future::RequireTokenReviewFuture, layer::RequireTokenReviewLayer, service::RequireTokenReview,
};
