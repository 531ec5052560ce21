//! Random traffic while keys rotate, issuers fail and come and go, clocks jump and requests are
//! cancelled. A model says of each request which verdicts are possible: none is wrongly accepted,
//! and none wrongly refused. `CHAOS_SECONDS` makes it longer, `CHAOS_SEED` picks the dice.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastrand::Rng;
use kube_oidc::{
    Issuer, KeyState, Verifier, VerifyError,
    clock::{Clock as _, ManualClock},
    source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::json;
use tokio::time;

const SITES: usize = 4;
const CLIENTS: usize = 8;
const MILLI: Duration = Duration::from_millis(1);

/// How a site answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Up,
    Down,
    Garbage,
    Empty,
    Hangs,
}

/// A cluster's issuer.
#[derive(Debug)]
struct Site {
    name: String,
    state: Mutex<SiteState>,
    /// Goes up with each change, so that a request can tell whether one came between.
    changes: AtomicU64,
    trusted: AtomicBool,
    fetches: AtomicU64,
}

#[derive(Debug)]
struct SiteState {
    mood: Mood,
    /// The last one signs.
    served: Vec<SigningKey>,
    withdrawn: Vec<SigningKey>,
}

impl Site {
    fn new(index: usize) -> Arc<Self> {
        let served = vec![new_key()];
        Arc::new(Self {
            name: format!("site-{index}"),
            state: Mutex::new(SiteState { mood: Mood::Up, served, withdrawn: Vec::new() }),
            changes: AtomicU64::new(0),
            trusted: AtomicBool::new(true),
            fetches: AtomicU64::new(0),
        })
    }

    fn change<R>(&self, change: impl FnOnce(&mut SiteState) -> R) -> R {
        let mut state = self.state.lock().unwrap();
        self.changes.fetch_add(1, Ordering::SeqCst);
        let result = change(&mut state);
        self.changes.fetch_add(1, Ordering::SeqCst);
        result
    }

    fn url(&self) -> String {
        format!("https://{}.test", self.name)
    }

    fn issuer(self: &Arc<Self>) -> Issuer {
        Issuer::new(self.url().parse().unwrap())
            .with_jwks_uri(format!("{}/keys", self.url()))
            .with_fetcher(Arc::clone(self))
            .of_cluster(self.name.as_str())
    }
}

impl Fetch for Site {
    fn fetch(&self, _: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let (mood, keys) = {
                let state = self.state.lock().unwrap();
                (state.mood, state.served.iter().map(SigningKey::jwk).collect::<Vec<_>>())
            };
            match mood {
                Mood::Up => Ok(FetchResponse::new(200, json!({ "keys": keys }).to_string())),
                Mood::Down => Err(FetchError::new("connection refused")),
                Mood::Garbage => Ok(FetchResponse::new(200, "<html>")),
                Mood::Empty => Ok(FetchResponse::new(200, r#"{"keys":[]}"#)),
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}

fn new_key() -> SigningKey {
    SigningKey::generate(SigningAlgorithm::EdDsa)
}

/// A token, and what the model knows of it.
struct Sent {
    text: String,
    kid: String,
    /// Whatever keys are known, it is bad.
    is_bad: bool,
    expires_at: SystemTime,
}

struct World {
    sites: Vec<Arc<Site>>,
    verifier: Verifier,
    clock: ManualClock,
    /// Goes up with each jump of the clock, and each issuer that comes or goes.
    upheavals: AtomicU64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    stop: AtomicBool,
}

impl World {
    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn mint(&self, site: &Site, rng: &mut Rng) -> Sent {
        let now = self.clock.wall();
        let (key, is_forged) = {
            let state = site.state.lock().unwrap();
            match rng.u8(..8) {
                0 => (new_key(), true),
                1 if !state.withdrawn.is_empty() => {
                    (state.withdrawn[rng.usize(..state.withdrawn.len())].clone(), false)
                }
                _ => (state.served[rng.usize(..state.served.len())].clone(), false),
            }
        };
        let kid = match rng.u8(..4) {
            // a forger takes a name that is known
            0 if is_forged => site.state.lock().unwrap().served[0].kid().to_owned(),
            _ => key.kid().to_owned(),
        };
        let for_us = rng.u8(..10) > 0;
        let lifetime = Duration::from_secs(rng.u64(1..600));
        let expires_at = now + lifetime;
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "alg": "EdDSA", "kid": kid });
        let payload = json!({
            "iss": site.url(),
            "aud": [if for_us { "orders" } else { "vault" }],
            "exp": seconds(expires_at),
            "sub": "system:serviceaccount:payments:checkout",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "1c6e" },
            },
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(&payload));
        let mut signature = key.sign(input.as_bytes());
        let is_tampered = rng.u8(..10) == 0;
        if is_tampered {
            let at = rng.usize(..signature.len());
            signature[at] ^= 1 << rng.u8(..8);
        }
        let text = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        Sent { text, kid, is_bad: is_forged || !for_us || is_tampered, expires_at }
    }

    /// Whether a verifier has a key now, by its own account, and is sure of it.
    fn sees(&self, site: &Site, kid: &str) -> (bool, bool) {
        let statuses = self.verifier.status();
        let status = statuses.iter().find(|status| status.cluster.as_deref() == Some(&*site.name));
        let Some(status) = status else { return (false, false) };
        let listed = status.keys.iter().any(|key| key.kid.as_deref() == Some(kid));
        (listed && status.state != KeyState::Empty, listed && status.state == KeyState::Fresh)
    }

    async fn send(&self, site: &Site, sent: &Sent, rng: &mut Rng) {
        let changes = site.changes.load(Ordering::SeqCst);
        let upheavals = self.upheavals.load(Ordering::SeqCst);
        let trusted = site.trusted.load(Ordering::SeqCst);
        let is_served = site.state.lock().unwrap().served.iter().any(|key| key.kid() == sent.kid);
        let (was_seen, was_sure) = self.sees(site, &sent.kid);
        let before = self.clock.wall();

        let verify = self.verifier.verify(&sent.text);
        let verdict = if rng.u8(..4) == 0 {
            let patience = MILLI * rng.u32(..5);
            match time::timeout(patience, verify).await {
                Ok(verdict) => verdict,
                Err(_) => return self.count("cancelled"),
            }
        } else {
            verify.await
        };

        let (_, is_sure) = self.sees(site, &sent.kid);
        let quiet = changes == site.changes.load(Ordering::SeqCst)
            && changes.is_multiple_of(2)
            && upheavals == self.upheavals.load(Ordering::SeqCst)
            && upheavals.is_multiple_of(2);
        let leeway = Duration::from_secs(60);
        let is_over = before >= sent.expires_at + leeway + Duration::from_secs(1);
        let lives = self.clock.wall() < sent.expires_at;

        let is_hopeless = quiet && (is_over || !trusted);
        // a key is here, or to be had
        let may_be_accepted = !sent.is_bad && !is_hopeless && (was_seen || is_served);
        let must_be_accepted = quiet && trusted && !sent.is_bad && lives && was_sure && is_sure;
        let about = || format!("{} {sent} {verdict:?}", site.name, sent = sent.text);
        match &verdict {
            Ok(_) => {
                self.count("accepted");
                assert!(may_be_accepted, "wrongly accepted: {}", about());
            }
            Err(VerifyError::Refused(_)) => {
                self.count("refused");
                assert!(!must_be_accepted, "wrongly refused: {}", about());
            }
            Err(VerifyError::Unavailable(_)) => {
                self.count("unavailable");
                assert!(!must_be_accepted, "wrongly unavailable: {}", about());
            }
            Err(other) => panic!("{other}"),
        }
        if must_be_accepted {
            self.count("had to be accepted");
        }
        if !may_be_accepted {
            self.count("could not be accepted");
        }
    }

    async fn client(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let mut known: Vec<(usize, Sent)> = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            if known.len() < 4 || rng.u8(..4) == 0 {
                let index = rng.usize(..SITES);
                let sent = self.mint(&self.sites[index], &mut rng);
                known.push((index, sent));
                if known.len() > 32 {
                    known.swap_remove(rng.usize(..32));
                }
            }
            let (index, sent) = &known[rng.usize(..known.len())];
            let site = Arc::clone(&self.sites[*index]);
            self.send(&site, sent, &mut rng).await;
            // everybody is to have a turn
            time::sleep(MILLI * u32::from(rng.u8(..16) == 0)).await;
        }
    }

    fn upheaval(&self, change: impl FnOnce()) {
        self.upheavals.fetch_add(1, Ordering::SeqCst);
        change();
        self.upheavals.fetch_add(1, Ordering::SeqCst);
    }

    fn disturb(&self, rng: &mut Rng) {
        let site = &self.sites[rng.usize(..SITES)];
        match rng.u8(..12) {
            0..=2 => {
                site.change(|state| state.served.push(new_key()));
                self.count("rotations");
            }
            3 | 4 => {
                site.change(|state| {
                    if state.served.len() > 1 {
                        let oldest = state.served.remove(0);
                        state.withdrawn.push(oldest);
                    }
                });
                self.count("withdrawals");
            }
            5..=7 => {
                let moods = [Mood::Down, Mood::Garbage, Mood::Empty, Mood::Hangs];
                site.change(|state| state.mood = moods[rng.usize(..moods.len())]);
                self.count("outages");
            }
            8 | 9 => {
                for site in &self.sites {
                    site.change(|state| state.mood = Mood::Up);
                }
            }
            10 => {
                let jump = Duration::from_secs(rng.u64(..120));
                let wall = self.clock.wall();
                let jumped = if rng.bool() { wall + jump } else { wall - jump };
                self.upheaval(|| self.clock.set_wall(jumped));
                self.count("clock jumps");
            }
            _ => {
                self.upheaval(|| {
                    if site.trusted.load(Ordering::SeqCst) {
                        assert!(self.verifier.remove_cluster(&site.name));
                        site.trusted.store(false, Ordering::SeqCst);
                    } else {
                        site.trusted.store(true, Ordering::SeqCst);
                        self.verifier.add_issuer(site.issuer()).unwrap();
                    }
                });
                self.count("issuers added or removed");
            }
        }
    }
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_wrongly_accepted_and_nobody_wrongly_refused() {
    let lasts = Duration::from_secs(setting("CHAOS_SECONDS").unwrap_or(8));
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CHAOS_SEED={seed}");
    let mut rng = Rng::with_seed(seed);

    let sites: Vec<_> = (0..SITES).map(Site::new).collect();
    let clock = ManualClock::at(SystemTime::now());
    let first = Verifier::builder(sites[0].issuer());
    let builder = sites[1..].iter().fold(first, |builder, site| builder.issuer(site.issuer()));
    let verifier = builder
        .audience("orders")
        .unknown_kid_cooldown(100 * MILLI)
        .fetch_timeout(100 * MILLI)
        .min_refresh(100 * MILLI)
        .default_refresh(300 * MILLI)
        .back_off(100 * MILLI..=200 * MILLI)
        .max_stale(Duration::from_secs(2))
        .clock(clock.clone())
        .build()
        .unwrap();
    let world = Arc::new(World {
        sites,
        verifier,
        clock,
        upheavals: AtomicU64::new(0),
        counts: Mutex::default(),
        stop: AtomicBool::new(false),
    });
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&world).client(rng.u64(..)))).collect();

    let began = Instant::now();
    let mut ticked = began;
    while began.elapsed() < lasts && !clients.iter().any(tokio::task::JoinHandle::is_finished) {
        time::sleep(5 * MILLI).await;
        let now = Instant::now();
        world.clock.advance(now - ticked);
        ticked = now;
        if rng.bool() {
            world.disturb(&mut rng);
        }
    }
    world.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }

    let counts = world.counts.lock().unwrap().clone();
    let fetches: u64 = world.sites.iter().map(|site| site.fetches.load(Ordering::SeqCst)).sum();
    println!("{counts:?}, {fetches} key fetches in {:?}", began.elapsed());
    for what in [
        "accepted",
        "refused",
        "unavailable",
        "cancelled",
        "had to be accepted",
        "could not be accepted",
    ] {
        assert!(counts.get(what).is_some_and(|count| *count > 5), "hardly any {what}: {counts:?}");
    }
    // whatever was sent: a refresh in 75 ms at most, and one more for each cooldown, by each site,
    // and each issuer that was added begins anew
    let added = counts.get("issuers added or removed").copied().unwrap_or_default();
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap();
    let jumps = counts.get("clock jumps").copied().unwrap_or_default();
    let budget = SITES as u64 * (milliseconds / 50 + 2 * jumps + 2) + 2 * added;
    assert!(fetches <= budget, "{fetches} fetches, and {budget} are the most");
}
