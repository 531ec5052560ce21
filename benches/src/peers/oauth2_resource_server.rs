//! `tower-oauth2-resource-server`: a layer, with `jsonwebtoken` 11 inside. Which backend that has
//! is said by [`use_backend`](crate::jsonwebtoken_peer::use_backend).

use axum::{Extension, Router, routing::get};
use kube_oidc_testing::TestIssuer;
use tower_oauth2_resource_server::{server::OAuth2ResourceServer, tenant::TenantConfiguration};

use crate::claims::PodClaims;
use crate::{inputs::AUDIENCE, layers::hello};

/// A router behind the layer. It finds the key set by discovery, and fetches it in a task.
pub async fn router(issuer: &TestIssuer) -> Router {
    async fn handler(Extension(claims): Extension<PodClaims>) -> &'static str {
        hello(&claims.kubernetes.namespace)
    }
    let tenant = TenantConfiguration::builder(issuer.url())
        .audiences(&[AUDIENCE])
        .build()
        .await
        .expect("a good tenant");
    let server = OAuth2ResourceServer::<PodClaims>::builder()
        .add_tenant(tenant)
        .build()
        .await
        .expect("a good server");
    Router::new().route("/", get(handler)).layer(server.into_layer())
}
