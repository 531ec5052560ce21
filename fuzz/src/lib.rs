//! What is fuzzed: each module has a function `run`, which takes any bytes and panics if what came of
//! them is wrong by an independent check, and not only if something else panics. It says which
//! branches they reached, so that a run can tell whether there was something to check.
//!
//! `cargo test` feeds them the committed corpora and some thousand mutations of these. `fuzz/long`
//! feeds them with libFuzzer, which goes by what code was reached.

#![allow(clippy::expect_used, clippy::missing_panics_doc, clippy::panic)]

pub mod discovery;
pub mod freshness;
mod json;
pub mod key_set;
mod oracle;
pub mod request;
pub mod token;
mod world;

/// The branches that an input reached.
pub type Reached = Vec<&'static str>;

/// What is fed with inputs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its corpus.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]) -> Reached,
    /// The branches that a run has to reach, each more than once.
    pub branches: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "discovery", run: discovery::run, branches: &discovery::BRANCHES },
    Target { name: "freshness", run: freshness::run, branches: &freshness::BRANCHES },
    Target { name: "key_set", run: key_set::run, branches: &key_set::BRANCHES },
    Target { name: "request", run: request::run, branches: &request::BRANCHES },
    Target { name: "token", run: token::run, branches: &token::BRANCHES },
];
