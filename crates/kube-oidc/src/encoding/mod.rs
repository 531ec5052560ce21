//! Strict readers of the encodings that tokens and key sets come in.

pub(crate) mod base64url;
pub(crate) mod json;
