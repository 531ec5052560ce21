//! [`Outcome`]: what became of a request, for a hook.

use std::{fmt, sync::Arc};

use kube_oidc::{Claims, ServiceAccountClaims, Verified};

use crate::response::{Rejection, RequestHead};

/// What an [`OidcAuthLayer`](crate::OidcAuthLayer) made of a request: see
/// [`on_outcome`](crate::OidcAuthLayerBuilder::on_outcome).
#[non_exhaustive]
pub enum Outcome<'a, C: Claims = ServiceAccountClaims> {
    /// Its token is good.
    Verified(&'a Verified<C>),
    /// It has no credentials, and they are [optional](crate::OidcAuthLayerBuilder::optional).
    Anonymous,
    /// Its path is open, so nobody looked at a token.
    OpenPath,
    /// It is refused.
    Rejected(&'a Rejection),
    /// It would be refused, but the layer
    /// [only reports](crate::OidcAuthLayerBuilder::dangerous_report_only).
    WouldBeRejected(&'a Rejection),
}

pub(crate) type OnOutcome<C> = Arc<dyn Fn(Outcome<'_, C>, RequestHead<'_>) + Send + Sync>;

impl<C: Claims> Outcome<'_, C> {
    /// A word for each kind, the same from release to release: for a metric's label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verified(_) => "verified",
            Self::Anonymous => "anonymous",
            Self::OpenPath => "open_path",
            Self::Rejected(_) => "rejected",
            Self::WouldBeRejected(_) => "would_be_rejected",
        }
    }

    /// [`Rejection::reason`] of what was refused or would have been, and `none` of what was not.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Rejected(why) | Self::WouldBeRejected(why) => why.reason(),
            Self::Verified(_) | Self::Anonymous | Self::OpenPath => "none",
        }
    }
}

impl<C: Claims> Clone for Outcome<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: Claims> Copy for Outcome<'_, C> {}

impl<C: Claims> fmt::Debug for Outcome<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(why) | Self::WouldBeRejected(why) => {
                f.debug_tuple(self.name()).field(why).finish()
            }
            _ => f.write_str(self.name()),
        }
    }
}
