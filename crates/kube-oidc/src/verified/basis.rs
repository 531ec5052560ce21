//! What a verdict rests on after the signature was checked.

use crate::{clock::Moment, issuer_name::IssuerId, keys::set::KeyId};

/// What a verdict rests on. While all of it holds, the token needs no check of its signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Basis {
    pub(crate) issuer: IssuerId,
    pub(crate) key: KeyId,
    /// The seconds in which the token is good, leeway included.
    pub(crate) good_from: u64,
    pub(crate) good_until: u64,
    /// The second from which on it should have been replaced.
    pub(crate) warn_from: Option<u64>,
    /// Whether it is valid for the API server as well, by this version of the issuer's names.
    pub(crate) for_api_server: bool,
    pub(crate) names_version: u32,
    /// Whether an API server can be asked about it.
    pub(crate) reviewable: bool,
    /// When its signature was checked.
    pub(crate) checked_at: Moment,
}
