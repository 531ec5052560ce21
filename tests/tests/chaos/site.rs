//! A cluster's issuer, and what it told the verifier.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use kube_oidc::{
    Issuer,
    clock::{Clock as _, ManualClock},
    source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::json;

use crate::{ALGORITHMS, LIFETIME, MAX_STALE, MILLI};

/// As many RSA keys are made, which takes long; those that were withdrawn come back.
pub(crate) const RSA_KEYS: usize = 10;
/// As many keys a site lists at most.
const LISTED: usize = 6;

/// How a site answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Up,
    Down,
    Garbage,
    Empty,
    Hangs,
}

/// A cluster's issuer.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: String,
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) clock: ManualClock,
    pub(crate) state: Mutex<SiteState>,
    /// Goes up with each change, so that a request can tell whether one came between.
    pub(crate) changes: AtomicU64,
    pub(crate) trusted: AtomicBool,
    pub(crate) fetches: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct SiteState {
    pub(crate) mood: Mood,
    pub(crate) served: Vec<SigningKey>,
    pub(crate) withdrawn: Vec<SigningKey>,
    /// Keys for later.
    pub(crate) spare: VecDeque<(SigningKey, Instant)>,
    pub(crate) distrusted: HashSet<String>,
    pub(crate) denied: HashSet<String>,
    /// The `jti` of the last good tokens.
    pub(crate) minted: VecDeque<String>,
    /// Goes up whenever the verifier begins to trust it, and knows nothing of it.
    pub(crate) visit: u64,
    /// What the verifier was told on this visit, the newest last. One of these sets is in use.
    pub(crate) answers: Vec<Told>,
    /// How many answers were given on all visits.
    pub(crate) given: u64,
    /// Whether the first of these answers has arrived, and not only been given.
    pub(crate) arrived: bool,
    pub(crate) last_jump: Instant,
}

/// What a site answered.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) kids: HashSet<String>,
    pub(crate) wall: SystemTime,
    pub(crate) monotonic: Instant,
    pub(crate) given: Instant,
    /// The clock did not jump shortly before: the verifier counts its age from the same time.
    pub(crate) is_steady: bool,
    /// The clock jumped shortly after: the verifier may have given the fetch up.
    pub(crate) is_shaken: bool,
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
    pub(crate) fn may_be_known(&self, kid: &str, clock: &ManualClock, is_still: bool) -> bool {
        self.answers.iter().any(|told| {
            told.kids.contains(kid) && !(is_still && told.age(clock) >= LIFETIME + MAX_STALE)
        })
    }

    /// Whether it has, whichever of the answers is in use.
    pub(crate) fn is_surely_known(&self, kid: &str, clock: &ManualClock) -> bool {
        let holds = |told: &Told| {
            // the verifier looks at the clock some time before the site does
            let in_use = told.age(clock) + 500 * MILLI < LIFETIME + MAX_STALE;
            told.is_steady && in_use && told.kids.contains(kid)
        };
        self.arrived && !self.answers.is_empty() && self.answers.iter().all(holds)
    }

    pub(crate) fn is_served(&self, kid: &str) -> bool {
        self.served.iter().any(|key| key.kid() == kid)
    }

    /// Serves one more key, if there is one, and then perhaps one less.
    pub(crate) fn rotate(&mut self, algorithm: SigningAlgorithm) -> bool {
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

    pub(crate) fn withdraw(&mut self) -> bool {
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
    pub(crate) fn new(index: usize, clock: &ManualClock) -> Arc<Self> {
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

    pub(crate) fn state(&self) -> MutexGuard<'_, SiteState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut SiteState) -> R) -> R {
        let mut state = self.state();
        self.changes.fetch_add(1, Ordering::SeqCst);
        let result = change(&mut state);
        self.changes.fetch_add(1, Ordering::SeqCst);
        result
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}.test", self.name)
    }

    /// To be trusted by a verifier that knows nothing of it.
    pub(crate) fn issuer(self: &Arc<Self>) -> Issuer {
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
