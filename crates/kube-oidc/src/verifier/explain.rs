//! What a verifier makes of a token, check by check. It changes nothing.

use super::{
    explanation::{Check, CheckResult, CheckStatus, Explanation},
    state::State,
    trusted::TrustedIssuer,
    unverified::Unverified,
};
use crate::{
    claims::Claims,
    clock::Moment,
    encoding::base64url::Room,
    error::{InvalidToken, Reason},
    jws::{Compact, MAX_TOKEN_BYTES},
    keys::set::{KeySet, NoKey},
    observe::display::{Shown, ShownList},
    verified::Verified,
};

impl<C: Claims> State<C> {
    pub(super) fn explain(&self, token: &[u8], now: Moment) -> Explanation {
        let needed = if token.len() <= MAX_TOKEN_BYTES { Compact::room_for(token) } else { 0 };
        let mut room = vec![0; needed];
        let mut explanation = match Unverified::open(self, token, &mut Room::new(&mut room)) {
            Ok(mut unverified) => {
                unverified.rehearsed = true;
                unverified.explain(self, now)
            }
            Err(refusal) => {
                let verdict = Err(refusal.reason());
                Explanation { steps: vec![refused(Check::Format, &refusal)], verdict, times: None }
            }
        };
        for step in &mut explanation.steps {
            step.is_custom = !C::KUBERNETES;
        }
        explanation
    }
}

fn step(check: Check, status: CheckStatus, detail: String) -> CheckResult {
    CheckResult { check, status, detail, is_custom: false }
}

fn ok(check: Check, detail: String) -> CheckResult {
    step(check, CheckStatus::Passed, detail)
}

fn refused(check: Check, refusal: &InvalidToken) -> CheckResult {
    step(check, CheckStatus::Failed(refusal.reason()), refusal.to_string())
}

fn undecided(check: Check, detail: &str) -> CheckResult {
    step(check, CheckStatus::Unknown, detail.to_owned())
}

/// What the keys of one issuer say, the more telling the greater.
enum ByKeys {
    /// They are not here.
    NotHere,
    /// None of them may be asked.
    NoneFits(NoKey, Vec<String>),
    /// One may not be asked, or did not sign.
    NotSigned(InvalidToken),
    /// It signed, and whether that counts.
    Signed(Result<(), InvalidToken>),
}

impl ByKeys {
    /// Why none of these keys makes the token good.
    fn reason(&self) -> Reason {
        match self {
            Self::NotHere => Reason::KeysUnavailable,
            Self::NoneFits(NoKey::OtherAlgorithm, _) => Reason::AlgorithmMismatch,
            Self::NoneFits(..) | Self::Signed(Ok(())) => Reason::UnknownKey,
            Self::NotSigned(refusal) | Self::Signed(Err(refusal)) => refusal.reason(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NotHere => 0,
            Self::NoneFits(..) => 1,
            Self::NotSigned(_) => 2,
            Self::Signed(_) => 3,
        }
    }
}

impl Unverified<'_> {
    fn explain<C: Claims>(&self, state: &State<C>, now: Moment) -> Explanation {
        let mut steps = vec![ok(Check::Format, self.form())];
        let issuers = state.issuers.load();
        let candidates: Vec<_> = issuers.candidates(&self.payload.iss, now).collect();
        steps.push(self.issuer_step(state, &candidates, now));
        let asked: Vec<_> =
            candidates.iter().map(|issuer| (self.ask_keys(state, issuer, now), *issuer)).collect();
        let told = asked.iter().max_by_key(|(by_keys, _)| by_keys.rank());
        steps.extend(self.key_steps(told.map(|(by_keys, issuer)| (by_keys, *issuer))));
        let names = told.map(|(_, issuer)| &*issuer.names);
        for (check, status) in state.validation.explain(&self.payload, names, now.wall) {
            steps.push(
                status.map_or_else(|refusal| refused(check, &refusal), |detail| ok(check, detail)),
            );
        }
        steps.push(if state.denylist.is_denied(self.payload.jti.as_deref()) {
            refused(Check::Denylist, &InvalidToken::DeniedJti)
        } else {
            ok(Check::Denylist, "its jti is not denied".to_owned())
        });
        steps.push(match C::keep(&self.payload, self.text) {
            Ok(_) => ok(Check::Claims, self.whom_it_speaks_of()),
            Err(refusal) => refused(Check::Claims, &refusal),
        });
        let verdict = match self.judge_now(state, now) {
            Some(Ok(verified)) if state.require_token_review => {
                let (step, verdict) = self.review_step(state, &verified);
                steps.push(step);
                verdict
            }
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.reason()),
            // one whose keys are not here may be the one that signed it
            None if asked.iter().any(|(by_keys, _)| by_keys.rank() == 0) => {
                Err(Reason::KeysUnavailable)
            }
            None => Err(told.map_or(Reason::UnknownKey, |(by_keys, _)| by_keys.reason())),
        };
        let times = Some(state.validation.times(&self.payload, now.wall));
        Explanation { steps, verdict, times }
    }

    /// What the API server said when it was asked for the last time.
    fn review_step<C: Claims>(
        &self,
        state: &State<C>,
        verified: &Verified<C>,
    ) -> (CheckResult, Result<(), Reason>) {
        match state.review_now(self.token, verified) {
            Some(Ok(())) => (ok(Check::Review, "the API server takes it".to_owned()), Ok(())),
            Some(Err(error)) => {
                let status = CheckStatus::Failed(error.reason());
                (step(Check::Review, status, error.to_string()), Err(error.reason()))
            }
            None => {
                let step = undecided(Check::Review, "the API server was not asked lately");
                (step, Err(Reason::ReviewUnavailable))
            }
        }
    }

    fn form(&self) -> String {
        let algorithm = self.header.algorithm;
        match self.header.typ.as_deref() {
            Some(typ) => format!("{algorithm}, typ {}", Shown(typ)),
            None => format!("{algorithm}, no typ"),
        }
    }

    fn whom_it_speaks_of(&self) -> String {
        let subject = Shown(self.payload.sub.as_deref().unwrap_or_default());
        let bound = self.payload.bound_to().map(|(kind, name)| format!(", {kind} {}", Shown(name)));
        format!("sub {subject}{}", bound.collect::<String>())
    }

    fn issuer_step<C: Claims>(
        &self,
        state: &State<C>,
        candidates: &[&TrustedIssuer],
        now: Moment,
    ) -> CheckResult {
        let iss = Shown(&self.payload.iss);
        if candidates.is_empty() {
            let issuers = state.issuers.load();
            let trusted: Vec<_> = issuers.iter().map(|issuer| issuer.names.shown()).collect();
            let detail = format!("{iss}, and one of {} is expected", ShownList(&trusted));
            let status = CheckStatus::Failed(Reason::UnknownIssuer);
            return step(Check::Issuer, status, detail);
        }
        if !candidates.iter().any(|issuer| issuer.names.contain(&self.payload.iss, now)) {
            // the name of a pod's own cluster comes with its keys
            return undecided(Check::Issuer, &format!("{iss}, and the cluster's is not known yet"));
        }
        ok(Check::Issuer, iss.to_string())
    }

    fn ask_keys<C: Claims>(&self, state: &State<C>, issuer: &TrustedIssuer, now: Moment) -> ByKeys {
        let known = |keys: &KeySet| {
            keys.describe().into_iter().filter_map(|key| key.kid).collect::<Vec<_>>()
        };
        issuer.keys.peek(now, |keys| {
            let Some(keys) = keys else { return ByKeys::NotHere };
            match self.find(keys) {
                Err(no_key) => ByKeys::NoneFits(no_key, known(keys)),
                Ok(fitting) => match self.signer(state, issuer, fitting, now) {
                    Err(refusal) => ByKeys::NotSigned(refusal),
                    Ok(signer) if signer.shared => ByKeys::Signed(Err(InvalidToken::SharedKey)),
                    Ok(_) => ByKeys::Signed(Ok(())),
                },
            }
        })
    }

    fn key_steps(&self, told: Option<(&ByKeys, &TrustedIssuer)>) -> [CheckResult; 2] {
        let kid = match self.header.kid.as_deref() {
            Some(kid) => format!("kid {}", Shown(kid)),
            None => "no kid".to_owned(),
        };
        let Some((by_keys, issuer)) = told else {
            return [undecided(Check::Key, &kid), undecided(Check::Signature, NOT_CHECKED)];
        };
        let owner = match issuer.cluster.as_deref() {
            Some(cluster) => format!("the cluster {}", Shown(cluster)),
            None => issuer.names.shown().to_string(),
        };
        match by_keys {
            ByKeys::NotHere => [
                undecided(Check::Key, &format!("{kid}; the keys of {owner} are not here")),
                undecided(Check::Signature, NOT_CHECKED),
            ],
            ByKeys::NoneFits(no_key, known) => {
                let why = match no_key {
                    NoKey::UnknownKid => "which is not among",
                    NoKey::NoneFits => "and none is for the alg, of",
                    NoKey::Ambiguous => "and several are for the alg, of",
                    NoKey::OtherAlgorithm => "which is for another alg, of",
                };
                let known = ShownList(known);
                let detail = format!("{kid}, {why} the keys {known} of {owner}");
                let status = CheckStatus::Failed(by_keys.reason());
                [step(Check::Key, status, detail), undecided(Check::Signature, NOT_CHECKED)]
            }
            ByKeys::NotSigned(refusal @ InvalidToken::Signature) => {
                [ok(Check::Key, format!("{kid} of {owner}")), refused(Check::Signature, refusal)]
            }
            ByKeys::NotSigned(refusal) | ByKeys::Signed(Err(refusal)) => {
                let key = refused(Check::Key, refusal);
                let key = CheckResult { detail: format!("{kid} of {owner}: {refusal}"), ..key };
                [key, undecided(Check::Signature, NOT_CHECKED)]
            }
            ByKeys::Signed(Ok(())) => {
                let signed = format!("by this key, {}", self.header.algorithm);
                [ok(Check::Key, format!("{kid} of {owner}")), ok(Check::Signature, signed)]
            }
        }
    }
}

const NOT_CHECKED: &str = "not checked";
