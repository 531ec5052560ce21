//! Every way in which an issuer can answer wrongly, and that each is a 503 at first, and nothing
//! to notice in mid-life: the last good set stays in use, what is read is bounded, and the log says
//! what was wrong. `bad_issuer` has how that goes on over time.

mod bodies;
mod discovery;
mod floods;
mod key_sets;
mod memory;
mod network;
mod server;
mod statuses;
mod tls;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube_oidc::{
    Issuer, IssuerStatus, KeySource, KeyState, KeysUnavailableCause, Verifier, VerifyError,
    source::HttpFetcher,
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{Judge as _, builder_for, issuer_at_with};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::server::{Say, Server};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/jwks";

/// As much as an issuer may get rid of before its connection ends: the limit of 1 MiB, and what the
/// kernel holds for both ends of a connection on loopback, which is 36 MiB where `tcp_rmem` is large.
const BOUND: usize = 64 << 20;

/// Long, so that a busy machine is no trouble of its own.
const PATIENT: Duration = Duration::from_secs(30);
/// For answers that never come.
const IMPATIENT: Duration = Duration::from_millis(700);

/// What goes on for as long as anybody reads: its name, how it begins, and what comes again and again.
type Endless = (&'static str, Vec<u8>, Vec<u8>);

/// An issuer whose server says what it is told, and tells the truth until then.
struct Hostile {
    server: Server,
    key: SigningKey,
    mint: TestIssuer,
    /// One for all verifiers: to make a client takes longer than to be lied to.
    fetcher: Arc<HttpFetcher>,
}

impl Hostile {
    async fn start() -> Self {
        Self::serving(None).await
    }

    /// Over TLS, by certificates of this authority.
    async fn serving(tls: Option<(TlsAcceptor, String)>) -> Self {
        let (acceptor, ca_pem) = tls.unzip();
        let mint = TestIssuer::builder().algorithm(SigningAlgorithm::EdDsa).start();
        let fetcher = match ca_pem {
            Some(pem) => HttpFetcher::new().with_root_certificates_pem(pem).unwrap(),
            None => HttpFetcher::new(),
        };
        let (server, fetcher) = (Server::start(acceptor).await, Arc::new(fetcher));
        let hostile = Self { server, key: mint.signing_key(), mint, fetcher };
        hostile.tell_the_truth();
        hostile
    }

    fn tell_the_truth(&self) {
        self.server.always_says(None);
        self.server.says(DISCOVERY, ok(self.document().to_string()));
        self.server.says(KEYS, ok(self.key_set().to_string()));
    }

    fn document(&self) -> Value {
        let url = self.server.url();
        json!({ "issuer": url, "jwks_uri": format!("{url}{KEYS}") })
    }

    fn key_set(&self) -> Value {
        json!({ "keys": [self.key.jwk()] })
    }

    fn token(&self) -> String {
        self.mint.token().claim("iss", self.server.url()).audience("orders").mint()
    }

    fn issuer(&self) -> Issuer {
        issuer_at_with(self.server.url(), KeySource::discovery().via(Arc::clone(&self.fetcher)))
    }

    fn verifier(&self, patience: Duration) -> Verifier {
        builder_for(self.issuer())
            .dangerous_no_unknown_kid_cooldown()
            .fetch_timeout(patience)
            .build()
            .unwrap()
    }

    /// A verifier that has the keys, and has used them.
    async fn in_mid_life(&self, patience: Duration) -> Verifier {
        self.tell_the_truth();
        let verifier = self.verifier(patience);
        // a machine that is busy may need longer than the patience that is tested
        while let Err(error) = verifier.judge(self.token()).await {
            let VerifyError::Unavailable(unavailable) = error else { panic!("{error}") };
            tokio::time::sleep(unavailable.retry_after()).await;
        }
        verifier
    }

    /// Holds what is said at a path to be no answer: for a verifier that never had one, and for one
    /// that has. `words` are in the reason that the status and the log give.
    async fn assert_no_answer(&self, path: &str, what: &str, say: Say, words: &str) {
        self.assert_no_answer_within(PATIENT, path, what, say, words).await;
    }

    async fn assert_no_answer_within(
        &self,
        patience: Duration,
        path: &str,
        what: &str,
        say: Say,
        words: &str,
    ) {
        let living = self.in_mid_life(patience).await;
        let before = status(&living);
        if path == KEYS {
            self.server.says(KEYS, say.clone());
        } else {
            // the document is read again when the keys are gone from where they were
            self.server.says(KEYS, Say::http("404 Not Found", &[], ""));
            living.refresh_keys().await.unwrap_err();
            self.server.says(KEYS, ok(self.key_set().to_string()));
            self.server.says(path, say.clone());
        }

        let fresh = self.verifier(patience);
        let cause = match fresh.judge(self.token()).await {
            Err(VerifyError::Unavailable(unavailable)) => unavailable.cause(),
            other => panic!("{what}: {other:?}"),
        };
        let causes = [KeysUnavailableCause::FetchFailed, KeysUnavailableCause::FetchTimedOut];
        assert!(causes.contains(&cause), "{what}: {cause:?}");
        if cause == KeysUnavailableCause::FetchTimedOut {
            // who waits gives up at the same time as the fetch, or a little before
            let start = Instant::now();
            while status(&fresh).last_error.is_none() {
                assert!(start.elapsed() < PATIENT, "{what}");
                tokio::task::yield_now().await;
            }
        }
        assert_said(&fresh, what, words);
        assert_eq!(status(&fresh).state, KeyState::Unavailable, "{what}");
        assert!(!fresh.is_ready(), "{what}");

        let asked = self.server.received_requests().len();
        let refreshed = living.refresh_keys().await;
        // a server that is down says nothing against the keys where they were; a document that is
        // gone or wrong ends the trust in them
        let outage =
            ["could not be read", "no answer within", "answered with status 5", "status 429"];
        let reason = status(&fresh).last_error.unwrap().error;
        if path == DISCOVERY && outage.iter().any(|words| reason.contains(words)) {
            assert!(refreshed.is_ok(), "{what}: {refreshed:?}");
            // whoever never had keys may ask for the document again meanwhile
            assert!(self.asked_since(asked).iter().any(|path| path == KEYS), "{what}");
        } else {
            assert!(refreshed.is_err(), "{what}");
            assert_said(&living, what, words);
            let asked = self.asked_since(asked);
            assert!(path == KEYS || !asked.iter().any(|path| path == KEYS), "{what}");
        }
        assert_still_good(&living, &self.token(), what);
        assert_eq!(status(&living).keys, before.keys, "{what}");

        self.tell_the_truth();
        self.assert_healed(&living, what).await;
    }

    /// The paths that were asked for after so many requests.
    fn asked_since(&self, requests: usize) -> Vec<String> {
        let requests = self.server.received_requests().split_off(requests);
        requests.iter().map(|head| head.split(' ').nth(1).unwrap().to_owned()).collect()
    }

    /// Holds a verifier to get the keys again. Its patience may be too short for a busy machine.
    async fn assert_healed(&self, verifier: &Verifier, what: &str) {
        let start = Instant::now();
        while let Err(error) = verifier.refresh_keys().await {
            let words = &status(verifier).last_error.unwrap().error;
            let is_slow = words.contains("no answer within") && start.elapsed() < PATIENT;
            assert!(is_slow, "{what}, healed: {error}, {words}");
        }
    }

    /// Holds what is said at a path to be good.
    async fn assert_good_answer(&self, path: &str, what: &str, say: Say) {
        self.tell_the_truth();
        self.server.says(path, say);
        let verifier = self.verifier(PATIENT);
        let verdict = verifier.judge(self.token()).await;
        assert!(verdict.is_ok(), "{what}: {verdict:?}, {:?}", status(&verifier).last_error);
    }
}

/// Holds all of these to be no answer, each at an issuer of its own and all at once, since each
/// takes as long as the patience of who asks.
async fn assert_no_answers(cases: impl IntoIterator<Item = (&str, &str, Say, &'static str)>) {
    let mut waiting = JoinSet::new();
    for (path, what, say, words) in cases {
        let (path, what) = (path.to_owned(), what.to_owned());
        waiting.spawn(async move {
            let hostile = Hostile::start().await;
            hostile.assert_no_answer_within(IMPATIENT, &path, &what, say, words).await;
        });
    }
    while let Some(waited) = waiting.join_next().await {
        waited.unwrap();
    }
}

fn ok(body: impl AsRef<[u8]>) -> Say {
    Say::http("200 OK", &[("content-type", "application/json")], body)
}

fn status(verifier: &Verifier) -> IssuerStatus {
    verifier.status().remove(0)
}

/// The reason for the last failure has these words, and is no longer than a few lines of a log.
fn assert_said(verifier: &Verifier, what: &str, words: &str) {
    let error = status(verifier).last_error.expect("a failure").error;
    assert!(error.contains(words), "{what}: {error}");
    assert!(error.len() < 1024, "{what}: {} bytes in the log", error.len());
}

/// With the keys that are there a token is judged at once.
fn assert_still_good(verifier: &Verifier, token: &str, what: &str) {
    let verdict = verifier.judge_now(token);
    assert!(matches!(verdict, Some(Ok(_))), "{what}: {verdict:?}");
    assert_eq!(status(verifier).state, KeyState::Fresh, "{what}");
}
