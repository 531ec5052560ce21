//! The verdict on a token whose keys are not cached: it waits until they are fetched.

use std::iter;

use super::{
    judge::{Judged, more_telling},
    select::next_of,
    state::State,
    trusted::{TrustedIssuer, TrustedIssuers},
    unverified::Unverified,
};
use crate::{
    claims::Claims,
    error::{InvalidToken, KeysUnavailable, VerifyError},
    keys::{
        cache::{KeyCache, Missing},
        set::{KeySet, NoKey},
    },
    verified::Verified,
};

impl Unverified<'_> {
    /// Judges with the keys that come, as soon as those of one issuer decide.
    pub(super) async fn judge_waiting<C: Claims>(
        &self,
        state: &State<C>,
    ) -> Result<Verified<C>, VerifyError> {
        let issuers = state.issuers.load_full();
        let (mut waits, mut refused) = (Vec::new(), InvalidToken::UnknownIssuer);
        let now = state.now();
        let mut candidates: Vec<_> = issuers.candidates(&self.payload.iss, now).collect();
        if candidates.is_empty() {
            candidates.extend(self.renamed(state, &issuers, now));
        }
        for issuer in candidates {
            if let Some(cache) = issuer.keys.cache() {
                waits.push(Box::pin(self.judge_by_fetched(state, &issuers, issuer, cache)));
                continue;
            }
            // its keys were given, and say what they said
            let judged = issuer.keys.peek(now, |keys| match keys {
                Some(keys) => self.judge_by(state, issuer, keys, now),
                None => Judged::unknown_key(),
            });
            match judged {
                Judged::Signed(verdict) => return verdict.map_err(Into::into),
                Judged::NotSigned { refusal, .. } => refused = more_telling(refused, refusal),
            }
        }
        let mut unavailable = None;
        while !waits.is_empty() {
            match next_of(&mut waits).await {
                Ok(Judged::Signed(verdict)) => return verdict.map_err(Into::into),
                Ok(Judged::NotSigned { refusal, .. }) => refused = more_telling(refused, refusal),
                // it may be the one that has the key
                Err(why) => unavailable = Some(why),
            }
        }
        if let Some(unavailable) = unavailable {
            return Err(unavailable.into());
        }
        self.note_unknown_key(&issuers, &refused, state.now());
        Err(refused.into())
    }

    /// Judges with the keys of one issuer, as soon as they are fetched.
    async fn judge_by_fetched<C: Claims>(
        &self,
        state: &State<C>,
        issuers: &TrustedIssuers,
        issuer: &TrustedIssuer,
        cache: &KeyCache,
    ) -> Result<Judged<C>, KeysUnavailable> {
        let (arrival, kid) = (cache.arrive(), self.header.kid.as_deref());
        let found = |keys: &KeySet| !matches!(self.find(keys), Err(NoKey::UnknownKid));
        let set = match cache.wait_for(kid, found).await {
            Ok(set) => set,
            Err(Missing::UnknownKey) => return Ok(Judged::unknown_key()),
            Err(Missing::Unavailable(why)) => return Err(why),
        };
        for other in issuers.outranking(issuer, &self.payload.iss, state.now()) {
            if let Some(cache) = other.keys.cache() {
                cache.first_answer().await;
            }
        }
        let now = state.now();
        let judged = self.judge_by(state, issuer, set.keys(), now);
        let is_suspicious = matches!(judged, Judged::NotSigned { is_suspicious: true, .. });
        if !is_suspicious || !self.could_pass(state, iter::once(&*issuer.names), now) {
            return Ok(judged);
        }
        match cache.wait_for_rotation(arrival, &set).await {
            Some(newer) => Ok(self.judge_by(state, issuer, newer.keys(), state.now())),
            None => Ok(judged),
        }
    }
}
