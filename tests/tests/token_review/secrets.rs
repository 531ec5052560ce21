//! No token, and no part of one, is shown by what asks about it, nor the service's own.

use super::*;
use kube_oidc::source::HttpFetcher;

use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{Hidden, Judge as _, Log, builder_for, issuer_via};
use serde_json::json;

/// What an API server says that repeats what it was asked, in every place where it can.
fn echoes(token: &str) -> Vec<MockResponse> {
    let piece = &token[token.len() - 30..];
    let status = |status: &Value| {
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": { "token": token },
            "status": status,
        });
        MockResponse::new(201, review.to_string()).with_header("content-type", "application/json")
    };
    let user = |name: &str| json!({ "username": name, "uid": name });
    vec![
        MockResponse::new(500, token.to_owned()),
        MockResponse::new(403, format!(r#"{{"kind":"Status","code":403,"message":"{token}"}}"#)),
        MockResponse::new(429, token.to_owned()).with_header("warning", token),
        MockResponse::new(302, "").with_header("location", &format!("/elsewhere?{token}")),
        MockResponse::new(200, token.to_owned()),
        MockResponse::new(200, format!("\"{token}\"")),
        MockResponse::new(200, format!(r#"{{"kind":"{token}"}}"#)),
        MockResponse::new(200, format!(r#"{{"status":{{"authenticated":"{token}"}}}}"#)),
        MockResponse::truncated(format!(r#"{{"spec":{{"token":"{token}"#)),
        MockResponse::new(200, token.repeat(1_000)),
        status(&json!({ "error": format!("not a good token: {token}") })),
        status(&json!({ "error": piece })),
        status(&json!({ "error": format!("\u{1b}{piece}") })),
        status(&json!({ "authenticated": true, "user": user(token), "audiences": [token] })),
        status(&json!({ "authenticated": true, "user": user(piece), "audiences": ["orders"] })),
    ]
}

// rule: review-route
#[tokio::test]
async fn nothing_of_a_token_is_shown() {
    let log = Log::catch();
    let own = "own-token-of-the-service-5ecre7";
    let cluster = TestIssuer::builder().tls().algorithm(SigningAlgorithm::Es256).start();
    let clock = clock();
    let trusted = |review: TokenReviewConfig| {
        let fetcher = HttpFetcher::new().with_root_certificates_pem(cluster.ca_pem().as_bytes());
        issuer_via(&cluster, fetcher.unwrap()).with_token_review(review)
    };
    let with_cluster =
        |timeout: Duration| TokenReviewConfig::new(reviewer_as(&cluster, own)).timeout(timeout);
    let verifier = |timeout, every: bool| {
        let builder = builder_for(trusted(with_cluster(timeout)));
        let builder = builder.clock(clock.clone());
        if every { builder.require_token_review() } else { builder }.build().unwrap()
    };
    let mut tokens = Vec::new();
    let mut shown = vec![
        format!("{:?}", reviewer_as(&cluster, own)),
        format!("{:?}", with_cluster(SECOND)),
        format!("{:?}", trusted(with_cluster(SECOND))),
        format!("{:?}", required(&verifier(SECOND, false))),
    ];
    let chatty = |verifier: Verifier| {
        OidcAuthLayer::builder_for(verifier)
            .on_outcome(|outcome, request| tracing::info!(?outcome, ?request, "chatty outcome"))
            .map_rejection(|rejection, request, answer| {
                tracing::info!(?rejection, %rejection, ?request, ?answer, "chatty rejection");
                answer
            })
            .build()
            .unwrap()
    };
    let show = async |request: axum::extract::Request| {
        format!("{:?} {:?}", request.headers(), request.extensions())
    };
    for every in [true, false] {
        // a short time for what hangs, and a long one for all else
        for (timeout, hangs) in [(60 * SECOND, false), (SECOND / 10, true)] {
            let verifier = verifier(timeout, every);
            let app = Router::new()
                .route("/", get(show))
                .route("/reviewed", get(show).layer(required(&verifier)))
                .route("/removed", get(show).layer(required(&verifier)))
                .layer(chatty(verifier.clone()));
            let server = HttpServer::start(app).await;
            let count = if hangs { 1 } else { echoes(&"x".repeat(100)).len() + 2 };
            for index in 0..count {
                // so that reviews are not failing, and each answer is read
                cluster.reset_response(Endpoint::TokenReview);
                let _ = verifier.verify_with_review(minted(&cluster).pod("other").mint()).await;
                let token = minted(&cluster).mint();
                match (hangs, echoes(&token).get(index)) {
                    (true, _) => cluster.respond_with(Endpoint::TokenReview, MockResponse::hang()),
                    (_, Some(answer)) => {
                        cluster.respond_with(Endpoint::TokenReview, answer.clone());
                    }
                    _ => cluster.reset_response(Endpoint::TokenReview),
                }
                if index == count - 1 {
                    cluster.delete_pod("checkout-7f9c");
                }
                for path in ["/", "/reviewed"] {
                    let answered = ask(&server, path, &token).await;
                    shown.push(format!("{answered:?}"));
                }
                match verifier.verify_with_review(&token).await {
                    Ok(caller) => shown.push(format!("{caller:?}")),
                    Err(error) => shown.push(format!("{error} {error:?} {:?}", error.reason())),
                }
                shown.push(format!(
                    "{verifier:?} {} {:?}",
                    verifier.explain(&token),
                    verifier.status()
                ));
                if every && !hangs {
                    let _ = verifier.judge(&token).await;
                }
                tokens.push(token);
            }
        }
    }
    let (log, shown, hidden) = (log.text(), shown.join("\n"), Hidden::of(&tokens));
    for (what, text) in [("what was shown", &shown), ("the log", &log)] {
        hidden.assert_hidden_in(what, text);
        let found: Vec<_> = text.lines().filter(|line| line.contains(own)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
    // so it was looked for where these were logged
    for told in ["chatty rejection", "review_mismatch", "review_denied"] {
        assert!(log.contains(told), "{told}");
    }
}
