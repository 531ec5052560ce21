//! [`RequireTokenReviewLayer`]: a token review around a route or a service.

mod builder;
mod decide;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    builder::{RequireTokenReviewLayerBuilder, RequireTokenReviewLayerError},
    layer::RequireTokenReviewLayer,
    service::RequireTokenReview,
};
