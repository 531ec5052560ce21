//! What befalls the issuers and the verifier, and what operators do.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use fastrand::Rng;
use kube_oidc::clock::Clock as _;
use kube_oidc_testing::SigningAlgorithm;
use tokio::time;

use crate::{
    MILLI,
    run::Run,
    site::{Mood, RSA_KEYS, Site, SiteState},
};

impl Run {
    /// An operator who has all keys fetched now and then.
    pub(crate) async fn operator(self: Arc<Self>, seed: u64) {
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
            let hangs = self.mounted.hangs();
            self.disturbances.count("refreshes");
            let refresh = time::timeout(Duration::from_secs(30), self.verifier.refresh_keys());
            let result = refresh.await.expect("a refresh that ends");
            if hangs.is_some() && hangs == self.mounted.hangs() {
                assert!(result.is_err(), "a refresh that read a file that hangs");
                self.duties.count("had to fail to refresh");
            }
            // who just comes or goes may have been asked or not
            if result.is_err() || !upheavals.is_multiple_of(2) {
                continue;
            }
            self.duties.count("had to be refreshed");
            for (site, (trusted, visit, given)) in self.sites.iter().zip(before) {
                let mut state = site.state();
                let still_trusted = trusted && site.trusted.load(Ordering::SeqCst);
                if still_trusted && state.visit == visit {
                    state.answers.refreshed_since(given);
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

    /// Each kind of trouble comes once, and then by the dice.
    pub(crate) fn disturb(&self, turn: u32, rng: &mut Rng) {
        let site = self.site(rng);
        let what = match if turn < 36 { turn } else { rng.u32(..36) } {
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
            19 => {
                self.upheaval(|| self.jump(rng));
                Some("clock jumps")
            }
            21 => self.distrust(site, rng).then_some("keys distrusted"),
            22..=24 => self.deny(site, rng).then_some("tokens denied"),
            25 => self.go(site).then_some("issuers removed"),
            26 | 27 => self.come().then_some("issuers added"),
            20 | 28 => self.change_any(|state| state.change_name(rng)).then_some("name changes"),
            29 => self.change_any(|state| state.shift(rng.bool())).then_some("moved URLs"),
            30 => self.change_any(SiteState::fall_behind).then_some("API servers behind"),
            31 => self.change_any(SiteState::catch_up).then_some("API servers caught up"),
            32 => self.mounted.hang().then_some("hung files"),
            _ => self.mounted.recover().then_some("recovered files"),
        };
        if let Some(what) = what {
            self.disturbances.count(what);
        }
    }

    /// Changes those sites that the change is for.
    fn change_any(&self, mut change: impl FnMut(&mut SiteState) -> bool) -> bool {
        self.sites.iter().filter(|site| site.change(&mut change)).count() > 0
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
            state.shake();
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
}
