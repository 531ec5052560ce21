//! The messages of `proto/orders/v1/orders.proto`, with a client and a server.
//!
//! The code is committed, so that a build needs neither `protoc` nor a build script; a test in
//! `tests/generated.rs` keeps it true to the proto file, and writes it anew when asked to.

#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]
#[path = "orders.v1.rs"]
mod orders_v1;

pub(crate) use self::orders_v1::*;
