//! What is written about the metrics: dashboard, alerts and the page about them name what a server
//! really shows, with the labels and words that it has.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{deployment::Deployment, everything, names::reasons, scrape::Scrape};

const DASHBOARD: &str = "operations/grafana/kube-oidc.json";
const ALERTS: &str = "operations/prometheus/alerts.yaml";
const ALERTS_TEST: &str = "operations/prometheus/alerts_test.yaml";
const PAGE: &str = "docs/observability.md";

/// Labels that Prometheus adds, or makes of a histogram.
const NOT_OURS: [&str; 4] = ["job", "namespace", "instance", "le"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics that a text names, each with what stands behind it. A module of Rust is none.
fn named(text: &str) -> Vec<(&str, &str)> {
    let starts =
        text.match_indices("kube_oidc_").filter(|(at, _)| !text[..*at].ends_with(is_of_word));
    let named = starts.map(|(at, _)| {
        let text = &text[at..];
        text.split_at(text.find(|c| !is_of_word(c)).unwrap_or(text.len()))
    });
    named.filter(|(_, behind)| !behind.starts_with("::")).collect()
}

/// The conditions in braces: label, operator, value.
fn conditions(behind: &str) -> Vec<(&str, &str, &str)> {
    let Some((inside, _)) = behind.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Vec::new();
    };
    let conditions =
        inside.split("\",").filter(|condition| !condition.is_empty()).map(|condition| {
            let (label, rest) = condition.split_at(condition.find(['=', '!']).unwrap());
            let (operator, value) = rest.split_once('"').unwrap();
            (label.trim(), operator, value.trim_end_matches('"'))
        });
    conditions.collect()
}

/// The labels that a text names beside those in braces: `by (..)` and the like, legends, annotations.
fn other_labels(text: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for word in ["by (", "without (", "on ("] {
        for (at, _) in text.match_indices(word) {
            let (list, _) = text[at + word.len()..].split_once(')').unwrap();
            labels.extend(list.split(',').map(str::trim));
        }
    }
    for (at, _) in text.match_indices("{{") {
        let (label, _) = text[at + 2..].split_once("}}").unwrap();
        let label = label.trim();
        let label = label.strip_prefix("$labels.").unwrap_or(label);
        labels.extend((!label.starts_with('$')).then_some(label));
    }
    labels
}

/// What is wrong with one expression and the texts about it.
fn problems(text: &str, scrape: &Scrape) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<&str> = NOT_OURS.into();
    for (name, behind) in named(text) {
        // a query needs the name of a sample; a text may speak of the metric as such
        let is_text = behind.starts_with('`') && scrape.types.contains_key(name);
        if !is_text && !scrape.samples.keys().any(|(sample, _)| sample == name) {
            problems.push(format!("{name} is not exported"));
            continue;
        }
        let labels = scrape.labels_of(scrape.metric_of(name));
        known.extend(labels.keys());
        for (label, operator, value) in conditions(behind) {
            let Some(words) = labels.get(label) else {
                if !NOT_OURS.contains(&label) {
                    problems.push(format!("{name} has no label {label}"));
                }
                continue;
            };
            // names of issuers are the operator's
            let is_word = |word: &str| {
                words.contains(word) || (label == "reason" && reasons().contains(word))
            };
            let is_free = ["issuer", "cluster"].contains(&label) || value.starts_with('$');
            let given =
                if operator.ends_with('~') { value.split('|').collect() } else { vec![value] };
            for word in given.into_iter().filter(|word| !is_free && !is_word(word)) {
                problems.push(format!("{name} has no {label} {word}"));
            }
        }
    }
    let unknown = other_labels(text).into_iter().filter(|label| !known.contains(label));
    problems.extend(unknown.map(|label| format!("no metric here has a label {label}")));
    problems
}

/// The dashboard's queries, each with its legend.
fn queries(dashboard: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let queries =
        targets.map(|target| text(&target["expr"]) + " " + &text(&target["legendFormat"]));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables = variables.iter().filter_map(|variable| variable["definition"].as_str());
    queries.chain(variables.map(str::to_owned)).collect()
}

/// All that is written, cut into pieces that belong together.
fn pieces() -> Vec<String> {
    let mut pieces = queries(&read(DASHBOARD));
    pieces.extend(read(ALERTS).split("- alert:").skip(1).map(str::to_owned));
    pieces.extend(
        read(ALERTS_TEST).lines().filter(|line| line.contains("- series:")).map(str::to_owned),
    );
    pieces.extend(read(PAGE).lines().map(str::to_owned));
    pieces
}

/// A row of the page's table: name, type, labels with their words where those are few.
type Row<'t> = (&'t str, &'t str, Vec<(&'t str, Vec<&'t str>)>);

fn rows(page: &str) -> Vec<Row<'_>> {
    let rows = page.lines().filter(|line| line.starts_with("| `kube_oidc_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(';').filter(|label| !label.is_empty()).map(|label| {
            let mut words = label.split('`').skip(1).step_by(2);
            (words.next().unwrap(), words.collect())
        });
        (cells[1].trim_matches('`'), cells[2], labels.collect())
    })
    .collect()
}

/// Where the page's table is not what a server shows.
fn problems_of_table(page: &str, scrape: &Scrape) -> Vec<String> {
    let mut problems = Vec::new();
    let rows = rows(page);
    for (name, kind, labels) in &rows {
        if scrape.types.get(*name).map(String::as_str) != Some(*kind) {
            problems.push(format!("{name} is no {kind}"));
        }
        let found = scrape.labels_of(name);
        if !labels.iter().map(|(label, _)| label).eq(found.keys()) {
            problems.push(format!("{name} has the labels {:?}", found.keys()));
        }
        for (label, words) in labels.iter().filter(|(_, words)| !words.is_empty()) {
            let words: BTreeSet<_> = words.iter().copied().collect();
            if found.get(label) != Some(&words) {
                problems.push(format!("{name} has as {label} {:?}", found.get(label)));
            }
        }
    }
    for metric in scrape.metrics() {
        if rows.iter().filter(|(name, ..)| *name == metric).count() != 1 {
            problems.push(format!("{metric} has not one row"));
        }
    }
    problems
}

async fn shown() -> Scrape {
    let deployment = Deployment::new().await;
    everything::happens(&deployment).await;
    Scrape::of(&[&deployment.verifier])
}

#[tokio::test]
async fn what_is_written_is_what_is_shown() {
    let scrape = shown().await;
    let pieces = pieces();
    let problems: Vec<_> = pieces.iter().flat_map(|piece| problems(piece, &scrape)).collect();
    assert_eq!(problems, [""; 0]);
    // every metric is of use in an incident
    let used: BTreeSet<_> = pieces
        .iter()
        .flat_map(|piece| named(piece))
        .map(|(name, _)| scrape.metric_of(name))
        .collect();
    assert_eq!(used, scrape.metrics());
    let dashboard = queries(&read(DASHBOARD)).join("\n");
    let drawn: BTreeSet<_> =
        named(&dashboard).into_iter().map(|(name, _)| scrape.metric_of(name)).collect();
    assert_eq!(drawn, scrape.metrics(), "the dashboard draws all there is");
}

#[tokio::test]
async fn what_is_written_can_be_wrong() {
    let scrape = shown().await;
    let wrong = |text: &str| problems(text, &scrape).len();
    for good in [
        "kube_oidc_keys == 0",
        "`kube_oidc_token_review::KubeReviewer`",
        "kube_oidc_key_fetch_duration_seconds_bucket{le=\"1\",issuer=~\"$issuer\"}",
        "sum by (outcome) (kube_oidc_requests_total{outcome!=\"rejected\",reason=\"missing_expiry\"}) {{outcome}}",
        "kube_oidc_key_fetches_total{outcome=~\"updated|failed\"} {{ $labels.cluster }} {{ $value }}",
    ] {
        assert_eq!(problems(good, &scrape), [""; 0], "{good}");
    }
    for bad in [
        "kube_oidc_key == 0",
        "kube_oidc_keys_total",
        "kube_oidc_key_fetch_duration_seconds",
        "kube_oidc_requests_total{issuer=\"a\"}",
        "kube_oidc_requests_total{outcome=\"denied\"}",
        "kube_oidc_requests_total{reason=\"expirred\"}",
        "kube_oidc_key_fetches_total{outcome=~\"updated|fail\"}",
        "sum by (kid) (kube_oidc_unknown_kids_total)",
        "kube_oidc_keys {{issuers}}",
        "kube_oidc_keys {{ $labels.reason }}",
    ] {
        assert_eq!(wrong(bad), 1, "{bad}");
    }
}

#[tokio::test]
async fn the_table_has_every_metric() {
    let scrape = shown().await;
    let page = read(PAGE);
    assert_eq!(problems_of_table(&page, &scrape), [""; 0]);
    for (from, to, count) in [
        ("| `kube_oidc_keys` |", "| kube_oidc_keys |", 1),
        ("`kube_oidc_keys` | gauge", "`kube_oidc_keys` | counter", 1),
        ("`hit`, `miss`", "`hit`", 1),
        ("`hit`, `miss`", "`hit`, `miss`, `maybe`", 1),
        ("| `result` =", "| `results` =", 2),
    ] {
        let wrong = page.replacen(from, to, 1);
        assert_ne!(wrong, page, "{from}");
        assert_eq!(problems_of_table(&wrong, &scrape).len(), count, "{to}");
    }
}

/// The alerts that have a test of this kind.
fn tested(is_kind: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let tests = read(ALERTS_TEST);
    let tests = tests.split("- eval_time:").skip(1).filter(|test| is_kind(test));
    let name =
        |test: &str| test.split_once("alertname: ").unwrap().1.lines().next().unwrap().to_owned();
    tests.map(name).collect()
}

#[test]
fn each_alert_is_seen_to_fire_and_to_be_silent_and_is_on_the_page() {
    let (alerts, page) = (read(ALERTS), read(PAGE));
    let names = alerts.split("- alert: ").skip(1).map(|alert| alert.lines().next().unwrap());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.len() >= 8, "{names:?}");
    assert_eq!(tested(|test| test.contains("exp_labels:")), names);
    assert_eq!(tested(|test| test.contains("exp_alerts: []")), names);
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `KubeOidc"));
    let rows: BTreeSet<_> =
        rows.map(|row| format!("KubeOidc{}", row.split('`').next().unwrap())).collect();
    assert_eq!(rows, names);
}

/// The runbooks that are not there: none of our pages, or without such a heading.
fn missing_runbooks(alerts: &str) -> Vec<&str> {
    let manifest = read("Cargo.toml");
    let (_, repository) = manifest.split_once("repository = \"").unwrap();
    let pages = format!("{}/blob/main/", repository.split_once('"').unwrap().0);
    let has_heading = |address: &str| {
        let (page, heading) = address.strip_prefix(&pages)?.split_once('#')?;
        let page = fs::read_to_string(root().join(page)).ok()?;
        let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
        let mut names = headings.map(|text| text.to_lowercase().replace(' ', "-"));
        names.any(|name| name == heading).then_some(())
    };
    let addresses = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    addresses.filter(|address| has_heading(address).is_none()).collect()
}

#[test]
fn each_alert_says_what_to_do() {
    let alerts = read(ALERTS);
    let count = |text| alerts.matches(text).count();
    assert_eq!(count("- alert: "), count("runbook_url: "));
    assert_eq!(missing_runbooks(&alerts), [""; 0]);
    for (from, to) in [("#503", "#504"), ("troubleshooting.md", "trouble.md"), ("/main/", "/old/")]
    {
        assert_eq!(missing_runbooks(&alerts.replacen(from, to, 1)).len(), 1, "{to}");
    }
}
