//! The conditions that a verdict rests on after its signature was checked. This one list serves
//! cached tokens, and callers whose requests and streams go on.

use std::time::{Duration, SystemTime};

use super::{
    state::State,
    token_cache::REMEMBERED_FOR,
    trusted::{TrustedIssuer, TrustedIssuers},
    validation::opens_api_server,
};
use crate::{
    claims::Claims,
    clock::Moment,
    issuer_name::Held,
    keys::set::KeySet,
    verified::{Basis, Verified},
};

/// A verdict whose conditions hold.
struct Standing<'a> {
    issuer: &'a TrustedIssuer,
    name: Held<'a>,
    for_api_server: bool,
    /// Whether keys decide that may be used now. Without them the last known set does, for what is
    /// under way.
    is_decided: bool,
}

impl<C: Claims> State<C> {
    /// Whether a cached verdict still holds. Then it is counted.
    pub(super) fn still_holds(&self, verified: &Verified<C>, now: Moment) -> bool {
        let Some(basis) = verified.basis() else { return false };
        let issuers = self.issuers.load();
        let standing = self.standing(&issuers, verified, basis, now);
        let is_new = now.since(basis.checked_at) < REMEMBERED_FOR;
        let Some(standing) = standing.filter(|standing| standing.is_decided && is_new) else {
            return false;
        };
        let Standing { issuer, name, for_api_server, .. } = standing;
        issuer.note_accepted(&name, basis, for_api_server, now);
        true
    }

    /// How long from now on a caller's token would be accepted, as far as is known now.
    pub(super) fn time_left(&self, caller: &Verified<C>, now: Moment) -> Duration {
        let left = |until: SystemTime| until.duration_since(now.wall).unwrap_or_default();
        let left = caller.accepted_until().map_or(Duration::MAX, left);
        let Some(basis) = caller.basis() else { return left };
        let issuers = self.issuers.load();
        let standing = self.standing(&issuers, caller, basis, now);
        standing.map_or(Duration::ZERO, |standing| left.min(standing.name.left))
    }

    /// Checks all that can end a verdict: times, issuer, name, key, `jti`, and audience.
    #[expect(clippy::inline_always, reason = "each cached token takes this path")]
    #[inline(always)]
    fn standing<'a>(
        &self,
        issuers: &'a TrustedIssuers,
        verified: &Verified<C>,
        basis: &Basis,
        now: Moment,
    ) -> Option<Standing<'a>> {
        if !(basis.good_from..basis.good_until).contains(&now.seconds()) {
            return None;
        }
        let registered = verified.registered();
        let iss = registered.issuer();
        let issuer = issuers.by_id(basis.issuer)?;
        let name = issuer.names.find(iss, now)?;
        if self.denylist.is_denied(registered.jti()) {
            return None;
        }
        let is_alone = issuers.len() == 1;
        let is_good = |keys: &KeySet| {
            keys.by_id(basis.key).is_some_and(|key| {
                !issuer.is_distrusted(&self.denylist, keys.names_of(key))
                    && (is_alone || issuers.rival(issuer, name.claim, iss, key, now).is_none())
            })
        };
        let by_keys = issuer.keys.with_current(now, |keys| keys.map(&is_good));
        let holds = match by_keys {
            Some(is_good) => is_good,
            None => issuer.keys.with_last(is_good),
        };
        if !holds {
            return None;
        }
        // names that were learned since may be among the audiences
        let for_api_server = if basis.names_version == issuer.names.version() {
            basis.for_api_server
        } else {
            let is_extended = basis.warn_from.is_some();
            opens_api_server(registered.audiences(), iss, is_extended, Some(&issuer.names))
        };
        if for_api_server && self.validation.reject_api_server_audiences {
            return None;
        }
        let is_decided =
            by_keys.is_some() && (is_alone || !issuers.is_outranked_by_unknown(issuer, iss, now));
        Some(Standing { issuer, name, for_api_server, is_decided })
    }
}
