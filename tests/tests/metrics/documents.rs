//! What is written about the metrics: dashboard, alerts and the page about them name what a server
//! really shows, with the labels and words that it has.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::{everything, names::reasons, scrape::Scrape, world::World};

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
    let world = World::new().await;
    everything::happens(&world).await;
    Scrape::of(&[&world.verifier])
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
        "sum by (outcome) (kube_oidc_requests_total{outcome!=\"rejected\",reason=\"no_expiry\"}) {{outcome}}",
        "kube_oidc_key_fetches_total{outcome=~\"set|failed\"} {{ $labels.cluster }} {{ $value }}",
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
        "kube_oidc_key_fetches_total{outcome=~\"set|fail\"}",
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

/// All of the crates' code, with texts in one piece that go on on the next line.
fn code() -> String {
    let mut folders = vec![root().join("crates")];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                code.extend(text.split("\\\n").map(str::trim_start));
            }
        }
    }
    code
}

/// The events and spans of the page's tables that nobody logs.
fn not_logged<'p>(page: &'p str, code: &str) -> Vec<&'p str> {
    let rows = page.lines().filter(|line| {
        let level = line.strip_prefix("| ").and_then(|row| row.split_once(" | `"));
        level.is_some_and(|(level, _)| ["error", "warn", "info", "debug"].contains(&level))
    });
    let texts: Vec<_> = rows.map(|row| row.split('`').nth(1).unwrap()).collect();
    assert!(texts.len() > 20, "{texts:?}");
    texts.into_iter().filter(|text| !code.contains(&format!("\"{text}"))).collect()
}

#[test]
fn what_is_said_to_be_logged_is() {
    let (page, code) = (read(PAGE), code());
    assert_eq!(not_logged(&page, &code), [""; 0]);
    let wrong = page.replacen("`explained`", "`never said`", 1);
    assert_eq!(not_logged(&wrong, &code), ["never said"]);
}
