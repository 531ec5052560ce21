//! Verification of tokens: real issuers, captured tokens, attacks, and the verdicts of other libraries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod attacks;
mod differential;
mod explain;
mod fixtures;
mod long_lived;
mod ml_dsa;
mod oracles;
mod providers;
mod test_issuer;
mod tokens;
mod user_info;
