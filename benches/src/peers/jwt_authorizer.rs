//! `jwt-authorizer`: a layer for axum 0.7 and an extractor, with `jsonwebtoken` 9 and ring inside.

use axum07::{Router, routing::get};
use jwt_authorizer::{IntoLayer, JwtAuthorizer, JwtClaims, Validation};
use kube_oidc_testing::TestIssuer;

use crate::claims::PodClaims;
use crate::{inputs::AUDIENCE, layers::hello};

/// A router behind the layer. The key set is fetched at the first request.
///
/// Left to itself the layer asks for `?kid=…`, which the test's issuer does not know; with
/// `no_refresh` it asks for the whole set, once.
pub async fn router(issuer: &TestIssuer) -> Router {
    async fn handler(JwtClaims(user): JwtClaims<PodClaims>) -> &'static str {
        hello(&user.kubernetes.namespace)
    }
    let authorizer = JwtAuthorizer::<PodClaims>::from_oidc(issuer.url())
        .validation(Validation::new().iss(&[issuer.url()]).aud(&[AUDIENCE]))
        .no_refresh()
        .build()
        .await
        .expect("a good authorizer");
    Router::new().route("/", get(handler)).layer(authorizer.into_layer())
}
