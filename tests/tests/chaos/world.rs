//! All that a run consists of, and how often what happened in it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
};

use fastrand::Rng;
use kube_oidc::{Reason, Verifier, clock::ManualClock};
use kube_oidc_testing::SigningKey;

use crate::site::Site;

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

pub(crate) struct World {
    pub(crate) sites: Vec<Arc<Site>>,
    /// Keys of nobody, one of each algorithm.
    pub(crate) strangers: Vec<SigningKey>,
    pub(crate) verifier: Verifier,
    pub(crate) clock: ManualClock,
    /// Goes up with each jump of the clock, and each issuer that comes or goes.
    pub(crate) upheavals: AtomicU64,
    pub(crate) verdicts: Tally,
    pub(crate) refusals: Tally,
    pub(crate) disturbances: Tally,
    /// What had to be said.
    pub(crate) duties: Tally,
    pub(crate) stop: AtomicBool,
}

impl World {
    pub(crate) fn site(&self, rng: &mut Rng) -> &Arc<Site> {
        &self.sites[rng.usize(..self.sites.len())]
    }

    /// What did not happen was not tried.
    pub(crate) fn check_that_all_happened(&self) {
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
