//! The whole system over loopback: real servers, real clients, real tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod api;
mod attacks;
mod bad_issuer;
mod build;
mod client;
mod differential;
mod explain;
mod fetching;
mod fixtures;
mod grpc;
mod guide;
mod health;
mod hostile_issuer;
#[cfg(target_os = "linux")]
mod hung_files;
mod in_cluster;
mod issuer_names;
mod key_cache;
mod layer;
mod long_lived;
mod messages;
mod ml_dsa;
mod modes;
mod open_paths;
mod operations;
mod oracles;
mod policy;
mod providers;
mod proxies;
mod secrets;
mod shared_issuer;
mod test_issuer;
mod token_review;
mod tokens;
mod tower_contract;
mod trust;
mod user_info;
