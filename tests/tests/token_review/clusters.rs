//! Several clusters in one verifier: each API server sees the tokens of its own cluster.

use super::*;
use kube_oidc::{BuildError, KeySource, Reason, source::HttpFetcher};
use kube_oidc_testing::{Endpoint, MockResponse, SigningKey};
use kube_oidc_tests::{Judge as _, builder_for, fast_issuer, issuer_at_with, issuer_for};

/// The name that clusters share which were set up with the API server's own.
const SHARED: &str = "https://kubernetes.default.svc.cluster.local";

fn sharing() -> TestIssuer {
    TestIssuer::builder().tls().algorithm(SigningAlgorithm::Es256).origin(SHARED).start()
}

fn named(cluster: &TestIssuer, name: &'static str) -> Issuer {
    issuer_for(cluster).with_cluster(name)
}

fn reviewed(cluster: &TestIssuer, name: &'static str) -> Issuer {
    named(cluster, name).with_token_review(review(reviewer(cluster)))
}

/// One that has its name in common with others, and keys of its own.
fn reviewed_sharing(cluster: &TestIssuer, name: &'static str) -> Issuer {
    issuer_at_with(
        SHARED,
        KeySource::jwks(cluster.jwks_uri().replace(SHARED, cluster.base_url())).via(
            HttpFetcher::new().with_root_certificates_pem(cluster.ca_pem().as_bytes()).unwrap(),
        ),
    )
    .with_cluster(name)
    .with_token_review(review(reviewer_as(cluster, name)))
}

async fn verdict(verifier: &Verifier, token: &str) -> Result<String, Reason> {
    let verdict = verifier.judge(token).await;
    verdict.map(|who| who.cluster().unwrap().to_owned()).map_err(|error| error.reason())
}

/// Nobody's API server was asked about a token that is not on its list.
fn assert_asked(cluster: &TestIssuer, tokens: &[&String]) {
    let mut asked = asked_about(cluster);
    let mut expected: Vec<String> = tokens.iter().map(|token| (*token).clone()).collect();
    asked.sort();
    expected.sort();
    assert_eq!(asked, expected);
}

// rule: review-scope
#[tokio::test]
async fn no_token_reaches_the_api_server_of_another_cluster() {
    let (blue, green) = (fast_issuer(), fast_issuer());
    let verifier = builder_for(reviewed(&blue, "blue"))
        .add_issuer(reviewed(&green, "green"))
        .require_token_review()
        .build()
        .unwrap();
    let (of_blue, of_green) = (minted(&blue).mint(), minted(&green).mint());
    for _ in 0..2 {
        assert_eq!(verdict(&verifier, &of_blue).await, Ok("blue".to_owned()));
        assert_eq!(verdict(&verifier, &of_green).await, Ok("green".to_owned()));
    }
    // tokens that say they are of one, and that the other signed
    for (says, key) in [(&blue, green.signing_key()), (&green, blue.signing_key())] {
        let named_so = key.clone().with_kid(says.signing_key().kid());
        for key in [key, named_so] {
            let crossed = minted(says).signed_by(&key).mint();
            assert!(verdict(&verifier, &crossed).await.is_err());
        }
    }
    assert_asked(&blue, &[&of_blue]);
    assert_asked(&green, &[&of_green]);
    // what is deleted in one is there in the other, by the same names
    blue.delete_service_account("payments", "checkout");
    let (of_blue_too, of_green_too) = (minted(&blue).mint(), minted(&green).mint());
    assert_eq!(verdict(&verifier, &of_blue_too).await, Err(Reason::ReviewDenied));
    assert_eq!(verdict(&verifier, &of_green_too).await, Ok("green".to_owned()));
}

// rule: review-scope
#[tokio::test]
async fn clusters_of_one_issuer_string_are_told_apart_by_their_keys() {
    let (blue, green) = (sharing(), sharing());
    for cluster in [&blue, &green] {
        // and not even by the names of the keys
        cluster.rotate_to(SigningKey::generate(SigningAlgorithm::Es256).with_kid("one"));
    }
    let (of_blue, of_green) = (minted(&blue).mint(), minted(&green).mint());
    for (first, second) in [(&of_blue, &of_green), (&of_green, &of_blue)] {
        let verifier = builder_for(reviewed_sharing(&blue, "blue"))
            .add_issuer(reviewed_sharing(&green, "green"))
            .require_token_review()
            .build()
            .unwrap();
        for token in [first, second, first, second] {
            let expected = if token == &of_blue { "blue" } else { "green" };
            assert_eq!(verdict(&verifier, token).await, Ok(expected.to_owned()));
        }
    }
    assert_asked(&blue, &[&of_blue, &of_blue]);
    assert_asked(&green, &[&of_green, &of_green]);
    // nor does the one send the service's token for the other
    for (cluster, token) in [(&blue, "Bearer blue"), (&green, "Bearer green")] {
        let sent =
            cluster.received_requests().into_iter().filter(|request| request.path == REVIEWS);
        assert!(sent.into_iter().all(|request| request.header("authorization") == Some(token)));
    }
}

#[tokio::test]
async fn one_whose_api_server_is_away_does_not_touch_the_other() {
    let (blue, green) = (fast_issuer(), fast_issuer());
    let verifier = builder_for(reviewed(&blue, "blue"))
        .add_issuer(reviewed(&green, "green"))
        .fetch_timeout(Duration::from_secs(60))
        .require_token_review()
        .build()
        .unwrap();
    green.respond_with(Endpoint::TokenReview, MockResponse::hang());
    let of_green = minted(&green).mint();
    let mut waiting = Box::pin(verifier.verify(&of_green));
    let of_blue = minted(&blue).mint();
    tokio::select! {
        _ = &mut waiting => panic!("nobody answers"),
        verdict = verdict(&verifier, &of_blue) => assert_eq!(verdict, Ok("blue".to_owned())),
    }
}

// rule: review-scope
#[test]
fn with_a_review_of_every_token_each_issuer_needs_a_reviewer() {
    let (blue, green) = (fast_issuer(), fast_issuer());
    let missing = |result: Result<_, BuildError>, of: &TestIssuer| match result {
        Err(BuildError::NoReviewer(issuer)) => assert_eq!(issuer, of.url()),
        other => panic!("{other:?}"),
    };
    let builder = |first, second| builder_for(first).add_issuer(second).require_token_review();
    missing(builder(named(&blue, "blue"), reviewed(&green, "green")).build().map(|_| ()), &blue);
    missing(builder(reviewed(&blue, "blue"), named(&green, "green")).build().map(|_| ()), &green);
    let alone = builder_for(&blue).require_token_review();
    missing(alone.build().map(|_| ()), &blue);

    // and so does one that comes later
    let verifier = builder_for(reviewed(&blue, "blue")).require_token_review().build().unwrap();
    missing(verifier.add_issuer(named(&green, "green")), &green);
    verifier.add_issuer(reviewed(&green, "green")).unwrap();
}

// rule: review-scope
#[tokio::test]
async fn a_route_that_demands_a_review_refuses_whom_nobody_can_review() {
    let (blue, green, late) = (fast_issuer(), fast_issuer(), fast_issuer());
    let verifier =
        builder_for(reviewed(&blue, "blue")).add_issuer(named(&green, "green")).build().unwrap();
    let error = RequireTokenReviewLayer::new(&verifier).unwrap_err().to_string();
    assert!(error.contains(green.url()) && !error.contains(blue.url()), "{error}");

    // issuers that are added after the layer was built
    assert!(verifier.remove_issuer(green.url()));
    let server = serve(&verifier).await;
    verifier.add_issuer(named(&green, "green")).unwrap();
    verifier.add_issuer(named(&late, "late")).unwrap();
    let of_blue = minted(&blue).mint();
    for without in [&green, &late] {
        let token = minted(without).mint();
        for _ in 0..2 {
            assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
            assert_eq!(ask(&server, "/reviewed", &token).await.outcome(), NO_REVIEWER);
        }
        assert_eq!(without.token_reviews(), 0);
    }
    assert_eq!(ask(&server, "/reviewed", &of_blue).await.outcome(), GOOD);
    assert_asked(&blue, &[&of_blue]);
}

#[tokio::test]
async fn an_issuer_that_was_removed_and_added_again_is_asked_again() {
    let (cluster, clock) = (fast_issuer(), clock());
    let verifier = builder(&cluster, review(reviewer(&cluster)), &clock)
        .require_token_review()
        .build()
        .unwrap();
    let server = serve(&verifier).await;
    let token = minted(&cluster).mint();
    assert_eq!(ask(&server, "/", &token).await.outcome(), GOOD);
    assert!(verifier.remove_issuer(cluster.url()));
    assert_eq!(ask(&server, "/", &token).await.outcome(), (401, Some("unknown_issuer")));
    assert_eq!(cluster.token_reviews(), 1);
    // what was confirmed before says nothing to one that is trusted anew
    cluster.delete_pod("checkout-7f9c");
    verifier
        .add_issuer(issuer_for(&cluster).with_token_review(review(reviewer(&cluster))))
        .unwrap();
    assert_eq!(ask(&server, "/", &token).await.outcome(), DENIED);
    assert_eq!(cluster.token_reviews(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_removed_while_its_answer_is_awaited_accepts_nobody() {
    for added_again in [false, true] {
        let (cluster, clock) = (fast_issuer(), clock());
        let gate = GatedReviewer::new(&cluster);
        let verifier =
            builder(&cluster, review(gate.clone()), &clock).require_token_review().build().unwrap();
        let server = serve(&verifier).await;
        let token = minted(&cluster).mint();
        let act = async {
            gate.until_reached(1).await;
            assert!(verifier.remove_issuer(cluster.url()));
            if added_again {
                let again = issuer_for(&cluster).with_token_review(review(gate.clone()));
                verifier.add_issuer(again).unwrap();
            }
            gate.open(10);
        };
        let (verdict, answered, ()) =
            tokio::join!(verifier.verify(&token), ask(&server, "/", &token), act);
        if added_again {
            // whoever is trusted now was asked, or nobody is let through
            let asked_both = gate.reached() >= 2;
            assert!(verdict.is_err() || asked_both);
            assert!(answered.status == 401 || asked_both);
        } else {
            assert_eq!(verdict.unwrap_err().reason(), Reason::UnknownIssuer);
            assert_eq!(answered.status, 401);
        }
    }
}
