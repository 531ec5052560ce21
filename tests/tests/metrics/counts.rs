//! Every metric, to the last count.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    deployment::Deployment,
    everything,
    scrape::{Scrape, Series, series},
};

/// Type and help of every metric.
const METRICS: [(&str, &str, &str); 16] = [
    (
        "kube_oidc_issuer_name_changes_total",
        "counter",
        "Changes of the issuer name that an API server reports",
    ),
    ("kube_oidc_issuer_names", "gauge", "Names of an issuer whose tokens are valid now"),
    (
        "kube_oidc_key_fetch_duration_seconds",
        "histogram",
        "How long fetches of an issuer's keys took",
    ),
    ("kube_oidc_key_fetches_total", "counter", "Fetches of an issuer's keys that ended"),
    (
        "kube_oidc_key_set_age_seconds",
        "gauge",
        "How long ago an issuer's keys were fetched or confirmed",
    ),
    (
        "kube_oidc_key_set_stale_seconds",
        "gauge",
        "By how much an issuer's keys are past their lifetime",
    ),
    ("kube_oidc_keys", "gauge", "Keys of an issuer that may be used now"),
    ("kube_oidc_requests_total", "counter", "Requests that came to the layer, by outcome"),
    (
        "kube_oidc_route_rejections_total",
        "counter",
        "Requests that a layer further in refused, by reason",
    ),
    ("kube_oidc_token_cache_entries", "gauge", "Tokens that are remembered as verified"),
    (
        "kube_oidc_token_cache_lookups_total",
        "counter",
        "Tokens that were looked for among those already verified",
    ),
    ("kube_oidc_token_review_duration_seconds", "histogram", "How long TokenReviews took"),
    ("kube_oidc_token_reviews_total", "counter", "TokenReviews that an API server was asked for"),
    (
        "kube_oidc_tokens_for_api_server_total",
        "counter",
        "Accepted tokens that open the API server too",
    ),
    (
        "kube_oidc_tokens_past_warnafter_total",
        "counter",
        "Accepted tokens that should have been replaced",
    ),
    (
        "kube_oidc_unknown_kids_total",
        "counter",
        "Tokens by a key that is not in their issuer's set",
    ),
];

fn expected(deployment: &Deployment) -> BTreeMap<Series, f64> {
    let [issuer, cluster] = deployment.names();
    let mut all = BTreeMap::new();
    for (outcome, reason, count) in [
        ("verified", "none", 14.0),
        ("anonymous", "none", 2.0),
        ("open_path", "none", 1.0),
        ("rejected", "no_credentials", 1.0),
        ("rejected", "expired", 1.0),
        ("rejected", "audience", 1.0),
        ("rejected", "signature", 1.0),
        ("rejected", "unknown_key", 1.0),
        ("would_be_rejected", "expired", 1.0),
        ("would_be_rejected", "audience", 1.0),
        ("would_be_rejected", "signature", 1.0),
        ("would_be_rejected", "unknown_key", 1.0),
    ] {
        let labels = [("outcome", outcome), ("reason", reason)];
        all.insert(series("kube_oidc_requests_total", &labels), count);
    }
    for (outcome, reason) in [
        ("rejected", "policy"),
        ("would_be_rejected", "policy"),
        ("rejected", "misconfigured"),
        ("rejected", "review_denied"),
        ("rejected", "no_credentials"),
        ("rejected", "review_unavailable"),
    ] {
        let labels = [("outcome", outcome), ("reason", reason)];
        all.insert(series("kube_oidc_route_rejections_total", &labels), 1.0);
    }
    // these fetches spent the budget, so none was for the key that the issuer does not have
    for (outcome, count) in [("updated", 3.0), ("failed", 1.0)] {
        let labels = [issuer, cluster, ("outcome", outcome)];
        all.insert(series("kube_oidc_key_fetches_total", &labels), count);
        all.insert(series("kube_oidc_key_fetch_duration_seconds_count", &labels), count);
    }
    for (outcome, count) in [("authenticated", 1.0), ("rejected", 1.0), ("failed", 1.0)] {
        let labels = [issuer, cluster, ("outcome", outcome)];
        all.insert(series("kube_oidc_token_reviews_total", &labels), count);
        all.insert(series("kube_oidc_token_review_duration_seconds_count", &labels), count);
    }
    for (name, count) in [
        ("kube_oidc_unknown_kids_total", 2.0),
        ("kube_oidc_tokens_past_warnafter_total", 2.0),
        ("kube_oidc_tokens_for_api_server_total", 3.0),
    ] {
        all.insert(series(name, &[issuer, cluster]), count);
    }
    // by the layer: a good token is missed once, whatever waits for it, and found again; a bad one
    // is missed each time. By a review: the layer has just remembered the token, and it is looked
    // for again, and once more by who asks the API server
    let lookups = "kube_oidc_token_cache_lookups_total";
    all.insert(series(lookups, &[("result", "miss")]), 1.0 + 1.0 + 8.0 + 1.0 + 2.0 + 3.0);
    all.insert(series(lookups, &[("result", "hit")]), 2.0 + 2.0 + 1.0 + 1.0 + 2.0 * 3.0 + 1.0);
    all
}

#[tokio::test]
async fn everything_is_counted_to_the_last() {
    let deployment = Deployment::new().await;
    let before = Scrape::of(&[&deployment.verifier]);
    everything::happens(&deployment).await;
    let after = Scrape::of(&[&deployment.verifier]);
    assert_eq!(after.growth_since(&before), expected(&deployment));
    let again = Scrape::of(&[&deployment.verifier]);
    assert_eq!(again.growth_since(&after), BTreeMap::new(), "a scrape counts nothing");

    // real servers take real time, of which the clock of the test knows nothing
    for metric in
        ["kube_oidc_key_fetch_duration_seconds", "kube_oidc_token_review_duration_seconds"]
    {
        let [issuer, cluster] = deployment.names();
        let labels = [issuer, cluster, ("outcome", "failed")];
        let sum = after.value(&format!("{metric}_sum"), &labels).unwrap();
        assert!(sum > 0.0 && sum < 30.0, "{metric}: {sum}");
        let buckets = ["0.01", "0.1", "1", "+Inf"].map(|le| {
            let labels = [labels[0], labels[1], labels[2], ("le", le)];
            after.value(&format!("{metric}_bucket"), &labels).unwrap()
        });
        assert!(buckets.is_sorted() && buckets[3] == 1.0, "{buckets:?}");
    }
}

#[tokio::test]
async fn every_metric_has_its_type_and_a_help() {
    let deployment = Deployment::new().await;
    everything::happens(&deployment).await;
    let scrape = Scrape::of(&[&deployment.verifier]);
    let found: Vec<_> = scrape
        .types
        .iter()
        .map(|(name, kind)| (name.as_str(), kind.as_str(), scrape.helps[name].as_str()))
        .collect();
    assert_eq!(found, METRICS);
    assert_eq!(scrape.helps.len(), METRICS.len());
}

#[tokio::test]
async fn what_may_be_counted_is_there_before_it_is() {
    let deployment = Deployment::new().await;
    let [issuer, cluster] = deployment.names();
    let names = [issuer, cluster];
    let scrape = Scrape::of(&[&deployment.verifier]);
    for name in [
        "kube_oidc_unknown_kids_total",
        "kube_oidc_tokens_past_warnafter_total",
        "kube_oidc_tokens_for_api_server_total",
        "kube_oidc_issuer_name_changes_total",
        "kube_oidc_keys",
    ] {
        assert_eq!(scrape.value(name, &names), Some(0.0), "{name}");
    }
    for (name, outcomes) in [
        ("kube_oidc_key_fetches_total", &["updated", "failed"][..]),
        ("kube_oidc_token_reviews_total", &["authenticated", "rejected", "failed"]),
    ] {
        for outcome in outcomes {
            let labels = [issuer, cluster, ("outcome", outcome)];
            assert_eq!(scrape.value(name, &labels), Some(0.0), "{name} {outcome}");
        }
    }
    // a set that never came has no age
    assert_eq!(scrape.value("kube_oidc_key_set_age_seconds", &names), None);
}

#[tokio::test]
async fn gauges_tell_how_the_keys_are() {
    let deployment = Deployment::new().await;
    let names = deployment.names();
    let gauges = || {
        let scrape = Scrape::of(&[&deployment.verifier]);
        let gauges =
            ["kube_oidc_keys", "kube_oidc_key_set_age_seconds", "kube_oidc_key_set_stale_seconds"];
        gauges.map(|name| scrape.value(name, &names).unwrap())
    };
    deployment.issuer.rotate();
    assert_eq!(deployment.ask("/whoami", Some(&deployment.good().mint())).await, 200);
    assert_eq!(gauges(), [2.0, 0.0, 0.0]);
    let scrape = Scrape::of(&[&deployment.verifier]);
    assert_eq!(scrape.value("kube_oidc_token_cache_entries", &[]), Some(1.0));
    // tokens by a key that is distrusted are refused, and not answered with 503
    let kid = deployment.verifier.status()[0].keys[0].kid.clone().unwrap();
    deployment.verifier.distrust_key(deployment.issuer.url(), &kid);
    assert_eq!(gauges(), [2.0, 0.0, 0.0]);
    deployment.issuer.stop();
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    deployment.clock.advance(minute);
    assert_eq!(gauges(), [2.0, 60.0, 0.0]);
    // an hour is the lifetime of a set whose issuer says nothing of it
    deployment.clock.advance(hour);
    assert_eq!(gauges(), [2.0, 3660.0, 60.0]);
    deployment.clock.advance(24 * hour);
    assert_eq!(gauges(), [0.0, 90_060.0, 86_460.0]);
}
