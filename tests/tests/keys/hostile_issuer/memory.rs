//! How much memory an answer costs whoever asks for it.

use kube_oidc::KeySource;
use std::time::Duration;

use allocation_counter::measure;
use kube_oidc::source::FetchRequest;
use kube_oidc_tests::tls::{LOOPBACK, acceptor, authority, certificate};
use kube_oidc_tests::{builder_for, issuer_at_with};
use tokio::runtime::{Builder, Runtime};
use tracing::subscriber::NoSubscriber;

use super::{
    Hostile, KEYS, PATIENT, Say,
    bodies::{endless, gzip_bomb},
    ok, status,
    wire::endless_heads,
};

/// Two threads: only what is allocated on the one of who asks is counted, and nothing of the server.
struct Threads {
    asks: Runtime,
    serves: Runtime,
}

impl Threads {
    fn start() -> Self {
        let asks = Builder::new_current_thread().enable_all().build().unwrap();
        let serves = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { asks, serves }
    }

    /// The peak of what one fetch allocates, in bytes. What the first one leaves behind for all that
    /// come after it is not in it.
    fn peak(&self, hostile: &Hostile, patience: Duration, is_good: bool) -> u64 {
        let keys = KeySource::jwks(format!("{}{KEYS}", hostile.server.url()));
        let keys = keys.via(std::sync::Arc::clone(&hostile.fetcher));
        let issuer = issuer_at_with(hostile.server.url(), keys);
        let verifier = builder_for(issuer).fetch_timeout(patience).build().unwrap();
        let refresh = || self.asks.block_on(verifier.refresh_keys());
        let is_ok = refresh().is_ok();
        assert_eq!(is_ok, is_good, "{:?}", status(&verifier).last_error);
        // what others catch of the log is not of the fetch
        let _unheard = tracing::subscriber::set_default(NoSubscriber::new());
        measure(|| assert_eq!(refresh().is_ok(), is_good)).bytes_max
    }
}

/// The limit of a body.
fn limit() -> usize {
    FetchRequest::new("https://issuer.example").max_bytes()
}

/// What has no end, or is more than is read: a body that grows to its limit, and its buffers.
#[test]
fn floods_cost_a_few_bodies() {
    let threads = Threads::start();
    let trusted = authority(|_| ());
    let chain = certificate(LOOPBACK, &trusted, |_| ());
    let over_tls = Some((acceptor(chain, &[]), trusted.pem()));
    let plain = threads.serves.block_on(Hostile::start());
    let over_tls = threads.serves.block_on(Hostile::serving(over_tls));

    let set = plain.key_set().to_string();
    let headers: Vec<String> = (0..100_000).map(|index| format!("x-{index}: y\r\n")).collect();
    let headers = format!("HTTP/1.1 200 OK\r\n{}\r\n{set}", headers.concat());
    let packed = Say::http("200 OK", &[("content-encoding", "gzip")], gzip_bomb(128 << 20));
    let mut peaks = vec![];
    let of_both = endless(&set).into_iter().chain(endless_heads(&set));
    let of_both = of_both.map(|(what, first, then)| (what, Say::Endless(first, then)));
    let with_an_end = [("gzip", packed), ("100,000 headers", Say::Bytes(headers.into()))];
    for (what, say) in with_an_end.into_iter().chain(of_both) {
        plain.server.says(KEYS, say);
        peaks.push((what, threads.peak(&plain, PATIENT, false)));
    }
    // behind TLS too
    for (what, first, then) in endless(&set) {
        over_tls.server.says(KEYS, Say::Endless(first, then));
        peaks.push((what, threads.peak(&over_tls, PATIENT, false)));
    }
    assert_peaks("floods", &peaks, 4);
}

/// Sets as long as may be, and what is made of them while they are read.
#[test]
fn full_sets_cost_a_few_times_their_length() {
    let threads = Threads::start();
    let plain = threads.serves.block_on(Hostile::start());
    let set = plain.key_set().to_string();
    let full = |text: &str| text.to_owned() + &" ".repeat(limit() - text.len());
    let with = |member: &str| full(&set.replacen('{', &format!("{{{member},"), 1));
    let numbers = format!("[{}0]", "0,".repeat(limit() / 2 - 200));
    // as many as there is room for, of three letters each, of which an escape makes a copy
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let names = |is_escaped: bool| {
        let name = |index: usize| {
            let [a, b, c] = [index / 52 / 52, index / 52, index].map(|index| letters[index % 52]);
            let a = if is_escaped { format!("\\u{:04x}", u32::from(a)) } else { a.to_string() };
            format!("\"{a}{b}{c}\":0")
        };
        let count = (limit() - 1000) / (name(0).len() + 1);
        (0..count).map(name).collect::<Vec<_>>().join(",")
    };
    let mut peaks = vec![];
    for (what, text, is_good) in [
        ("white space", full(&set), true),
        ("numbers", with(&format!("\"x\":{numbers}")), true),
        ("names", with(&names(false)), true),
        ("names, escaped", with(&names(true)), true),
        ("elements", full(&format!("{{\"keys\":{numbers}}}")), false),
    ] {
        assert_eq!(text.len(), limit(), "{what}");
        plain.server.says(KEYS, ok(text));
        peaks.push((what, threads.peak(&plain, PATIENT, is_good)));
    }
    assert_peaks("full sets", &peaks, 16);
}

/// Holds each of them below so many bodies, and prints them.
fn assert_peaks(what: &str, peaks: &[(&str, u64)], bodies: u64) {
    let shown: Vec<String> =
        peaks.iter().map(|(what, bytes)| format!("{what} {}", bytes / 1024)).collect();
    println!("memory: KiB at the peak of a fetch, {what}: {}", shown.join(", "));
    for (what, bytes) in peaks {
        assert!(*bytes < bodies * limit() as u64, "{what}: {bytes} bytes");
    }
}
