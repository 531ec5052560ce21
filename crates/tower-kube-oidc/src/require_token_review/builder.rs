//! [`RequireTokenReviewLayerBuilder`]: the settings of a [`RequireTokenReviewLayer`].

use kube_oidc::{IssuerStatus, Verifier};

use super::{decide::ReviewSettings, layer::RequireTokenReviewLayer};
use crate::response::{Answering, define_response_setters};

/// Builds a [`RequireTokenReviewLayer`]. The builder is not a layer itself.
#[derive(Debug)]
#[must_use]
pub struct RequireTokenReviewLayerBuilder {
    verifier: Verifier,
    answering: Answering,
}

/// Why a [`RequireTokenReviewLayer`] could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequireTokenReviewLayerError {
    /// Several settings are invalid. None of these errors is `Multiple`.
    #[error("{}", joined(.0))]
    Multiple(Vec<Self>),
    /// An issuer of the verifier has no reviewer.
    #[error("missing reviewer of the issuer {0:?}; call `Issuer::with_token_review`")]
    MissingReviewer(String),
    /// A header cannot carry the realm.
    #[error("invalid realm; expected printable ASCII without quotes and backslashes")]
    InvalidRealm,
}

fn joined(errors: &[RequireTokenReviewLayerError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

impl RequireTokenReviewLayer {
    /// Requires a review of each token, by the reviewers of this verifier.
    ///
    /// # Errors
    ///
    /// Every issuer of the verifier that has no reviewer.
    pub fn new(verifier: &Verifier) -> Result<Self, RequireTokenReviewLayerError> {
        Self::builder(verifier).build()
    }

    /// Begins a layer with settings of its responses.
    pub fn builder(verifier: &Verifier) -> RequireTokenReviewLayerBuilder {
        RequireTokenReviewLayerBuilder::new(verifier)
    }
}

impl RequireTokenReviewLayerBuilder {
    pub(super) fn new(verifier: &Verifier) -> Self {
        Self { verifier: verifier.clone(), answering: Answering::default() }
    }

    define_response_setters!(answering);

    /// Checks the settings, and builds the layer.
    ///
    /// # Errors
    ///
    /// Every issuer of the verifier that has no reviewer, and every invalid setting: see
    /// [`RequireTokenReviewLayerError`].
    pub fn build(self) -> Result<RequireTokenReviewLayer, RequireTokenReviewLayerError> {
        let Self { verifier, answering } = self;
        let without = verifier.status().into_iter().filter(|issuer| !issuer.has_reviewer);
        let mut faults: Vec<_> = without.map(RequireTokenReviewLayerError::of).collect();
        if !answering.is_sound() {
            faults.push(RequireTokenReviewLayerError::InvalidRealm);
        }
        match faults.len() {
            0 => Ok(RequireTokenReviewLayer::of(ReviewSettings { verifier, answering })),
            1 => Err(faults.swap_remove(0)),
            _ => Err(RequireTokenReviewLayerError::Multiple(faults)),
        }
    }
}

impl RequireTokenReviewLayerError {
    fn of(without: IssuerStatus) -> Self {
        let IssuerStatus { issuer, cluster, .. } = without;
        Self::MissingReviewer(match cluster {
            None => issuer,
            Some(cluster) => format!("{issuer} ({cluster})"),
        })
    }
}
