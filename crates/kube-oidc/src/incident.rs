//! What an operator takes back in an incident, at once.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::{ArcSwap, Guard};

use crate::issuer::Names;

/// Keys and tokens that are not believed any more, whatever their issuer says.
#[derive(Default)]
pub(crate) struct Incidents {
    /// Not there until there is one: nobody pays for what nobody uses.
    denied: OnceLock<ArcSwap<Denied>>,
}

#[derive(Clone, Default)]
struct Denied {
    /// By `kid`: the issuers of the key, by each name that is known of them.
    keys: HashMap<Arc<str>, HashSet<Arc<str>>>,
    jtis: HashSet<Arc<str>>,
}

impl Incidents {
    /// Distrusts a key of an issuer, which may have several names.
    pub(crate) fn distrust_key(&self, names: &[&str], kid: &str) {
        self.change(|denied| {
            let issuers = denied.keys.entry(kid.into()).or_default();
            issuers.extend(names.iter().map(|name| Arc::from(*name)));
        });
    }

    pub(crate) fn deny_jti(&self, jti: &str) {
        self.change(|denied| {
            denied.jtis.insert(jti.into());
        });
    }

    fn change(&self, change: impl Fn(&mut Denied)) {
        self.denied.get_or_init(ArcSwap::default).rcu(|denied| {
            let mut denied = Denied::clone(denied);
            change(&mut denied);
            denied
        });
    }

    fn denied(&self) -> Option<Guard<Arc<Denied>>> {
        self.denied.get().map(ArcSwap::load)
    }

    /// Whether a key of an issuer is distrusted by any name of the issuer.
    pub(crate) fn is_distrusted(&self, names: &Names, kid: Option<&str>) -> bool {
        let (Some(denied), Some(kid)) = (self.denied(), kid) else { return false };
        let issuers = denied.keys.get(kid);
        issuers.is_some_and(|issuers| issuers.iter().any(|issuer| names.ever_answered_to(issuer)))
    }

    pub(crate) fn is_denied(&self, jti: Option<&str>) -> bool {
        let (Some(denied), Some(jti)) = (self.denied(), jti) else { return false };
        denied.jtis.contains(jti)
    }
}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.denied();
        let denied = denied.as_deref();
        f.debug_struct("Incidents")
            .field("distrusted_keys", &denied.map_or(0, |denied| denied.keys.len()))
            .field("denied_jtis", &denied.map_or(0, |denied| denied.jtis.len()))
            .finish_non_exhaustive()
    }
}
