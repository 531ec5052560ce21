//! A page for people: what the verifier makes of a token, check by check, and how its keys are.
//!
//! It explains tokens and mints them, so it is there only beside the demo's own issuer, whose
//! tokens open nothing, and only for this machine unless somebody says otherwise.

mod assets;
mod exchange;
mod explain;
mod guard;
mod issuer;
mod mint;
mod status;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use kube_oidc_testing::{SigningKey, TestIssuer};
use tokio::sync::Mutex;
use tower_kube_oidc::Verifier;

use self::{exchange::Problem, guard::Guard};

/// What the page works with.
pub(crate) struct Page {
    verifier: Verifier,
    issuer: Arc<TestIssuer>,
    audience: String,
    guard: Guard,
    /// Held while the issuer is changed: one change at a time.
    changing: Mutex<()>,
    is_up: AtomicBool,
    /// A key that the issuer never had, made when it is asked for.
    stranger: OnceLock<SigningKey>,
}

impl Page {
    /// A page for this listener, or `None` where there must be none: a listener that others than
    /// this machine reach, unless that was asked for.
    pub(crate) fn new(
        verifier: Verifier,
        issuer: Arc<TestIssuer>,
        audience: &str,
        listener: SocketAddr,
        dangerous_beyond_loopback: bool,
    ) -> Option<Self> {
        let may_be = dangerous_beyond_loopback || guard::is_loopback(listener.ip());
        may_be.then(|| Self {
            verifier,
            issuer,
            audience: audience.to_owned(),
            guard: Guard::new(listener.port(), dangerous_beyond_loopback),
            changing: Mutex::new(()),
            is_up: AtomicBool::new(true),
            stranger: OnceLock::new(),
        })
    }

    /// The page, its files and what its script asks.
    pub(crate) fn router(self) -> Router {
        let page = Arc::new(self);
        let protection = from_fn_with_state(Arc::clone(&page), protect);
        let api = Router::new()
            .route("/explain", post(explain::explain))
            .route("/mint", post(mint::mint))
            .route("/issuer", post(issuer::change))
            .route("/status", get(status::status))
            .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") })
            .layer(DefaultBodyLimit::max(exchange::MAX_BODY_BYTES))
            .layer(protection.clone());
        assets::routes()
            // not to what is beside the page, which a `layer` would reach
            .route_layer(protection)
            .nest("/api", api)
            .with_state(page)
    }
}

/// What every answer of the page says to a browser. Trusted types make it refuse, in the page's
/// own script too, to turn text into elements.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
];

/// Lets through what the page itself asks for, and puts the headers on every answer.
async fn protect(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let mut response = match page.guard.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
