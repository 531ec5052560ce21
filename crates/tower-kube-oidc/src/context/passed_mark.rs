//! [`Passed`]: the mark of a request that passed without a caller, or was only looked at.

use std::{fmt, marker::PhantomData};

use kube_oidc::{Claims, ServiceAccountClaims};

use crate::response::{Answering, Rejection};

/// Says in the extensions of a request how it came through an
/// [`OidcAuthLayer`](crate::OidcAuthLayer) that lets more pass than callers with a good token: by
/// an open path, without credentials, or because the layer only reports.
///
/// A request that has neither this nor [`Verified`](crate::Verified) claims was seen by no layer.
pub struct Passed<C: Claims = ServiceAccountClaims> {
    pub(crate) how: How,
    /// The layer's type of claims: one that is for others says nothing about these.
    claims: PhantomData<fn() -> C>,
}

#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) why: Why,
    /// Whether the layer only reports, and so what comes after it.
    pub(crate) report_only: bool,
    /// How the layer answers, for what wants a caller after it.
    pub(crate) answering: Answering,
}

#[derive(Clone, Debug)]
pub(crate) enum Why {
    OpenPath,
    Anonymous,
    /// It has a caller, and a layer that only reports.
    Verified,
    WouldBeRejected(Rejection),
}

impl<C: Claims> Passed<C> {
    pub(crate) fn by(how: How) -> Self {
        Self { how, claims: PhantomData }
    }

    /// Whether its path is open to everybody. No token was looked at.
    #[must_use]
    pub fn is_open_path(&self) -> bool {
        matches!(self.how.why, Why::OpenPath)
    }

    /// Whether it brought no credentials, where they are
    /// [`optional`](crate::OidcAuthLayerBuilder::optional).
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        matches!(self.how.why, Why::Anonymous)
    }

    /// Whether the layer [only reports](crate::OidcAuthLayerBuilder::dangerous_report_only).
    #[must_use]
    pub fn is_report_only(&self) -> bool {
        self.how.report_only
    }

    /// Why a layer that only reports would have refused it.
    #[must_use]
    pub fn would_be_rejected(&self) -> Option<&Rejection> {
        match &self.how.why {
            Why::WouldBeRejected(rejection) => Some(rejection),
            _ => None,
        }
    }
}

impl<C: Claims> Clone for Passed<C> {
    fn clone(&self) -> Self {
        Self::by(self.how.clone())
    }
}

impl<C: Claims> fmt::Debug for Passed<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passed").field(&self.how).finish()
    }
}
