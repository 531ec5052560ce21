//! The names that an API server reports for its issuer, and which of them a verifier may or must
//! accept.

use std::time::Duration;

use fastrand::Rng;
use kube_oidc::clock::ManualClock;

use crate::told::{Given, SLACK};

/// How long a former name stays valid.
pub(crate) const FORMER_FOR: Duration = Duration::from_secs(1);
/// Fewer names than a verifier remembers.
const NAMES: usize = 6;

/// The names of a site, and those that the verifier read on one visit.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) all: Vec<String>,
    pub(crate) current: usize,
    reported: Vec<Reported>,
}

#[derive(Debug)]
struct Reported {
    name: String,
    given: Given,
    /// The fetch is over, and was not given up: the verifier took the name.
    is_taken: bool,
}

/// What holds for a name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) may_be_valid: bool,
    pub(crate) is_surely_valid: bool,
    /// The verifier knows names, and this one is surely none of those that are valid.
    pub(crate) is_surely_invalid: bool,
}

impl Standing {
    pub(crate) const CONFIGURED: Self =
        Self { may_be_valid: true, is_surely_valid: true, is_surely_invalid: false };
}

impl Names {
    pub(crate) fn of(url: &str) -> Self {
        let all = (0..NAMES).map(|index| format!("{url}/{index}")).collect();
        Self { all, current: 0, reported: Vec::new() }
    }

    /// The verifier begins anew.
    pub(crate) fn forget(&mut self) {
        self.reported.clear();
    }

    pub(crate) fn change(&mut self, rng: &mut Rng) {
        self.current = (self.current + rng.usize(1..NAMES)) % NAMES;
    }

    /// A fetch begins, so the one before is over.
    pub(crate) fn end_last(&mut self) {
        if let Some(last) = self.reported.last_mut() {
            last.is_taken |= !last.given.is_shaken;
        }
    }

    /// Reports the current name. `true`: it is another than the last one.
    pub(crate) fn report(&mut self, given: Given) -> bool {
        let name = self.all[self.current].clone();
        let is_other = self.reported.last().is_none_or(|last| last.name != name);
        self.reported.push(Reported { name, given, is_taken: false });
        is_other
    }

    pub(crate) fn shake(&mut self) {
        if let Some(last) = self.reported.last_mut() {
            last.given.shake();
        }
    }

    /// Whether the verifier surely knows a name. Until then, any name may be the issuer's.
    pub(crate) fn are_known(&self) -> bool {
        self.reported.iter().any(|reported| reported.is_taken)
    }

    pub(crate) fn standing(&self, name: &str, clock: &ManualClock) -> Standing {
        let Some(index) = self.reported.iter().rposition(|reported| reported.name == name) else {
            return Standing {
                may_be_valid: false,
                is_surely_valid: false,
                is_surely_invalid: self.are_known(),
            };
        };
        let last = &self.reported[index];
        let was_replaced = self.reported[index + 1..].iter().any(|later| later.is_taken);
        // the verifier counts from the beginning of the fetch, which is earlier
        let is_surely_invalid = was_replaced && last.given.monotonic_age(clock) >= FORMER_FOR;
        let newest = self.reported.iter().rev().take_while(|reported| reported.name == name);
        let is_current = newest.into_iter().any(|reported| reported.is_taken);
        let is_recent =
            last.is_taken && last.given.is_steady && last.given.age(clock) + SLACK < FORMER_FOR;
        Standing {
            may_be_valid: !is_surely_invalid,
            is_surely_valid: is_current || is_recent,
            is_surely_invalid,
        }
    }
}
