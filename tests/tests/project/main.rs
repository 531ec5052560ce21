//! The promises of the project as a whole: its API, settings, messages, secrets, and documentation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod api;
mod build;
mod configuration_errors;
mod guide;
mod messages;
mod secrets;
