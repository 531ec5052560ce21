//! The calling side: requests that carry the token of their own service account.

mod error;
mod future;
mod layer;
mod origin;
mod token_file;

pub use self::{
    error::{CallError, TokenError},
    future::CallFuture,
    layer::{ServiceAccountToken, ServiceAccountTokenLayer, TokenForOrigin},
    origin::{Origin, OriginError},
    token_file::TokenFileError,
};
