//! What an operator takes back in an incident, at once.

use std::{collections::HashSet, fmt, sync::Arc};

use arc_swap::ArcSwap;

/// Keys and tokens that are not believed any more, whatever their issuer says.
#[derive(Default)]
pub(crate) struct Incidents(ArcSwap<Denied>);

#[derive(Clone, Default)]
struct Denied {
    /// By issuer and `kid`.
    keys: HashSet<(Arc<str>, Arc<str>)>,
    jtis: HashSet<Arc<str>>,
}

impl Incidents {
    pub(crate) fn distrust_key(&self, issuer: &str, kid: &str) {
        self.change(|denied| {
            denied.keys.insert((issuer.into(), kid.into()));
        });
    }

    pub(crate) fn deny_jti(&self, jti: &str) {
        self.change(|denied| {
            denied.jtis.insert(jti.into());
        });
    }

    fn change(&self, change: impl Fn(&mut Denied)) {
        self.0.rcu(|denied| {
            let mut denied = Denied::clone(denied);
            change(&mut denied);
            denied
        });
    }

    pub(crate) fn is_distrusted(&self, issuer: &Arc<str>, kid: Option<&str>) -> bool {
        let denied = self.0.load();
        // nobody pays for what nobody uses
        !denied.keys.is_empty()
            && kid.is_some_and(|kid| denied.keys.contains(&(Arc::clone(issuer), kid.into())))
    }

    pub(crate) fn is_denied(&self, jti: Option<&str>) -> bool {
        let denied = self.0.load();
        !denied.jtis.is_empty() && jti.is_some_and(|jti| denied.jtis.contains(jti))
    }
}

impl fmt::Debug for Incidents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let denied = self.0.load();
        f.debug_struct("Incidents")
            .field("distrusted_keys", &denied.keys.len())
            .field("denied_jtis", &denied.jtis.len())
            .finish()
    }
}
