//! What a real kube-apiserver answered, sent by one that has a certificate, and asked by kube's
//! client.

use super::*;
use kube_oidc::{KeySource, Reason};
use kube_oidc_testing::{Endpoint, MockResponse};
use kube_oidc_tests::{
    CAPTURED_TOKENS, Capture, CapturedToken, Judge as _, builder_for, decoded, fast_issuer,
    fixture, issuer_at_with, pinned_time,
};
use serde_json::json;

/// Where the captured server said it was.
const SERVER: &str = "https://127.0.0.1:26443";

/// An API server that answers with a capture, and the token that the capture is about.
fn capture(name: &str) -> (TestIssuer, String) {
    let api_server = TestIssuer::builder().tls().start();
    let name = format!("{name}.tokenreview.json");
    api_server.respond_with(Endpoint::TokenReview, MockResponse::new(201, fixture(&name)));
    let token = decoded(&name)["spec"]["token"].as_str().unwrap().to_owned();
    (api_server, token)
}

/// A verifier that knows the keys of a captured token, and asks this API server about every token.
fn verifier_of(case: &CapturedToken, api_server: &TestIssuer, audience: &str) -> Verifier {
    let issuer = issuer_at_with(case.issuer(), KeySource::fixed(case.key_set()))
        .with_token_review(review(reviewer_as(api_server, "token-of-the-service")));
    Verifier::builder(issuer)
        .audience(audience)
        .clock(ManualClock::at(case.pinned_time()))
        .require_token_review()
        .build()
        .unwrap()
}

/// The same for the first captured tokens.
fn verifier(api_server: &TestIssuer, audience: &str) -> Verifier {
    verifier_of(&CAPTURED_TOKENS[0], api_server, audience)
}

async fn verdict(api_server: &TestIssuer, audience: &str, token: &str) -> Result<String, Reason> {
    let verdict = verifier(api_server, audience).judge(token).await;
    verdict.map(|who| who.subject().to_owned()).map_err(|error| error.reason())
}

const CHECKOUT: &str = "system:serviceaccount:payments:checkout";

#[tokio::test]
async fn what_it_takes_is_accepted() {
    for (name, audience) in [("valid-pod", "orders"), ("valid-plain", SERVER)] {
        let (api_server, token) = capture(name);
        let verdict = verdict(&api_server, audience, &token).await;
        assert_eq!(verdict.as_deref(), Ok(CHECKOUT), "{name}");
        assert_eq!(api_server.token_reviews(), 1);
    }
}

#[tokio::test]
async fn each_captured_token_has_the_verdict_of_its_api_server() {
    let mut reviewed = 0;
    for case in &CAPTURED_TOKENS {
        let Some(review) = case.review() else { continue };
        let api_server = TestIssuer::builder().tls().start();
        api_server.respond_with(Endpoint::TokenReview, MockResponse::new(201, review.to_string()));
        let audience = review["spec"]["audiences"][0].as_str().map(str::to_owned);
        let verifier = verifier_of(case, &api_server, &audience.unwrap_or(case.audience()));
        let verdict = verifier.judge(case.jwt()).await.map_err(|error| error.reason());
        let subject = verdict.map(|caller| caller.subject().to_owned());
        let authenticated = review["status"]["authenticated"] == true;
        let expected = authenticated.then_some(CHECKOUT).ok_or(&Reason::ReviewDenied);
        assert_eq!(subject.as_deref(), expected, "{}", case.name());
        assert_eq!(api_server.token_reviews(), 1);
        reviewed += 1;
    }
    assert_eq!(reviewed, 10);
}

// rule: review-interval
#[tokio::test]
async fn a_deleted_pod_is_refused_though_its_signature_is_good() {
    let (api_server, token) = capture("deleted-pod");
    assert_eq!(verdict(&api_server, "orders", &token).await, Err(Reason::ReviewDenied));
    assert_eq!(api_server.token_reviews(), 1);
    let error = verifier(&api_server, "orders").judge(&token).await.unwrap_err().to_string();
    assert!(error.ends_with("the API server rejects it in a token review"), "{error}");
}

#[tokio::test]
async fn another_audience_is_refused_by_whoever_looks_at_it() {
    let (api_server, token) = capture("wrong-audience");
    // by the claims, so that nobody need be asked
    assert_eq!(verdict(&api_server, "orders", &token).await, Err(Reason::Audience));
    assert_eq!(api_server.token_reviews(), 0);
    // and by the API server, had we wanted that audience and it not
    assert_eq!(verdict(&api_server, "vault", &token).await, Err(Reason::ReviewDenied));

    let case =
        CAPTURED_TOKENS.iter().find(|case| case.name() == "kube-apiserver-1.36/two-audiences");
    let case = case.unwrap();
    let review = fixture("kube-apiserver-1.36/pod-bound.wrong-audience.tokenreview.json");
    api_server.respond_with(Endpoint::TokenReview, MockResponse::new(201, review));
    let verdict = verifier_of(case, &api_server, "vault").judge(case.jwt()).await;
    assert_eq!(verdict.unwrap_err().reason(), Reason::ReviewDenied);
}

#[tokio::test]
async fn an_answer_for_another_audience_or_token_confirms_nothing() {
    let (api_server, _) = capture("valid-plain");
    let (_, for_orders) = capture("valid-pod");
    // the same user, and an audience of which nobody spoke
    assert_eq!(verdict(&api_server, "orders", &for_orders).await, Err(Reason::ReviewMismatch));
}

// rule: review-interval
#[tokio::test]
async fn it_is_sent_a_token_review_with_our_audiences_and_our_own_token() {
    let (api_server, token) = capture("valid-pod");
    api_server.require_bearer_token("token-of-the-service");
    assert_eq!(verdict(&api_server, "orders", &token).await.as_deref(), Ok(CHECKOUT));

    let request = api_server.received_requests().pop().unwrap();
    assert_eq!(request.path, REVIEWS);
    assert_eq!(request.header("authorization"), Some("Bearer token-of-the-service"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    // so that no answer is larger than what is read of it
    assert_eq!(request.header("accept-encoding"), None);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let spec = json!({ "token": token, "audiences": ["orders"] });
    assert_eq!(
        (&body["kind"], &body["apiVersion"]),
        (&json!("TokenReview"), &json!("authentication.k8s.io/v1"))
    );
    assert_eq!(body["spec"], spec);
    assert_eq!(body["status"], Value::Null);
    // the token is in the body, and nowhere else
    let headers = format!("{:?}", request.headers);
    assert!(token.split('.').all(|part| !headers.contains(part)));
}

#[tokio::test]
async fn all_of_our_audiences_are_sent() {
    let (cluster, clock) = (fast_issuer(), clock());
    let verifier = builder(&cluster, review(reviewer(&cluster)), &clock)
        .add_audience("refunds")
        .require_token_review()
        .build()
        .unwrap();
    verifier.judge(minted(&cluster).mint()).await.unwrap();
    let spec = &sent(&cluster)[0]["spec"];
    assert_eq!(spec["audiences"], json!(["orders", "refunds"]));
}

#[tokio::test]
async fn an_api_server_of_another_authority_is_sent_nothing() {
    let (api_server, token) = capture("valid-pod");
    let (other, _) = capture("valid-pod");
    let mut config = Config::new(api_server.base_url().parse().unwrap());
    let pem = other.ca_pem().lines().filter(|line| !line.starts_with('-')).collect::<String>();
    config.root_cert = Some(vec![BASE64_STANDARD.decode(pem).unwrap()]);
    let issuer = issuer_at_with(SERVER, KeySource::fixed(Capture::read("jwks.http").body))
        .with_token_review(review(KubeReviewer::from_config(config).unwrap()));
    let verifier = builder_for(issuer)
        .clock(ManualClock::at(pinned_time()))
        .require_token_review()
        .build()
        .unwrap();
    let reason = verifier.judge(&token).await.unwrap_err().reason();
    assert_eq!(reason, Reason::ReviewUnavailable);
    assert!(api_server.received_requests().is_empty());
}

#[tokio::test]
async fn a_token_of_ours_that_the_api_server_refuses_accepts_nobody() {
    for ours in ["token-of-another", ""] {
        let (api_server, token) = capture("valid-pod");
        api_server.require_bearer_token(ours);
        assert_eq!(verdict(&api_server, "orders", &token).await, Err(Reason::ReviewUnavailable));
    }
}
