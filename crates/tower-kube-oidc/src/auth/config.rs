//! What an [`OidcAuthLayer`](crate::OidcAuthLayer) was asked for, and what it comes to.

use kube_oidc::{BuildError, Claims, InClusterError, IssuerUrl, Verifier, VerifierBuilder};

use super::{decide::Settings, options::Manner};
use crate::metrics::RequestMeter;

pub(crate) struct Plan<C: Claims> {
    pub(crate) source: Source<C>,
    /// `None`: none was asked for.
    pub(crate) audiences: Option<Vec<String>>,
    pub(crate) api_server_audiences: bool,
    pub(crate) manner: Manner<C>,
}

pub(crate) enum Source<C: Claims> {
    /// A verifier of the layer's own, still without audiences.
    Own { builder: Box<VerifierBuilder<C>>, issuer: IssuerUrl },
    /// A verifier that exists, whose expectations the layer cannot loosen.
    Shared(Verifier<C>),
}

/// Why a layer cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The verifier cannot be built.
    #[error(transparent)]
    Verifier(#[from] BuildError),
    /// This process is no pod, or its service account's files are missing.
    #[error(transparent)]
    InCluster(#[from] InClusterError),
    /// A layer that was made from a verifier cannot accept more than that does.
    #[error("the API server's audiences are to be set on the verifier that the layer is made from")]
    VerifierIsFixed,
    /// The realm holds what a header cannot carry: anything but printable ASCII, a quote, a
    /// backslash.
    #[error("the realm must be printable ASCII without quotes and backslashes")]
    InvalidRealm,
    /// An open path can never be the path of a request, or is for no method.
    #[error(
        "the open path {0} must begin with a slash, be no pattern, have no query, and be for some method"
    )]
    InvalidOpenPath(String),
}

impl<C: Claims> Plan<C> {
    pub(crate) fn new(source: Source<C>) -> Self {
        let manner = Manner::default();
        Self { source, audiences: None, api_server_audiences: false, manner }
    }

    pub(crate) fn settle(&self) -> Result<Settings<C>, LayerError> {
        if !self.manner.answering.is_sound() {
            return Err(LayerError::InvalidRealm);
        }
        if let Some(open) = self.manner.open.iter().find(|open| !open.is_sound()) {
            return Err(LayerError::InvalidOpenPath(format!("{open:?}")));
        }
        if let Some(audiences) = &self.audiences {
            check_audiences(audiences)?;
        }
        let (verifier, narrower) = match (&self.source, &self.audiences) {
            (Source::Shared(_), _) if self.api_server_audiences => {
                return Err(LayerError::VerifierIsFixed);
            }
            (Source::Shared(verifier), narrower) => (verifier.clone(), narrower.clone()),
            (Source::Own { builder, issuer }, audiences) => {
                let builder = VerifierBuilder::clone(builder);
                let builder = match audiences {
                    Some(audiences) => builder.audiences(audiences.iter().cloned()),
                    None if self.api_server_audiences => builder,
                    None => {
                        tracing::warn!(
                            issuer = issuer.as_str(),
                            "no audience is set: tokens for the issuer's default audience are \
                             accepted. Whoever receives such a token can replay it to the API \
                             server and to every other service on the default; give the layer an \
                             audience of its own"
                        );
                        builder.audience(issuer.as_str())
                    }
                };
                let builder = if self.api_server_audiences {
                    builder.dangerous_api_server_audiences()
                } else {
                    builder
                };
                (builder.build()?, None)
            }
        };
        let (manner, meter) = (self.manner.clone(), RequestMeter::default());
        Ok(Settings { verifier: Some(verifier), narrower, manner, meter })
    }
}

/// The list of a layer that narrows is checked like a verifier's own.
fn check_audiences(audiences: &[String]) -> Result<(), BuildError> {
    if audiences.is_empty() {
        Err(BuildError::NoAudience)
    } else if audiences.iter().any(|audience| audience.trim().is_empty()) {
        Err(BuildError::EmptyAudience)
    } else {
        Ok(())
    }
}

impl<C: Claims> Clone for Plan<C> {
    fn clone(&self) -> Self {
        let source = match &self.source {
            Source::Own { builder, issuer } => {
                Source::Own { builder: builder.clone(), issuer: issuer.clone() }
            }
            Source::Shared(verifier) => Source::Shared(verifier.clone()),
        };
        let (audiences, manner) = (self.audiences.clone(), self.manner.clone());
        Self { source, audiences, api_server_audiences: self.api_server_audiences, manner }
    }
}
