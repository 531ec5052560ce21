//! Rejections, and the HTTP and gRPC responses that callers get for them.

pub(crate) mod cache_headers;
pub(crate) mod grpc;
mod problem;
mod rejection;
mod request_head;
mod responder;
mod setters;

pub use self::{rejection::Rejection, request_head::RequestHead, responder::ResponseFormat};
pub(crate) use self::{
    responder::{Answering, Later},
    setters::define_response_setters,
};
