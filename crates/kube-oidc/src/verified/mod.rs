//! [`Verified`]: the proof that a token was checked, what it rests on, and the caller's user info.

mod basis;
mod token;
mod user_info;

pub(crate) use self::basis::Basis;
pub use self::{token::Verified, user_info::UserInfo};
