//! Where a site has its keys, and what its documents say of that.

use kube_oidc::clock::ManualClock;
use kube_oidc_testing::SigningKey;

use crate::{
    LIFETIME,
    names::Names,
    told::{Given, SLACK},
};

/// How many old URLs of keys are served.
const OLD_PATHS: usize = 4;

/// Where a site has its keys.
#[derive(Debug)]
pub(crate) enum Place {
    /// At a URL that is configured, served by one API server.
    Known,
    /// The same, by two API servers, of which one may be behind: it has these keys.
    Replicated { behind: Option<Vec<SigningKey>> },
    /// At a URL that a document names.
    Moving(Moving),
    /// At an API server, whose document reports the name of the issuer.
    ApiServer(Names),
}

/// Keys that move.
#[derive(Debug, Default)]
pub(crate) struct Moving {
    pub(crate) path: usize,
    /// The keys that old URLs go on serving. `None`: nothing is there.
    old: Vec<(usize, Option<Vec<SigningKey>>)>,
    /// The last document that the verifier read on this visit, and the URL that it named.
    document: Option<(usize, Given)>,
    was_document: bool,
}

impl Moving {
    pub(crate) fn shift(&mut self, keys: Option<Vec<SigningKey>>) {
        self.old.push((self.path, keys));
        if self.old.len() > OLD_PATHS {
            self.old.remove(0);
        }
        self.path += 1;
    }

    pub(crate) fn frozen(&self) -> impl Iterator<Item = &SigningKey> {
        self.old.iter().filter_map(|(_, keys)| keys.as_ref()).flatten()
    }

    /// The keys at an old URL, if some are there.
    pub(crate) fn keys_at(&self, path: usize) -> Option<&[SigningKey]> {
        self.old.iter().find(|(old, _)| *old == path)?.1.as_deref()
    }

    /// The verifier begins anew.
    pub(crate) fn forget(&mut self) {
        self.document = None;
        self.was_document = false;
    }

    pub(crate) fn shake(&mut self) {
        if let Some((_, given)) = &mut self.document {
            given.shake();
        }
    }

    /// The document is read, and was served if `given`.
    pub(crate) fn document_read(&mut self, given: Option<Given>) {
        self.was_document = true;
        if let Some(given) = given {
            self.document = Some((self.path, given));
        }
    }

    /// Keys are read at a URL, which must be the one of a document that is not too old.
    pub(crate) fn check_keys_read(&mut self, path: usize, clock: &ManualClock) -> Option<String> {
        let follows_document = std::mem::take(&mut self.was_document);
        let Some((named, given)) = &self.document else {
            return Some(format!("keys were read at {path}, which no document named"));
        };
        if path != *named && !given.is_shaken {
            return Some(format!("keys were read at {path}, and the document named {named}"));
        }
        // after a document that could not be read, the last known URL is used
        let age = given.monotonic_age(clock);
        (!follows_document && age > LIFETIME + SLACK)
            .then(|| format!("keys were read at {path}, by a document of {age:?} ago"))
    }
}
