//! What the targets share: a key, an issuer, verifiers, and a time that stands still.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{
    Issuer, IssuerUrl, Verifier,
    clock::ManualClock,
    source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::json;

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "orders";
/// Of the only key.
pub(crate) const KID: &str = "fuzz";
/// The time, in seconds since the epoch.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A key that is new in each process: inputs are signed, and corpora hold what is to be signed.
pub(crate) fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate(SigningAlgorithm::EdDsa).with_kid(KID))
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

pub(crate) fn issuer_url() -> IssuerUrl {
    ISSUER.parse().expect("an issuer")
}

pub(crate) fn key_set() -> String {
    json!({ "keys": [key().jwk()] }).to_string()
}

/// A verifier of tokens by the key, which remembers tokens or does not.
pub(crate) fn verifier(remembers: bool) -> Verifier {
    let issuer = Issuer::new(issuer_url()).with_key_set(key_set());
    let builder = Verifier::builder(issuer).audience(AUDIENCE).clock(clock());
    let builder = if remembers { builder } else { builder.token_cache(0) };
    builder.build().expect("a verifier")
}

/// A token of these texts, signed as it should be.
pub(crate) fn signed(header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key().sign(input.as_bytes()));
    format!("{input}.{signature}")
}

/// A token that is good.
pub(crate) fn good_token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| {
        let payload = json!({
            "iss": ISSUER, "aud": [AUDIENCE], "exp": NOW + 600, "iat": NOW - 60,
            "sub": "system:serviceaccount:payments:checkout",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "1c6e" },
            },
        });
        let header = json!({ "alg": "EdDSA", "kid": KID });
        signed(header.to_string().as_bytes(), payload.to_string().as_bytes())
    })
}

/// An issuer in memory, which answers from a table of paths and keeps what it was asked for.
#[derive(Debug)]
pub(crate) struct Table {
    answers: Vec<(&'static str, FetchResponse)>,
    asked: Mutex<Vec<String>>,
}

impl Table {
    pub(crate) fn new(answers: Vec<(&'static str, FetchResponse)>) -> Arc<Self> {
        Arc::new(Self { answers, asked: Mutex::default() })
    }

    /// The URLs that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic before").clone()
    }
}

impl Fetch for Table {
    fn fetch(&self, request: FetchRequest) -> FetchFuture<'_> {
        Box::pin(async move {
            self.asked.lock().expect("no panic before").push(request.url().to_owned());
            let answer = self.answers.iter().find(|(url, _)| *url == request.url());
            answer.map(|(_, answer)| answer.clone()).ok_or_else(|| FetchError::new("no such URL"))
        })
    }
}

/// Runs what has to wait; nothing in memory waits for long.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}
