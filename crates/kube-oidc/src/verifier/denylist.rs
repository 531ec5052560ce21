//! The denylist: keys and tokens that an operator takes back in an incident, at once.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::{ArcSwap, Guard};

use crate::issuer_name::NameListener;

/// Keys and tokens that are not believed any more, whatever their issuer says.
#[derive(Default)]
pub(crate) struct Denylist {
    /// Not there until there is one: nobody pays for what nobody uses.
    denied: OnceLock<ArcSwap<Denied>>,
}

#[derive(Clone, Default)]
struct Denied {
    /// By `kid`: the issuers of the key, by name or label.
    keys: HashMap<Arc<str>, HashSet<Arc<str>>>,
    jtis: HashSet<Arc<str>>,
}

impl Denylist {
    /// Distrusts a key of an issuer, by a name of the issuer or by its label.
    pub(crate) fn distrust_key(&self, issuer: &str, kid: &str) {
        self.change(|denied| {
            denied.keys.entry(kid.into()).or_default().insert(issuer.into());
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

    /// Whether one of some keys is distrusted by a name or label that `answers_to` finds to be its
    /// issuer's.
    pub(crate) fn is_distrusted<'k>(
        &self,
        kids: impl IntoIterator<Item = &'k str>,
        answers_to: impl Fn(&str) -> bool,
    ) -> bool {
        let Some(denied) = self.denied() else { return false };
        let mut issuers = kids.into_iter().filter_map(|kid| denied.keys.get(kid)).flatten();
        issuers.any(|issuer| answers_to(issuer))
    }

    pub(crate) fn is_denied(&self, jti: Option<&str>) -> bool {
        let (Some(denied), Some(jti)) = (self.denied(), jti) else { return false };
        denied.jtis.contains(jti)
    }
}

impl NameListener for Denylist {
    /// Distrusts the keys of an issuer that were distrusted by a name which it has from now on: the
    /// name may be forgotten later, and the label never is.
    fn note_name(&self, label: &str, name: &str) {
        let is_affected =
            |issuers: &HashSet<Arc<str>>| issuers.contains(name) && !issuers.contains(label);
        if !self.denied().is_some_and(|denied| denied.keys.values().any(is_affected)) {
            return;
        }
        self.change(|denied| {
            for issuers in denied.keys.values_mut().filter(|issuers| is_affected(issuers)) {
                issuers.insert(label.into());
            }
        });
    }
}

impl fmt::Debug for Denylist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.denied();
        let denied = denied.as_deref();
        f.debug_struct("Denylist")
            .field("distrusted_keys", &denied.map_or(0, |denied| denied.keys.len()))
            .field("denied_jtis", &denied.map_or(0, |denied| denied.jtis.len()))
            .finish_non_exhaustive()
    }
}
