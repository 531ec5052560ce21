//! Requests, and which verdicts on each are possible.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use fastrand::Rng;
use kube_oidc::{Reason, Verified, VerifyError, clock::Clock as _};
use kube_oidc_testing::SigningKey;
use serde_json::json;
use tokio::time;

use crate::{
    LEEWAY, MILLI,
    names::Standing,
    run::Run,
    site::{Site, SiteState},
    token,
};

type Verdict = Result<Verified, VerifyError>;

/// A token, and what the model knows of it.
pub(crate) struct Sent {
    text: String,
    iss: String,
    kid: String,
    jti: String,
    /// Why it is bad, whatever keys are known and at any time.
    flaws: Vec<Reason>,
    /// When it is good, in seconds with the leeway, and what is said of it before.
    good_from: u64,
    good_until: u64,
    too_early: Reason,
}

/// What the model knows at one moment of the key and the name of a token.
#[allow(clippy::struct_excessive_bools)]
struct View {
    is_served: bool,
    /// The verifier may have the key, if the clock did not jump, or if it did.
    may_have: bool,
    ever_had: bool,
    /// The verifier has the key.
    is_sure: bool,
    name: Standing,
    is_former: bool,
}

impl Run {
    fn view(&self, state: &SiteState, sent: &Sent) -> View {
        let (kid, clock) = (&sent.kid, &self.clock);
        View {
            is_served: state.is_served(kid),
            may_have: state.answers.may_have(kid, clock, true),
            ever_had: state.answers.may_have(kid, clock, false),
            is_sure: state.answers.surely_have(kid, clock),
            name: state.standing(&sent.iss, clock),
            is_former: state.is_former(&sent.iss),
        }
    }

    /// Verifies a token, and waits no longer than some callers do.
    async fn verify(&self, sent: &Sent, rng: &mut Rng) -> Option<Verdict> {
        let verify = self.verifier.verify(&sent.text);
        if rng.u8(..4) > 0 {
            return Some(verify.await);
        }
        let patience = MILLI * rng.u32(..5);
        let verdict = time::timeout(patience, verify).await.ok();
        if verdict.is_none() {
            self.disturbances.count("cancellations");
        }
        verdict
    }

    pub(crate) fn mint(&self, site: &Site, rng: &mut Rng) -> Sent {
        let now = seconds(self.clock.wall());
        let mut flaws = Vec::new();
        let (iss, (key, kid)) = {
            let state = site.state();
            let iss = state.name(&site.url(), rng);
            let any = |keys: &[SigningKey], rng: &mut Rng| keys[rng.usize(..keys.len())].clone();
            let signer = match rng.u8(..8) {
                0 => {
                    let key = any(&self.strangers, rng);
                    let own_algorithm = key.algorithm() == site.algorithm;
                    flaws.push(if own_algorithm {
                        Reason::Signature
                    } else {
                        Reason::AlgorithmMismatch
                    });
                    // a forger takes a name that is known
                    if rng.u8(..4) > 0 {
                        self.disturbances.count("forged under a known key ID");
                        (key, any(&state.served, rng).kid().to_owned())
                    } else {
                        (key.clone(), key.kid().to_owned())
                    }
                }
                1 if !state.withdrawn.is_empty() => {
                    let key = any(&state.withdrawn, rng);
                    (key.clone(), key.kid().to_owned())
                }
                _ => {
                    let key = any(&state.served, rng);
                    (key.clone(), key.kid().to_owned())
                }
            };
            (iss, signer)
        };
        let for_us = rng.u8(..10) > 0;
        if !for_us {
            flaws.push(Reason::Audience);
        }
        let until = now - 2 * LEEWAY + rng.u64(..600);
        let begins = now + rng.u64(1..180);
        let (start, too_early, good_from) = match rng.u8(..12) {
            0 => (Some("nbf"), Reason::NotYetValid, begins - LEEWAY),
            1 => (Some("iat"), Reason::IssuedInFuture, begins - LEEWAY),
            _ => (None, Reason::NotYetValid, 0),
        };
        let mut claims = token::claims(&iss, until, rng);
        if !for_us {
            claims["aud"] = json!(["vault"]);
        }
        if let Some(start) = start {
            claims[start] = json!(begins);
        }
        let input = token::signing_input(&key, &kid, &claims);
        let mut signature = key.sign(input.as_bytes());
        if rng.u8(..10) == 0 {
            let at = rng.usize(..signature.len());
            signature[at] ^= 1 << rng.u8(..8);
            flaws.push(Reason::Signature);
        }
        let text = token::with_signature(&input, &signature);
        let jti = claims["jti"].as_str().unwrap().to_owned();
        if flaws.is_empty() {
            let mut state = site.state();
            state.minted.push_back(jti.clone());
            if state.minted.len() > 4 {
                state.minted.pop_front();
            }
        }
        Sent { text, iss, kid, jti, flaws, good_from, good_until: until + LEEWAY, too_early }
    }

    pub(crate) async fn send(&self, site: &Site, sent: &Sent, rng: &mut Rng) {
        let kid = &sent.kid;
        let changes = site.changes.load(Ordering::SeqCst);
        let upheavals = self.upheavals.load(Ordering::SeqCst);
        let trusted = site.trusted.load(Ordering::SeqCst);
        let before = seconds(self.clock.wall());
        let mut flaws = sent.flaws.clone();
        let may_have_any_name = self.sites.iter().any(|site| site.may_have_any_name());
        let was = {
            let state = site.state();
            if state.distrusted.contains(kid) {
                flaws.push(Reason::DistrustedKey);
            }
            if state.denied.contains(&sent.jti) {
                flaws.push(Reason::DeniedJti);
            }
            self.view(&state, sent)
        };
        let Some(verdict) = self.verify(sent, rng).await else { return };
        let is = self.view(&site.state(), sent);
        let after = seconds(self.clock.wall());
        let is_same = |then: u64, now: &AtomicU64| {
            then == now.load(Ordering::SeqCst) && then.is_multiple_of(2)
        };
        // no clock jumped, no issuer came or went; and nothing changed at this site either
        let is_still = is_same(upheavals, &self.upheavals);
        let is_quiet = is_still && is_same(changes, &site.changes);

        let mut hopeless = sent.flaws.contains(&Reason::Audience);
        let is_in_time = is_still && before >= sent.good_from && after < sent.good_until;
        if is_still && before >= sent.good_until {
            flaws.push(Reason::Expired);
            hopeless = true;
        }
        if is_still && after < sent.good_from {
            flaws.push(sent.too_early);
            hopeless = true;
        }
        let is_good = flaws.is_empty();
        let is_untrusted = is_still && !trusted;
        let is_sure = is_quiet && trusted && was.is_sure && is.is_sure;

        // the verifier was told of the key, and not too long ago
        let known =
            if is_still { was.may_have || is.may_have } else { was.ever_had || is.ever_had };
        let may_know = known || (!is_quiet && was.is_served);
        let name_may_be_valid = !is_still || was.name.may_be_valid || is.name.may_be_valid;
        let is_surely_named = is_quiet && was.name.is_surely_valid && is.name.is_surely_valid;
        let is_misnamed = is_quiet && was.name.is_surely_invalid && is.name.is_surely_invalid;
        let may_be_accepted = is_good && !is_untrusted && may_know && name_may_be_valid;
        let must_be_accepted = is_good && is_sure && is_in_time && is_surely_named;
        // to be refused by what is known, so no caller is to come back for keys; an API server that
        // has not reported its name yet may be the one that has them
        let is_decided = is_untrusted || is_sure;
        let is_bad = is_untrusted || !is_good || is_misnamed;
        let is_clear = is_decided && !may_have_any_name;
        let must_be_refused = hopeless || (is_clear && is_bad);

        let about = |is: &str| format!("{is}: {} {flaws:?} {} {verdict:?}", site.name, sent.text);
        match &verdict {
            Ok(verified) => {
                self.verdicts.count("accepted");
                assert!(may_be_accepted && !must_be_refused, "{}", about("wrongly accepted"));
                assert_eq!(verified.cluster(), Some(&*site.name));
            }
            Err(VerifyError::Invalid(refusal)) => {
                self.verdicts.count("refused");
                self.refusals.count(refusal.reason().code());
                assert!(!must_be_accepted, "{}", about("wrongly refused"));
                if is_untrusted && is_clear {
                    let hidden = refusal.reason() == Reason::UnknownIssuer;
                    assert!(hidden, "{}", about("refused for another reason"));
                } else if is_sure && is_clear {
                    let reason = refusal.reason();
                    let may_be = flaws.contains(&reason)
                        || !is_in_time && [Reason::Expired, sent.too_early].contains(&reason)
                        || !is_surely_named && reason == Reason::UnknownIssuer;
                    assert!(may_be, "{}", about("refused for another reason"));
                }
            }
            Err(VerifyError::Unavailable(_)) => {
                self.verdicts.count("unavailable");
                let wrong = must_be_accepted || must_be_refused;
                assert!(!wrong, "{}", about("wrongly unavailable"));
            }
            Err(other) => panic!("{other}"),
        }
        if must_be_accepted {
            self.duties.count("had to be accepted");
            if was.is_former {
                self.duties.count("had to be accepted by a former name");
            }
        }
        if must_be_refused {
            self.duties.count("had to be refused");
            if is_misnamed && is_good && is_sure {
                self.duties.count("had to be refused for the name");
            }
        }
    }

    pub(crate) async fn client(self: Arc<Self>, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        let mut known: Vec<(Arc<Site>, Sent)> = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            if known.len() < 4 || rng.u8(..4) == 0 {
                let site = self.site(&mut rng);
                known.push((Arc::clone(site), self.mint(site, &mut rng)));
                if known.len() > 32 {
                    known.swap_remove(rng.usize(..32));
                }
            }
            let (site, sent) = &known[rng.usize(..known.len())];
            self.send(site, sent, &mut rng).await;
            // every task is to have a turn
            time::sleep(MILLI * u32::from(rng.u8(..16) == 0)).await;
        }
    }
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
