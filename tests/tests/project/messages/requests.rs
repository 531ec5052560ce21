//! Requests to a protected service.

use axum::{Router, body::Body, extract::Request, routing::get};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{Log, issuer_for, verifier_for};
use tower::ServiceExt as _;
use tower_kube_oidc::OidcAuthLayer;
use tracing::Instrument as _;

use super::Case;

pub(super) async fn cases() -> Vec<Case> {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let trusted = issuer_for(&issuer);
    let verifier = verifier_for(trusted);
    let app = Router::new().route("/", get(async || "hello")).layer(OidcAuthLayer::from(verifier));
    let token = issuer.token().audience("orders").mint();
    let mut cases = Vec::new();
    for (input, value, words) in [
        ("a bare token", token.clone(), ["Authorization", "without the Bearer scheme", "Bearer <"]),
        ("Token", format!("Token {token}"), ["scheme=\"Token\"", "without the Bearer", "Bearer <"]),
        ("JWT", format!("JWT {token}"), ["scheme=\"JWT\"", "without the Bearer", "Bearer <"]),
        ("two tokens", format!("Bearer {token}, x"), ["refused", "invalid_request", "Bearer"]),
    ] {
        let span = tracing::info_span!("message", input);
        let request = Request::get("/").header("authorization", value).body(Body::empty()).unwrap();
        app.clone().oneshot(request).instrument(span).await.unwrap();
        let line = log.lines_with(&[" INFO ", &format!("message{{input={input:?}}}")]);
        cases.push(Case { input, message: line.join("\n"), words, secrets: parts(&token) });
    }
    cases
}

/// The parts of a token.
fn parts(token: &str) -> Vec<String> {
    token.split('.').map(str::to_owned).collect()
}
