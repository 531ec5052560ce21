//! A caller as the API server would call it, beside what one really answered.

use std::{collections::BTreeMap, time::SystemTime};

use kube_oidc::{
    Issuer, KeySource, ServiceAccountClaims, UserInfo, Verified, Verifier, clock::ManualClock,
};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{
    CAPTURED_TOKENS, Capture, CapturedToken, Judge as _, fixture, issuer_at_with, issuer_for,
    pinned_time, token_for, verifier_for,
};
use serde_json::{Value, json};

/// As a `TokenReview` has it.
fn as_json(user: &UserInfo) -> Value {
    let mut json = json!({ "username": user.username, "uid": user.uid, "groups": user.groups });
    if !user.extra.is_empty() {
        json["extra"] = json!(user.extra);
    }
    json
}

async fn verify(token: &str, issuer: Issuer, audience: &str) -> Verified {
    verify_at(token, issuer, audience, pinned_time()).await
}

async fn verify_at(token: &str, issuer: Issuer, audience: &str, time: SystemTime) -> Verified {
    let verifier = Verifier::builder(issuer).audience(audience);
    let verifier = verifier.clock(ManualClock::at(time)).build().unwrap();
    verifier.judge(token).await.unwrap()
}

fn captured() -> Issuer {
    let keys = Capture::read("jwks.http").body;
    issuer_at_with("https://127.0.0.1:26443", KeySource::fixed(keys))
}

#[tokio::test]
async fn user_info_of_each_captured_token_equals_the_response_of_its_api_server() {
    let authenticated = |case: &CapturedToken| {
        let status = case.review()?["status"].clone();
        (status["authenticated"] == true).then_some(status)
    };
    let mut compared = 0;
    for case in &CAPTURED_TOKENS {
        let Some(status) = authenticated(case) else { continue };
        let issuer = issuer_at_with(case.issuer(), KeySource::fixed(case.key_set()));
        let caller = verify_at(&case.jwt(), issuer, &case.audience(), case.pinned_time()).await;
        assert_eq!(as_json(&caller.user_info()), status["user"], "{}", case.name());
        assert_eq!(caller.user_info().cluster, None);
        compared += 1;
    }
    assert_eq!(compared, 9);
}

#[tokio::test]
async fn newer_servers_say_more() {
    let issuer = TestIssuer::start();
    let token =
        token_for(&issuer).pod("checkout-7f9c").node("node-1").claim("jti", "0c8f7f0e").mint();
    let trusted = issuer_for(&issuer);
    let verifier = verifier_for(trusted);
    let caller = verifier.judge(&token).await.unwrap();
    let (pod, node) = (caller.pod().unwrap().uid(), caller.node().unwrap().uid().unwrap());
    let expected = [
        ("pod-name", "checkout-7f9c"),
        ("pod-uid", pod),
        ("node-name", "node-1"),
        ("node-uid", node),
        ("credential-id", "JTI=0c8f7f0e"),
    ];
    let expected: BTreeMap<String, Vec<String>> = expected
        .map(|(name, value)| {
            (format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()])
        })
        .into();
    assert_eq!(caller.user_info().extra, expected);
}

// rule: cluster-names
#[tokio::test]
async fn a_prefix_tells_clusters_apart() {
    let blue = captured().with_cluster("blue").with_user_prefix("blue:");
    let user = verify(&fixture("pod-bound.jwt"), blue, "orders").await.user_info();
    assert_eq!(user.username, "blue:system:serviceaccount:payments:checkout");
    assert_eq!(
        user.groups,
        [
            "blue:system:serviceaccounts",
            "blue:system:serviceaccounts:payments",
            "system:authenticated"
        ]
    );
    assert_eq!(user.cluster.as_deref(), Some("blue"));
}

#[test]
fn it_is_there_for_unit_tests() {
    let claims = ServiceAccountClaims::for_test("payments", "checkout");
    let user = Verified::dangerous_without_verification(claims).user_info();
    assert_eq!(user.username, "system:serviceaccount:payments:checkout");
}
