//! One round in which everything that is counted or measured happens.

use std::time::{Duration, SystemTime};

use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey};

use crate::deployment::Deployment;

const HOUR: Duration = Duration::from_secs(3600);

/// Each status is as expected.
pub(crate) async fn happens(deployment: &Deployment) {
    keys(deployment).await;
    requests(deployment).await;
    reviews(deployment).await;
    // explained, and not counted: nothing in what follows is different for it
    for token in bad(deployment) {
        assert!(!deployment.verifier.explain(token).is_accepted());
    }
    assert!(deployment.verifier.explain(deployment.good().mint()).is_accepted());
}

/// A set, none, and the same set: the next fetch is not due before the clock is turned.
async fn keys(deployment: &Deployment) {
    let Deployment { issuer, verifier, .. } = deployment;
    assert_eq!(deployment.ask("/whoami", Some(&deployment.good().mint())).await, 200);
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    verifier.refresh_keys().await.unwrap_err();
    issuer.reset_response(Endpoint::Jwks);
    for _ in 0..2 {
        verifier.refresh_keys().await.unwrap();
    }
}

async fn requests(deployment: &Deployment) {
    let good = deployment.good().pod("known").mint();
    for _ in 0..3 {
        assert_eq!(deployment.ask("/whoami", Some(&good)).await, 200);
    }
    assert_eq!(deployment.ask("/whoami", None).await, 401);
    assert_eq!(deployment.ask("/open", Some("whatever")).await, 200);
    assert_eq!(deployment.ask("/optional", None).await, 200);
    for token in bad(deployment) {
        assert_eq!(deployment.ask("/whoami", Some(&token)).await, 401);
        assert_eq!(deployment.ask("/report", Some(&token)).await, 200);
    }
    let other = deployment.good().service_account("batch", "nightly").mint();
    assert_eq!(deployment.ask("/policy", Some(&good)).await, 200);
    assert_eq!(deployment.ask("/policy", Some(&other)).await, 403);
    assert_eq!(deployment.ask("/report/policy", Some(&other)).await, 200);
    assert_eq!(deployment.ask("/nobody/policy", Some(&good)).await, 500);

    let year = 365 * 24 * HOUR;
    let old = deployment.good().warn_after(SystemTime::now() - HOUR).expires_in(year).mint();
    let for_all = deployment.good().audience("https://kubernetes.default.svc").mint();
    for _ in 0..2 {
        assert_eq!(deployment.ask("/whoami", Some(&old)).await, 200);
    }
    assert_eq!(deployment.ask("/whoami", Some(&for_all)).await, 200);
}

/// Expired, for somebody else, forged, by a key that the issuer has not.
fn bad(deployment: &Deployment) -> [String; 4] {
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    [
        deployment.good().expired().mint(),
        deployment.issuer.token().audience("vault").mint(),
        deployment.good().forged_by(&stranger).mint(),
        deployment.good().signed_by(&stranger).mint(),
    ]
}

async fn reviews(deployment: &Deployment) {
    let good = deployment.good().pod("alive").mint();
    for _ in 0..2 {
        assert_eq!(deployment.ask("/reviewed", Some(&good)).await, 200);
    }
    deployment.issuer.delete_pod("dead");
    assert_eq!(deployment.ask("/reviewed", Some(&deployment.good().pod("dead").mint())).await, 401);
    assert_eq!(deployment.ask("/optional/reviewed", None).await, 401);
    deployment.issuer.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    assert_eq!(
        deployment.ask("/reviewed", Some(&deployment.good().pod("unknown").mint())).await,
        503
    );
    deployment.issuer.reset_response(Endpoint::TokenReview);
}
