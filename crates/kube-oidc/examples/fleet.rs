//! A fleet of verifiers and one issuer that throttles them, for a week in a minute: the key
//! cache's own state machine, under a simulated clock.
//!
//! `cargo run --release -p kube-oidc --example fleet --features _simulation -- [SEED]`

#![allow(clippy::print_stdout)]

use kube_oidc::simulation::{Plan, run};

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}\n");
    let mut signs_later = Plan::default();
    signs_later.seed = seed;
    let mut signs_at_once = signs_later.clone();
    signs_at_once.signs_after_seconds = 0;
    println!("(a) keys are published 2 h before they sign\n\n{}", run(&signs_later));
    println!("(b) a key signs the moment it is published\n\n{}", run(&signs_at_once));
}
