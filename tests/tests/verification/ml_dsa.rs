//! Tokens of a cluster that signs with ML-DSA (RFC 9964): longer than others, else like them.

use axum::{Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use kube_oidc::{Algorithm, KeySource, Reason};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer, TokenBuilder};
use kube_oidc_tests::{
    HttpServer, Judge as _, builder_for, issuer_with, layer_for, rejection, token_for, verifier_for,
};
use tower_kube_oidc::Caller;

/// A token with all that a kube-apiserver writes into one.
fn token(issuer: &TestIssuer) -> TokenBuilder {
    token_for(issuer)
        .pod("checkout-7d9f8b6c5d-x2x4z")
        .node("ip-10-0-1-2.eu-west-1.compute.internal")
}

#[tokio::test]
async fn every_ml_dsa_algorithm_verifies() {
    for algorithm in SigningAlgorithm::ML_DSA {
        let issuer = TestIssuer::builder().algorithm(algorithm).start();
        let verifier = verifier_for(&issuer);
        let good = token(&issuer).mint();
        // the first time keys are fetched, the second time the token is remembered
        for round in ["cold", "warm"] {
            let caller = verifier.judge(&good).await.unwrap();
            let name = (caller.namespace(), caller.service_account().name());
            assert_eq!(name, ("payments", "checkout"), "{algorithm:?}, {round}");
        }
        assert_eq!(issuer.key_fetches(), 1, "{algorithm:?}");
        let status = verifier.status();
        assert_eq!(status[0].keys[0].algorithms[0].name(), algorithm.name());

        let stranger = SigningKey::generate(algorithm);
        let forged = token(&issuer).forged_by(&stranger).mint();
        assert_eq!(rejection(&verifier, &forged).await, Some(Reason::Signature), "{algorithm:?}");
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let longer = [&signature[..], &[0]].concat();
        for wrong in [&signature[1..], &signature[..signature.len() - 1], &longer, &[0]] {
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(wrong));
            assert_eq!(
                rejection(&verifier, &token).await,
                Some(Reason::Signature),
                "{algorithm:?}"
            );
        }
        let expired = token(&issuer).expired().mint();
        assert_eq!(rejection(&verifier, &expired).await, Some(Reason::Expired), "{algorithm:?}");
    }
}

#[tokio::test]
async fn a_set_of_old_and_new_keys_serves_both() {
    let issuer = TestIssuer::start();
    let mut keys = vec![issuer.signing_key()];
    for algorithm in SigningAlgorithm::ML_DSA {
        let key = SigningKey::generate(algorithm);
        issuer.rotate_to(key.clone());
        keys.push(key);
    }
    let verifier = verifier_for(&issuer);
    for key in &keys {
        let good = token(&issuer).signed_by(key).mint();
        assert_eq!(rejection(&verifier, &good).await, None, "{key:?}");
        for other in keys.iter().filter(|other| other.algorithm() != key.algorithm()) {
            // in the name of a key that is for something else
            let alg = other.algorithm().name();
            let confused = token(&issuer).signed_by(key).header("alg", alg).mint();
            let found = rejection(&verifier, &confused).await;
            assert_eq!(found, Some(Reason::AlgorithmMismatch), "{alg} by {key:?}");
            let forged = token(&issuer).signed_by(key).forged_by(other).mint();
            let found = rejection(&verifier, &forged).await;
            assert_eq!(found, Some(Reason::Signature), "{other:?} for {key:?}");
        }
    }
    assert_eq!(issuer.key_fetches(), 2, "such tokens start one fetch together");
}

#[tokio::test]
async fn a_cluster_moves_from_rsa_to_ml_dsa() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    let old = token(&issuer).mint();
    assert_eq!(rejection(&verifier, &old).await, None);

    issuer.rotate_to(SigningKey::generate(SigningAlgorithm::MlDsa65));
    let new = token(&issuer).mint();
    for token in [&new, &old, &new, &old] {
        assert_eq!(rejection(&verifier, token).await, None);
    }
    assert_eq!(issuer.key_fetches(), 2, "the new key is found by one fetch");

    issuer.drop_old_keys();
    verifier.refresh_keys().await.unwrap();
    assert_eq!(rejection(&verifier, &new).await, None);
    assert_eq!(rejection(&verifier, &old).await, Some(Reason::UnknownKey));
}

#[tokio::test]
async fn a_verifier_may_demand_ml_dsa_or_refuse_it() {
    let issuer = TestIssuer::start();
    let old = token(&issuer).mint();
    issuer.rotate_to(SigningKey::generate(SigningAlgorithm::MlDsa87));
    let new = token(&issuer).mint();
    let only = |algorithm| builder_for(&issuer).algorithms([algorithm]).build().unwrap();
    let (classical, quantum) = (only(Algorithm::Rs256), only(Algorithm::MlDsa87));
    for (verifier, good, bad) in [(classical, &old, &new), (quantum, &new, &old)] {
        assert_eq!(rejection(&verifier, good).await, None);
        assert_eq!(rejection(&verifier, bad).await, Some(Reason::Algorithm));
    }
}

#[tokio::test]
async fn a_key_without_alg_is_no_key() {
    let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::MlDsa44).start();
    let mut set = issuer.key_set();
    set["keys"][0].as_object_mut().unwrap().remove("alg");
    set["keys"].as_array_mut().unwrap().push(SigningKey::generate(SigningAlgorithm::EdDsa).jwk());
    let trusted = issuer_with(&issuer, KeySource::fixed(set.to_string()));
    let verifier = verifier_for(trusted);
    assert_eq!(rejection(&verifier, &token(&issuer).mint()).await, Some(Reason::UnknownKey));
}

#[tokio::test]
async fn the_longest_token_goes_through_a_server_with_its_usual_limits() {
    async fn name(Caller(who): Caller) -> String {
        format!("{}/{}", who.namespace(), who.service_account().name())
    }
    let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::MlDsa87).start();
    let layer = layer_for(&issuer);
    let server = HttpServer::start(Router::new().route("/", get(name)).layer(layer)).await;
    let http1 = reqwest::Client::builder().no_proxy().http1_only();
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge();
    let good = token(&issuer).mint();
    let wide = (0..60).map(|index| format!("audience-{index}.example.com"));
    let wide = wide.fold(token(&issuer), |token, audience| token.audience(&audience)).mint();
    println!("ML-DSA-87: an ordinary token has {} bytes, a wide one {}", good.len(), wide.len());
    assert!((6 * 1024..8 * 1024).contains(&good.len()), "{}", good.len());
    assert!((8 * 1024..16 * 1024).contains(&wide.len()), "{}", wide.len());
    for client in [http1, http2] {
        let client = client.build().unwrap();
        let ask = async |token: &str| {
            let response = client.get(server.url()).bearer_auth(token).send().await.unwrap();
            (response.status(), response.text().await.unwrap())
        };
        for token in [&good, &good, &wide] {
            assert_eq!(ask(token).await, (StatusCode::OK, "payments/checkout".to_owned()));
        }
        let stranger = SigningKey::generate(SigningAlgorithm::MlDsa87);
        let forged = token(&issuer).forged_by(&stranger).mint();
        assert_eq!(ask(&forged).await.0, StatusCode::UNAUTHORIZED);
    }
}
