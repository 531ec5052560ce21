//! Random traffic while keys rotate, issuers fail and come and go, clocks jump, requests are
//! cancelled and operators refresh, distrust and deny. A model of what each issuer answered says of
//! each request which verdicts are possible: none is wrongly accepted, none wrongly refused, and
//! nobody is told to come back for keys that would not help. `CHAOS_SECONDS` makes it longer,
//! `CHAOS_SEED` picks the dice.

#![allow(clippy::panic, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastrand::Rng;
use kube_oidc::{
    Issuer, Reason, Verifier, VerifyError,
    clock::{Clock as _, ManualClock},
    source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::json;
use tokio::{task::JoinHandle, time};

const CLIENTS: usize = 8;
const MILLI: Duration = Duration::from_millis(1);

/// What the sites sign with.
const ALGORITHMS: [SigningAlgorithm; 4] = [
    SigningAlgorithm::EdDsa,
    SigningAlgorithm::Rs256,
    SigningAlgorithm::Es256,
    SigningAlgorithm::EdDsa,
];

/// As many RSA keys are made, which takes long; those that were withdrawn come back.
const RSA_KEYS: usize = 10;
/// As many keys a site lists at most.
const LISTED: usize = 6;

const LIFETIME: Duration = Duration::from_millis(300);
const MAX_STALE: Duration = Duration::from_secs(2);
/// In seconds.
const LEEWAY: u64 = 60;

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
    algorithm: SigningAlgorithm,
    clock: ManualClock,
    state: Mutex<SiteState>,
    /// Goes up with each change, so that a request can tell whether one came between.
    changes: AtomicU64,
    trusted: AtomicBool,
    fetches: AtomicU64,
}

#[derive(Debug)]
struct SiteState {
    mood: Mood,
    served: Vec<SigningKey>,
    withdrawn: Vec<SigningKey>,
    /// Keys for later.
    spare: VecDeque<(SigningKey, Instant)>,
    distrusted: HashSet<String>,
    denied: HashSet<String>,
    /// The `jti` of the last good tokens.
    minted: VecDeque<String>,
    /// Goes up whenever the verifier begins to trust it, and knows nothing of it.
    visit: u64,
    /// What the verifier was told on this visit, the newest last. One of these sets is in use.
    answers: Vec<Told>,
    /// How many answers were given on all visits.
    given: u64,
    /// Whether the first of these answers has arrived, and not only been given.
    arrived: bool,
    last_jump: Instant,
}

/// What a site answered.
#[derive(Debug)]
struct Told {
    number: u64,
    kids: HashSet<String>,
    wall: SystemTime,
    monotonic: Instant,
    given: Instant,
    /// The clock did not jump shortly before: the verifier counts its age from the same time.
    is_steady: bool,
    /// The clock jumped shortly after: the verifier may have given the fetch up.
    is_shaken: bool,
}

impl Told {
    fn age(&self, clock: &ManualClock) -> Duration {
        let monotonic = clock.monotonic().saturating_duration_since(self.monotonic);
        let wall = clock.wall().duration_since(self.wall).unwrap_or_default();
        if self.is_steady { wall.max(monotonic) } else { monotonic }
    }
}

impl SiteState {
    /// Whether a verifier may have this key.
    fn may_be_known(&self, kid: &str, clock: &ManualClock, is_still: bool) -> bool {
        self.answers.iter().any(|told| {
            told.kids.contains(kid) && !(is_still && told.age(clock) >= LIFETIME + MAX_STALE)
        })
    }

    /// Whether it has, whichever of the answers is in use.
    fn is_surely_known(&self, kid: &str, clock: &ManualClock) -> bool {
        let holds = |told: &Told| {
            // the verifier looks at the clock some time before the site does
            let in_use = told.age(clock) + 500 * MILLI < LIFETIME + MAX_STALE;
            told.is_steady && in_use && told.kids.contains(kid)
        };
        self.arrived && !self.answers.is_empty() && self.answers.iter().all(holds)
    }

    fn is_served(&self, kid: &str) -> bool {
        self.served.iter().any(|key| key.kid() == kid)
    }

    /// Serves one more key, if there is one, and then perhaps one less.
    fn rotate(&mut self, algorithm: SigningAlgorithm) -> bool {
        let new = if algorithm == SigningAlgorithm::Rs256 {
            // long enough for every fetch that saw it before to be over
            let rested = |(_, since): &(_, Instant)| since.elapsed() > Duration::from_secs(2);
            if !self.spare.front().is_some_and(rested) {
                return false;
            }
            self.spare.pop_front().unwrap().0
        } else {
            SigningKey::generate(algorithm)
        };
        self.withdrawn.retain(|key| key.kid() != new.kid());
        self.served.push(new);
        while self.served.len() > LISTED {
            self.withdraw();
        }
        true
    }

    fn withdraw(&mut self) -> bool {
        if self.served.len() < 2 {
            return false;
        }
        let oldest = self.served.remove(0);
        let is_costly = oldest.algorithm() == SigningAlgorithm::Rs256;
        if is_costly && !self.distrusted.contains(oldest.kid()) {
            self.spare.push_back((oldest.clone(), Instant::now()));
        }
        self.withdrawn.push(oldest);
        if self.withdrawn.len() > RSA_KEYS {
            self.withdrawn.remove(0);
        }
        true
    }
}

impl Site {
    fn new(index: usize, clock: &ManualClock) -> Arc<Self> {
        let algorithm = ALGORITHMS[index];
        let spare = if algorithm == SigningAlgorithm::Rs256 { RSA_KEYS - 1 } else { 0 };
        let spare = (0..spare).map(|_| (SigningKey::generate(algorithm), long_ago())).collect();
        let state = SiteState {
            mood: Mood::Up,
            served: vec![SigningKey::generate(algorithm)],
            withdrawn: Vec::new(),
            spare,
            distrusted: HashSet::new(),
            denied: HashSet::new(),
            minted: VecDeque::new(),
            visit: 0,
            answers: Vec::new(),
            given: 0,
            arrived: false,
            last_jump: long_ago(),
        };
        Arc::new(Self {
            name: format!("site-{index}"),
            algorithm,
            clock: clock.clone(),
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            trusted: AtomicBool::new(true),
            fetches: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, SiteState> {
        self.state.lock().unwrap()
    }

    fn change<R>(&self, change: impl FnOnce(&mut SiteState) -> R) -> R {
        let mut state = self.state();
        self.changes.fetch_add(1, Ordering::SeqCst);
        let result = change(&mut state);
        self.changes.fetch_add(1, Ordering::SeqCst);
        result
    }

    fn url(&self) -> String {
        format!("https://{}.test", self.name)
    }

    /// To be trusted by a verifier that knows nothing of it.
    fn issuer(self: &Arc<Self>) -> Issuer {
        let visit = {
            let mut state = self.state();
            state.visit += 1;
            state.answers.clear();
            state.arrived = false;
            state.visit
        };
        Issuer::new(self.url().parse().unwrap())
            .with_jwks_uri(format!("{}/keys", self.url()))
            .with_fetcher(Visit { site: Arc::clone(self), number: visit })
            .of_cluster(self.name.as_str())
    }
}

/// A site as one key cache sees it.
#[derive(Debug)]
struct Visit {
    site: Arc<Site>,
    number: u64,
}

impl Fetch for Visit {
    fn fetch(&self, _: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move {
            let Self { site, number } = self;
            site.fetches.fetch_add(1, Ordering::SeqCst);
            let (mood, keys) = {
                let mut state = site.state();
                let jwks: Vec<_> = state.served.iter().map(SigningKey::jwk).collect();
                let kids = state.served.iter().map(|key| key.kid().to_owned()).collect();
                if state.visit == *number {
                    // one fetch at a time: that this one began tells that the last one is over
                    if state.answers.last().is_some_and(|told| !told.is_shaken) {
                        let last = state.answers.len() - 1;
                        state.answers.drain(..last);
                        state.arrived = true;
                    }
                    if state.mood == Mood::Up {
                        let told = Told {
                            number: state.given,
                            kids,
                            wall: site.clock.wall(),
                            monotonic: site.clock.monotonic(),
                            given: Instant::now(),
                            is_steady: state.last_jump.elapsed() > 50 * MILLI,
                            is_shaken: false,
                        };
                        state.given += 1;
                        state.answers.push(told);
                    }
                }
                (state.mood, jwks)
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

fn long_ago() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60)).unwrap_or(now)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// A token, and what the model knows of it.
struct Sent {
    text: String,
    kid: String,
    jti: String,
    /// Why it is bad, whatever keys are known and at any time.
    flaws: Vec<Reason>,
    /// When it is good, in seconds with the leeway, and what is said of it before.
    good_from: u64,
    good_until: u64,
    too_early: Reason,
}

/// How often what happened.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    fn count(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    fn sum(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }
}

struct World {
    sites: Vec<Arc<Site>>,
    /// Keys of nobody, one of each algorithm.
    strangers: Vec<SigningKey>,
    verifier: Verifier,
    clock: ManualClock,
    /// Goes up with each jump of the clock, and each issuer that comes or goes.
    upheavals: AtomicU64,
    verdicts: Tally,
    refusals: Tally,
    disturbances: Tally,
    /// What had to be said.
    duties: Tally,
    stop: AtomicBool,
}

impl World {
    fn site(&self, rng: &mut Rng) -> &Arc<Site> {
        &self.sites[rng.usize(..self.sites.len())]
    }

    fn mint(&self, site: &Site, rng: &mut Rng) -> Sent {
        let now = seconds(self.clock.wall());
        let mut flaws = Vec::new();
        let jti = format!("{:x}", rng.u64(..));
        let (key, kid) = {
            let state = site.state();
            let any = |keys: &[SigningKey], rng: &mut Rng| keys[rng.usize(..keys.len())].clone();
            match rng.u8(..8) {
                0 => {
                    let key = any(&self.strangers, rng);
                    let own_algorithm = key.algorithm() == site.algorithm;
                    flaws.push(if own_algorithm {
                        Reason::Signature
                    } else {
                        Reason::KeyAlgorithm
                    });
                    // a forger takes a name that is known
                    let known = if rng.u8(..4) > 0 { any(&state.served, rng) } else { key.clone() };
                    (key, known.kid().to_owned())
                }
                1 if !state.withdrawn.is_empty() => {
                    let key = any(&state.withdrawn, rng);
                    (key.clone(), key.kid().to_owned())
                }
                _ => {
                    let key = any(&state.served, rng);
                    (key.clone(), key.kid().to_owned())
                }
            }
        };
        let for_us = rng.u8(..10) > 0;
        if !for_us {
            flaws.push(Reason::Audience);
        }
        let until = now - 2 * LEEWAY + rng.u64(..600);
        let begins = now + rng.u64(1..180);
        let (start, too_early, good_from) = match rng.u8(..12) {
            0 => (Some("nbf"), Reason::NotYetValid, begins - LEEWAY),
            1 => (Some("iat"), Reason::IssuedInFuture, begins - LEEWAY),
            _ => (None, Reason::NotYetValid, 0),
        };
        let header = json!({ "alg": key.algorithm().name(), "kid": kid });
        let mut payload = json!({
            "iss": site.url(),
            "aud": [if for_us { "orders" } else { "vault" }],
            "exp": until,
            "jti": jti,
            "sub": "system:serviceaccount:payments:checkout",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "1c6e" },
            },
        });
        if let Some(start) = start {
            payload[start] = json!(begins);
        }
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(&payload));
        let mut signature = key.sign(input.as_bytes());
        if rng.u8(..10) == 0 {
            let at = rng.usize(..signature.len());
            signature[at] ^= 1 << rng.u8(..8);
            flaws.push(Reason::Signature);
        }
        let text = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        if flaws.is_empty() {
            let mut state = site.state();
            state.minted.push_back(jti.clone());
            if state.minted.len() > 4 {
                state.minted.pop_front();
            }
        }
        Sent { text, kid, jti, flaws, good_from, good_until: until + LEEWAY, too_early }
    }

    async fn send(&self, site: &Site, sent: &Sent, rng: &mut Rng) {
        let kid = &sent.kid;
        let changes = site.changes.load(Ordering::SeqCst);
        let upheavals = self.upheavals.load(Ordering::SeqCst);
        let trusted = site.trusted.load(Ordering::SeqCst);
        let before = seconds(self.clock.wall());
        let mut flaws = sent.flaws.clone();
        let (was_served, was_sure, was_known, was_known_ever) = {
            let state = site.state();
            if state.distrusted.contains(kid) {
                flaws.push(Reason::DistrustedKey);
            }
            if state.denied.contains(&sent.jti) {
                flaws.push(Reason::DeniedJti);
            }
            let may_be = |is_still| state.may_be_known(kid, &self.clock, is_still);
            let sure = state.is_surely_known(kid, &self.clock);
            (state.is_served(kid), sure, may_be(true), may_be(false))
        };

        let verify = self.verifier.verify(&sent.text);
        let verdict = if rng.u8(..4) == 0 {
            let patience = MILLI * rng.u32(..5);
            match time::timeout(patience, verify).await {
                Ok(verdict) => verdict,
                Err(_) => return self.disturbances.count("cancellations"),
            }
        } else {
            verify.await
        };

        let (is_sure, is_known, is_known_ever) = {
            let state = site.state();
            let may_be = |is_still| state.may_be_known(kid, &self.clock, is_still);
            (state.is_surely_known(kid, &self.clock), may_be(true), may_be(false))
        };
        let after = seconds(self.clock.wall());
        let is_same = |then: u64, now: &AtomicU64| {
            then == now.load(Ordering::SeqCst) && then.is_multiple_of(2)
        };
        // no clock jumped, nobody came or went; and nothing changed at this site either
        let is_still = is_same(upheavals, &self.upheavals);
        let is_quiet = is_still && is_same(changes, &site.changes);

        let mut hopeless = sent.flaws.contains(&Reason::Audience);
        let is_in_time = is_still && before >= sent.good_from && after < sent.good_until;
        if is_still && before >= sent.good_until {
            flaws.push(Reason::Expired);
            hopeless = true;
        }
        if is_still && after < sent.good_from {
            flaws.push(sent.too_early);
            hopeless = true;
        }
        let is_good = flaws.is_empty();
        let is_untrusted = is_still && !trusted;
        let is_sure = is_quiet && trusted && was_sure && is_sure;

        // the verifier was told of the key, and not too long ago
        let known = if is_still { was_known || is_known } else { was_known_ever || is_known_ever };
        let may_know = known || (!is_quiet && was_served);
        let may_be_accepted = is_good && !is_untrusted && may_know;
        let must_be_accepted = is_good && is_sure && is_in_time;
        // to be refused by what is known, so nobody is to come back for keys
        let must_be_refused = hopeless || is_untrusted || (is_sure && !is_good);

        let about = |is: &str| format!("{is}: {} {flaws:?} {} {verdict:?}", site.name, sent.text);
        match &verdict {
            Ok(verified) => {
                self.verdicts.count("accepted");
                assert!(may_be_accepted && !must_be_refused, "{}", about("wrongly accepted"));
                assert_eq!(verified.cluster(), Some(&*site.name));
            }
            Err(VerifyError::Refused(refusal)) => {
                self.verdicts.count("refused");
                self.refusals.count(refusal.reason().code());
                assert!(!must_be_accepted, "{}", about("wrongly refused"));
                if is_untrusted {
                    let hidden = refusal.reason() == Reason::UnknownIssuer;
                    assert!(hidden, "{}", about("refused for another reason"));
                } else if is_sure {
                    let reason = refusal.reason();
                    let may_be = flaws.contains(&reason)
                        || !is_in_time && [Reason::Expired, sent.too_early].contains(&reason);
                    assert!(may_be, "{}", about("refused for another reason"));
                }
            }
            Err(VerifyError::Unavailable(_)) => {
                self.verdicts.count("unavailable");
                let wrong = must_be_accepted || must_be_refused;
                assert!(!wrong, "{}", about("wrongly unavailable"));
            }
            Err(other) => panic!("{other}"),
        }
        if must_be_accepted {
            self.duties.count("had to be accepted");
        }
        if must_be_refused {
            self.duties.count("had to be refused");
        }
    }

    async fn client(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let mut known: Vec<(Arc<Site>, Sent)> = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            if known.len() < 4 || rng.u8(..4) == 0 {
                let site = self.site(&mut rng);
                known.push((Arc::clone(site), self.mint(site, &mut rng)));
                if known.len() > 32 {
                    known.swap_remove(rng.usize(..32));
                }
            }
            let (site, sent) = &known[rng.usize(..known.len())];
            self.send(site, sent, &mut rng).await;
            // everybody is to have a turn
            time::sleep(MILLI * u32::from(rng.u8(..16) == 0)).await;
        }
    }

    /// An operator who has all keys fetched now and then.
    async fn operator(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        while !self.stop.load(Ordering::SeqCst) {
            time::sleep(MILLI * rng.u32(50..300)).await;
            let visits = || {
                let state = |site: &Arc<Site>| {
                    let trusted = site.trusted.load(Ordering::SeqCst);
                    let state = site.state();
                    (trusted, state.visit, state.given)
                };
                self.sites.iter().map(state).collect::<Vec<_>>()
            };
            let upheavals = self.upheavals.load(Ordering::SeqCst);
            let before = visits();
            self.disturbances.count("refreshes");
            let result = self.verifier.refresh_now().await;
            // who just comes or goes may have been asked or not
            if result.is_err() || !upheavals.is_multiple_of(2) {
                continue;
            }
            self.duties.count("had to be refreshed");
            for (site, (trusted, visit, given)) in self.sites.iter().zip(before) {
                let mut state = site.state();
                let still_trusted = trusted && site.trusted.load(Ordering::SeqCst);
                if still_trusted && state.visit == visit {
                    // what it was told before counts no more
                    state.answers.retain(|told| told.number >= given);
                    assert!(!state.answers.is_empty(), "a refresh that fetched nothing");
                    state.arrived = true;
                }
            }
            for _ in 0..8 {
                let site = Arc::clone(self.site(&mut rng));
                let sent = self.mint(&site, &mut rng);
                self.send(&site, &sent, &mut rng).await;
            }
        }
    }

    fn upheaval(&self, change: impl FnOnce()) {
        self.upheavals.fetch_add(1, Ordering::SeqCst);
        change();
        self.upheavals.fetch_add(1, Ordering::SeqCst);
    }

    fn disturb(&self, rng: &mut Rng) {
        let site = self.site(rng);
        let what = match rng.u8(..28) {
            0..=5 => site.change(|state| state.rotate(site.algorithm)).then_some("rotations"),
            6..=9 => site.change(SiteState::withdraw).then_some("withdrawals"),
            10..=14 => {
                let moods = [Mood::Down, Mood::Garbage, Mood::Empty, Mood::Hangs];
                site.change(|state| state.mood = moods[rng.usize(..moods.len())]);
                Some("outages")
            }
            15..=18 => {
                for site in &self.sites {
                    site.change(|state| state.mood = Mood::Up);
                }
                Some("recoveries")
            }
            19 | 20 => {
                self.upheaval(|| self.jump(rng));
                Some("clock jumps")
            }
            21 => self.distrust(site, rng).then_some("keys distrusted"),
            22..=24 => self.deny(site, rng).then_some("tokens denied"),
            25 => self.go(site).then_some("issuers removed"),
            _ => self.come().then_some("issuers added"),
        };
        if let Some(what) = what {
            self.disturbances.count(what);
        }
    }

    fn jump(&self, rng: &mut Rng) {
        // no site answers while the clock jumps
        let mut states: Vec<_> = self.sites.iter().map(|site| site.state()).collect();
        // to about where a set may be stale no more, or further
        let furthest = if rng.bool() { 6_000 } else { 120_000 };
        let jump = MILLI * rng.u32(..furthest);
        let wall = self.clock.wall();
        self.clock.set_wall(if rng.bool() { wall + jump } else { wall - jump });
        for state in &mut states {
            state.last_jump = Instant::now();
            if let Some(told) = state.answers.last_mut() {
                told.is_shaken |= told.given.elapsed() < 100 * MILLI;
            }
        }
    }

    /// Of the RSA keys, some must be left.
    fn distrust(&self, site: &Site, rng: &mut Rng) -> bool {
        site.change(|state| {
            let scarce = site.algorithm == SigningAlgorithm::Rs256;
            if scarce && state.distrusted.len() >= RSA_KEYS / 3 {
                return false;
            }
            let kid = state.served[rng.usize(..state.served.len())].kid().to_owned();
            self.verifier.distrust_key(&site.url(), &kid);
            state.distrusted.insert(kid)
        })
    }

    fn deny(&self, site: &Site, rng: &mut Rng) -> bool {
        site.change(|state| {
            if state.minted.is_empty() {
                return false;
            }
            let jti = state.minted[rng.usize(..state.minted.len())].clone();
            self.verifier.deny_jti(&jti);
            state.denied.insert(jti)
        })
    }

    fn go(&self, site: &Site) -> bool {
        let trusted = site.trusted.load(Ordering::SeqCst);
        if trusted {
            self.upheaval(|| {
                assert!(self.verifier.remove_cluster(&site.name));
                site.trusted.store(false, Ordering::SeqCst);
            });
        }
        trusted
    }

    fn come(&self) -> bool {
        let mut sites = self.sites.iter();
        let Some(site) = sites.find(|site| !site.trusted.load(Ordering::SeqCst)) else {
            return false;
        };
        self.upheaval(|| {
            site.trusted.store(true, Ordering::SeqCst);
            self.verifier.add_issuer(site.issuer()).unwrap();
        });
        true
    }

    /// What did not happen was not tried.
    fn check_that_all_happened(&self) {
        let happened = |tally: &Tally, all: &[&str]| {
            for what in all {
                assert!(tally.of(what) > 0, "no {what}");
            }
        };
        happened(&self.verdicts, &["accepted", "refused", "unavailable"]);
        happened(&self.duties, &["had to be accepted", "had to be refused", "had to be refreshed"]);
        let reasons = [
            Reason::UnknownIssuer,
            Reason::UnknownKey,
            Reason::DistrustedKey,
            Reason::DeniedJti,
            Reason::KeyAlgorithm,
            Reason::Signature,
            Reason::Expired,
            Reason::NotYetValid,
            Reason::IssuedInFuture,
            Reason::Audience,
        ];
        happened(&self.refusals, &reasons.map(Reason::code));
        happened(
            &self.disturbances,
            &[
                "rotations",
                "withdrawals",
                "outages",
                "recoveries",
                "clock jumps",
                "keys distrusted",
                "tokens denied",
                "issuers removed",
                "issuers added",
                "refreshes",
                "cancellations",
            ],
        );
    }
}

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
