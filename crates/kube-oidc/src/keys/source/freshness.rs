//! How long an answer may be used, by what its headers say and within our own bounds
//! ([RFC 9111], of which we take what a key set needs).
//!
//! [RFC 9111]: https://www.rfc-editor.org/rfc/rfc9111

use std::time::{Duration, SystemTime};

use super::FetchResponse;

/// The bounds of a lifetime.
///
/// Ours win over the issuer's: EKS has sent `max-age` of 7 days, and those who obeyed it failed
/// after a rotation.
#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    /// Where the answer says nothing.
    pub(crate) default: Duration,
}

impl Freshness {
    /// `must-revalidate`, `s-maxage` and `stale-if-error` are ignored on purpose: what happens
    /// when an issuer is away is decided here, and not by it.
    pub(crate) fn lifetime(&self, response: &FetchResponse) -> Duration {
        let directives = Directives::read(response.headers("cache-control"));
        let lifetime = if directives.uncacheable {
            Duration::ZERO
        } else if let Some(max_age) = directives.max_age {
            max_age.saturating_sub(age(response))
        } else if response.header("expires").is_some() {
            // RFC 9111, 5.3: what is no date, "0" above all, is in the past
            until_expiry(response).unwrap_or_default()
        } else {
            self.default
        };
        lifetime.clamp(self.min, self.max)
    }
}

#[derive(Default)]
struct Directives {
    uncacheable: bool,
    max_age: Option<Duration>,
}

impl Directives {
    fn read<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut directives = Self::default();
        for directive in values.flat_map(|value| value.split(',')) {
            let (name, argument) = match directive.split_once('=') {
                Some((name, argument)) => (name.trim(), argument.trim().trim_matches('"')),
                None => (directive.trim(), ""),
            };
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                directives.uncacheable = true;
            } else if name.eq_ignore_ascii_case("max-age") {
                // RFC 9111, 4.2.1: what is not a number counts as stale; of two, the shorter
                let seconds = Duration::from_secs(delta_seconds(argument).unwrap_or(0));
                let shorter = directives.max_age.map_or(seconds, |other| other.min(seconds));
                directives.max_age = Some(shorter);
            }
        }
        directives
    }
}

/// RFC 9111, 1.2.2: a number that is too great is a great number.
fn delta_seconds(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

pub(super) fn age(response: &FetchResponse) -> Duration {
    let seconds = response.header("age").map(str::trim).and_then(delta_seconds);
    Duration::from_secs(seconds.unwrap_or(0))
}

/// `Expires` is relative to the answer's own `Date`: the issuer's clock may differ from ours.
fn until_expiry(response: &FetchResponse) -> Option<Duration> {
    let date = |name| httpdate::parse_http_date(response.header(name)?).ok();
    date("expires")?.duration_since(date("date")?).ok()?.checked_sub(age(response))
}

/// `Retry-After` ([RFC 9110, 10.2.3]): seconds, or a date, which is taken relative to `Date`,
/// or to `now` where that is missing.
///
/// [RFC 9110, 10.2.3]: https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
pub(crate) fn retry_after(response: &FetchResponse, now: SystemTime) -> Option<Duration> {
    if !matches!(response.status(), 429 | 503) {
        return None;
    }
    let value = response.header("retry-after")?.trim();
    if let Some(seconds) = delta_seconds(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let now = date.unwrap_or(now);
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sat, 21 Nov 2026 06:47:42 GMT";

    fn response(status: u16, headers: &[(&str, &str)]) -> FetchResponse {
        let response = FetchResponse::new(status, "");
        headers.iter().fold(response, |response, (name, value)| response.with_header(name, value))
    }

    fn lifetime(headers: &[(&str, &str)]) -> u64 {
        let freshness = Freshness {
            min: Duration::from_secs(60),
            max: Duration::from_secs(3600),
            default: Duration::from_secs(600),
        };
        freshness.lifetime(&response(200, headers)).as_secs()
    }

    // rule: freshness
    #[test]
    fn the_answer_decides_within_our_bounds() {
        for (headers, expected) in [
            (&[][..], 600),
            (&[("Cache-Control", "public, max-age=1800")], 1800),
            (&[("Cache-Control", "public, max-age=3600")], 3600),
            (&[("Cache-Control", "max-age=604800")], 3600),
            (&[("Cache-Control", "MAX-AGE = 120")], 120),
            (&[("Cache-Control", "max-age=\"120\"")], 120),
            (&[("Cache-Control", "max-age=0")], 60),
            (&[("Cache-Control", "max-age=-5")], 60),
            (&[("Cache-Control", "max-age=soon")], 60),
            (&[("Cache-Control", "max-age")], 60),
            (&[("Cache-Control", "max-age=99999999999999999999999")], 3600),
            (&[("Cache-Control", "max-age=1800, max-age=120")], 120),
            (&[("Cache-Control", "max-age=1800"), ("Cache-Control", "no-store")], 60),
            (&[("Cache-Control", "no-cache, private")], 60),
            (&[("Cache-Control", "no-store, max-age=1800")], 60),
            (&[("Cache-Control", "public, must-revalidate, s-maxage=90")], 600),
            (&[("Cache-Control", "max-age=1800"), ("Age", "300")], 1500),
            (&[("Cache-Control", "max-age=1800"), ("Age", "9999")], 60),
            (&[("Cache-Control", "max-age=1800"), ("Age", "x")], 1800),
            (&[("Expires", "Sat, 21 Nov 2026 07:17:42 GMT"), ("Date", DATE)], 1800),
            (&[("Expires", "Sat, 21 Nov 2026 07:17:42 GMT"), ("Date", DATE), ("Age", "60")], 1740),
            (&[("Expires", DATE), ("Date", "Sat, 21 Nov 2026 07:17:42 GMT")], 60),
            (&[("Expires", "0"), ("Date", DATE)], 60),
            (&[("Expires", "Sat, 21 Nov 2099 07:17:42 GMT")], 60),
            (&[("Expires", "0"), ("Cache-Control", "max-age=1800")], 1800),
        ] {
            assert_eq!(lifetime(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |status, headers: &[(&str, &str)]| {
            let now = httpdate::parse_http_date("Sat, 21 Nov 2026 06:48:00 GMT").unwrap();
            retry_after(&response(status, headers), now).map(|duration| duration.as_secs())
        };
        assert_eq!(of(429, &[("Retry-After", "7")]), Some(7));
        assert_eq!(of(503, &[("Retry-After", " 7 ")]), Some(7));
        assert_eq!(of(500, &[("Retry-After", "7")]), None);
        assert_eq!(of(429, &[]), None);
        assert_eq!(of(429, &[("Retry-After", "soon")]), None);
        assert_eq!(of(429, &[("Retry-After", "-7")]), None);
        let date = ("Date", DATE);
        assert_eq!(of(429, &[("Retry-After", "Sat, 21 Nov 2026 06:48:42 GMT"), date]), Some(60));
        assert_eq!(of(429, &[("Retry-After", "Sat, 21 Nov 2026 06:00:00 GMT"), date]), Some(0));
        assert_eq!(of(429, &[("Retry-After", "Sat, 21 Nov 2026 06:48:42 GMT")]), Some(42));
    }
}
