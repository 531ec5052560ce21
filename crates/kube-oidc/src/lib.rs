//! Checks Kubernetes `ServiceAccount` tokens offline, and hands out what they say, typed: which
//! namespace, service account, pod and node is calling.
//!
//! A pod's projected token is a JWT that its cluster signs. The public keys are at the cluster's
//! issuer, are fetched once, kept fresh in the background, and shared by every request. This crate
//! is the verifier; `tower-kube-oidc` puts it in front of an axum, tonic or tower service.
//!
//! ```
//! use kube_oidc::{IssuerUrl, Verifier};
//!
//! # async fn f(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let issuer: IssuerUrl = "https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE".parse()?;
//! let verifier = Verifier::builder(issuer).audience("orders").build()?;
//!
//! let caller = verifier.verify(token).await?;
//! println!("{}/{}", caller.namespace(), caller.service_account().name());
//! # Ok(())
//! # }
//! ```
//!
//! # What is checked
//!
//! In this order: length, three parts, strict base64url and JSON; `alg` against the allowed list
//! and the key; `typ`; `iss` byte for byte; the signature, by a key of that issuer; `exp`, `nbf`
//! and `iat` with a leeway of 60 s; `aud`; and for a cluster's tokens that `sub` is the service
//! account of the `kubernetes.io` claim, with names that Kubernetes allows. What fails is an error
//! with a stable [`Reason`]. While the keys for a token are not here, its times and audience are
//! looked at first: keys are only fetched for a token that could pass.
//!
//! A token that was verified is remembered, and not checked again while all that its verdict rests
//! on still holds: see [`VerifierBuilder::token_cache`] for what is kept, and for how long.
//!
//! # What is not
//!
//! Whether the pod or the service account still exists, or whether a token was stolen: a signature
//! cannot say so. Tokens are good until they expire, unless the API server is asked as well: see
//! [`token_review`].
//!
//! # Where to look
//!
//! | question | item |
//! | --- | --- |
//! | whom do I trust? | [`IssuerUrl`], [`Issuer`] |
//! | check a token | [`Verifier`], [`VerifierBuilder`] |
//! | who is calling? | [`Verified`], [`ServiceAccountClaims`], [`RegisteredClaims`] |
//! | who may call? | [`Policy`], [`Rule`], [`Callers`] |
//! | who would the API server say it is? | [`UserInfo`] |
//! | why not? | [`Verifier::explain`], [`VerifyError`], [`InvalidToken`], [`Reason`] |
//! | where do keys come from? | [`KeySource`], [`source`] |
//! | are the keys here? | [`Verifier::status`], [`Verifier::ready`], [`Readiness`] |
//! | does it still count? | [`token_review`], [`Verifier::verify_with_review`] |
//! | an incident | [`Verifier::refresh_keys`], [`Verifier::distrust_key`], [`Verifier::deny_jti`] |
//! | what time is it? | [`clock`] |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `remote` | yes | fetches over HTTP with hyper, rustls and aws-lc-rs |
//! | `remote-no-provider` | no | the same, with the rustls provider that the application installs |
//! | `metrics` | no | counts and measures, by the `metrics` facade |
//! | `ml-dsa` | no | tokens signed with ML-DSA-44, ML-DSA-65 and ML-DSA-87 ([RFC 9964]) |
//! | `jsonwebtoken` | no | key sets of the `jsonwebtoken` crate in, its `TokenData` out |
//! | `test-util` | no | claims without a token, and a clock to turn by hand, for unit tests |
//!
//! [RFC 9964]: https://www.rfc-editor.org/rfc/rfc9964

mod algorithm;
mod claims;
pub mod clock;
mod encoding;
mod error;
mod issuer;
mod issuer_name;
#[cfg(feature = "jsonwebtoken")]
mod jsonwebtoken;
mod jws;
mod keys;
mod observe;
mod policy;
mod sync;
#[cfg(test)]
mod testing;
pub mod token_review;
mod verified;
mod verifier;

pub use self::{
    algorithm::Algorithm,
    claims::{Claims, NodeRef, ObjectRef, RegisteredClaims, ServiceAccountClaims},
    error::{
        BuildError, InvalidToken, KeySetError, KeysUnavailable, KeysUnavailableCause, Reason,
        ReviewUnavailable, ReviewUnavailableCause, SkippedKey, VerifyError,
    },
    issuer::{InClusterError, Issuer, KeySource, RemoteKeySource},
    issuer_name::{IssuerUrl, IssuerUrlError},
    keys::source,
    observe::status::{AliasStatus, FetchFailure, IssuerStatus, KeyInfo, KeyState},
    policy::{Callers, Denied, Policy, PolicyError, Rule, in_any_cluster, in_namespace},
    verified::{UserInfo, Verified},
    verifier::{
        API_SERVER_AUDIENCES, Readiness, ReadinessError, Verifier, VerifierBuilder,
        explanation::{self, Explanation},
        is_api_server_audience,
    },
};
