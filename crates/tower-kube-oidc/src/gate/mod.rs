//! What each middleware does once it has decided: call the service, wait for it, or respond.

mod accessors;
mod body;
mod expiry;
mod future;
mod unready_clone;

pub(crate) use self::{
    accessors::define_inner_service_accessors,
    expiry::Expiry,
    future::{Admission, Decide, Guard},
    unready_clone::swap_unready_clone,
};
pub use self::{body::ResponseBody, expiry::TokenExpired, future::ResponseFuture};
