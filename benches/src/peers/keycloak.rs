//! `axum-keycloak-auth`: a layer, with `jsonwebtoken` 9 and ring inside. It wants a Keycloak.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use axum_keycloak_auth::{
    PassthroughMode, Url,
    decode::KeycloakToken,
    instance::{KeycloakAuthInstance, KeycloakConfig},
    layer::KeycloakAuthLayer,
};
use http::StatusCode;
use kube_oidc_testing::{Endpoint, MockResponse, SigningKey, TestIssuer, TokenBuilder};
use serde::Deserialize;
use serde_json::json;

use crate::claims::Kubernetes;
use crate::{
    inputs::{AUDIENCE, pod_token},
    layers::hello,
};

const REALM: &str = "bench";

/// What stands in the token beside the claims that the crate demands, in place of the profile and
/// e-mail address of a person.
#[derive(Clone, Debug, Deserialize)]
struct Extra {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

/// An issuer where the crate looks for a realm, with one key, whose discovery document has the
/// login page that the crate demands.
pub fn issuer(key: SigningKey) -> TestIssuer {
    let issuer = TestIssuer::builder().path(&format!("/realms/{REALM}")).start();
    issuer.rotate_to(key);
    issuer.drop_old_keys();
    let discovery = json!({
        "issuer": issuer.url(),
        "authorization_endpoint": format!("{}/auth", issuer.url()),
        "jwks_uri": issuer.jwks_uri(),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, discovery.to_string()));
    issuer
}

/// A pod's token with the two claims more that the crate demands.
pub fn token(issuer: &TestIssuer) -> TokenBuilder {
    pod_token(issuer).claim("typ", "Bearer").claim("azp", AUDIENCE)
}

/// A router behind the layer. The key set is fetched before this returns.
///
/// The crate does not look at `iss`, so the handler does.
pub async fn router(issuer: &TestIssuer) -> Router {
    let expected: Arc<str> = issuer.url().into();
    let handler = async move |Extension(token): Extension<KeycloakToken<String, Extra>>| {
        if token.issuer == *expected {
            Ok(hello(&token.extra.kubernetes.namespace))
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    };
    let server = Url::parse(issuer.base_url()).expect("a URL");
    let config = KeycloakConfig::builder().server(server).realm(REALM.to_owned()).build();
    let instance = Arc::new(KeycloakAuthInstance::new(config));
    // a request before the first answer panics
    while !instance.is_operational().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let layer = KeycloakAuthLayer::<String, Extra>::builder()
        .instance(instance)
        .passthrough_mode(PassthroughMode::Block)
        .persist_raw_claims(false)
        .expected_audiences(vec![AUDIENCE.to_owned()])
        .build();
    Router::new().route("/", get(handler)).layer(layer)
}
