//! The same, for whichever recorder of the `metrics` crate is installed.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{
    Counter, Label, SharedString, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram,
};

use super::{Asked, Fetched, IssuerEvent};
use crate::observe::status::{IssuerStatus, KeyState};

/// Counts the lookups in the token cache.
#[derive(Default)]
pub(crate) struct TokenCacheMeter {
    hits: OnceLock<Counter>,
    misses: OnceLock<Counter>,
}

impl TokenCacheMeter {
    pub(crate) fn hit(&self) {
        self.hits.get_or_init(|| lookups("hit")).increment(1);
    }

    pub(crate) fn miss(&self) {
        self.misses.get_or_init(|| lookups("miss")).increment(1);
    }

    /// Exports the number of cached tokens.
    pub(crate) fn record(&self, tokens: usize) {
        const TOKENS: &str = "kube_oidc_token_cache_entries";
        describe_gauge!(TOKENS, "Tokens that are remembered as verified");
        gauge!(TOKENS).set(as_f64(tokens));
        self.hits.get_or_init(|| lookups("hit")).increment(0);
        self.misses.get_or_init(|| lookups("miss")).increment(0);
    }
}

const LOOKUPS: &str = "kube_oidc_token_cache_lookups_total";

fn lookups(result: &'static str) -> Counter {
    describe_counter!(LOOKUPS, "Tokens that were looked for among those already verified");
    counter!(LOOKUPS, "result" => result)
}

const FETCHES: &str = "kube_oidc_key_fetches_total";
const FETCH_SECONDS: &str = "kube_oidc_key_fetch_duration_seconds";
const REVIEWS: &str = "kube_oidc_token_reviews_total";
const REVIEW_SECONDS: &str = "kube_oidc_token_review_duration_seconds";
const NAMES: &str = "kube_oidc_issuer_names";
const KEYS: &str = "kube_oidc_keys";
const AGE: &str = "kube_oidc_key_set_age_seconds";
const STALE: &str = "kube_oidc_key_set_stale_seconds";

/// Counts what belongs to one issuer.
pub(crate) struct IssuerMeter {
    labels: Vec<Label>,
    /// Registered at their first use, for which a recorder should be there.
    events: [OnceLock<Counter>; IssuerEvent::ALL.len()],
    /// Whether gauges show it, and whether they show an age.
    recorded: AtomicBool,
    aged: AtomicBool,
}

impl IssuerMeter {
    /// By the operator's names for them.
    pub(crate) fn new(issuer: Arc<str>, cluster: Option<Arc<str>>) -> Self {
        let cluster = cluster.map_or(SharedString::const_str(""), SharedString::from_shared);
        let labels = vec![
            Label::new("issuer", SharedString::from_shared(issuer)),
            Label::new("cluster", cluster),
        ];
        Self {
            labels,
            events: Default::default(),
            recorded: AtomicBool::new(false),
            aged: AtomicBool::new(false),
        }
    }

    fn labels_and(&self, outcome: &'static str) -> Vec<Label> {
        let mut labels = self.labels.clone();
        labels.push(Label::new("outcome", outcome));
        labels
    }

    pub(crate) fn fetched(&self, outcome: Fetched, took: Duration) {
        describe_histogram!(
            FETCH_SECONDS,
            Unit::Seconds,
            "How long fetches of an issuer's keys took"
        );
        self.fetches(outcome).increment(1);
        histogram!(FETCH_SECONDS, self.labels_and(outcome.name())).record(took);
    }

    fn fetches(&self, outcome: Fetched) -> Counter {
        describe_counter!(FETCHES, "Fetches of an issuer's keys that ended");
        counter!(FETCHES, self.labels_and(outcome.name()))
    }

    pub(crate) fn asked(&self, outcome: Asked, took: Duration) {
        describe_histogram!(REVIEW_SECONDS, Unit::Seconds, "How long TokenReviews took");
        self.reviews(outcome).increment(1);
        histogram!(REVIEW_SECONDS, self.labels_and(outcome.name())).record(took);
    }

    fn reviews(&self, outcome: Asked) -> Counter {
        describe_counter!(REVIEWS, "TokenReviews that an API server was asked for");
        counter!(REVIEWS, self.labels_and(outcome.name()))
    }

    pub(crate) fn count(&self, event: IssuerEvent) {
        self.events(event).increment(1);
    }

    fn events(&self, event: IssuerEvent) -> &Counter {
        let (name, description) = event.metric();
        self.events[event as usize].get_or_init(|| {
            describe_counter!(name, description);
            counter!(name, self.labels.iter())
        })
    }

    /// Shows how the keys are now, and each counter that may count.
    pub(crate) fn record(&self, status: &IssuerStatus, fetches: bool, reviews: bool) {
        describe_gauge!(KEYS, "Keys of an issuer that may be used now");
        let usable = if status.state == KeyState::Unavailable { 0 } else { status.keys.len() };
        gauge!(KEYS, self.labels.clone()).set(as_f64(usable));
        describe_gauge!(NAMES, "Names of an issuer whose tokens are valid now");
        gauge!(NAMES, self.labels.clone()).set(as_f64(1 + status.aliases.len()));
        self.recorded.store(true, Ordering::Relaxed);
        if let Some(age) = status.age {
            describe_gauge!(
                AGE,
                Unit::Seconds,
                "How long ago an issuer's keys were fetched or confirmed"
            );
            describe_gauge!(
                STALE,
                Unit::Seconds,
                "By how much an issuer's keys are past their lifetime"
            );
            self.set_ages(age.as_secs_f64(), status.stale_for.as_secs_f64());
            self.aged.store(true, Ordering::Relaxed);
        }
        // a series that begins with 1 looks as if it had never increased
        for event in IssuerEvent::ALL {
            self.events(event).increment(0);
        }
        if fetches {
            for outcome in Fetched::ALL {
                self.fetches(outcome).increment(0);
            }
        }
        if reviews {
            for outcome in Asked::ALL {
                self.reviews(outcome).increment(0);
            }
        }
    }

    fn set_ages(&self, age: f64, stale: f64) {
        gauge!(AGE, self.labels.clone()).set(age);
        gauge!(STALE, self.labels.clone()).set(stale);
    }
}

impl IssuerEvent {
    /// The name of the counter, and its description.
    const fn metric(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownKid => (
                "kube_oidc_unknown_kids_total",
                "Tokens by a key that is not in their issuer's set",
            ),
            Self::PastWarnAfter => (
                "kube_oidc_tokens_past_warnafter_total",
                "Accepted tokens that should have been replaced",
            ),
            Self::ForApiServer => (
                "kube_oidc_tokens_for_api_server_total",
                "Accepted tokens that open the API server too",
            ),
            Self::NameChange => (
                "kube_oidc_issuer_name_changes_total",
                "Changes of the issuer name that an API server reports",
            ),
        }
    }
}

impl Drop for IssuerMeter {
    /// No recorder forgets a gauge, and one that stood still would be believed: an issuer that was
    /// removed while it was away would be away for ever.
    fn drop(&mut self) {
        if *self.recorded.get_mut() {
            gauge!(KEYS, self.labels.clone()).set(f64::NAN);
            gauge!(NAMES, self.labels.clone()).set(f64::NAN);
        }
        if *self.aged.get_mut() {
            self.set_ages(f64::NAN, f64::NAN);
        }
    }
}

/// A count is far below what a float can hold exactly.
#[expect(clippy::cast_precision_loss, reason = "counts of keys and tokens are small")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
