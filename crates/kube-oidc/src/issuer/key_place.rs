//! [`KeyPlace`]: where the keys of an issuer are read, to find issuers that read the same ones.

use std::{fmt, path::PathBuf, ptr, sync::Arc};

use super::Issuer;
#[cfg(feature = "remote-no-provider")]
use super::fetching::HttpSettings;
use crate::{keys::source::Fetch, observe::display::shown_url};

/// Where keys are read, and how: one URL may mean two servers by way of two proxies.
#[derive(PartialEq)]
pub(crate) enum KeyPlace {
    File(PathBuf),
    Url(String, Way),
}

pub(crate) struct Way {
    fetcher: Option<Arc<dyn Fetch>>,
    #[cfg(feature = "remote-no-provider")]
    http: HttpSettings,
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(feature = "remote-no-provider")]
        if self.http != other.http {
            return false;
        }
        let address = |way: &Self| way.fetcher.as_ref().map(Arc::as_ptr);
        match (address(self), address(other)) {
            (Some(one), Some(other)) => ptr::addr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Issuer {
    /// Where the keys are read. `None`: they are given.
    pub(crate) fn key_place(&self) -> Option<KeyPlace> {
        if self.key_set.is_some() {
            return None;
        }
        if let Some(path) = &self.key_set_file {
            return Some(KeyPlace::File(path.clone()));
        }
        let way = Way {
            fetcher: self.fetcher.clone(),
            #[cfg(feature = "remote-no-provider")]
            http: self.http.clone(),
        };
        let url = match &self.jwks_uri {
            // spelled in one way
            Some(jwks_uri) => url::Url::parse(jwks_uri).map_or(jwks_uri.clone(), String::from),
            None => self.url.as_ref()?.discovery_url(),
        };
        Some(KeyPlace::Url(url, way))
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url, _) => f.write_str(&shown_url(url)),
        }
    }
}
