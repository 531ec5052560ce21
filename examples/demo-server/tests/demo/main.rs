//! The real binary, over TCP: the service, and its page.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod hostile;
mod metrics;
mod page;
mod process;
mod service;
mod start;
