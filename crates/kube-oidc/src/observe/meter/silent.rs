//! Nothing is counted.

#![expect(clippy::unused_self, reason = "the same calls as with the feature")]

use std::{sync::Arc, time::Duration};

use super::{Asked, Fetched, IssuerEvent};

#[derive(Debug, Default)]
pub(crate) struct TokenCacheMeter {}

impl TokenCacheMeter {
    pub(crate) fn hit(&self) {}

    pub(crate) fn miss(&self) {}
}

#[derive(Debug)]
pub(crate) struct IssuerMeter {}

impl IssuerMeter {
    pub(crate) fn new(_: Arc<str>, _: Option<Arc<str>>) -> Self {
        Self {}
    }

    pub(crate) fn fetched(&self, _: Fetched, _: Duration) {}

    pub(crate) fn asked(&self, _: Asked, _: Duration) {}

    pub(crate) fn count(&self, _: IssuerEvent) {}
}
