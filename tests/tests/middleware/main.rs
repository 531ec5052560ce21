//! Middleware for HTTP and gRPC over loopback: real servers and real clients on both sides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod assertions;
mod client;
mod grpc;
mod health;
mod layer;
mod modes;
mod open_paths;
mod policy;
mod tower_contract;
