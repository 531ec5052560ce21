//! The calling side: requests that carry the token of their own service account.

mod layer;
mod origin;
mod token_file;

pub use self::{
    layer::{
        CallError, CallFuture, ServiceAccountToken, ServiceAccountTokenLayer, TokenError,
        TokenForOrigin,
    },
    origin::{Origin, OriginError},
    token_file::TokenFileError,
};
