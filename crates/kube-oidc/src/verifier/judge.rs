//! The way of a token: taken apart, signature, then what was signed.

use super::{
    state::State,
    trusted::{Noted, Rival, TrustedIssuer, TrustedIssuers},
    unverified::Unverified,
    validation::is_for_api_server,
};
use crate::{
    claims::{Claims, NumericDate},
    clock::Moment,
    encoding::base64url::Room,
    error::{InvalidToken, VerifyError},
    issuer_name::{Claim, Held},
    jws::{Compact, MAX_TOKEN_BYTES},
    keys::{
        cache::KeyCache,
        set::{Fitting, Key, KeySet, NoKey},
    },
    observe::{display::Shown, meter::IssuerEvent},
    verified::{Basis, Verified},
};

/// Room for the decoded parts of an ordinary token, on the stack.
const ROOM: usize = 2048;

/// A key that signed a token, and whose it is.
pub(super) struct Signer<'a> {
    issuer: &'a TrustedIssuer,
    name: Held<'a>,
    key: &'a Key,
    /// Whether another cluster lists the key too, so that it signs for neither.
    pub(super) shared: bool,
}

impl<C: Claims> State<C> {
    /// What came of a token before, if all that it rests on still holds.
    pub(super) fn recall(&self, token: &[u8], now: Moment) -> Option<Verified<C>> {
        self.tokens.get(token).filter(|verified| self.still_holds(verified, now))
    }

    /// Judges by what is known, without the API server.
    pub(super) fn verify_offline_now(
        &self,
        token: &[u8],
    ) -> Option<Result<Verified<C>, VerifyError>> {
        let now = self.now();
        if let Some(verified) = self.recall(token, now) {
            self.tokens.meter.hit();
            return Some(Ok(verified));
        }
        let verdict = self.verify_now(token, now);
        // who goes on to wait looks once more, and is counted there
        if verdict.is_some() {
            self.tokens.meter.miss();
        }
        verdict
    }

    /// The same, and waits for keys if it has to.
    pub(super) async fn verify_offline(&self, token: &[u8]) -> Result<Verified<C>, VerifyError> {
        match self.verify_offline_now(token) {
            Some(verdict) => verdict,
            None => self.verify_waiting(token).await,
        }
    }

    /// Judges with the keys that are here.
    pub(super) fn verify_now(
        &self,
        token: &[u8],
        now: Moment,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        let (mut stack, mut heap);
        let needed = Compact::room_for(token);
        let room = if needed <= ROOM {
            stack = [0; ROOM];
            &mut stack[..]
        } else if token.len() <= MAX_TOKEN_BYTES {
            heap = vec![0; needed];
            &mut heap[..]
        } else {
            // it is refused before anything of it is decoded
            &mut []
        };
        match Unverified::open(self, token, &mut Room::new(room)) {
            Ok(unverified) => unverified.judge_now(self, now),
            Err(refusal) => Some(Err(refusal.into())),
        }
    }

    /// Judges with the keys that come.
    #[cold]
    pub(super) async fn verify_waiting(&self, token: &[u8]) -> Result<Verified<C>, VerifyError> {
        self.tokens.meter.miss();
        let mut room = vec![0; Compact::room_for(token)];
        let unverified = Unverified::open(self, token, &mut Room::new(&mut room))?;
        unverified.judge_waiting(self).await
    }
}

impl Unverified<'_> {
    /// Judges with the keys that are here. A token that could not pass is refused rather than
    /// sent to wait for keys.
    pub(super) fn judge_now<C: Claims>(
        &self,
        state: &State<C>,
        now: Moment,
    ) -> Option<Result<Verified<C>, VerifyError>> {
        let mut refused = InvalidToken::UnknownIssuer;
        let (mut keys_may_come, mut may_have_rotated) = (false, false);
        let issuers = state.issuers.load();
        for issuer in issuers.candidates(&self.payload.iss, now) {
            if issuers.is_outranked_by_unknown(issuer, &self.payload.iss, now) {
                // its key may be the other cluster's
                keys_may_come = true;
                continue;
            }
            let judge = |keys: Option<&KeySet>| match keys
                .map_or(Err(NoKey::UnknownKid), |keys| self.find(keys))
            {
                Ok(fitting) => Some(self.judge(state, issuer, fitting, now)),
                Err(NoKey::UnknownKid) if issuer.keys.may_change() => None,
                Err(no_key) => Some(self.without_key(state, issuer, no_key)),
            };
            let judged = if self.rehearsed {
                issuer.keys.peek(now, judge)
            } else {
                issuer.keys.with_current(now, judge)
            };
            match judged {
                Some(Judged::Signed(verdict)) => return Some(verdict.map_err(Into::into)),
                Some(Judged::NotSigned { refusal, is_suspicious }) => {
                    let may_rotate = || issuer.keys.cache().is_some_and(KeyCache::may_rotate);
                    may_have_rotated |= is_suspicious && !self.rehearsed && may_rotate();
                    refused = more_telling(refused, refusal);
                }
                None => keys_may_come = true,
            }
        }
        let names = issuers.candidates(&self.payload.iss, now).map(|issuer| &*issuer.names);
        if keys_may_come {
            match state.validation.check_unverified(&self.payload, names, now.wall) {
                Ok(()) => return None,
                Err(hopeless) => refused = hopeless,
            }
        } else if may_have_rotated && self.could_pass(state, names, now) {
            return None;
        } else if refused == InvalidToken::UnknownIssuer && !self.rehearsed {
            let mut renamed = self.renamed(state, &issuers, now).peekable();
            if renamed.peek().is_some()
                && self.could_pass(state, renamed.map(|issuer| &*issuer.names), now)
            {
                return None;
            }
        }
        self.note_unknown_key(&issuers, &refused, now);
        Some(Err(refused.into()))
    }

    pub(super) fn judge_by<C: Claims>(
        &self,
        state: &State<C>,
        issuer: &TrustedIssuer,
        keys: &KeySet,
        now: Moment,
    ) -> Judged<C> {
        match self.find(keys) {
            Ok(fitting) => self.judge(state, issuer, fitting, now),
            Err(no_key) => self.without_key(state, issuer, no_key),
        }
    }

    /// The verdict of a key set without a key for the token.
    fn without_key<C: Claims>(
        &self,
        state: &State<C>,
        issuer: &TrustedIssuer,
        no_key: NoKey,
    ) -> Judged<C> {
        let is_replaced = matches!(no_key, NoKey::OtherAlgorithm | NoKey::NoneFits);
        let kid = self.header.kid.as_deref();
        let is_suspicious = is_replaced && !issuer.is_distrusted(&state.denylist, kid);
        Judged::NotSigned { refusal: refused_for(no_key), is_suspicious }
    }

    /// Issuers that may have this name by now: their API servers report names, their keys signed the
    /// token, and a fetch may start for it.
    pub(super) fn renamed<'i, C: Claims>(
        &'i self,
        state: &'i State<C>,
        issuers: &'i TrustedIssuers,
        now: Moment,
    ) -> impl Iterator<Item = &'i TrustedIssuer> {
        issuers.renamed(&self.payload.iss, now, |issuer, keys| {
            self.find(keys).is_ok_and(|fitting| {
                let signer = || fitting.signer(self.signing_input, self.signature);
                issuer.keys.cache().is_some_and(KeyCache::may_rotate)
                    && signer().is_some_and(|key| {
                        !issuer.is_distrusted(&state.denylist, keys.names_of(key))
                    })
            })
        })
    }

    /// Counts a token that is refused because none of the issuers of its name has the key. That one
    /// of them has not, and another has, is how they are told apart.
    pub(super) fn note_unknown_key(
        &self,
        issuers: &TrustedIssuers,
        refused: &InvalidToken,
        now: Moment,
    ) {
        if *refused == InvalidToken::UnknownKey && !self.rehearsed {
            for issuer in issuers.candidates(&self.payload.iss, now) {
                issuer.observed.meter.count(IssuerEvent::UnknownKid);
            }
        }
    }

    fn judge<C: Claims>(
        &self,
        state: &State<C>,
        issuer: &TrustedIssuer,
        fitting: Fitting<'_>,
        now: Moment,
    ) -> Judged<C> {
        match self.signer(state, issuer, fitting, now) {
            Ok(signer) => Judged::Signed(self.accept(state, signer, now)),
            Err(refusal) => {
                let is_suspicious = refusal == InvalidToken::Signature
                    || refusal == InvalidToken::UnknownIssuer
                        && issuer.names.may_learn(&self.payload.iss);
                Judged::NotSigned { refusal, is_suspicious }
            }
        }
    }

    /// Which of an issuer's keys signed the token, if one did.
    pub(super) fn signer<'k, C: Claims>(
        &self,
        state: &State<C>,
        issuer: &'k TrustedIssuer,
        fitting: Fitting<'k>,
        now: Moment,
    ) -> Result<Signer<'k>, InvalidToken> {
        // the name of a pod's own cluster may have been learned since
        let name = issuer.names.find(&self.payload.iss, now).ok_or(InvalidToken::UnknownIssuer)?;
        if issuer.is_distrusted(&state.denylist, fitting.kid()) {
            return Err(InvalidToken::DistrustedKey);
        }
        let key =
            fitting.signer(self.signing_input, self.signature).ok_or(InvalidToken::Signature)?;
        // an issuer may list the key by other names too, or without one
        if issuer.is_distrusted(&state.denylist, fitting.set().names_of(key)) {
            return Err(InvalidToken::DistrustedKey);
        }
        let shared =
            match state.issuers.load().rival(issuer, name.claim, &self.payload.iss, key, now) {
                None => false,
                Some(rival) => {
                    if !self.rehearsed {
                        issuer.log_rival(&rival, key);
                    }
                    match rival {
                        // of this issuer's own keys none signed
                        Rival::Outranks(_) => return Err(InvalidToken::UnknownKey),
                        Rival::Shares(_) => true,
                    }
                }
            };
        Ok(Signer { issuer, name, key, shared })
    }

    /// The checks on what was signed. What passes is cached.
    fn accept<C: Claims>(
        &self,
        state: &State<C>,
        signer: Signer<'_>,
        now: Moment,
    ) -> Result<Verified<C>, InvalidToken> {
        let Signer { issuer, name, key, shared } = signer;
        // it may have been removed while the token waited for its keys
        let issuers = state.issuers.load();
        if issuers.by_id(issuer.id).is_none() {
            return Err(InvalidToken::UnknownIssuer);
        }
        if shared {
            return Err(InvalidToken::SharedKey);
        }
        if name.claim == Claim::Configured && !self.rehearsed {
            issuers.log_outranked(issuer, &self.payload.iss, key, now);
        }
        // read before the names are: names that are learned in between are looked at again
        let names_version = issuer.names.version();
        state.validation.check(&self.payload, &issuer.names, now.wall)?;
        if state.denylist.is_denied(self.payload.jti.as_deref()) {
            return Err(InvalidToken::DeniedJti);
        }
        let kept = C::keep(&self.payload, self.text)?;
        let (good_from, good_until) = state.validation.good_seconds(&self.payload);
        let basis = Basis {
            issuer: issuer.id,
            key: key.id(),
            good_from,
            good_until,
            warn_from: self.payload.warn_after().map(NumericDate::seconds),
            for_api_server: is_for_api_server(&self.payload, Some(&issuer.names)),
            names_version,
            reviewable: issuer.answers.is_some(),
            checked_at: now,
        };
        let (cluster, user_prefix) = (issuer.cluster.clone(), issuer.user_prefix.clone());
        let verified = Verified::new(kept, cluster, user_prefix, basis);
        if !self.rehearsed {
            self.note_accepted(state, issuer, &name, &verified, now);
        }
        Ok(verified)
    }

    /// Counts and remembers a token that is accepted.
    fn note_accepted<C: Claims>(
        &self,
        state: &State<C>,
        issuer: &TrustedIssuer,
        name: &Held<'_>,
        verified: &Verified<C>,
        now: Moment,
    ) {
        let note = |basis: &Basis| issuer.note_accepted(name, basis, basis.for_api_server, now);
        let noted = verified.basis().map(note);
        if noted == Some(Noted::PastWarnAfter) {
            let (issuer, cluster) = issuer.observed.names();
            tracing::info!(
                issuer,
                cluster,
                subject = %Shown(self.payload.sub.as_deref().unwrap_or_default()),
                "a token is used that should have been replaced (warnafter): its caller does not \
                 read its token file again"
            );
        }
        // without a name the key is the only one that fits, which may end while the key stays
        if self.header.kid.is_some() {
            state.tokens.insert(self.token, verified);
        }
    }
}

/// What the keys of one issuer say of a token.
pub(super) enum Judged<C: Claims> {
    /// One of them signed it, and this came of it.
    Signed(Result<Verified<C>, InvalidToken>),
    /// None of them did; another issuer of the same name may have.
    NotSigned {
        refusal: InvalidToken,
        /// Whether a key that was replaced under its old name explains it.
        is_suspicious: bool,
    },
}

impl<C: Claims> Judged<C> {
    pub(super) fn unknown_key() -> Self {
        Self::NotSigned { refusal: InvalidToken::UnknownKey, is_suspicious: false }
    }
}

/// Of several issuers of one name: that it has the key and did not sign says more than that it
/// has no such key, and that more than that it is another.
pub(super) fn more_telling(one: InvalidToken, other: InvalidToken) -> InvalidToken {
    match (&one, &other) {
        (InvalidToken::UnknownIssuer, _) => other,
        (_, InvalidToken::UnknownIssuer | InvalidToken::UnknownKey) => one,
        _ => other,
    }
}

fn refused_for(no_key: NoKey) -> InvalidToken {
    match no_key {
        NoKey::OtherAlgorithm => InvalidToken::AlgorithmMismatch,
        NoKey::UnknownKid | NoKey::NoneFits | NoKey::Ambiguous => InvalidToken::UnknownKey,
    }
}
