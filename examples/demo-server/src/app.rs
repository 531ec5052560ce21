//! The routes.

use std::time::SystemTime;

use axum::{Json, Router, routing::get};
use serde::Serialize;
use tower_kube_oidc::{
    Caller, NodeRef, ObjectRef, OidcAuthLayer, Readiness, ReadinessProbe, RequireTokenReviewLayer,
    Verifier,
};

/// `/whoami` behind the layer, `/reviewed` too if each issuer has a reviewer, and the probes beside
/// it.
pub(crate) fn router(verifier: Verifier) -> Router {
    let ready = ReadinessProbe::new(Readiness::any(&verifier));
    let mut app = Router::new().route("/whoami", get(whoami));
    if let Ok(review) = RequireTokenReviewLayer::new(&verifier) {
        app = app.route("/reviewed", get(whoami).layer(review));
    }
    app.layer(OidcAuthLayer::from(verifier))
        // added after the layer, so open: a kubelet's probe has no token
        .route_service("/readyz", ready)
        .route("/healthz", get(|| async { "ok\n" }))
}

async fn whoami(Caller(who): Caller) -> Json<WhoAmI> {
    let expires_at = who.expires_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Json(WhoAmI {
        subject: who.subject().to_owned(),
        namespace: who.namespace().to_owned(),
        service_account: who.service_account().into(),
        pod: who.pod().map(Into::into),
        node: who.node().map(Into::into),
        secret: who.secret().map(Into::into),
        audiences: who.audiences().map(str::to_owned).collect(),
        expires_at: expires_at.as_secs(),
    })
}

#[derive(Serialize)]
struct WhoAmI {
    subject: String,
    namespace: String,
    service_account: Object,
    pod: Option<Object>,
    node: Option<Object>,
    secret: Option<Object>,
    audiences: Vec<String>,
    /// Seconds since the epoch.
    expires_at: u64,
}

#[derive(Serialize)]
struct Object {
    name: String,
    /// `null` for a node that its API server did not find.
    uid: Option<String>,
}

impl From<ObjectRef<'_>> for Object {
    fn from(object: ObjectRef<'_>) -> Self {
        Self { name: object.name().to_owned(), uid: Some(object.uid().to_owned()) }
    }
}

impl From<NodeRef<'_>> for Object {
    fn from(node: NodeRef<'_>) -> Self {
        Self { name: node.name().to_owned(), uid: node.uid().map(str::to_owned) }
    }
}
