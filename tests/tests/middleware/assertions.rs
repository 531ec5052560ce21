//! Traits of the types of the layer, checked at compile time.

use axum::{Router, body::Body as AxumBody, routing::Route};
use http::Request;
use kube_oidc_tests::{fast_issuer, issuer_for, layer_for, verifier_for};
use serde_json::Value;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tonic::{body::Body as TonicBody, service::Routes};
use tower::{Layer, Service};
use tower_kube_oidc::{
    Authorize, AuthorizeLayer, AuthorizeLayerBuilder, IssuerUrl, OidcAuth, OidcAuthLayer,
    OidcAuthLayerBuilder, Policy, RequireTokenReview, RequireTokenReviewLayer,
    RequireTokenReviewLayerBuilder, ResponseFuture, Verifier, in_namespace,
    token_review::{ReviewFuture, ReviewRequest, Reviewer},
};

// the same type with and without `build()`, so that the first two hold for no other reason
assert_not_impl_any!(OidcAuthLayerBuilder: Layer<Route>, Layer<Routes>, Layer<()>);
assert_not_impl_any!(OidcAuthLayerBuilder<Verifier>: Layer<Route>, Layer<Routes>, Layer<()>);
assert_not_impl_any!(OidcAuthLayerBuilder<Verifier<Value>, Value>: Layer<Route>, Layer<Routes>);
assert_impl_all!(OidcAuthLayer: Layer<Route>, Layer<Routes>, Layer<()>);
assert_impl_all!(OidcAuthLayer<Value>: Layer<Route>, Layer<Routes>, Layer<()>);

assert_not_impl_any!(AuthorizeLayerBuilder: Layer<Route>, Layer<Routes>, Layer<()>);
assert_impl_all!(AuthorizeLayer: Layer<Route>, Layer<Routes>, Layer<()>);
assert_not_impl_any!(RequireTokenReviewLayerBuilder: Layer<Route>, Layer<Routes>, Layer<()>);
assert_impl_all!(RequireTokenReviewLayer: Layer<Route>, Layer<Routes>, Layer<()>);

// rule: layer-builders
#[test]
fn builder_is_a_layer_once_it_is_built() -> Result<(), Box<dyn std::error::Error>> {
    let issuer: IssuerUrl = "https://issuer.example".parse()?;
    let reviewed = issuer_for(&fast_issuer()).with_token_review(Unused);
    let verifier = verifier_for(reviewed);
    let policy = Policy::new(in_namespace("payments"))?;
    let _ = Router::<()>::new()
        .layer(RequireTokenReviewLayer::builder(&verifier).build()?)
        .layer(AuthorizeLayer::builder(policy).build()?)
        .layer(OidcAuthLayer::builder(issuer).audience("orders").build()?)
        .layer(OidcAuthLayer::builder_for(verifier).build()?);
    Ok(())
}

#[derive(Debug)]
struct Unused;

impl Reviewer for Unused {
    fn review<'a>(&'a self, _: ReviewRequest<'a>) -> ReviewFuture<'a> {
        unreachable!("nothing is reviewed")
    }
}

#[test]
fn inner_service_is_accessible() {
    let mut service = layer_for(&fast_issuer()).layer(7);
    *service.get_mut() += 1;
    assert_eq!((*service.get_ref(), service.into_inner()), (8, 8));
}

assert_impl_all!(OidcAuthLayer: Clone, Send, Sync);
assert_impl_all!(OidcAuthLayer<Value>: Clone, Send, Sync);
assert_impl_all!(AuthorizeLayer: Clone, Send, Sync);
assert_impl_all!(RequireTokenReviewLayer: Clone, Send, Sync);

// axum and tonic clone a service for each request or connection, and spawn its future
assert_impl_all!(OidcAuth<Route>: Clone, Send, Sync, Service<Request<AxumBody>>);
assert_impl_all!(OidcAuth<Routes>: Clone, Send, Sync, Service<Request<TonicBody>>);
assert_impl_all!(Authorize<Route>: Clone, Send, Sync, Service<Request<AxumBody>>);
assert_impl_all!(Authorize<Routes>: Clone, Send, Sync, Service<Request<TonicBody>>);
assert_impl_all!(RequireTokenReview<Route>: Clone, Send, Sync, Service<Request<AxumBody>>);
assert_impl_all!(RequireTokenReview<Routes>: Clone, Send, Sync, Service<Request<TonicBody>>);
assert_impl_all!(OidcAuth<Route, Value>: Clone, Send, Sync, Service<Request<AxumBody>>);

// neither body is `Sync`
assert_not_impl_any!(AxumBody: Sync);
assert_not_impl_any!(TonicBody: Sync);
assert_impl_all!(ResponseFuture<Route, AxumBody>: Send);
assert_impl_all!(ResponseFuture<Routes, TonicBody>: Send);
