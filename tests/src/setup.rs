//! The usual issuer, verifier, layer, and token of a test.

use crate::TempFolder;
use kube_oidc::{
    Issuer, KeySource, Verifier, VerifierBuilder,
    source::{Fetch, HttpFetcher},
};
use kube_oidc_testing::{SigningAlgorithm, TestIssuer, TokenBuilder};
use tower_kube_oidc::{Caller, OidcAuthLayer, OidcAuthLayerBuilder};

/// The audience of the usual verifier and token.
pub const AUDIENCE: &str = "orders";

/// An issuer to trust: a [`TestIssuer`] as it is, or settings for an issuer.
pub trait IntoIssuer {
    /// The settings for the issuer.
    fn into_issuer(self) -> Issuer;
}

impl IntoIssuer for Issuer {
    fn into_issuer(self) -> Self {
        self
    }
}

impl IntoIssuer for &TestIssuer {
    fn into_issuer(self) -> Issuer {
        issuer_at(self.url())
    }
}

/// Starts an issuer whose key takes no time to generate.
#[must_use]
pub fn fast_issuer() -> TestIssuer {
    TestIssuer::builder().algorithm(SigningAlgorithm::Es256).start()
}

/// Settings for the issuer with this URL.
#[must_use]
pub fn issuer_at(url: impl AsRef<str>) -> Issuer {
    Issuer::new(url.as_ref().parse().expect("a valid URL"))
}

/// Settings for a test issuer.
#[must_use]
pub fn issuer_for(issuer: &TestIssuer) -> Issuer {
    issuer_at(issuer.url())
}

/// Settings for a test issuer whose keys come from this source.
pub fn issuer_with(issuer: &TestIssuer, keys: impl Into<KeySource>) -> Issuer {
    issuer_at_with(issuer.url(), keys)
}

/// Settings for the issuer with this URL, whose keys come from this source.
pub fn issuer_at_with(url: impl AsRef<str>, keys: impl Into<KeySource>) -> Issuer {
    Issuer::with_key_source(url.as_ref().parse().expect("a valid URL"), keys)
}

/// Settings for a test issuer that is discovered by this fetcher.
pub fn issuer_via(issuer: &TestIssuer, fetcher: impl Fetch) -> Issuer {
    issuer_with(issuer, KeySource::discovery().via(fetcher))
}

/// Settings for the issuer of the API server at this URL, with the files of a pod.
#[must_use]
pub fn api_server_issuer(url: &str, pod: &TempFolder) -> Issuer {
    let fetcher = HttpFetcher::in_cluster_at(pod.path()).expect("the files of a pod");
    Issuer::api_server(url.parse().expect("a valid URL"), fetcher)
}

/// Begins a verifier for [`AUDIENCE`].
pub fn builder_for(issuer: impl IntoIssuer) -> VerifierBuilder {
    Verifier::builder(issuer.into_issuer()).audience(AUDIENCE)
}

/// Builds a verifier for [`AUDIENCE`].
#[must_use]
pub fn verifier_for(issuer: impl IntoIssuer) -> Verifier {
    builder_for(issuer).build().expect("valid settings")
}

/// Creates a layer for [`AUDIENCE`] with its own keys.
pub fn layer_for(issuer: impl IntoIssuer) -> OidcAuthLayer {
    OidcAuthLayer::from(verifier_for(issuer))
}

/// Begins a layer for [`AUDIENCE`] with its own keys.
pub fn layer_builder_for(issuer: impl IntoIssuer) -> OidcAuthLayerBuilder<Verifier> {
    OidcAuthLayer::builder_for(verifier_for(issuer))
}

/// Begins a token of the service account `payments/checkout` for [`AUDIENCE`].
pub fn token_for(issuer: &TestIssuer) -> TokenBuilder {
    issuer.token().audience(AUDIENCE).service_account("payments", "checkout")
}

/// The `Authorization` value with this token.
#[must_use]
pub fn bearer(token: impl AsRef<str>) -> String {
    format!("Bearer {}", token.as_ref())
}

/// A handler that responds with namespace and name of the caller.
pub async fn caller_name(Caller(caller): Caller) -> String {
    format!("{}/{}", caller.namespace(), caller.service_account().name())
}
