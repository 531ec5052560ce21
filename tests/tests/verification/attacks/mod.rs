//! Attacks on tokens by name, each with its source, and the verdict on it.
//!
//! A test first shows that the token without the attack is accepted, and then holds the exact
//! reason: a token that is refused by chance proves nothing. Where the attack is not on the
//! signature the forged token is signed by the issuer's own key.

mod accounts;
mod algorithms;
mod base64url;
mod claims;
pub(crate) mod headers;
mod json;
mod keys;
mod limits;
mod other_tokens;
mod properties;
mod signatures;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use kube_oidc::{Claims, KeySource, Reason, Verifier, VerifierBuilder};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer, TokenBuilder};
use kube_oidc_tests::{Forge, Judge as _, OracleCase, builder_for, fast_issuer, issuer_at_with};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example/id/7";

/// One key of each algorithm for all attacks, in the issuer's hands.
static KEYS: LazyLock<HashMap<SigningAlgorithm, SigningKey>> = LazyLock::new(|| keys_of("the"));

/// As many in the forger's.
static STRANGERS: LazyLock<HashMap<SigningAlgorithm, SigningKey>> =
    LazyLock::new(|| keys_of("another"));

/// Those of RSA have the same numbers, since such a key takes long to find, and a name each.
fn keys_of(whose: &str) -> HashMap<SigningAlgorithm, SigningKey> {
    let rsa = SigningKey::generate(SigningAlgorithm::Rs256);
    let key = |algorithm: SigningAlgorithm| {
        let key = if is_rsa(algorithm) {
            rsa.clone().with_algorithm(algorithm)
        } else {
            SigningKey::generate(algorithm)
        };
        key.with_kid(&format!("{whose}-{}-key", algorithm.name()))
    };
    SigningAlgorithm::ALL.into_iter().map(|algorithm| (algorithm, key(algorithm))).collect()
}

fn is_rsa(algorithm: SigningAlgorithm) -> bool {
    matches!(algorithm.name().as_bytes(), [b'R' | b'P', ..])
}

fn key(algorithm: SigningAlgorithm) -> &'static SigningKey {
    &KEYS[&algorithm]
}

fn stranger(algorithm: SigningAlgorithm) -> &'static SigningKey {
    &STRANGERS[&algorithm]
}

/// Only mints; nobody asks it for keys.
static MINT: LazyLock<TestIssuer> = LazyLock::new(fast_issuer);

/// An ordinary token by this key.
fn token_by(key: &SigningKey) -> TokenBuilder {
    MINT.token()
        .claim("iss", ISSUER)
        .audience("orders")
        .service_account("payments", "checkout")
        .pod("checkout-7d9f8b6c5d-x2x4z")
        .signed_by(key)
}

/// A verifier that was given the keys of one issuer, and the key that signs.
struct Lock {
    verifier: Verifier,
    key: SigningKey,
    /// What others judge by too: nothing where the verifier has settings that they have not.
    key_set: Option<Value>,
}

impl Lock {
    /// With a key of which a signature costs little.
    fn new() -> Self {
        Self::of(SigningAlgorithm::Es256)
    }

    fn of(algorithm: SigningAlgorithm) -> Self {
        Self::with_keys(key(algorithm), &[key(algorithm).jwk()])
    }

    /// With this key to sign, and these in the set.
    fn with_keys(key: &SigningKey, keys: &[Value]) -> Self {
        let key_set = Some(json!({ "keys": keys }));
        Self { key_set, ..Self::built(key, keys, |builder| builder) }
    }

    fn built(
        key: &SigningKey,
        keys: &[Value],
        set: impl FnOnce(VerifierBuilder) -> VerifierBuilder,
    ) -> Self {
        let issuer = issuer_at_with(ISSUER, KeySource::fixed(json!({ "keys": keys }).to_string()));
        let verifier = set(builder_for(issuer)).build().unwrap();
        Self { verifier, key: key.clone(), key_set: None }
    }

    fn token(&self) -> TokenBuilder {
        token_by(&self.key)
    }

    /// An ordinary token to be changed, which is accepted as it is.
    #[track_caller]
    fn forge(&self) -> Forge {
        let token = self.token().mint();
        self.accepts("the token without the attack", &token);
        Forge::new(&token, &self.key)
    }

    #[track_caller]
    fn accepts(&self, what: impl fmt::Debug, token: impl AsRef<[u8]>) {
        // the second time it is remembered
        for _ in 0..2 {
            assert_eq!(verdict(&self.verifier, token.as_ref()), Ok(()), "{what:?}");
        }
        self.export(&what, token.as_ref(), Ok(()));
    }

    #[track_caller]
    fn refuses(&self, what: impl fmt::Debug, token: impl AsRef<[u8]>, reason: Reason) {
        assert_eq!(verdict(&self.verifier, token.as_ref()), Err(reason), "{what:?}");
        self.export(&what, token.as_ref(), Err(reason));
    }

    /// For other implementations: see `oracles/README.md`. A token that is no text is none to them.
    fn export(&self, what: &dyn fmt::Debug, token: &[u8], ours: Result<(), Reason>) {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (Some(key_set), Ok(token)) = (&self.key_set, std::str::from_utf8(token)) else {
            return;
        };
        if !OracleCase::are_exported() {
            return;
        }
        // what separates the parts of a name is no part of it
        let what = format!("{what:?}").replace(['/', '+'], "_");
        let what: String = what.chars().take(80).collect();
        let thread = std::thread::current();
        let test = thread.name().and_then(|name| name.strip_prefix("attacks::")).unwrap_or("?");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        OracleCase {
            name: format!("attacks/{}/{test} {what}/{number}", self.key.algorithm().name()),
            token,
            key_set,
            issuer: ISSUER,
            audience: "orders",
            now: SystemTime::now(),
            ours,
        }
        .export();
    }
}

/// What is said of a token, which is also held against its explanation.
#[track_caller]
fn verdict<C: Claims>(verifier: &Verifier<C>, token: &[u8]) -> Result<(), Reason> {
    match verifier.judge_now(token) {
        Some(verdict) => verdict.map(|_| ()).map_err(|error| error.reason()),
        None => panic!("a set that was given never waits"),
    }
}
