//! What the targets share: keys, an issuer, verifiers, and a time that stands still.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{
    Issuer, IssuerUrl, KeySource, Verifier,
    clock::ManualClock,
    source::{Fetch, FetchError, FetchFuture, FetchRequest, FetchResponse},
};
use kube_oidc_testing::{SigningAlgorithm, SigningKey};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const AUDIENCE: &str = "orders";
/// The time, in seconds since the epoch.
pub(crate) const NOW: u64 = 1_800_000_000;
/// Namespace and name of the account that a good token is of.
pub(crate) const ACCOUNT: (&str, &str) = ("payments", "checkout");

/// Keys that are new in each process: inputs are signed, and corpora hold what is to be signed.
fn keys() -> &'static [SigningKey; 5] {
    static KEYS: OnceLock<[SigningKey; 5]> = OnceLock::new();
    KEYS.get_or_init(|| {
        [
            (SigningAlgorithm::EdDsa, "fuzz"),
            (SigningAlgorithm::Rs256, "rsa"),
            (SigningAlgorithm::Es256, "p256"),
            (SigningAlgorithm::Es384, "p384"),
            (SigningAlgorithm::Es512, "p521"),
        ]
        .map(|(algorithm, kid)| SigningKey::generate(algorithm).with_kid(kid))
    })
}

/// The key that signs with this.
pub(crate) fn key(algorithm: SigningAlgorithm) -> SigningKey {
    let [ed25519, rsa, p256, p384, p521] = keys();
    match algorithm {
        SigningAlgorithm::EdDsa => ed25519.clone(),
        SigningAlgorithm::Es256 => p256.clone(),
        SigningAlgorithm::Es384 => p384.clone(),
        SigningAlgorithm::Es512 => p521.clone(),
        of_rsa => rsa.clone().with_algorithm(of_rsa),
    }
}

/// All public keys.
pub(crate) fn key_set() -> &'static Value {
    static KEY_SET: OnceLock<Value> = OnceLock::new();
    KEY_SET.get_or_init(|| {
        let mut keys = keys().each_ref().map(SigningKey::jwk);
        // one that does not say for what is for every algorithm of RSA
        keys[1].as_object_mut().expect("an object").remove("alg");
        json!({ "keys": keys })
    })
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

pub(crate) fn issuer_url() -> IssuerUrl {
    ISSUER.parse().expect("an issuer")
}

/// A verifier of tokens by the keys, which remembers tokens or does not.
pub(crate) fn verifier(remembers: bool) -> Verifier {
    let issuer = Issuer::with_key_source(issuer_url(), KeySource::fixed(key_set().to_string()));
    let builder = Verifier::builder(issuer).audience(AUDIENCE).clock(clock());
    let builder = if remembers { builder } else { builder.token_cache(0) };
    builder.build().expect("a verifier")
}

/// A token of these texts, signed with this whatever they say.
pub(crate) fn signed(algorithm: SigningAlgorithm, header: &[u8], payload: &[u8]) -> String {
    let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key(algorithm).sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn good_token_of(algorithm: SigningAlgorithm, (namespace, name): (&str, &str)) -> String {
    let payload = json!({
        "iss": ISSUER, "aud": [AUDIENCE], "exp": NOW + 600, "iat": NOW - 60,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io": {
            "namespace": namespace,
            "serviceaccount": { "name": name, "uid": "1c6e" },
        },
    });
    let header = json!({ "alg": algorithm.name(), "kid": key(algorithm).kid() });
    signed(algorithm, header.to_string().as_bytes(), payload.to_string().as_bytes())
}

/// Good tokens of the account, one for each algorithm.
pub(crate) fn good_tokens() -> &'static [String; 10] {
    static TOKENS: OnceLock<[String; 10]> = OnceLock::new();
    TOKENS.get_or_init(|| SigningAlgorithm::ALL.map(|algorithm| good_token_of(algorithm, ACCOUNT)))
}

/// The one that is cheapest to make and to check.
pub(crate) fn good_token() -> &'static str {
    let [.., ed25519] = good_tokens();
    ed25519
}

/// A good token of another account.
pub(crate) fn token_of_another() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| good_token_of(SigningAlgorithm::EdDsa, ("batch", "nightly")))
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
