//! The calling side: requests that carry the token of their own service account.

mod future;
mod layer;
mod origin;
mod token_file;

pub use self::{
    future::CallFuture,
    layer::{CallError, ServiceAccountToken, ServiceAccountTokenLayer, TokenError, TokenForOrigin},
    origin::{Origin, OriginError},
    token_file::TokenFileError,
};
