//! What is written about the log: the page's tables name every event and span of the crates, each
//! with the level and the fields that it has. And spans have them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use kube_oidc_testing::Endpoint;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::deployment::{CLUSTER, Deployment};

const PAGE: &str = "docs/observability.md";
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All of the crates' code.
fn code() -> String {
    let mut folders = vec![root().join("crates")];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).unwrap();
            }
        }
    }
    code
}

/// An event or a span.
#[derive(Debug)]
struct Said {
    level: String,
    text: String,
    fields: BTreeSet<String>,
}

/// The arguments of a call, of which this is what stands behind the bracket.
fn arguments(text: &str) -> Vec<String> {
    let (mut arguments, mut depth, mut in_text) = (vec![String::new()], 0, false);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = arguments.last_mut().unwrap();
        match character {
            // a text that goes on on the next line, else something escaped
            '\\' if in_text => {
                let rest = characters.as_str();
                match rest.strip_prefix('\n') {
                    Some(rest) => characters = rest.trim_start().chars(),
                    None => last.extend(characters.next()),
                }
                continue;
            }
            '"' => in_text = !in_text,
            _ if in_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        last.push(character);
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).collect()
}

fn said(code: &str) -> Vec<Said> {
    let mut all = Vec::new();
    for level in LEVELS {
        for kind in ["!(", "_span!("] {
            let call = format!("{level}{kind}");
            for (at, _) in code.match_indices(&call) {
                if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                assert!(code[..at].ends_with("tracing::"), "{}", &code[at..at + 80]);
                let (mut text, mut fields) = (None, BTreeSet::new());
                for argument in arguments(&code[at + call.len()..]) {
                    if let Some(literal) = argument.strip_prefix('"') {
                        text = Some(literal.trim_end_matches('"').to_owned());
                    } else if !argument.is_empty() {
                        let name = argument.split(" = ").next().unwrap();
                        fields.insert(name.trim_start_matches(['%', '?']).to_owned());
                    }
                }
                all.push(Said { level: level.to_owned(), text: text.unwrap(), fields });
            }
        }
    }
    all
}

/// What stands between backticks.
fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A row of the page's tables: text, levels, fields.
fn rows(page: &str) -> Vec<(String, BTreeSet<String>, BTreeSet<String>)> {
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, level, text, fields, about, _] = cells[..] else { return None };
        let is_one = |other: &&str| *other == level || about.contains(&format!("at {other} "));
        let levels = LEVELS.iter().filter(|other| is_one(other));
        let levels: BTreeSet<_> = levels.map(|level| (*level).to_owned()).collect();
        let text = text.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        LEVELS.contains(&level).then(|| (text, levels, words(fields)))
    });
    rows.collect()
}

/// Where the page's tables are not what the code says.
fn problems(page: &str, said: &[Said]) -> Vec<String> {
    let mut problems = Vec::new();
    let rows = rows(page);
    let mut found: BTreeMap<&str, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for one in said {
        // the page may leave out how a text ends
        let is_of = |row: &str| {
            one.text.strip_prefix(row).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let row = rows.iter().map(|(text, ..)| text.as_str()).filter(|text| is_of(text));
        let Some(row) = row.max_by_key(|text| text.len()) else {
            problems.push(format!("{:?} is not on the page", one.text));
            continue;
        };
        let (levels, fields) = found.entry(row).or_default();
        levels.insert(one.level.clone());
        fields.extend(one.fields.iter().cloned());
    }
    for (text, levels, fields) in &rows {
        match found.get(text.as_str()) {
            None => problems.push(format!("{text:?} is never said")),
            Some((said, _)) if said != levels => problems.push(format!("{text:?} is at {said:?}")),
            Some((_, said)) if said != fields => problems.push(format!("{text:?} has {said:?}")),
            Some(_) => {}
        }
    }
    problems
}

#[test]
fn every_event_and_span_is_on_the_page_with_its_level_and_fields() {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let code = code();
    let said_now = said(&code);
    assert!(said_now.len() > 25, "{}", said_now.len());
    assert_eq!(problems(&page, &said_now), [""; 0]);
    for (from, to) in [
        ("`explained`", "`never said`"),
        ("| debug | `explained` | `explanation` |", ""),
        ("| debug | `explained`", "| info | `explained`"),
        ("`explanation`", "`explained`"),
        ("`kid` | once for each key", "`key` | once for each key"),
        ("`issuer`, `cluster`, `outcome` | one fetch", "`issuer`, `cluster` | one fetch"),
        ("at debug without credentials", "without credentials"),
    ] {
        let wrong = page.replacen(from, to, 1);
        assert_ne!(wrong, page, "{from}");
        assert_ne!(problems(&wrong, &said_now), [""; 0], "{from}");
    }
    for (from, to) in [
        ("\"the issuer lists a removed key again\"", "\"a removed key is back\""),
        ("kid, \"the issuer lists", "key, \"the issuer lists"),
        (
            "tracing::warn!(issuer, cluster, kid, \"the",
            "tracing::info!(issuer, cluster, kid, \"the",
        ),
    ] {
        let wrong = code.replacen(from, to, 1);
        assert_ne!(wrong, code, "{from}");
        assert_ne!(problems(&page, &said(&wrong)), [""; 0], "{from}");
    }
}

/// A span's name and what was recorded in it.
type Recorded = (&'static str, BTreeMap<&'static str, String>);

/// Keeps all spans of the crates, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(span::Id, Recorded)>>>);

struct Values<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Values<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: Context<'_, S>) {
        let metadata = attributes.metadata();
        if metadata.target().contains("kube_oidc") {
            let mut values = BTreeMap::new();
            attributes.record(&mut Values(&mut values));
            self.0.lock().unwrap().push((id.clone(), (metadata.name(), values)));
        }
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        // ids are used again
        if let Some((_, (_, values))) = spans.iter_mut().rev().find(|(found, _)| found == id) {
            record.record(&mut Values(values));
        }
    }
}

impl Spans {
    fn take(&self) -> Vec<Recorded> {
        self.0.lock().unwrap().drain(..).map(|(_, recorded)| recorded).collect()
    }
}

#[tokio::test]
async fn spans_say_what_became_of_it() {
    let spans = Spans::default();
    // for all threads: what was seen first by one without a subscriber would be told to none
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let deployment = Deployment::new().await;
    spans.take();
    let url = deployment.issuer.url();
    let recorded = |name, fields: &[(&'static str, &str)]| -> Recorded {
        (name, fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    };
    let issuer = [("issuer", url), ("cluster", CLUSTER)];
    let of_issuer = |name, outcome| recorded(name, &[issuer[0], issuer[1], ("outcome", outcome)]);
    let verified = recorded(
        "authenticate",
        &[
            ("outcome", "verified"),
            ("reason", "none"),
            ("iss", url),
            issuer[1],
            ("subject", "system:serviceaccount:payments:checkout"),
        ],
    );

    deployment.issuer.stop();
    deployment.verifier.refresh_keys().await.unwrap_err();
    deployment.issuer.restart();
    deployment.verifier.refresh_keys().await.unwrap();
    let fetches = [of_issuer("fetch_keys", "failed"), of_issuer("fetch_keys", "updated")];
    assert_eq!(spans.take(), fetches);

    assert_eq!(deployment.ask("/whoami", Some(&deployment.good().mint())).await, 200);
    assert_eq!(spans.take(), std::slice::from_ref(&verified));
    // of one that was not believed nothing is shown
    for (path, outcome, status) in
        [("/whoami", "rejected", 401), ("/report", "would_be_rejected", 200)]
    {
        assert_eq!(deployment.ask(path, Some(&deployment.good().expired().mint())).await, status);
        let refused = recorded("authenticate", &[("outcome", outcome), ("reason", "expired")]);
        assert_eq!(spans.take(), [refused]);
    }
    for (path, outcome) in [("/open", "open_path"), ("/optional", "anonymous")] {
        assert_eq!(deployment.ask(path, None).await, 200);
        let passed = recorded("authenticate", &[("outcome", outcome), ("reason", "none")]);
        assert_eq!(spans.take(), [passed]);
    }

    assert_eq!(deployment.ask("/reviewed", Some(&deployment.good().pod("a").mint())).await, 200);
    assert_eq!(spans.take(), [verified.clone(), of_issuer("review_token", "authenticated")]);
    deployment.issuer.delete_pod("b");
    assert_eq!(deployment.ask("/reviewed", Some(&deployment.good().pod("b").mint())).await, 401);
    assert_eq!(spans.take(), [verified.clone(), of_issuer("review_token", "rejected")]);
    deployment
        .issuer
        .respond_with(Endpoint::TokenReview, kube_oidc_testing::MockResponse::new(500, ""));
    assert_eq!(deployment.ask("/reviewed", Some(&deployment.good().pod("c").mint())).await, 503);
    assert_eq!(spans.take(), [verified, of_issuer("review_token", "failed")]);
}
