//! The same, for whichever recorder of the `metrics` crate is installed.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{
    Counter, Label, SharedString, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{Asked, Fetched};
use crate::status::{IssuerStatus, KeyState};

/// A counter that is looked up once: at its first use, for which a recorder should be there.
#[derive(Default)]
struct Lazily(OnceLock<Counter>);

impl Lazily {
    fn increment(&self, register: impl FnOnce() -> Counter) {
        self.0.get_or_init(register).increment(1);
    }
}

/// Counts how often a token was remembered.
#[derive(Default)]
pub(crate) struct TokenCacheMeter {
    hits: Lazily,
    misses: Lazily,
}

impl TokenCacheMeter {
    pub(crate) fn hit(&self) {
        self.hits.increment(|| lookups("hit"));
    }

    pub(crate) fn miss(&self) {
        self.misses.increment(|| lookups("miss"));
    }
}

const LOOKUPS: &str = "kube_oidc_token_cache_lookups_total";

fn lookups(result: &'static str) -> Counter {
    describe_counter!(LOOKUPS, "Tokens that were looked for among those already verified");
    counter!(LOOKUPS, "result" => result)
}

/// Shows how many tokens are remembered.
pub(crate) fn record_tokens(tokens: usize) {
    const TOKENS: &str = "kube_oidc_token_cache_tokens";
    describe_gauge!(TOKENS, "Tokens that are remembered as verified");
    gauge!(TOKENS).set(as_f64(tokens));
}

/// Counts what belongs to one issuer.
pub(crate) struct IssuerMeter {
    labels: Vec<Label>,
    unknown_kids: Lazily,
    past_warn_after: Lazily,
    for_api_server: Lazily,
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
            unknown_kids: Lazily::default(),
            past_warn_after: Lazily::default(),
            for_api_server: Lazily::default(),
        }
    }

    fn labels_and(&self, outcome: &'static str) -> Vec<Label> {
        let mut labels = self.labels.clone();
        labels.push(Label::new("outcome", outcome));
        labels
    }

    pub(crate) fn fetched(&self, outcome: Fetched, took: Duration) {
        const FETCHES: &str = "kube_oidc_key_fetches_total";
        const SECONDS: &str = "kube_oidc_key_fetch_seconds";
        describe_counter!(FETCHES, "Fetches of an issuer's keys that ended");
        describe_histogram!(SECONDS, "How long fetches of an issuer's keys took");
        let labels = self.labels_and(outcome.name());
        counter!(FETCHES, labels.clone()).increment(1);
        histogram!(SECONDS, labels).record(took);
    }

    pub(crate) fn asked(&self, outcome: Asked, took: Duration) {
        const REVIEWS: &str = "kube_oidc_token_reviews_total";
        const SECONDS: &str = "kube_oidc_token_review_seconds";
        describe_counter!(REVIEWS, "TokenReviews that an API server was asked for");
        describe_histogram!(SECONDS, "How long TokenReviews took");
        let labels = self.labels_and(outcome.name());
        counter!(REVIEWS, labels.clone()).increment(1);
        histogram!(SECONDS, labels).record(took);
    }

    pub(crate) fn unknown_kid(&self) {
        const UNKNOWN: &str = "kube_oidc_unknown_kids_total";
        self.unknown_kids.increment(|| {
            describe_counter!(UNKNOWN, "Tokens by a key that is not in their issuer's set");
            counter!(UNKNOWN, self.labels.clone())
        });
    }

    pub(crate) fn past_warn_after(&self) {
        const PAST: &str = "kube_oidc_tokens_past_warnafter_total";
        self.past_warn_after.increment(|| {
            describe_counter!(PAST, "Accepted tokens that should have been replaced");
            counter!(PAST, self.labels.clone())
        });
    }

    pub(crate) fn for_api_server(&self) {
        const FOR_API_SERVER: &str = "kube_oidc_tokens_for_api_server_total";
        self.for_api_server.increment(|| {
            describe_counter!(FOR_API_SERVER, "Accepted tokens that open the API server too");
            counter!(FOR_API_SERVER, self.labels.clone())
        });
    }

    /// Shows how the keys are now.
    pub(crate) fn record_keys(&self, status: &IssuerStatus) {
        const KEYS: &str = "kube_oidc_keys";
        const AGE: &str = "kube_oidc_key_set_age_seconds";
        const STALE: &str = "kube_oidc_key_set_stale_seconds";
        describe_gauge!(KEYS, "Keys of an issuer that may be used now");
        let usable = if status.state == KeyState::Empty { 0 } else { status.keys.len() };
        gauge!(KEYS, self.labels.clone()).set(as_f64(usable));
        if let Some(age) = status.age {
            describe_gauge!(AGE, "How long ago an issuer's keys were fetched or confirmed");
            describe_gauge!(STALE, "By how much an issuer's keys are past their lifetime");
            gauge!(AGE, self.labels.clone()).set(age.as_secs_f64());
            gauge!(STALE, self.labels.clone()).set(status.stale_for.as_secs_f64());
        }
    }
}

/// A count is far below what a float can hold exactly.
#[expect(clippy::cast_precision_loss, reason = "counts of keys and tokens are small")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
