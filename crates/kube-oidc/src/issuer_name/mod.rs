//! The `iss` of tokens: URLs of issuers, the names of one issuer, and the names that it learns.

pub(crate) mod in_cluster;
mod last_seen;
mod learned;
mod names;
mod url;

pub use self::url::{IssuerUrl, IssuerUrlError};
pub(crate) use self::{
    learned::{Change, DEFAULT_FORMER_FOR, LearnedNames, NameListener},
    names::{Claim, Held, IssuerId, Names},
    url::{API_SERVER_KEYS, DISCOVERY, Transport, check_name},
};
