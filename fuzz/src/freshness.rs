//! What an answer with keys says of its age: any values of the headers that count.

use std::time::Duration;

use kube_oidc::{Issuer, KeySource, KeyState, Verifier, source::FetchResponse};

use crate::{
    Reached,
    world::{self, AUDIENCE, Table, block_on, clock, good_token, issuer_url},
};

const KEYS: &str = "https://issuer.test/keys";
const NAMES: [&str; 7] =
    ["cache-control", "expires", "date", "age", "etag", "last-modified", "retry-after"];

/// By what the lifetime goes. What a second reader cannot make out is `unclear`.
pub const BRANCHES: [&str; 5] = ["uncacheable", "max-age", "expires", "silent", "unclear"];

/// Each line is a value; its first byte says of which header.
///
/// Whatever they say, the keys are used, and fetched again within our bounds: not before three
/// quarters of a minute, and within the hour. Where they are plain, it is when 75 to 85 % of the
/// lifetime is over that a second reader makes out.
#[must_use]
pub fn run(data: &[u8]) -> Reached {
    let mut headers = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Some((name, value)) = line.split_first() {
            let name = NAMES[usize::from(*name) % NAMES.len()];
            headers.push((name, String::from_utf8_lossy(value).into_owned()));
        }
    }
    let answer = FetchResponse::new(200, world::key_set().to_string());
    let answer =
        headers.iter().fold(answer, |answer, (name, value)| answer.with_header(name, value));
    let table = Table::new(vec![(KEYS, answer)]);
    let issuer = Issuer::with_key_source(issuer_url(), KeySource::jwks(KEYS).via(table));
    let verifier =
        Verifier::builder(issuer).audience(AUDIENCE).clock(clock()).build().expect("a verifier");
    let (branch, lifetime) = Reader(&headers).lifetime();
    block_on(async {
        verifier.verify(good_token()).await.expect("the keys are here");
        let status = &verifier.status()[0];
        assert_eq!(status.state, KeyState::Fresh);
        let next = status.next_fetch.expect("they are fetched again").as_secs_f64();
        let (shortest, longest) = lifetime.map_or((MIN, MAX), |lifetime| (lifetime, lifetime));
        let window = 0.75 * shortest.as_secs_f64() - 0.001..=0.85 * longest.as_secs_f64() + 0.001;
        assert!(window.contains(&next), "{branch} {lifetime:?}, but in {next} s: {headers:?}");
    });
    vec![branch]
}

const MIN: Duration = Duration::from_secs(60);
const MAX: Duration = Duration::from_secs(3600);
/// In seconds, where nothing is said.
const SILENT: u64 = 600;

/// What is not plain.
struct Unclear;

/// Reads the headers once more, and gives up on all that is not plain.
struct Reader<'a>(&'a [(&'static str, String)]);

impl Reader<'_> {
    /// By what the lifetime goes, and how long it is.
    fn lifetime(&self) -> (&'static str, Option<Duration>) {
        match self.plain_lifetime() {
            Ok((branch, seconds)) => (branch, Some(Duration::from_secs(seconds).clamp(MIN, MAX))),
            Err(Unclear) => ("unclear", None),
        }
    }

    fn plain_lifetime(&self) -> Result<(&'static str, u64), Unclear> {
        let mut max_age = None;
        for directive in self.all("cache-control").flat_map(|value| value.split(',')) {
            let directive = directive.trim_matches([' ', '\t']).to_ascii_lowercase();
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name, Some(unquoted(argument))),
                None => (directive.as_str(), None),
            };
            let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if !is_plain(name) || !argument.is_none_or(is_plain) {
                return Err(Unclear);
            }
            match name {
                "no-store" | "no-cache" => return Ok(("uncacheable", 0)),
                // stale, where it is no number
                "max-age" => {
                    let seconds = argument.and_then(number).unwrap_or(0);
                    max_age = Some(max_age.map_or(seconds, |other: u64| other.min(seconds)));
                }
                _ => {}
            }
        }
        let age = match self.only("age")? {
            Some(age) => number(age).ok_or(Unclear)?,
            None => 0,
        };
        if let Some(max_age) = max_age {
            return Ok(("max-age", max_age.saturating_sub(age)));
        }
        let (expires, sent) = (self.only("expires")?, self.only("date")?);
        let Some(expires) = expires else { return Ok(("silent", SILENT)) };
        let date = |text| httpdate::parse_http_date(text).ok();
        let lifetime =
            date(expires).and_then(|expires| expires.duration_since(sent.and_then(date)?).ok());
        Ok(("expires", lifetime.map_or(0, |lifetime| lifetime.as_secs().saturating_sub(age))))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    fn only(&self, name: &str) -> Result<Option<&str>, Unclear> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Unclear) } else { Ok(first) }
    }
}

fn unquoted(argument: &str) -> &str {
    argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(argument)
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}
