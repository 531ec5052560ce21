//! The way of a token: taken apart, signature, then what was signed.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use super::{
    Inner,
    trusted::{TrustedIssuer, TrustedIssuers},
};
use crate::{
    claims::{Claims, Payload},
    error::{Refusal, VerifyError},
    jws::{Compact, Header},
    key_cache::Missing,
    key_set::{Fitting, Key, KeySet, NoKey},
    verified::Verified,
};

/// The decoded parts of a token, which the rest borrows from.
#[derive(Default)]
pub(super) struct Opened {
    header: String,
    payload: String,
}

/// A token that was taken apart, of which nothing is believed.
pub(super) struct Unverified<'a> {
    signing_input: &'a str,
    signature: Vec<u8>,
    header: Header<'a>,
    payload: Payload<'a>,
    /// The payload as text.
    text: &'a str,
    issuers: &'a TrustedIssuers,
}

/// Who signed a token.
struct Signer<'a> {
    issuer: &'a Arc<TrustedIssuer>,
    key: &'a Arc<Key>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart, and does every check that needs no key.
    pub(super) fn open<C: Claims>(
        inner: &Inner,
        token: &'a str,
        issuers: &'a TrustedIssuers,
        opened: &'a mut Opened,
    ) -> Result<Self, Refusal> {
        let compact = Compact::parse(token)?;
        opened.header = compact.decode_header()?;
        let header = Header::parse(&opened.header, &inner.allowed)?;
        inner.validation.check_type(&header)?;
        opened.payload = compact.decode_payload()?;
        let payload = Payload::parse(&opened.payload, C::KUBERNETES)?;
        if issuers.candidates(&payload.iss).next().is_none() {
            return Err(Refusal::UnknownIssuer);
        }
        let signature = compact.decode_signature()?;
        let signing_input = compact.signing_input;
        Ok(Self { signing_input, signature, header, payload, text: &opened.payload, issuers })
    }

    /// Judges with the keys that are here. A token that could not pass is refused rather than
    /// sent to wait for keys.
    pub(super) fn judge_now<C: Claims>(
        &self,
        inner: &Inner,
    ) -> Poll<Result<Verified<C>, VerifyError>> {
        let mut refused = Refusal::UnknownKey;
        let mut keys_may_come = false;
        for issuer in self.issuers.candidates(&self.payload.iss) {
            let judged = issuer.keys.with_current(|keys| {
                match keys.map_or(Err(NoKey::UnknownKid), |keys| self.find(keys)) {
                    Ok(fitting) => Some(self.judge(inner, issuer, fitting)),
                    Err(NoKey::UnknownKid) if issuer.keys.may_change() => None,
                    Err(no_key) => Some(Judged::NotSigned(refused_for(no_key))),
                }
            });
            match judged {
                Some(Judged::Signed(verdict)) => return Poll::Ready(verdict.map_err(Into::into)),
                Some(Judged::NotSigned(refusal)) => refused = more_telling(refused, refusal),
                None => keys_may_come = true,
            }
        }
        if keys_may_come {
            match inner.validation.check_hope(&self.payload, inner.clock.wall()) {
                Ok(()) => return Poll::Pending,
                Err(hopeless) => refused = hopeless,
            }
        }
        Poll::Ready(Err(refused.into()))
    }

    /// Judges with the keys that come, as soon as those of one issuer decide.
    pub(super) async fn judge_waiting<C: Claims>(
        &self,
        inner: &Inner,
    ) -> Result<Verified<C>, VerifyError> {
        let found = |keys: &KeySet| !matches!(self.find(keys), Err(NoKey::UnknownKid));
        let mut waits: Vec<_> = self
            .issuers
            .candidates(&self.payload.iss)
            .filter_map(|issuer| {
                let cache = issuer.keys.cache()?;
                Some(Box::pin(async move { (issuer, cache.wait_for(found).await) }))
            })
            .collect();
        let mut refused = Refusal::UnknownKey;
        let mut unavailable = None;
        while !waits.is_empty() {
            match next_of(&mut waits).await {
                (issuer, Ok(snapshot)) => match self.find(snapshot.keys()) {
                    Ok(fitting) => match self.judge(inner, issuer, fitting) {
                        Judged::Signed(verdict) => return verdict.map_err(Into::into),
                        Judged::NotSigned(refusal) => refused = more_telling(refused, refusal),
                    },
                    Err(no_key) => refused = more_telling(refused, refused_for(no_key)),
                },
                (_, Err(Missing::UnknownKey)) => {}
                (_, Err(Missing::Unavailable(why))) => unavailable = Some(why),
            }
        }
        match unavailable {
            // it may be the one that has the key
            Some(unavailable) => Err(unavailable.into()),
            None => Err(refused.into()),
        }
    }

    fn find<'k>(&self, keys: &'k KeySet) -> Result<Fitting<'k>, NoKey> {
        keys.find(self.header.kid.as_deref(), self.header.algorithm)
    }

    fn judge<C: Claims>(
        &self,
        inner: &Inner,
        issuer: &Arc<TrustedIssuer>,
        fitting: Fitting<'_>,
    ) -> Judged<C> {
        match self.signer(inner, issuer, fitting) {
            Ok(signer) => Judged::Signed(self.accept(inner, &signer)),
            Err(refusal) => Judged::NotSigned(refusal),
        }
    }

    /// Who of an issuer's keys signed the token, if one did.
    fn signer<'k>(
        &self,
        inner: &Inner,
        issuer: &'k Arc<TrustedIssuer>,
        fitting: Fitting<'k>,
    ) -> Result<Signer<'k>, Refusal> {
        // the name of a pod's own cluster may have been learnt since
        if !issuer.names.contain(&self.payload.iss) {
            return Err(Refusal::UnknownIssuer);
        }
        if inner.incidents.is_distrusted(&issuer.names, fitting.kid()) {
            return Err(Refusal::DistrustedKey);
        }
        let key = fitting.signer(self.signing_input.as_bytes(), &self.signature);
        Ok(Signer { issuer, key: key.ok_or(Refusal::Signature)? })
    }

    /// The checks on what was signed.
    fn accept<C: Claims>(
        &self,
        inner: &Inner,
        signer: &Signer<'_>,
    ) -> Result<Verified<C>, Refusal> {
        let Signer { issuer, key } = signer;
        // it may have been removed while the token waited for its keys
        let issuers = inner.issuers.load();
        if !issuers.contain(issuer) {
            return Err(Refusal::UnknownIssuer);
        }
        if issuers.share(issuer, &self.payload.iss, key) {
            return Err(Refusal::SharedKey);
        }
        let now = inner.clock.wall();
        inner.validation.check(&self.payload, now)?;
        if inner.incidents.is_denied(self.payload.jti.as_deref()) {
            return Err(Refusal::DeniedJti);
        }
        let kept = C::keep(&self.payload, self.text)?;
        issuer.names.note_seen(&self.payload.iss, now);
        Ok(Verified::new(kept, issuer.cluster.clone()))
    }
}

/// What the keys of one issuer say of a token.
enum Judged<C: Claims> {
    /// One of them signed it, and this came of it.
    Signed(Result<Verified<C>, Refusal>),
    /// None of them did; another issuer of the same name may have.
    NotSigned(Refusal),
}

/// Of several issuers of one name: that it has the key and did not sign says more than that it
/// has no such key.
fn more_telling(one: Refusal, other: Refusal) -> Refusal {
    if matches!(other, Refusal::UnknownKey) { one } else { other }
}

fn refused_for(no_key: NoKey) -> Refusal {
    match no_key {
        NoKey::OtherAlgorithm => Refusal::KeyNotForAlgorithm,
        NoKey::UnknownKid | NoKey::Ambiguous => Refusal::UnknownKey,
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
