//! The whole system over loopback: real servers, real clients, real tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod bad_issuer;
mod build;
mod differential;
mod fetching;
mod fixtures;
mod in_cluster;
mod key_cache;
mod layer;
mod operations;
mod providers;
mod secrets;
mod shared_issuer;
mod tokens;
mod tower_contract;
