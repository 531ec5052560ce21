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
//!     .layer(OidcAuthLayer::builder(issuer).audience("orders").build()?);
//! # Ok(()) }
//! ```
//!
//! A tonic handler asks [`request.caller()`](CallerExt::caller), and any other service finds
//! [`Verified`]`<`[`ServiceAccountClaims`]`>` in the extensions of the request.
//!
//! # What callers see
//!
//! | case | HTTP | gRPC |
//! | --- | --- | --- |
//! | no credentials, or another scheme | 401, `WWW-Authenticate: Bearer realm="kubernetes"` | `UNAUTHENTICATED` |
//! | `Bearer` alone, two headers, two tokens, not a token | 400, `error="invalid_request"` | `UNAUTHENTICATED` |
//! | a bad token, whatever the reason | 401, `error="invalid_token"` | `UNAUTHENTICATED` |
//! | a good token of a caller that a policy does not allow | 403, `error="insufficient_scope"` | `PERMISSION_DENIED` |
//! | the token needs keys that are not here | 503, `Retry-After` | `UNAVAILABLE`, `grpc-retry-pushback-ms` |
//! | the layer is missing | 500 | `INTERNAL` |
//!
//! HTTP bodies are problem documents ([RFC 9457]). Every rejection has `Cache-Control: no-store`. Why a token was refused is not a caller's
//! business, but for two hints after a good signature: that it expired, or is for another audience.
//! These hints need the issuer's keys; before they are here, such a token is not accepted either.
//! Operators find the reason in `tracing`, of the target `tower_kube_oidc`: an event `refused` with
//! a field `reason`, whose values are those of [`Rejection::reason`]; without credentials it is at
//! debug level. No part of a token is in any answer or event, and the header with it is marked
//! sensitive for what comes after.
//!
//! gRPC is answered to POST requests of its media types, for gRPC proper only with `te: trailers`:
//! as HTTP 200, since gRPC has its own status. **Behind nginx's `auth_request` or a `ForwardAuth`
//! the HTTP status is all that counts, and a caller could choose that form: there it must be
//! [`ResponseFormat::Http`].**
//!
//! # Who may do what
//!
//! [`AuthorizeLayer`] is a layer for a route, a router or a gRPC service, further in than the
//! `OidcAuthLayer`; a [`Rule`] of [`Callers`] describes whom it allows. Where the layer is told that
//! credentials are [optional](OidcAuthLayerBuilder::optional), that a path
//! [is open](OidcAuthLayerBuilder::add_open_path), or that it
//! [only reports](OidcAuthLayerBuilder::dangerous_report_only), requests pass that have no caller, with a
//! mark ([`Passed`]) that says why.
//!
//! [`RequireTokenReviewLayer`] is a layer for routes that want to know whether the API server still takes
//! a token, beside its signature.
//!
//! # Where the layer goes
//!
//! Axum's `Router::layer` puts it before every route that was added so far; what comes after is
//! open. It also covers paths that do not exist, with 401; `Router::route_layer` leaves those to be
//! 404. In tonic `Server::builder().layer(..)` puts it before every service; gRPC-Web's own layer
//! may be on either side. CORS preflights carry no credentials: put `CorsLayer` outside.
//!
//! Several layers may be around each other, each with an issuer of its own: then a token has to be
//! good for all of them. Whatever a request's extensions hold of a layer's type of claims when it
//! comes to the layer is taken out first.
//!
//! # The other end of a call
//!
//! [`ServiceAccountTokenLayer`] goes around a client: it sends the token of the pod, re-read from its
//! projected volume, to the origin that it was named for, and to nobody else.
//!
//! # Health
//!
//! [`ReadinessProbe`] answers a readiness probe, and [`report_health`] keeps the health service of gRPC
//! informed; both go by whether keys are here, fresh or stale.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `axum` | no | the extractor [`Caller`], and open paths in nested routers |
//! | `tonic` | no | [`CallerExt`] |
//! | `tonic-health` | no | [`report_health`] |
//! | `remote` | yes | fetches keys over HTTP with hyper, rustls and aws-lc-rs |
//! | `remote-no-provider` | no | the same, with the rustls provider that the application installs |
//! | `metrics` | no | counts requests, fetches and more by the `metrics` facade |
//! | `ml-dsa` | no | tokens signed with ML-DSA-44, ML-DSA-65 and ML-DSA-87 |
//! | `test-util` | no | claims without a token, for unit tests |
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457
#![cfg_attr(
    not(all(feature = "axum", feature = "tonic", feature = "tonic-health")),
    allow(rustdoc::broken_intra_doc_links)
)]

mod auth;
mod authorize;
#[cfg(any(feature = "axum", feature = "tonic"))]
mod caller;
mod client;
mod context;
mod gate;
mod health;
mod metrics;
mod require_token_review;
mod response;

pub use kube_oidc::{self, *};

#[cfg(feature = "tonic")]
pub use self::caller::CallerExt;
#[cfg(feature = "axum")]
pub use self::caller::{Caller, CallerRejection};
#[cfg(feature = "tonic-health")]
pub use self::health::report_health;
pub use self::{
    auth::{OidcAuth, OidcAuthLayer, OidcAuthLayerBuilder, OidcAuthLayerError, Outcome},
    authorize::{Authorize, AuthorizeLayer, AuthorizeLayerBuilder, AuthorizeLayerError},
    client::{
        CallError, CallFuture, Origin, OriginError, ServiceAccountToken, ServiceAccountTokenLayer,
        TokenError, TokenFileError, TokenForOrigin,
    },
    context::Passed,
    gate::{ResponseBody, ResponseFuture, TokenExpired},
    health::ReadinessProbe,
    require_token_review::{
        RequireTokenReview, RequireTokenReviewLayer, RequireTokenReviewLayerBuilder,
        RequireTokenReviewLayerError,
    },
    response::{Rejection, RequestHead, ResponseFormat},
};
