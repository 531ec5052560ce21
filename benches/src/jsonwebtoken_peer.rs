//! `jsonwebtoken` with both of its backends in one process.

use std::sync::{
    Once,
    atomic::{AtomicBool, Ordering},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    crypto::{CryptoProvider, aws_lc, rust_crypto},
    decode,
    jwk::Jwk,
};
use kube_oidc_testing::{SigningKey, TestIssuer};
use serde::Deserialize;

use crate::inputs::AUDIENCE;

/// Which of them checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// aws-lc-rs, as we do.
    AwsLc,
    /// The one that is written in Rust alone.
    RustCrypto,
}

static PURE_RUST: AtomicBool = AtomicBool::new(false);

/// A provider for the whole process that asks the backend which is set.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| (aws_lc::DEFAULT_PROVIDER.signer_factory)(algorithm, key),
    verifier_factory: |algorithm, key| {
        let provider = if PURE_RUST.load(Ordering::Relaxed) {
            &rust_crypto::DEFAULT_PROVIDER
        } else {
            &aws_lc::DEFAULT_PROVIDER
        };
        (provider.verifier_factory)(algorithm, key)
    },
    key_utils: jsonwebtoken::crypto::KeyUtils::new_unimplemented(),
};

/// Lets this backend check from now on.
pub fn use_backend(backend: Backend) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| PROVIDER.install_default().expect("the first provider"));
    PURE_RUST.store(backend == Backend::RustCrypto, Ordering::Relaxed);
}

/// The claims of a service account, as one would write them by hand.
#[derive(Debug, Deserialize)]
pub struct Claims {
    /// `iss`.
    pub iss: String,
    /// `sub`.
    pub sub: String,
    /// `aud`.
    pub aud: Vec<String>,
    /// `exp`.
    pub exp: u64,
    /// `iat`.
    pub iat: u64,
    /// `nbf`.
    pub nbf: u64,
    /// `jti`.
    pub jti: Option<String>,
    /// `kubernetes.io`.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
}

/// What stands in `kubernetes.io`.
#[derive(Debug, Deserialize)]
pub struct Kubernetes {
    /// `namespace`.
    pub namespace: String,
    /// `serviceaccount`.
    pub serviceaccount: Object,
    /// `pod`.
    pub pod: Option<Object>,
    /// `node`.
    pub node: Option<Object>,
    /// `warnafter`.
    pub warnafter: Option<u64>,
}

/// A name and a uid.
#[derive(Debug, Deserialize)]
pub struct Object {
    /// `name`.
    pub name: String,
    /// `uid`.
    pub uid: String,
}

/// `decode` with a key and a validation that were prepared before.
pub struct Decoder {
    key: DecodingKey,
    validation: Validation,
}

impl Decoder {
    /// For the tokens of an issuer.
    pub fn of(issuer: &TestIssuer, key: &SigningKey) -> Self {
        let algorithm: Algorithm = key.algorithm().name().parse().expect("a known algorithm");
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer.url()]);
        validation.validate_nbf = true;
        let jwk: Jwk = serde_json::from_value(key.jwk()).expect("a JWK");
        Self { key: DecodingKey::from_jwk(&jwk).expect("a good key"), validation }
    }

    /// Checks a token, which must be good.
    pub fn decode(&self, token: &str) -> Claims {
        decode(token, &self.key, &self.validation).expect("a good token").claims
    }
}
