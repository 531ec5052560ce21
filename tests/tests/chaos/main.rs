//! Random traffic while keys rotate, issuers fail and come and go, clocks jump, requests are
//! cancelled and operators refresh, distrust and deny. A model of what each issuer answered says of
//! each request which verdicts are possible: none is wrongly accepted, none wrongly refused, and
//! nobody is told to come back for keys that would not help. `CHAOS_SECONDS` makes it longer,
//! `CHAOS_SEED` picks the dice.

#![allow(clippy::panic, clippy::unwrap_used)]

mod site;
mod traffic;
mod trouble;
mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use kube_oidc::{Verifier, clock::ManualClock};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use tokio::{task::JoinHandle, time};

use self::{
    site::Site,
    world::{Tally, World},
};

const CLIENTS: usize = 8;
const MILLI: Duration = Duration::from_millis(1);

/// What the sites sign with.
const ALGORITHMS: [SigningAlgorithm; 4] = [
    SigningAlgorithm::EdDsa,
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Es256,
    SigningAlgorithm::EdDsa,
];

const LIFETIME: Duration = Duration::from_millis(300);
const MAX_STALE: Duration = Duration::from_secs(2);
/// In seconds.
const LEEWAY: u64 = 60;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn verifier_of(sites: &[Arc<Site>], clock: &ManualClock) -> Verifier {
    let first = Verifier::builder(sites[0].issuer());
    let builder = sites[1..].iter().fold(first, |builder, site| builder.issuer(site.issuer()));
    builder
        .audience("orders")
        .leeway(Duration::from_secs(LEEWAY))
        .unknown_kid_cooldown(100 * MILLI)
        .fetch_timeout(100 * MILLI)
        .min_refresh(100 * MILLI)
        .default_refresh(LIFETIME)
        .back_off(100 * MILLI..=200 * MILLI)
        .max_stale(MAX_STALE)
        .clock(clock.clone())
        .build()
        .unwrap()
}

/// How many seconds a run takes, if nobody asks for more.
const USUALLY: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_wrongly_accepted_and_nobody_wrongly_refused() {
    let lasts = setting("CHAOS_SECONDS").unwrap_or(USUALLY);
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);

    let clock = ManualClock::at(SystemTime::now());
    let sites: Vec<_> = (0..ALGORITHMS.len()).map(|index| Site::new(index, &clock)).collect();
    let strangers = ALGORITHMS[..3].iter().copied().map(SigningKey::generate).collect();
    let verifier = verifier_of(&sites, &clock);
    let world = Arc::new(World {
        sites,
        strangers,
        verifier,
        clock,
        upheavals: AtomicU64::new(0),
        verdicts: Tally::default(),
        refusals: Tally::default(),
        disturbances: Tally::default(),
        duties: Tally::default(),
        stop: AtomicBool::new(false),
    });
    let mut tasks: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&world).client(rng.u64(..)))).collect();
    tasks.push(tokio::spawn(Arc::clone(&world).operator(rng.u64(..))));

    let began = Instant::now();
    let mut ticked = began;
    while began.elapsed().as_secs() < lasts && !tasks.iter().any(JoinHandle::is_finished) {
        time::sleep(5 * MILLI).await;
        let now = Instant::now();
        world.clock.advance(now - ticked);
        ticked = now;
        if rng.bool() {
            world.disturb(&mut rng);
        }
    }
    world.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }

    let World { verdicts, refusals, disturbances, duties, .. } = &*world;
    let fetches: u64 = world.sites.iter().map(|site| site.fetches.load(Ordering::SeqCst)).sum();
    println!(
        "chaos: {} verdicts {:?} of which {:?}, refused for {:?}, {} disturbances {:?}, {fetches} \
         key fetches, 0 wrong, in {lasts} s, seed {seed}",
        verdicts.sum(),
        verdicts.0.lock().unwrap(),
        duties.0.lock().unwrap(),
        refusals.0.lock().unwrap(),
        disturbances.sum(),
        disturbances.0.lock().unwrap(),
    );
    if lasts >= USUALLY {
        world.check_that_all_happened();
    }
    // whatever was sent: a refresh in 75 ms at most, and one more for each cooldown, by each site,
    // one for each time that an operator asks, and each issuer that was added begins anew
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap();
    let times = milliseconds / 50 + 2 * disturbances.of("clock jumps") + 2;
    let asked = disturbances.of("refreshes");
    let sites = ALGORITHMS.len() as u64;
    let budget = sites * (times + asked) + 2 * disturbances.of("issuers added");
    assert!(fetches <= budget, "{fetches} fetches, and {budget} are the most");
}
