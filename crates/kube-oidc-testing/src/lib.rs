//! A real issuer for tests: an HTTP server on loopback with a discovery document and a key set,
//! which mints tokens as a kube-apiserver does, rotates its keys, and misbehaves on command.
//!
//! It shares no code with the verifier that it is used to test, and mints with keys that are new
//! in each process.
//!
//! ```
//! use kube_oidc_testing::TestIssuer;
//!
//! let issuer = TestIssuer::start();
//! let token = issuer
//!     .token()
//!     .audience("orders")
//!     .service_account("payments", "checkout")
//!     .pod("checkout-7f9c")
//!     .mint();
//! assert_eq!(token.split('.').count(), 3);
//! // give `issuer.url()` to the service under test, and send it the token
//!
//! issuer.rotate(); // new tokens are signed by a new key, and the old one stays in the key set ...
//! issuer.drop_old_keys(); // ... until it leaves: a verifier sees that at its next refresh
//! ```
//!
//! It answers a `TokenReview` too, as the API server of its cluster would, at
//! [`base_url`](TestIssuer::base_url): [`TestIssuer::delete_pod`] makes it refuse tokens that are
//! still well signed.
//!
//! It runs on a thread of its own, so it works in every kind of test, with paused time as well,
//! and goes on when the runtime of one test ends. It stops when it is dropped.
//!
//! # Panics
//!
//! This crate is for tests: what cannot be done panics with a text that says so.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `tls` | no | serves over TLS, with a certificate authority made at start |

#![allow(clippy::missing_panics_doc, clippy::expect_used, clippy::panic)]

mod issuer;
mod key;
mod port;
mod server;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod token_review;

pub use self::{
    issuer::{Endpoint, TestIssuer, TestIssuerBuilder},
    key::{SigningAlgorithm, SigningKey},
    server::{MockResponse, RecordedRequest},
    token::TokenBuilder,
};
