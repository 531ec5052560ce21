//! All that a run consists of, and how often what happened in it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use kube_oidc::{Reason, Verifier, clock::ManualClock};
use kube_oidc_testing::SigningKey;
use kube_oidc_tests::TempFolder;

use crate::{hung::MountedKeys, place::Place, site::Site};

/// The verifier's cooldown, in milliseconds.
pub(crate) const COOLDOWN: u64 = 100;
/// The fetches that an issuer gets at once.
const BURST: u64 = 3;

/// How often what happened.
#[derive(Default)]
pub(crate) struct Tally(pub(crate) Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.lock().unwrap().get(what).copied().unwrap_or_default()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }
}

pub(crate) struct Run {
    pub(crate) sites: Vec<Arc<Site>>,
    pub(crate) mounted: MountedKeys,
    /// Keys of no site, one of each algorithm.
    pub(crate) strangers: Vec<SigningKey>,
    pub(crate) verifier: Verifier,
    pub(crate) clock: ManualClock,
    /// Goes up with each jump of the clock, and each issuer that comes or goes.
    pub(crate) upheavals: AtomicU64,
    pub(crate) verdicts: Tally,
    pub(crate) refusals: Tally,
    pub(crate) disturbances: Arc<Tally>,
    /// What had to be said.
    pub(crate) duties: Arc<Tally>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Removed with the run.
    pub(crate) _folder: TempFolder,
}

impl Run {
    pub(crate) fn site(&self, rng: &mut Rng) -> &Arc<Site> {
        &self.sites[rng.usize(..self.sites.len())]
    }

    /// The requests that each site got, and the most that it may get. Whatever was sent, that is
    /// one fetch for each cooldown, and a burst whenever the site is new or the clock has jumped,
    /// beside those that operators ask for.
    pub(crate) fn requests(
        &self,
        elapsed: Duration,
    ) -> impl Iterator<Item = (&Arc<Site>, u64, u64)> {
        let cooldowns = u64::try_from(elapsed.as_millis()).unwrap() / COOLDOWN + 1;
        let jumps = self.disturbances.of("clock jumps");
        let asked = self.disturbances.of("refreshes");
        self.sites.iter().map(move |site| {
            let state = site.state();
            let begun_anew = state.visit + jumps;
            // one that was given up in a jump may be begun again
            let fetches = cooldowns + BURST * begun_anew + asked + jumps;
            let most = match &state.place {
                Place::Known | Place::Replicated { .. } => fetches,
                Place::ApiServer(_) => 2 * fetches,
                // two more in three cooldowns, for documents and keys that moved
                Place::Moving(_) => 2 * fetches + 2 * (cooldowns / 3 + 1 + begun_anew),
            };
            (site, site.requests.load(Ordering::SeqCst), most)
        })
    }

    /// What did not happen was not tried.
    pub(crate) fn check_that_all_happened(&self, seconds: u64) {
        let least = if seconds >= 600 { 100 } else { 1 };
        let happened = |tally: &Tally, least: u64, all: &[&str]| {
            for what in all {
                assert!(tally.of(what) >= least, "{what}: {} times", tally.of(what));
            }
        };
        happened(&self.verdicts, 1, &["accepted", "refused", "unavailable"]);
        happened(
            &self.duties,
            least,
            &[
                "had to be accepted",
                "had to be accepted while reviews fail",
                "had to be refused",
                "had to be refused for the name",
                "had to be refreshed",
                "had to wait for a first review",
            ],
        );
        let reasons = [
            Reason::UnknownIssuer,
            Reason::UnknownKey,
            Reason::DistrustedKey,
            Reason::DeniedJti,
            Reason::AlgorithmMismatch,
            Reason::Signature,
            Reason::Expired,
            Reason::NotYetValid,
            Reason::IssuedInFuture,
            Reason::Audience,
        ];
        happened(&self.refusals, 1, &reasons.map(Reason::code));
        happened(
            &self.disturbances,
            least,
            &[
                "rotations",
                "withdrawals",
                "outages",
                "recoveries",
                "clock jumps",
                "tokens denied",
                "issuers removed",
                "issuers added",
                "refreshes",
                "cancellations",
                "name changes",
                "moved URLs",
                "API servers behind",
                "hung files",
                "failing reviews",
                "forged under a known key ID",
                "pods deleted",
            ],
        );
        happened(&self.disturbances, 1, &["keys distrusted"]);
        if seconds >= 60 {
            // too seldom for a short run
            let seldom = [
                "had to be accepted by a former name",
                "had to be accepted while the file hangs",
                "had to fail to refresh",
            ];
            happened(&self.duties, least, &seldom);
        }
    }
}
