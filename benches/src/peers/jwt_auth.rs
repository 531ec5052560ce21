//! `axum-jwt-auth`: an extractor, with `jsonwebtoken` 10 inside, of either backend.

use std::sync::Arc;

use axum::{Router, extract::FromRef, routing::get};
use axum_jwt_auth::{Claims, Decoder, RemoteJwksDecoder};
use jsonwebtoken10::{Algorithm, Validation};
use kube_oidc_testing::TestIssuer;

use crate::{claims::PodClaims, inputs::AUDIENCE, jsonwebtoken_peer::both_backends, layers::hello};

both_backends!(jsonwebtoken10, jwk_utils: jsonwebtoken10::crypto::JwkUtils);

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
