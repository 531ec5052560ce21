//! Traits of the types of the layer, checked at compile time.

use axum::{Router, body::Body as AxumBody, routing::Route};
use http::Request;
use kube_oidc_tests::{fast_issuer, verifier_for};
use serde_json::Value;
use static_assertions::{assert_impl_all, assert_not_impl_any};
use tonic::{body::Body as TonicBody, service::Routes};
use tower::{Layer, Service};
use tower_kube_oidc::{
    IssuerUrl, OidcAuth, OidcAuthLayer, OidcAuthLayerBuilder, OidcAuthLayerError, ResponseFuture,
    Verifier,
};

// the same type with and without `build()`, so that the first two hold for no other reason
assert_not_impl_any!(OidcAuthLayerBuilder: Layer<Route>, Layer<Routes>, Layer<()>);
assert_not_impl_any!(OidcAuthLayerBuilder<Verifier>: Layer<Route>, Layer<Routes>, Layer<()>);
assert_not_impl_any!(OidcAuthLayerBuilder<Verifier<Value>, Value>: Layer<Route>, Layer<Routes>);
assert_impl_all!(OidcAuthLayer: Layer<Route>, Layer<Routes>, Layer<()>);
assert_impl_all!(OidcAuthLayer<Value>: Layer<Route>, Layer<Routes>, Layer<()>);

#[test]
fn builder_is_a_layer_once_it_is_built() -> Result<(), OidcAuthLayerError> {
    let issuer: IssuerUrl = "https://issuer.example".parse().unwrap();
    let verifier = verifier_for(&fast_issuer());
    let _ = Router::<()>::new()
        .layer(OidcAuthLayer::builder(issuer).audience("orders").build()?)
        .layer(OidcAuthLayer::builder_for(verifier).build()?);
    Ok(())
}

assert_impl_all!(OidcAuthLayer: Clone, Send, Sync);
assert_impl_all!(OidcAuthLayer<Value>: Clone, Send, Sync);

// axum and tonic clone a service for each request or connection, and spawn its future
assert_impl_all!(OidcAuth<Route>: Clone, Send, Sync, Service<Request<AxumBody>>);
assert_impl_all!(OidcAuth<Routes>: Clone, Send, Sync, Service<Request<TonicBody>>);
assert_impl_all!(OidcAuth<Route, Value>: Clone, Send, Sync, Service<Request<AxumBody>>);

// neither body is `Sync`
assert_not_impl_any!(AxumBody: Sync);
assert_not_impl_any!(TonicBody: Sync);
assert_impl_all!(ResponseFuture<Route, AxumBody>: Send);
assert_impl_all!(ResponseFuture<Routes, TonicBody>: Send);
