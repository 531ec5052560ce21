use std::time::Duration;

use kube_oidc::{KeySource, Verifier, VerifierBuilder, clock::ManualClock};
use kube_oidc_testing::{TestIssuer, TokenBuilder};

use crate::{AUDIENCE, builder_for, issuer_with, pinned_time};

/// A verifier with the key set of an issuer of cluster `blue`, at [`pinned_time`].
#[derive(Debug)]
pub struct PinnedVerifier {
    /// The issuer.
    pub issuer: TestIssuer,
    /// The verifier.
    pub verifier: Verifier,
    /// The clock of the verifier.
    pub clock: ManualClock,
}

impl PinnedVerifier {
    /// Builds the verifier after `configure`.
    #[must_use]
    pub fn new(configure: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let (issuer, clock) = (TestIssuer::start(), ManualClock::at(pinned_time()));
        let trusted = issuer_with(&issuer, KeySource::fixed(issuer.key_set().to_string()));
        let builder = builder_for(trusted.with_cluster("blue")).clock(clock.clone());
        let verifier = configure(builder).build().expect("valid settings");
        Self { issuer, verifier, clock }
    }

    /// Begins a token that is issued at [`pinned_time`].
    pub fn token(&self, lifetime: Duration) -> TokenBuilder {
        let (token, now) = (self.issuer.token().audience(AUDIENCE), pinned_time());
        token.issued_at(now).expires_at(now + lifetime)
    }
}
