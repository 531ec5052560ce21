//! Tokens at each limit, and one step past it; and times that are hardly times.
//!
//! RFC 7519, 2 (`NumericDate`) and 4.1.4 to 4.1.6; what it leaves to a verifier is cited where it is
//! tested.

use std::time::{Duration, SystemTime};

use kube_oidc::{Reason, VerifierBuilder, clock::ManualClock};
use kube_oidc_testing::{SigningAlgorithm, TokenBuilder};
use kube_oidc_tests::{Forge, pinned_time};

use super::{Lock, key};

/// A lock whose clock stands at a time of the test's.
struct Timed {
    lock: Lock,
    clock: ManualClock,
}

impl Timed {
    fn new(set: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let clock = ManualClock::at(pinned_time());
        let es256 = key(SigningAlgorithm::Es256);
        let with_clock = |builder: VerifierBuilder| set(builder.clock(clock.clone()));
        let lock = Lock::built(es256, &[es256.jwk()], with_clock);
        Self { lock, clock }
    }

    /// Good from now for an hour.
    fn token(&self) -> TokenBuilder {
        let now = pinned_time();
        self.lock.token().issued_at(now).expires_at(now + Duration::from_secs(3600))
    }

    fn forge(&self) -> Forge {
        let token = self.token().mint();
        self.lock.accepts("the token without the attack", &token);
        Forge::new(&token, &self.lock.key)
    }

    fn set(&self, time: SystemTime) {
        self.clock.set_wall(time);
    }
}

/// RFC 7519, 4.1.4 to 4.1.6: each verdict to the second, with a leeway of some minutes at most.
/// `warnafter` is of Kubernetes (`pkg/serviceaccount/claims.go`: `WarnAfter`), and an age and a lifetime
/// are ours to set, against stolen tokens (RFC 9700, 4.10). Before a verifier ever saw the token, and when it remembers it.
#[test]
fn the_ends_of_a_token_to_the_second() {
    let at = |seconds: i64| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { pinned_time() - by } else { pinned_time() + by }
    };
    let leeway =
        |seconds| move |builder: VerifierBuilder| builder.leeway(Duration::from_secs(seconds));
    let age = |builder: VerifierBuilder| builder.max_token_age(Duration::from_secs(600));
    for (name, cold, end, reason) in [
        ("exp and leeway", Timed::new(|builder| builder), 3660, Reason::Expired),
        ("exp", Timed::new(leeway(0)), 3600, Reason::Expired),
        ("exp and the most leeway", Timed::new(leeway(300)), 3900, Reason::Expired),
        ("age", Timed::new(age), 600, Reason::TooOld),
        (
            "warnafter",
            Timed::new(VerifierBuilder::reject_past_warn_after),
            1000,
            Reason::PastWarnAfter,
        ),
    ] {
        let token = cold.token().warn_after(at(1000)).mint();
        cold.set(at(end));
        cold.lock.refuses(name, &token, reason);
        cold.set(at(end - 1));
        cold.lock.accepts(name, &token);
        // now it is remembered
        cold.set(at(end));
        cold.lock.refuses(name, &token, reason);
        cold.set(at(end - 1));
        cold.lock.accepts(name, &token);
    }
    for (name, other, reason) in
        [("nbf", "iat", Reason::NotYetValid), ("iat", "nbf", Reason::IssuedInFuture)]
    {
        for seconds in [60_i64, 0, 300] {
            let timed = Timed::new(leeway(seconds.unsigned_abs()));
            let token = timed.token().without_claim(other).mint();
            timed.set(at(-seconds - 1));
            timed.lock.refuses((name, seconds), &token, reason);
            timed.set(at(-seconds));
            timed.lock.accepts((name, seconds), &token);
            timed.set(at(-seconds - 1));
            timed.lock.refuses((name, seconds), &token, reason);
        }
    }
    let lives = Timed::new(|builder| builder.max_token_lifetime(Duration::from_secs(3600)));
    lives.lock.accepts("lifetime", lives.token().mint());
    let longer = lives.token().expires_at(at(3601)).mint();
    lives.lock.refuses("lifetime", longer, Reason::LifetimeTooLong);
    // a lifetime is counted from iat, wherever nbf is
    let late = lives.token().claim("nbf", 0).expires_at(at(3601)).mint();
    lives.lock.refuses("lifetime", late, Reason::LifetimeTooLong);
}

/// RFC 7519, 2: a `NumericDate` is a number, with or without a fraction. What other writers of
/// JSON make of it is read, where it is a time.
#[test]
fn times_in_other_spellings() {
    let timed = Timed::new(|builder| builder);
    let forge = timed.forge();
    let exp = seconds(pinned_time()) + 3600;
    let with =
        |text: &str| forge.clone().payload(&format!("\"exp\":{exp}"), format!("\"exp\":{text}"));
    let (whole, thousandth) = (exp / 1_000_000_000, exp % 1_000_000_000);
    for text in [
        format!("{exp}.0"),
        format!("{exp}.999999"),
        format!("{exp}e0"),
        format!("{exp}E+0"),
        format!("{exp}0e-1"),
        format!("{whole}.{thousandth:09}e9"),
        format!("{whole}.{thousandth:09}E9"),
        format!("0.{exp}e10"),
        format!("{exp}.{}", "0".repeat(400)),
        "253402300799".to_owned(),
        "253402300799.0".to_owned(),
        " 253402300799 ".to_owned(),
    ] {
        timed.lock.accepts(&text, with(&text).mint());
    }
    // the fraction is cut off, so it gives no more time
    timed.set(pinned_time() + Duration::from_secs(3660));
    let fraction = with(&format!("{exp}.999999")).mint();
    timed.lock.refuses("fraction", fraction, Reason::Expired);
}

/// RFC 7519, 2 and RFC 8259, 6: numbers that are no time that anybody meant, though JSON has no end of
/// numbers. None of them may wrap around into one.
#[test]
fn numbers_that_are_no_times() {
    let timed = Timed::new(|builder| builder);
    let forge = timed.forge();
    let now = seconds(pinned_time());
    let exp = now + 3600;
    let old = [("exp", exp), ("nbf", now), ("iat", now)];
    for (name, value) in old {
        let with = |text: &str| {
            forge
                .clone()
                .payload(&format!("\"{name}\":{value}"), format!("\"{name}\":{text}"))
                .mint()
        };
        for text in [
            "-1",
            "-0.5",
            "-1e-1",
            "-9223372036854775808",
            "-9223372036854775809",
            "253402300800",
            "253402300799.5",
            "2147483648e3",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "18446744075504936816",
            "340282366920938463463374607431768211456",
            "1e19",
            "1e300",
            "-1e300",
            "1e400",
            "1e999999999999",
            "-1e400",
            "NaN",
            "Infinity",
            "-Infinity",
            "null",
            "true",
            "\"\"",
            "[]",
            "{}",
            "01795250000",
            "+1795250000",
            "0x6b01ea50",
            "1795250000L",
            "1_795_250_000",
            "1795250000.",
            "1795250000e",
        ] {
            timed.lock.refuses((name, text), with(text), Reason::Claims);
        }
        for text in [format!("\"{value}\""), format!("[{value}]"), format!("{{\"n\":{value}}}")] {
            timed.lock.refuses((name, &text), with(&text), Reason::Claims);
        }
        // long ago, in several spellings
        for text in ["0", "-0", "0.0", "-0.0", "0e9", "1e-300", "0.9", "1", "4294967295e-9"] {
            if name == "exp" {
                timed.lock.refuses((name, text), with(text), Reason::Expired);
            } else {
                timed.lock.accepts((name, text), with(text));
            }
        }
    }
    // milliseconds, as JavaScript counts: the year 58,000, and no way to live for ever
    let milliseconds = format!("{exp}000");
    let with = forge.clone().payload(&format!("\"exp\":{exp}"), format!("\"exp\":{milliseconds}"));
    timed.lock.refuses("milliseconds", with.mint(), Reason::Claims);
    let without = timed.token().without_claim("exp").mint();
    timed.lock.refuses("no exp", without, Reason::MissingExpiry);
    let renamed = forge.payload("\"exp\"", "\"expires\"").mint();
    timed.lock.refuses("another name", renamed, Reason::MissingExpiry);
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// RFC 8259, 9: a reader may limit how long a text is. 16 KiB are a token, and one byte more is not
/// looked at.
#[test]
fn the_length_of_a_token() {
    const LIMIT: usize = 16 * 1024;
    let lock = Lock::new();
    let forge = lock.forge();
    // base64 has no text of every length, so header and payload are stretched in turn
    let of_length = |length: usize| {
        (0..4).find_map(|header| {
            let header = "h".repeat(header);
            let forge = forge.clone().with_header(format!(r#""h":"{header}""#));
            let short = forge.clone().with_payload(r#""p":"""#).mint().len();
            let fill = (length - short) * 3 / 4;
            (fill.saturating_sub(3)..fill + 3)
                .map(|fill| {
                    forge.clone().with_payload(format!(r#""p":"{}""#, "p".repeat(fill))).mint()
                })
                .find(|token| token.len() == length)
        })
    };
    for length in [LIMIT - 1, LIMIT] {
        lock.accepts(length, of_length(length).unwrap());
    }
    for length in [LIMIT + 1, LIMIT + 2, 1 << 20] {
        lock.refuses(length, of_length(length).unwrap(), Reason::TooLong);
    }
    // whatever it is made of
    for byte in ["a", ".", "\0", "é", "="] {
        lock.refuses(byte, byte.repeat(LIMIT + 1), Reason::TooLong);
    }
    lock.refuses("dots", ".".repeat(LIMIT), Reason::Malformed);
}

/// The rest of the limits that a token meets: those of names in Kubernetes (`apimachinery`,
/// `pkg/util/validation/validation.go`: `DNS1123LabelMaxLength`, `DNS1123SubdomainMaxLength`), and of
/// names of keys (`pkg/serviceaccount/externaljwt/plugin/keycache.go`).
// rule: key-limits
#[test]
fn the_lengths_of_names() {
    let lock = Lock::new();
    lock.forge();
    let of = |namespace: &str, name: &str| lock.token().service_account(namespace, name).mint();
    lock.accepts("63", of(&"n".repeat(63), "a"));
    lock.refuses("64", of(&"n".repeat(64), "a"), Reason::Claims);
    lock.accepts("253", of("a", &"n".repeat(253)));
    lock.refuses("254", of("a", &"n".repeat(254)), Reason::Claims);
    let uid = |length: usize| {
        let account = serde_json::json!({ "name": "checkout", "uid": "u".repeat(length) });
        lock.token().kubernetes_claim("serviceaccount", account).mint()
    };
    lock.accepts("128", uid(128));
    lock.refuses("129", uid(129), Reason::Claims);
    // a name of a key as long as may be, in set and token
    for (length, reason) in [(1024, Ok(())), (1025, Err(Reason::Malformed))] {
        let named = lock.key.clone().with_kid(&"k".repeat(length));
        let other = lock.key.jwk();
        let long = Lock::with_keys(&named, &[named.jwk(), other]);
        let found = super::verdict(&long.verifier, long.token().mint().as_bytes());
        assert_eq!(found, reason, "{length}");
    }
}
