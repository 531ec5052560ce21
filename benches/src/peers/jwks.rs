//! `axum-jwks`: an extractor, with `jsonwebtoken` 9 and ring inside.

use std::sync::Arc;

use axum::{Router, extract::FromRef, routing::get};
use axum_jwks::{Claims, Jwks, ParseTokenClaims, TokenError};
use http::StatusCode;
use kube_oidc_testing::TestIssuer;

use crate::claims::PodClaims;
use crate::{inputs::AUDIENCE, layers::hello};

#[derive(Clone, FromRef)]
struct App {
    jwks: Jwks,
}

impl ParseTokenClaims for PodClaims {
    type Rejection = TokenError;
}

/// A router whose handler has the extractor. The key set is fetched before this returns.
///
/// The crate does not look at `iss`, so the handler does.
pub async fn router(issuer: &TestIssuer) -> Router {
    let expected: Arc<str> = issuer.url().into();
    let handler = async move |Claims(claims): Claims<PodClaims>| {
        if claims.iss == *expected {
            Ok(hello(&claims.kubernetes.namespace))
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    };
    let discovery = format!("{}/.well-known/openid-configuration", issuer.url());
    let jwks = Jwks::from_oidc_url(&discovery, Some(AUDIENCE)).await.expect("the key set");
    Router::new().route("/", get(handler)).with_state(App { jwks })
}
