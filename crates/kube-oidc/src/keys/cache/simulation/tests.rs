use super::{Plan, report::Refused, run};

const HOUR: u64 = 3600;

/// A tenth of the fleet at an issuer that answers a tenth, for two days: as in
/// `docs/fleet.md` otherwise.
fn small() -> Plan {
    Plan {
        instances: 1_000,
        issuer_limit: 10,
        seconds: 48 * HOUR,
        rotates_every_seconds: 12 * HOUR,
        outage: 20 * HOUR..22 * HOUR,
        ..Plan::default()
    }
}

#[test]
fn a_key_that_is_published_before_it_signs_is_never_missed() {
    for seed in 1..=3 {
        let report = run(&Plan { seed, ..small() });
        assert_eq!(report.refused_later, Refused::default(), "seed {seed}: {report}");
        assert_eq!(report.refused_at_start.unauthorized, 0, "seed {seed}: {report}");
        assert_eq!(report.new_keys_had, 3 * 1_000, "seed {seed}: {report}");
        assert!(report.accepted > 90_000, "seed {seed}: {report}");
        assert!(report.throttled > 0 && report.during_outage > 0, "seed {seed}: {report}");
    }
}

#[test]
fn a_key_that_signs_at_once_is_everywhere_within_ten_minutes() {
    for seed in 1..=3 {
        let report = run(&Plan { seed, signs_after_seconds: 0, ..small() });
        assert_eq!(report.refused_later.unauthorized, 0, "seed {seed}: {report}");
        assert_eq!(report.new_keys_had, 3 * 1_000, "seed {seed}: {report}");
        assert!(report.slowest_rotation > 0.0, "seed {seed}: {report}");
        assert!(report.slowest_rotation < 600.0, "seed {seed}: {report}");
    }
}

/// Prints the tables of `docs/fleet.md`. `FLEET_SEED` sets another seed.
#[test]
#[ignore = "takes a minute with optimizations"]
fn tables_of_the_fleet_page() {
    let seed = std::env::var("FLEET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let later = Plan { seed, ..Plan::default() };
    let at_once = Plan { signs_after_seconds: 0, ..later.clone() };
    let foreign = Plan {
        foreign_every_seconds: Some(60),
        seconds: 24 * HOUR,
        rotates_every_seconds: 4 * HOUR,
        outage: 0..0,
        issuer_limit: 10_000,
        ..at_once.clone()
    };
    let endless = Plan {
        foreign_every_seconds: Some(1),
        endless_foreign: true,
        instances: 1_000,
        seconds: 2 * HOUR,
        rotates_every_seconds: HOUR / 2,
        ..foreign.clone()
    };
    let behind = Plan { behind_seconds: 60, ..at_once.clone() };
    let restart = Plan { restart_at: Some(85 * HOUR), seconds: 88 * HOUR, ..later.clone() };
    for (title, plan) in [
        ("## Keys are published 2 h before they sign", later),
        ("## A key signs the moment it is published", at_once),
        ("## One foreign key ID per verifier and minute", foreign),
        ("## Endless foreign key IDs", endless),
        ("## One of two replicas is behind", behind),
        ("## All verifiers restart during the outage", restart),
    ] {
        println!("{title}\n\n{}", run(&plan));
    }
}
