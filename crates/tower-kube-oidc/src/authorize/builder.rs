//! [`AuthorizeLayerBuilder`]: the settings of an [`AuthorizeLayer`].

use std::fmt;

use kube_oidc::{Claims, Policy, ServiceAccountClaims};

use super::{decide::AuthorizeSettings, layer::AuthorizeLayer};
use crate::response::define_response_setters;

/// Builds an [`AuthorizeLayer`]. The builder is not a layer itself.
///
/// ```
/// use tower_kube_oidc::{AuthorizeLayer, Policy, in_namespace};
///
/// let policy = Policy::new(in_namespace("payments"))?;
/// let layer = AuthorizeLayer::builder(policy).and_open_paths().realm("payments").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct AuthorizeLayerBuilder<C: Claims = ServiceAccountClaims> {
    settings: AuthorizeSettings<C>,
}

/// Why an [`AuthorizeLayer`] could not be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeLayerError {
    /// A header cannot carry the realm.
    #[error("invalid realm; expected printable ASCII without quotes and backslashes")]
    InvalidRealm,
}

impl<C: Claims> AuthorizeLayer<C> {
    /// Begins a layer with settings of its responses.
    pub fn builder(policy: Policy<C>) -> AuthorizeLayerBuilder<C> {
        AuthorizeLayerBuilder::new(AuthorizeSettings::new(policy))
    }
}

impl<C: Claims> AuthorizeLayerBuilder<C> {
    pub(super) fn new(settings: AuthorizeSettings<C>) -> Self {
        Self { settings }
    }

    /// Allows requests for open paths of the outer layer as well.
    ///
    /// So one policy can cover all routes of an application, including the path of a probe.
    pub fn and_open_paths(mut self) -> Self {
        self.settings.and_open_paths = true;
        self
    }

    define_response_setters!(settings.answering);

    /// Checks the settings, and builds the layer.
    ///
    /// # Errors
    ///
    /// An invalid setting: see [`AuthorizeLayerError`].
    pub fn build(self) -> Result<AuthorizeLayer<C>, AuthorizeLayerError> {
        if self.settings.answering.is_sound() {
            Ok(AuthorizeLayer::of(self.settings))
        } else {
            Err(AuthorizeLayerError::InvalidRealm)
        }
    }
}

impl<C: Claims> fmt::Debug for AuthorizeLayerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuthorizeLayerBuilder").field(&self.settings.policy).finish()
    }
}
