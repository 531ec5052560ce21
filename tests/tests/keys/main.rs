//! Keys of issuers: fetching, caching, trust, names, and issuers that fail or attack.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bad_issuer;
mod fetching;
mod hostile_issuer;
#[cfg(target_os = "linux")]
mod hung_files;
mod in_cluster;
mod issuer_names;
mod key_cache;
mod operations;
mod proxies;
mod shared_issuer;
mod trust;
