//! `/metrics`, and what is counted of the service.

use std::time::{Duration, Instant};

use kube_oidc_testing::TestIssuer;

use crate::{
    page::Page as _,
    process::{Demo, Response},
};

/// What a sample stands at.
fn sample(demo: &Demo, series: &str) -> Option<f64> {
    let scrape = demo.get("/metrics", &[]);
    let line = scrape.body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

fn requests(demo: &Demo, outcome: &str, reason: &str) -> Option<f64> {
    let labels = format!("outcome=\"{outcome}\",reason=\"{reason}\"");
    sample(demo, &format!("kube_oidc_requests_total{{{labels}}}"))
}

fn reviewed(demo: &Demo, token: &str) -> Response {
    demo.get("/reviewed", &[&format!("Authorization: Bearer {token}")])
}

#[test]
fn it_is_open_and_in_the_form_that_prometheus_reads() {
    let demo = crate::page::started();
    let scrape = demo.get("/metrics", &[]);
    assert_eq!(scrape.status, 200);
    assert_eq!(scrape.header("content-type"), ["text/plain; version=0.0.4; charset=utf-8"]);
    assert_eq!(scrape.header("cache-control"), ["no-store"]);
    let sampled = |text: &str| scrape.body.lines().any(|line| line.starts_with(text));
    // nobody called yet, and it is known what may be counted
    assert!(sampled("# TYPE kube_oidc_keys gauge"), "{}", scrape.body);
    assert!(sampled("# TYPE kube_oidc_key_fetch_duration_seconds histogram"), "{}", scrape.body);
    assert!(sampled("kube_oidc_unknown_kids_total{"), "{}", scrape.body);
    assert!(!sampled("kube_oidc_requests_total"), "{}", scrape.body);
}

#[test]
fn requests_are_counted_by_outcome_and_reason() {
    let demo = crate::page::started();
    let good = demo.mint("good");
    for _ in 0..3 {
        assert_eq!(demo.whoami(&good).status, 200);
    }
    for kind in ["expired", "other_audience", "expired", "tampered", "unsigned"] {
        assert_eq!(demo.whoami(&demo.mint(kind)).status, 401);
    }
    assert_eq!(demo.get("/whoami", &[]).status, 401);
    assert_eq!(demo.get("/healthz", &[]).status, 200);
    // the page only explains
    demo.explain(&demo.mint("legacy"));
    assert_eq!(requests(&demo, "verified", "none"), Some(3.0));
    for (reason, count) in
        [("expired", 2.0), ("audience", 1.0), ("signature", 1.0), ("algorithm", 1.0)]
    {
        assert_eq!(requests(&demo, "rejected", reason), Some(count), "{reason}");
    }
    assert_eq!(requests(&demo, "rejected", "no_credentials"), Some(1.0));
    assert_eq!(requests(&demo, "rejected", "legacy_token"), None);
    assert_eq!(sample(&demo, "kube_oidc_token_cache_lookups_total{result=\"hit\"}"), Some(2.0));
    assert_eq!(sample(&demo, "kube_oidc_token_cache_entries"), Some(1.0));
}

#[test]
fn a_reviewed_route_asks_the_demos_own_issuer() {
    let demo = crate::page::started();
    let good = demo.mint("good");
    for _ in 0..2 {
        let answer = reviewed(&demo, &good);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json(), demo.whoami(&good).json());
    }
    assert_eq!(reviewed(&demo, &demo.mint("expired")).status, 401);
    assert_eq!(demo.get("/reviewed", &[]).status, 401);
    let issuer = issuer_of(&demo);
    let reviews = |outcome: &str| {
        let labels = format!("issuer=\"{issuer}\",cluster=\"\",outcome=\"{outcome}\"");
        sample(&demo, &format!("kube_oidc_token_reviews_total{{{labels}}}"))
    };
    // the second time it is remembered, and what is bad offline is not asked about
    assert_eq!((reviews("authenticated"), reviews("failed")), (Some(1.0), Some(0.0)));

    demo.change("stop");
    let fresh = demo.mint("past_warn_after");
    let answer = reviewed(&demo, &fresh);
    assert_eq!((answer.status, answer.header("retry-after")), (503, vec!["1"]));
    assert_eq!(reviewed(&demo, &good).status, 200);
    assert_eq!(demo.whoami(&fresh).status, 200);
    assert_eq!(reviews("failed"), Some(1.0));
    let labels = "outcome=\"rejected\",reason=\"review_unavailable\"";
    let refusals = format!("kube_oidc_route_rejections_total{{{labels}}}");
    assert_eq!(sample(&demo, &refusals), Some(1.0));
    demo.change("restart");
    // it is asked again after a second
    let end = Instant::now() + Duration::from_secs(30);
    while reviewed(&demo, &fresh).status != 200 {
        assert!(Instant::now() < end);
    }
}

fn issuer_of(demo: &Demo) -> String {
    let scrape = demo.get("/metrics", &[]).body;
    let (_, after) = scrape.split_once("kube_oidc_keys{issuer=\"").unwrap();
    after.split_once('"').unwrap().0.to_owned()
}

#[test]
fn without_somebody_to_ask_there_is_no_such_route() {
    let issuer = TestIssuer::start();
    let demo = Demo::start(&["--issuer", issuer.url(), "--audience", "orders"]);
    let token = issuer.token().audience("orders").mint();
    assert_eq!(demo.whoami(&token).status, 200);
    assert_eq!(reviewed(&demo, &token).status, 404);
    assert_eq!(issuer.token_reviews(), 0);
    assert_eq!(demo.get("/metrics", &[]).status, 200);
}
