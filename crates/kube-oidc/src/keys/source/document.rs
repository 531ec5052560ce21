//! A discovery document: where it is, what it is trusted for, and what was read last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use url::Url;

use super::{FetchResponse, LoadError, discovery, freshness::Freshness};
use crate::{
    clock::Moment,
    issuer_name::{Change, DISCOVERY, Names, Transport},
    observe::{
        Observed,
        display::{Span, shown_origin},
        meter::IssuerEvent,
    },
};

/// A discovery document, which is kept for its own lifetime.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) url: String,
    trust: Trust,
    found: Mutex<Option<Found>>,
}

/// What a discovery document is trusted for.
#[derive(Debug)]
pub(super) enum Trust {
    /// Where the keys of the issuer of these names are, if the document names one of them.
    Issuer { transport: Transport, names: Arc<Names> },
    /// The name of the issuer. The keys are the API server's own, wherever the document says that
    /// they are: on EKS it has named a private node.
    ApiServer { jwks_uri: Url, names: Arc<Names>, observed: Arc<Observed> },
}

/// The content of a document.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(super) jwks_uri: Url,
    /// The name that an API server reports.
    name: Option<String>,
    at: Moment,
    lifetime: Duration,
    /// The document is read again before it is believed, as after the keys were not there.
    suspect: bool,
    /// The next fetch reads the keys first: the document left them too little time.
    keys_first: bool,
}

impl Found {
    /// Whether the document has to be read again before it is believed.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        !self.keys_first && (self.suspect || now.since(self.at) >= self.lifetime)
    }
}

/// What a fetch found out about the place of the keys.
#[derive(Debug, Default)]
pub(crate) enum Discovery {
    #[default]
    Unchanged,
    /// The document was read.
    Read(Found),
    /// The server of the document is down, so the last known URL of the keys was used.
    Outage(String),
    /// The document took the time of the keys, whether it was read or not.
    Slow(Option<Found>),
    /// The keys are gone from their URL.
    Suspect,
    /// The document is gone, or is not a document of this issuer.
    Lost,
}

impl Document {
    pub(super) fn new(url: String, trust: Trust) -> Self {
        Self { url, trust, found: Mutex::default() }
    }

    pub(super) fn is_api_servers(&self) -> bool {
        matches!(self.trust, Trust::ApiServer { .. })
    }

    /// Whether the issuer has a path.
    pub(super) fn is_below_root(&self) -> bool {
        Url::parse(&self.url).is_ok_and(|url| url.path() != DISCOVERY)
    }

    /// The content that was read last.
    pub(super) fn known(&self) -> Option<Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a response.
    pub(super) fn read(
        &self,
        response: &FetchResponse,
        freshness: &Freshness,
        now: Moment,
    ) -> Result<Found, LoadError> {
        let (jwks_uri, name) = match &self.trust {
            Trust::Issuer { transport, names } => {
                (discovery::jwks_uri(&self.url, response, *transport, names, now)?, None)
            }
            Trust::ApiServer { jwks_uri, .. } => {
                (jwks_uri.clone(), Some(discovery::issuer(&self.url, response)?))
            }
        };
        // each fetch looks for the name in the document of an API server
        let suspect = name.is_some();
        let lifetime = freshness.lifetime(response);
        Ok(Found { jwks_uri, name, at: now, lifetime, suspect, keys_first: false })
    }

    /// Takes what a fetch found out.
    pub(super) fn note(&self, discovery: Discovery) {
        if let Discovery::Read(read) | Discovery::Slow(Some(read)) = &discovery
            && let Some(name) = &read.name
        {
            self.learn(name, read.at);
        }
        let keys_first = matches!(discovery, Discovery::Slow(_));
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match discovery {
            Discovery::Unchanged | Discovery::Outage(_) | Discovery::Slow(None) => {}
            Discovery::Read(read) | Discovery::Slow(Some(read)) => *found = Some(read),
            Discovery::Suspect => found.iter_mut().for_each(|found| found.suspect = true),
            Discovery::Lost => *found = None,
        }
        found.iter_mut().for_each(|found| found.keys_first = keys_first);
    }

    /// Takes the name that an API server reports.
    fn learn(&self, name: &str, now: Moment) {
        let Trust::ApiServer { names, observed, .. } = &self.trust else { return };
        let (issuer, cluster) = observed.names();
        match names.learn(name, now) {
            None | Some(Change::None) => {}
            Some(Change::First) => {
                tracing::info!(
                    issuer,
                    cluster,
                    name = shown_origin(name, None),
                    "learned the issuer's name"
                );
            }
            Some(Change::Replaced { former, valid_for, is_flood }) => {
                observed.meter.count(IssuerEvent::NameChange);
                if !is_flood {
                    tracing::warn!(
                        issuer,
                        cluster,
                        name = shown_origin(name, None),
                        former = shown_origin(&former, None),
                        former_valid_for = %Span(valid_for),
                        "the issuer's name changed"
                    );
                }
            }
        }
    }
}
