//! The text of an exporter, taken apart.

use std::collections::{BTreeMap, BTreeSet};

use kube_oidc::Verifier;

use crate::recorder::recorder;

/// A name and its labels, such as `a_total{outcome="updated"}`, in the order of the labels' names.
pub(crate) type Series = (String, BTreeMap<String, String>);

/// What a server shows at one moment.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) samples: BTreeMap<Series, f64>,
    /// By metric.
    pub(crate) types: BTreeMap<String, String>,
    pub(crate) helps: BTreeMap<String, String>,
}

impl Scrape {
    /// As a server does it: gauges first, then the text.
    pub(crate) fn of(verifiers: &[&Verifier]) -> Self {
        for verifier in verifiers {
            verifier.record_metrics();
        }
        Self::parse(&recorder().render())
    }

    fn parse(text: &str) -> Self {
        let mut scrape =
            Self { samples: BTreeMap::new(), types: BTreeMap::new(), helps: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert_eq!(scrape.helps.insert(name.to_owned(), help.to_owned()), None, "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(scrape.types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let before = scrape.samples.insert(parse_series(series), value.parse().unwrap());
                assert_eq!(before, None, "{line}");
            }
        }
        scrape
    }

    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.samples.get(&series(name, labels)).copied()
    }

    /// By how much each counter and each count of a histogram grew since an earlier scrape, where it
    /// did. What was not there before grew from nothing.
    pub(crate) fn growth_since(&self, before: &Self) -> BTreeMap<Series, f64> {
        let counts = self.samples.iter().filter(|((name, _), _)| {
            let kind = self.types.get(self.metric_of(name));
            let kind = kind.map(String::as_str);
            kind == Some("counter") || (kind == Some("histogram") && name.ends_with("_count"))
        });
        let growth = counts.map(|(series, value)| {
            (series.clone(), value - before.samples.get(series).copied().unwrap_or_default())
        });
        growth.filter(|(_, growth)| *growth != 0.0).collect()
    }

    /// The metric that a sample belongs to.
    pub(crate) fn metric_of<'a>(&self, sample: &'a str) -> &'a str {
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| sample.strip_suffix(part));
        let is_histogram = |name: &&str| self.types.get(*name).is_some_and(|k| k == "histogram");
        whole.filter(is_histogram).unwrap_or(sample)
    }

    /// The metrics of which there is a sample.
    pub(crate) fn metrics(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|(name, _)| self.metric_of(name)).collect()
    }

    /// The values of each label that a metric has, `le` left out.
    pub(crate) fn labels_of(&self, metric: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut labels: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (name, pairs) in self.samples.keys() {
            for (label, value) in pairs.iter().filter(|_| self.metric_of(name) == metric) {
                if label != "le" {
                    labels.entry(label.as_str()).or_default().insert(value.as_str());
                }
            }
        }
        labels
    }
}

pub(crate) fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    (name.to_owned(), labels.collect())
}

fn parse_series(text: &str) -> Series {
    let Some((name, labels)) = text.split_once('{') else { return series(text, &[]) };
    let labels = labels.strip_suffix("\"}").unwrap();
    // no value of ours has a quote in it, which `split_once` would tell
    let labels = labels.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"").unwrap();
        assert!(!value.contains(['"', '\\']), "{text}");
        (name.to_owned(), value.to_owned())
    });
    (name.to_owned(), labels.collect())
}
