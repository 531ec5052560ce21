//! `axum-jwt-auth`: an extractor, with `jsonwebtoken` 10 inside, of either backend.

use std::sync::{
    Arc, Once,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, extract::FromRef, routing::get};
use axum_jwt_auth::{Claims, Decoder, RemoteJwksDecoder};
use jsonwebtoken10::{
    Algorithm, Validation,
    crypto::{CryptoProvider, JwkUtils, aws_lc, rust_crypto},
};
use kube_oidc_testing::TestIssuer;

use super::PodClaims;
use crate::{inputs::AUDIENCE, jsonwebtoken_peer::Backend, layers::hello};

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
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Lets this backend of `jsonwebtoken` 10 check from now on.
pub fn use_backend(backend: Backend) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| PROVIDER.install_default().expect("the first provider"));
    PURE_RUST.store(backend == Backend::RustCrypto, Ordering::Relaxed);
}

#[derive(Clone, FromRef)]
struct App {
    decoder: Decoder<PodClaims>,
}

/// A router whose handler has the extractor. The key set is fetched before this returns.
pub async fn router(issuer: &TestIssuer) -> Router {
    async fn handler(user: Claims<PodClaims>) -> &'static str {
        hello(&user.claims.kubernetes.namespace)
    }
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer.url()]);
    let decoder = RemoteJwksDecoder::builder()
        .jwks_url(issuer.jwks_uri().to_owned())
        .validation(validation)
        .build()
        .expect("a good decoder");
    decoder.initialize().await.expect("the key set");
    Router::new().route("/", get(handler)).with_state(App { decoder: Arc::new(decoder) })
}
