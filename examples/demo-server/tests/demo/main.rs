//! The real binary, over TCP: the service, and its page.

#![allow(clippy::unwrap_used, clippy::panic)]

mod metrics;
mod page;
mod process;
mod service;
