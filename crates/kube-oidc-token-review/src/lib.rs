//! Asks the API server of a cluster whether a `ServiceAccount` token still counts, with kube's
//! client: a [`Reviewer`](kube_oidc::token_review::Reviewer) for the verifier of `kube-oidc`.
//!
//! ```
//! use kube_oidc::{Issuer, Verifier};
//! use kube_oidc_token_review::KubeReviewer;
//!
//! # fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = Issuer::in_cluster()?.with_token_review(KubeReviewer::in_cluster()?);
//! let verifier = Verifier::builder(issuer).audience("orders").require_token_review().build()?;
//! # Ok(()) }
//! ```
//!
//! [`kube_oidc::token_review`] says what an answer is worth, for how long it counts, and what
//! happens while there is none. The service's own service account needs the right to create
//! `tokenreviews`, which the role `system:auth-delegator` gives.
//!
//! # Memory
//!
//! A token is copied into the request to the API server, whose answer holds it too. These copies
//! are kube's and hyper's, and are not overwritten when they are freed.

mod answer;
mod background;
mod client;
mod kube_reviewer;

pub use self::kube_reviewer::{KubeReviewer, KubeReviewerError};
