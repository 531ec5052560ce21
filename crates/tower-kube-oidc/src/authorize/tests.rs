use kube_oidc::{Policy, PolicyError, Rule, Verified, in_namespace};
use tower_layer::Layer as _;

use super::{AuthorizeLayer, AuthorizeLayerBuilder, AuthorizeLayerError};

fn builder() -> AuthorizeLayerBuilder {
    AuthorizeLayer::builder(Policy::new(in_namespace("payments")).unwrap())
}

#[test]
fn invalid_settings_build_no_layer() {
    let empty = AuthorizeLayer::only(Rule::any(Vec::<Rule>::new())).unwrap_err();
    assert_eq!(empty, PolicyError::Empty);
    let error = builder().realm("a\"b").build().unwrap_err();
    assert_eq!(error, AuthorizeLayerError::InvalidRealm);
    assert!(builder().realm("a\"b").realm("a").build().is_ok(), "the last call wins");
}

#[test]
fn policy_for_custom_claims_becomes_a_layer() {
    type Claims = std::collections::HashMap<String, serde_json::Value>;

    let rule = Rule::when_claims("7", |caller: &Verified<Claims>| caller["client_id"] == "7");
    let policy = Policy::try_from(rule).unwrap();
    let _ = AuthorizeLayer::builder(policy.clone()).realm("workers").build().unwrap().layer(());
    let _ = AuthorizeLayer::from(policy).layer(());
}

#[test]
fn inner_service_is_accessible() {
    let mut service = AuthorizeLayer::only(in_namespace("payments")).unwrap().layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}
