//! A fleet of verifiers and one issuer that throttles them, for a week in a minute: the key
//! cache's own state machine, under a simulated clock.
//!
//! `cargo run --release -p kube-oidc --example fleet --features _simulation -- [SEED]`

#![allow(clippy::print_stdout)]

use kube_oidc::simulation::{Plan, run};

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("seed {seed}\n");
    let plan = || {
        let mut plan = Plan::default();
        plan.seed = seed;
        plan
    };
    let later = plan();
    let mut at_once = plan();
    at_once.signs_after_seconds = 0;
    let mut foreign = plan();
    foreign.foreign_every_seconds = Some(60);
    foreign.seconds = 24 * 3600;
    foreign.rotates_every_seconds = 4 * 3600;
    foreign.signs_after_seconds = 0;
    foreign.outage = 0..0;
    foreign.issuer_limit = 10_000;
    let mut endless = foreign.clone();
    endless.foreign_every_seconds = Some(1);
    endless.endless_foreign = true;
    endless.instances = 1_000;
    endless.seconds = 2 * 3600;
    endless.rotates_every_seconds = 1800;
    let mut behind = plan();
    behind.behind_seconds = 60;
    behind.signs_after_seconds = 0;
    let mut restart = plan();
    restart.restart_at = Some(85 * 3600);
    restart.seconds = 88 * 3600;
    for (title, plan) in [
        ("(a) keys are published 2 h before they sign", later),
        ("(b) a key signs the moment it is published", at_once),
        ("(c) each verifier gets a token of a foreign key once a minute", foreign),
        ("(d) each verifier gets a token of another foreign key each second", endless),
        ("(e) one of two replicas of the issuer is behind for 60 s", behind),
        ("(f) all verifiers restart in the outage", restart),
    ] {
        println!("{title}\n\n{}", run(&plan));
    }
}
