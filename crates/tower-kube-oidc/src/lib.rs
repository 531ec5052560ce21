//! One line in front of a service, and every request behind it says which workload sent it.
//!
//! [`OidcAuthLayer`] checks the Kubernetes `ServiceAccount` token that a caller sends as a bearer
//! token, against the cached public keys of its cluster, and gives the handler typed claims. It is
//! a [tower](https://docs.rs/tower) layer: it serves axum, tonic and every other tower stack.
//!
//! ```
//! # #[cfg(feature = "axum")] fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use tower_kube_oidc::{Caller, IssuerUrl, OidcAuthLayer};
//!
//! async fn hello(Caller(who): Caller) -> String {
//!     format!("hello {}/{}", who.namespace(), who.service_account().name())
//! }
//!
//! let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
//! let app: Router = Router::new()
//!     .route("/hello", get(hello))
//!     .layer(OidcAuthLayer::new(issuer).audience("orders").build()?);
//! # Ok(()) }
//! ```
//!
//! A service that is no axum app finds [`Verified`]`<`[`ServiceAccountClaims`]`>` in the extensions
//! of the request.
//!
//! # What callers see
//!
//! | case | answer |
//! | --- | --- |
//! | no credentials, or another scheme | 401, `WWW-Authenticate: Bearer realm="kubernetes"` |
//! | `Bearer` alone, two headers, two tokens, not a token | 400, `error="invalid_request"` |
//! | a bad token, whatever the reason | 401, `error="invalid_token"` |
//! | the token needs keys that are not here | 503, `Retry-After` |
//!
//! Bodies are problem documents ([RFC 9457]). Why a token was refused is not a caller's business,
//! but for two hints after a good signature: that it expired, or is for another audience.
//! These hints need the issuer's keys; before they are here, such a token is not accepted either.
//! Operators find the reason in `tracing`, of the target `tower_kube_oidc`: an event `refused` with
//! a field `reason`, whose values are those of [`Reason`], `no_credentials` (at debug level),
//! `invalid_request` and `misconfigured`. No part of a token is in any
//! answer or event, and the `Authorization` value is marked sensitive for what comes after.
//!
//! # Where the layer goes
//!
//! Axum's `Router::layer` puts it before every route that was added so far; what comes after, such
//! as a health probe, is open. It also covers paths that do not exist, with 401;
//! `Router::route_layer` leaves those to be 404. CORS preflights carry no credentials: put `CorsLayer` outside.
//! Behind nginx's `auth_request` or a `ForwardAuth` the status is what counts, and it is as above.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `axum` | no | the extractor [`Caller`] |
//! | `remote` | yes | fetches keys over HTTP with reqwest, rustls and aws-lc-rs |
//! | `remote-no-provider` | no | the same, with the rustls provider that the application installs |
//! | `test-util` | no | claims without a token, for unit tests |
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#![cfg_attr(
    not(all(feature = "axum", feature = "tonic", feature = "tonic-health")),
    allow(rustdoc::broken_intra_doc_links)
)]

mod allow;
mod answer;
#[cfg(feature = "axum")]
mod axum;
mod bearer;
mod body;
mod expiry;
mod future;
mod grpc;
mod head;
#[cfg(feature = "tonic-health")]
mod health;
mod layer;
mod open;
mod outcome;
mod passed;
mod plan;
mod ready;
mod rejection;
mod service;
mod settings;
#[cfg(feature = "tonic")]
mod tonic;

pub use kube_oidc::{self, *};

#[cfg(feature = "axum")]
pub use self::axum::{Caller, NoCaller};
#[cfg(feature = "tonic-health")]
pub use self::health::report_health;
#[cfg(feature = "tonic")]
pub use self::tonic::CallerExt;
pub use self::{
    allow::{Allow, AllowError, Allowed, AllowedFuture},
    answer::Answers,
    body::ResponseBody,
    expiry::Expired,
    future::ResponseFuture,
    head::RequestHead,
    layer::OidcAuthLayer,
    outcome::Outcome,
    passed::Passed,
    plan::LayerError,
    ready::Ready,
    rejection::Rejection,
    service::OidcAuth,
};
