use axum::{body::Body as AxumBody, routing::Route};
use http::Request;
use kube_oidc::{Policy, PolicyError, Rule, Verified, in_namespace};
use tonic::body::Body as TonicBody;
use tower_layer::Layer as _;
use tower_service::Service;

use super::{Authorize, AuthorizeLayer, AuthorizeLayerBuilder, AuthorizeLayerError};
use crate::testing::{assert_not_layer, can_be_sent, can_be_shared, is_layer};

fn builder() -> AuthorizeLayerBuilder {
    AuthorizeLayer::builder(Policy::new(in_namespace("payments")).unwrap())
}

// rule: layer-builders
#[test]
fn builder_is_no_layer() {
    assert_not_layer!(AuthorizeLayerBuilder);
    is_layer(builder().build().unwrap());
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
fn layer_and_service_can_be_shared_and_future_sent() {
    fn of<B: 'static>()
    where
        Authorize<Route>: Service<Request<B>, Future: Send + 'static>,
    {
        can_be_sent::<<Authorize<Route> as Service<Request<B>>>::Future>();
    }
    of::<AxumBody>();
    of::<TonicBody>();
    can_be_shared::<AuthorizeLayer>();
    can_be_shared::<Authorize<Route>>();
}

#[test]
fn policy_for_custom_claims_becomes_a_layer() {
    type Claims = std::collections::HashMap<String, serde_json::Value>;

    let rule = Rule::when_claims("7", |caller: &Verified<Claims>| caller["client_id"] == "7");
    let policy = Policy::try_from(rule).unwrap();
    is_layer(AuthorizeLayer::builder(policy.clone()).realm("workers").build().unwrap());
    is_layer(AuthorizeLayer::from(policy));
}

#[test]
fn inner_service_is_accessible() {
    let mut service = AuthorizeLayer::only(in_namespace("payments")).unwrap().layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}
