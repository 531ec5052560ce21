//! The verdict on a token whose keys are not cached: it waits until they are fetched.

use std::{future::poll_fn, iter, pin::Pin, task::Poll};

use super::{
    Inner,
    judge::{Judged, Unverified, more_telling},
    trusted::{TrustedIssuer, TrustedIssuers},
};
use crate::{
    claims::Claims,
    clock::Moment,
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
        inner: &Inner<C>,
    ) -> Result<Verified<C>, VerifyError> {
        let issuers = inner.issuers.load_full();
        let (mut waits, mut refused) = (Vec::new(), InvalidToken::UnknownIssuer);
        let now = Moment::now(&*inner.clock);
        let mut candidates: Vec<_> = issuers.candidates(&self.payload.iss, now).collect();
        if candidates.is_empty() {
            candidates.extend(self.renamed(inner, &issuers, now));
        }
        for issuer in candidates {
            if let Some(cache) = issuer.keys.cache() {
                waits.push(Box::pin(self.judge_by_fetched(inner, &issuers, issuer, cache)));
                continue;
            }
            // its keys were given, and say what they said
            let judged = issuer.keys.peek(now, |keys| match keys {
                Some(keys) => self.judge_by(inner, issuer, keys, now),
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
        self.note_unknown_key(&issuers, &refused, Moment::now(&*inner.clock));
        Err(refused.into())
    }

    /// Judges with the keys of one issuer, as soon as they are fetched.
    async fn judge_by_fetched<C: Claims>(
        &self,
        inner: &Inner<C>,
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
        for other in issuers.outranking(issuer, &self.payload.iss, Moment::now(&*inner.clock)) {
            if let Some(cache) = other.keys.cache() {
                cache.first_answer().await;
            }
        }
        let now = Moment::now(&*inner.clock);
        let judged = self.judge_by(inner, issuer, set.keys(), now);
        let is_suspicious = matches!(judged, Judged::NotSigned { is_suspicious: true, .. });
        if !is_suspicious || !self.could_pass(inner, iter::once(&*issuer.names), now) {
            return Ok(judged);
        }
        match cache.wait_for_rotation(arrival, &set).await {
            Some(newer) => {
                Ok(self.judge_by(inner, issuer, newer.keys(), Moment::now(&*inner.clock)))
            }
            None => Ok(judged),
        }
    }
}

/// The next of some futures to end, which is taken out; of none, it never ends.
pub(super) async fn next_of<F: Future>(futures: &mut Vec<Pin<Box<F>>>) -> F::Output {
    poll_fn(|context| {
        for index in 0..futures.len() {
            if let Poll::Ready(output) = futures[index].as_mut().poll(context) {
                drop(futures.swap_remove(index));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}
