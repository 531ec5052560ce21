//! A cluster's issuer, and its keys.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use kube_oidc::{Issuer, IssuerUrl, KeySource, clock::ManualClock};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};

use crate::{
    ALGORITHMS,
    names::{FORMER_FOR, Names, Standing},
    place::{Moving, Place},
    told::Answers,
    visit::Visit,
};

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
    pub(crate) requests: AtomicU64,
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
    pub(crate) place: Place,
    /// The key sets that the verifier was told on this visit.
    pub(crate) answers: Answers,
    /// How many sets were given on all visits.
    pub(crate) given: u64,
    pub(crate) last_jump: Instant,
    /// A request that the verifier must not have sent.
    pub(crate) fault: Option<String>,
}

impl SiteState {
    /// Whether some URL or API server of the site serves a key.
    pub(crate) fn is_served(&self, kid: &str) -> bool {
        let is_one = |key: &SigningKey| key.kid() == kid;
        self.served.iter().any(is_one)
            || match &self.place {
                Place::Replicated { behind } => behind.iter().flatten().any(is_one),
                Place::Moving(moving) => moving.frozen().any(is_one),
                Place::Known | Place::ApiServer(_) => false,
            }
    }

    /// The name that a token gets: the current one, or any other.
    pub(crate) fn name(&self, url: &str, rng: &mut Rng) -> String {
        match &self.place {
            Place::ApiServer(names) => {
                let any = rng.usize(..names.all.len());
                let name = if rng.u8(..3) > 0 { names.current } else { any };
                names.all[name].clone()
            }
            _ => url.to_owned(),
        }
    }

    /// What holds for a name of the site.
    pub(crate) fn standing(&self, name: &str, clock: &ManualClock) -> Standing {
        match &self.place {
            Place::ApiServer(names) => names.standing(name, clock),
            _ => Standing::CONFIGURED,
        }
    }

    /// Whether a name is one that the site had before.
    pub(crate) fn is_former(&self, name: &str) -> bool {
        matches!(&self.place, Place::ApiServer(names) if names.all[names.current] != name)
    }

    /// The clock jumps: what was told just now may be thrown away.
    pub(crate) fn shake(&mut self) {
        self.last_jump = Instant::now();
        if let Some(told) = self.answers.last_mut() {
            told.given.shake();
        }
        match &mut self.place {
            Place::ApiServer(names) => names.shake(),
            Place::Moving(moving) => moving.shake(),
            Place::Known | Place::Replicated { .. } => {}
        }
    }

    /// The verifier begins anew.
    fn forget(&mut self) -> u64 {
        self.answers = Answers::default();
        match &mut self.place {
            Place::ApiServer(names) => names.forget(),
            Place::Moving(moving) => moving.forget(),
            Place::Known | Place::Replicated { .. } => {}
        }
        self.visit += 1;
        self.visit
    }

    /// The site gets a new URL for its keys. The old one goes on serving those of now, or nothing.
    pub(crate) fn shift(&mut self, leaves_keys: bool) -> bool {
        let Place::Moving(moving) = &mut self.place else { return false };
        moving.shift(leaves_keys.then(|| self.served.clone()));
        true
    }

    /// One API server falls behind, or has caught up.
    pub(crate) fn fall_behind(&mut self) -> bool {
        let Place::Replicated { behind } = &mut self.place else { return false };
        *behind = Some(self.served.clone());
        true
    }

    pub(crate) fn catch_up(&mut self) -> bool {
        let Place::Replicated { behind } = &mut self.place else { return false };
        behind.take().is_some()
    }

    pub(crate) fn change_name(&mut self, rng: &mut Rng) -> bool {
        let Place::ApiServer(names) = &mut self.place else { return false };
        names.change(rng);
        true
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
        let name = format!("site-{index}");
        let place = match index {
            0 => Place::Replicated { behind: None },
            2 => Place::Moving(Moving::default()),
            3 => Place::ApiServer(Names::of(&url_of(&name))),
            _ => Place::Known,
        };
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
            place,
            answers: Answers::default(),
            given: 0,
            last_jump: long_ago(),
            fault: None,
        };
        Arc::new(Self {
            name,
            algorithm,
            clock: clock.clone(),
            state: Mutex::new(state),
            changes: AtomicU64::new(0),
            trusted: AtomicBool::new(true),
            requests: AtomicU64::new(0),
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

    /// The site answers otherwise than before, though nothing befell it. The state is locked.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(2, Ordering::SeqCst);
    }

    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// Whether any name may be this issuer's, as far as the verifier knows.
    pub(crate) fn may_have_any_name(&self) -> bool {
        let is_unnamed =
            matches!(&self.state().place, Place::ApiServer(names) if !names.are_known());
        is_unnamed && self.trusted.load(Ordering::SeqCst)
    }

    /// To be trusted by a verifier that knows nothing of it.
    pub(crate) fn issuer(self: &Arc<Self>) -> Issuer {
        let mut state = self.state();
        let visit = Visit { number: state.forget(), site: Arc::clone(self) };
        let url: IssuerUrl = self.url().parse().unwrap();
        let issuer = match &state.place {
            Place::ApiServer(_) => {
                Issuer::api_server(url, visit).accept_former_names_for(FORMER_FOR)
            }
            Place::Moving(_) => Issuer::with_key_source(url, KeySource::discovery().via(visit)),
            Place::Known | Place::Replicated { .. } => {
                let keys = KeySource::jwks(format!("{}/keys/0", self.url()));
                Issuer::with_key_source(url, keys.via(visit))
            }
        };
        issuer.with_cluster(self.name.as_str())
    }
}

fn url_of(name: &str) -> String {
    format!("https://{name}.test")
}

fn long_ago() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60)).unwrap_or(now)
}
