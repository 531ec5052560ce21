//! No token, and no part of one, is in a log, an answer or a `Debug` text.

mod everywhere;
mod hidden;
mod urls;

use axum::{Router, routing::get};
use http::header::AUTHORIZATION;
use kube_oidc::source::HttpFetcher;
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{Hidden, HttpServer, Log, http_client, issuer_via};
use tower_kube_oidc::{Caller, Issuer, OidcAuthLayer};

// rule: logs-without-tokens
#[tokio::test]
async fn nothing_of_a_token_is_shown() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    let secret = "token-for-fetching-keys-5ecre7";
    issuer.require_bearer_token(secret);
    let trusted = issuer_via(&issuer, HttpFetcher::new().with_bearer_token(secret).unwrap());
    let verifier = kube_oidc_tests::verifier_for(trusted);
    let handler = |Caller(who): Caller| async move { format!("{who:?}") };
    let app = Router::new().route("/", get(handler)).layer(OidcAuthLayer::from(verifier));
    let server = HttpServer::start(app).await;

    let minted = || issuer.token().audience("orders").claim("x", "private-value-of-a-claim");
    let stranger = SigningKey::generate(SigningAlgorithm::EdDsa).with_kid("kid-nobody-knows");
    let tokens = [
        minted().mint(),
        minted().expired().mint(),
        minted().claim("aud", "private-audience-unverified").signature("x").mint(),
        minted().claim("iss", "https://private-issuer.example").mint(),
        minted().signed_by(&stranger).mint(),
        minted().header("alg", "private-algorithm").mint(),
        minted().header("typ", "private-type").mint(),
        minted().claim("nbf", "private-not-before").mint(),
        minted().claim("sub", "private-subject").mint(),
        minted().payload_text(r#"{"private-json":"#).mint(),
        minted().header_text(r#"{"private-json":"#).mint(),
        format!("{}.private", minted().mint()),
    ];
    let client = http_client();
    let mut answers = Vec::new();
    for token in &tokens {
        for scheme in ["Bearer", "Bearer x", "Basic"] {
            let request =
                client.get(server.url()).header(AUTHORIZATION, format!("{scheme} {token}"));
            let response = request.send().await.unwrap();
            let headers = format!("{:?}", response.headers());
            answers.push((headers, response.text().await.unwrap()));
        }
    }
    let log = log.text();
    let hidden = Hidden::of(&tokens);
    hidden.assert_hidden_in("the log", &log);
    for (headers, body) in &answers {
        hidden.assert_hidden_in("an answer's headers", headers);
        hidden.assert_hidden_in("an answer's body", body);
    }
    // a value of a token of which nothing was verified
    for value in ["private-", "kid-nobody-knows", secret] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(value)).collect();
        assert!(lines.is_empty(), "{value}: {lines:?}");
    }
    // so it was looked for in a log that says why these tokens were refused
    for reason in ["expired", "unknown_issuer", "unknown_key", "algorithm", "type", "malformed"] {
        assert!(log.contains(&format!("reason=\"{reason}\"")), "{reason}");
    }
}
