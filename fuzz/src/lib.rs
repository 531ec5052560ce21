//! What is fuzzed: each module has a function `run`, which takes any bytes and panics if what came of
//! them is wrong by an independent check, and not only if something else panics. It says whether
//! they went all the way: whether there was something to check.
//!
//! `cargo test` feeds them the committed corpora and some thousand mutations of these. `fuzz/long`
//! feeds them with libFuzzer, which goes by what code was reached.

#![allow(clippy::expect_used, clippy::missing_panics_doc, clippy::panic)]

pub mod discovery;
pub mod freshness;
pub mod key_set;
mod oracle;
pub mod request;
pub mod token;
mod world;

/// A target: its name, which is that of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("discovery", discovery::run),
    ("freshness", freshness::run),
    ("key_set", key_set::run),
    ("request", request::run),
    ("token", token::run),
];
