//! What each middleware does once it has decided: call the service, wait for it, or respond.

mod accessors;
mod body;
mod call_or_respond;
mod expiry;
mod unready_clone;

pub(crate) use self::{
    accessors::define_inner_service_accessors, call_or_respond::CallOrRespond, expiry::Expiry,
    unready_clone::swap_unready_clone,
};
pub use self::{body::ResponseBody, expiry::TokenExpired};
