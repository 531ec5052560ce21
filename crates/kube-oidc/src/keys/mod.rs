//! The keys of an issuer: documents become sets, sources fetch documents, caches keep sets fresh.

pub(crate) mod cache;
mod issuer_keys;
pub(crate) mod set;
pub mod source;

pub(crate) use self::issuer_keys::Keys;
