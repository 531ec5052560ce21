//! `jsonwebtoken` with both of its backends in one process.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::Jwk};
use kube_oidc_testing::{SigningKey, TestIssuer};

use crate::{claims::PodClaims, inputs::AUDIENCE};

/// Which of them checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// aws-lc-rs, as we do.
    AwsLc,
    /// The one that is written in Rust alone.
    RustCrypto,
}

/// Makes a provider for the whole process that asks the backend which is set, and the function
/// that sets it: for each version of `jsonwebtoken` that others use.
macro_rules! both_backends {
    ($version:ident, $utils:ident: $type:ty) => {
        static PURE_RUST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

        static PROVIDER: $version::crypto::CryptoProvider = $version::crypto::CryptoProvider {
            signer_factory: |algorithm, key| {
                ($version::crypto::aws_lc::DEFAULT_PROVIDER.signer_factory)(algorithm, key)
            },
            verifier_factory: |algorithm, key| {
                let provider = if PURE_RUST.load(std::sync::atomic::Ordering::Relaxed) {
                    &$version::crypto::rust_crypto::DEFAULT_PROVIDER
                } else {
                    &$version::crypto::aws_lc::DEFAULT_PROVIDER
                };
                (provider.verifier_factory)(algorithm, key)
            },
            $utils: <$type>::new_unimplemented(),
        };

        /// Lets this backend check from now on.
        pub fn use_backend(backend: $crate::jsonwebtoken_peer::Backend) {
            static INSTALL: std::sync::Once = std::sync::Once::new();
            INSTALL.call_once(|| PROVIDER.install_default().expect("the first provider"));
            let pure_rust = backend == $crate::jsonwebtoken_peer::Backend::RustCrypto;
            PURE_RUST.store(pure_rust, std::sync::atomic::Ordering::Relaxed);
        }
    };
}

pub(crate) use both_backends;

both_backends!(jsonwebtoken, key_utils: jsonwebtoken::crypto::KeyUtils);

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
    pub fn decode(&self, token: &str) -> PodClaims {
        decode(token, &self.key, &self.validation).expect("a good token").claims
    }
}
