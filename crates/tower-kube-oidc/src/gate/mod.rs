//! What each middleware does once it has decided: call the service, wait for it, or respond.

mod body;
mod call_or_respond;
mod expiry;
mod unready_clone;

pub use self::{body::ResponseBody, expiry::TokenExpired};
pub(crate) use self::{
    call_or_respond::CallOrRespond, expiry::Expiry, unready_clone::swap_unready_clone,
};
