//! One round in which everything that is counted or measured happens.

use std::time::{Duration, SystemTime};

use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey};

use crate::world::World;

const HOUR: Duration = Duration::from_secs(3600);

/// Each status is as expected.
pub(crate) async fn happens(world: &World) {
    keys(world).await;
    requests(world).await;
    reviews(world).await;
    // explained, and not counted: nothing in what follows is different for it
    for token in bad(world) {
        assert!(!world.verifier.explain(token).is_accepted());
    }
    assert!(world.verifier.explain(world.good().mint()).is_accepted());
}

/// A set, none, and the same set: the next fetch is not due before the clock is turned.
async fn keys(world: &World) {
    let World { issuer, verifier, .. } = world;
    assert_eq!(world.ask("/whoami", Some(&world.good().mint())).await, 200);
    issuer.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    verifier.refresh_keys().await.unwrap_err();
    issuer.reset_response(Endpoint::Jwks);
    for _ in 0..2 {
        verifier.refresh_keys().await.unwrap();
    }
}

async fn requests(world: &World) {
    let good = world.good().pod("known").mint();
    for _ in 0..3 {
        assert_eq!(world.ask("/whoami", Some(&good)).await, 200);
    }
    assert_eq!(world.ask("/whoami", None).await, 401);
    assert_eq!(world.ask("/open", Some("whatever")).await, 200);
    assert_eq!(world.ask("/optional", None).await, 200);
    for token in bad(world) {
        assert_eq!(world.ask("/whoami", Some(&token)).await, 401);
        assert_eq!(world.ask("/report", Some(&token)).await, 200);
    }
    let other = world.good().service_account("batch", "nightly").mint();
    assert_eq!(world.ask("/policy", Some(&good)).await, 200);
    assert_eq!(world.ask("/policy", Some(&other)).await, 403);
    assert_eq!(world.ask("/report/policy", Some(&other)).await, 200);
    assert_eq!(world.ask("/nobody/policy", Some(&good)).await, 500);

    let year = 365 * 24 * HOUR;
    let old = world.good().warn_after(SystemTime::now() - HOUR).expires_in(year).mint();
    let for_all = world.good().audience("https://kubernetes.default.svc").mint();
    for _ in 0..2 {
        assert_eq!(world.ask("/whoami", Some(&old)).await, 200);
    }
    assert_eq!(world.ask("/whoami", Some(&for_all)).await, 200);
}

/// Expired, for somebody else, forged, by a key that the issuer has not.
fn bad(world: &World) -> [String; 4] {
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    [
        world.good().expired().mint(),
        world.issuer.token().audience("vault").mint(),
        world.good().forged_by(&stranger).mint(),
        world.good().signed_by(&stranger).mint(),
    ]
}

async fn reviews(world: &World) {
    let good = world.good().pod("alive").mint();
    for _ in 0..2 {
        assert_eq!(world.ask("/reviewed", Some(&good)).await, 200);
    }
    world.issuer.delete_pod("dead");
    assert_eq!(world.ask("/reviewed", Some(&world.good().pod("dead").mint())).await, 401);
    assert_eq!(world.ask("/optional/reviewed", None).await, 401);
    world.issuer.respond_with(Endpoint::TokenReview, MockResponse::new(500, ""));
    assert_eq!(world.ask("/reviewed", Some(&world.good().pod("unknown").mint())).await, 503);
    world.issuer.reset_response(Endpoint::TokenReview);
}
