//! Random traffic while keys rotate and move, issuers fail, change their names, and come and go, an
//! API server is behind, files hang, reviews fail, clocks jump, requests are cancelled, and operators
//! refresh, distrust, and deny. A model of the answers of each issuer says of each request which
//! verdicts are possible: none is wrongly accepted, none wrongly refused, and no caller is told to
//! come back for keys that would not help. `CHAOS_SECONDS` makes it longer, `CHAOS_SEED` picks the
//! dice.

// a file that hangs is a FIFO
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod hung;
mod names;
mod place;
mod reviews;
mod run;
mod site;
mod token;
mod told;
mod traffic;
mod trouble;
mod visit;

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
use kube_oidc_tests::TempFolder;
use tokio::{task::JoinHandle, time};

use self::{
    hung::MountedKeys,
    reviews::Reviews,
    run::{COOLDOWN, Run, Tally},
    site::Site,
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

fn verifier_of(sites: &[Arc<Site>], mounted: &MountedKeys, clock: &ManualClock) -> Verifier {
    let first = Verifier::builder(mounted.issuer());
    let builder = sites.iter().fold(first, |builder, site| builder.add_issuer(site.issuer()));
    builder
        .audience("orders")
        .leeway(Duration::from_secs(LEEWAY))
        .unknown_kid_cooldown(Duration::from_millis(COOLDOWN))
        .fetch_timeout(100 * MILLI)
        .min_key_set_lifetime(100 * MILLI)
        .default_key_set_lifetime(LIFETIME)
        .backoff(100 * MILLI..=200 * MILLI)
        .max_stale(MAX_STALE)
        .clock(clock.clone())
        .build()
        .unwrap()
}

/// How many seconds a run takes unless set.
const USUALLY: u64 = 8;

// rule: cached-equals-uncached, removed-key
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_wrongly_accepted_and_nobody_wrongly_refused() {
    let lasts = setting("CHAOS_SECONDS").unwrap_or(USUALLY);
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);

    let clock = ManualClock::at(SystemTime::now());
    let folder = TempFolder::new();
    let new_site = |index| Site::new(index, &clock);
    let sites: Vec<_> = (0..ALGORITHMS.len()).map(new_site).collect();
    let mounted = MountedKeys::new(folder.path());
    let strangers = ALGORITHMS[..3].iter().copied().map(SigningKey::generate).collect();
    let verifier = verifier_of(&sites, &mounted, &clock);
    let run = Arc::new(Run {
        sites,
        mounted,
        strangers,
        verifier,
        clock,
        upheavals: AtomicU64::new(0),
        verdicts: Tally::default(),
        refusals: Tally::default(),
        disturbances: Arc::default(),
        duties: Arc::default(),
        stop: Arc::new(AtomicBool::new(false)),
        _folder: folder,
    });
    let mut tasks: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&run).client(rng.u64(..)))).collect();
    tasks.push(tokio::spawn(Arc::clone(&run).operator(rng.u64(..))));
    tasks.push(tokio::spawn(Arc::clone(&run).client_of_mounted_keys(rng.u64(..))));
    for reviews in Reviews::both([&run.disturbances, &run.duties], &run.stop) {
        tasks.extend(reviews.start(&mut rng));
    }

    let began = Instant::now();
    let (mut ticked, mut turn) = (began, 0);
    while began.elapsed().as_secs() < lasts && !tasks.iter().any(JoinHandle::is_finished) {
        time::sleep(5 * MILLI).await;
        let now = Instant::now();
        run.clock.advance(now - ticked);
        ticked = now;
        if rng.bool() {
            run.disturb(turn, &mut rng);
            turn += 1;
        }
        for site in &run.sites {
            let fault = site.state().fault.take();
            assert_eq!(fault, None, "of {}", site.name);
        }
    }
    run.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }

    let Run { verdicts, refusals, disturbances, duties, .. } = &*run;
    let requests: Vec<_> = run.requests(began.elapsed()).collect();
    let of_most: Vec<_> = requests.iter().map(|(_, got, most)| format!("{got}/{most}")).collect();
    println!(
        "chaos: {} verdicts {:?} of which {:?}, refused for {:?}, {} disturbances {:?}, {of_most:?} \
         requests for keys, 0 wrong, in {lasts} s, seed {seed}",
        verdicts.sum(),
        verdicts.0.lock().unwrap(),
        duties.0.lock().unwrap(),
        refusals.0.lock().unwrap(),
        disturbances.sum(),
        disturbances.0.lock().unwrap(),
    );
    for (site, requests, most) in requests {
        assert!(requests <= most, "{} got {requests} requests, {most} are the most", site.name);
    }
    if lasts >= USUALLY {
        run.check_that_all_happened(lasts);
    }
}
