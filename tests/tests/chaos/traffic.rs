//! Requests, and which verdicts on each are possible.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastrand::Rng;
use kube_oidc::{Reason, VerifyError, clock::Clock as _};
use kube_oidc_testing::SigningKey;
use serde_json::json;
use tokio::time;

use crate::{LEEWAY, MILLI, site::Site, world::World};

/// A token, and what the model knows of it.
pub(crate) struct Sent {
    text: String,
    kid: String,
    jti: String,
    /// Why it is bad, whatever keys are known and at any time.
    flaws: Vec<Reason>,
    /// When it is good, in seconds with the leeway, and what is said of it before.
    good_from: u64,
    good_until: u64,
    too_early: Reason,
}

impl World {
    pub(crate) fn mint(&self, site: &Site, rng: &mut Rng) -> Sent {
        let now = seconds(self.clock.wall());
        let mut flaws = Vec::new();
        let jti = format!("{:x}", rng.u64(..));
        let (key, kid) = {
            let state = site.state();
            let any = |keys: &[SigningKey], rng: &mut Rng| keys[rng.usize(..keys.len())].clone();
            match rng.u8(..8) {
                0 => {
                    let key = any(&self.strangers, rng);
                    let own_algorithm = key.algorithm() == site.algorithm;
                    flaws.push(if own_algorithm {
                        Reason::Signature
                    } else {
                        Reason::KeyAlgorithm
                    });
                    // a forger takes a name that is known
                    let known = if rng.u8(..4) > 0 { any(&state.served, rng) } else { key.clone() };
                    (key, known.kid().to_owned())
                }
                1 if !state.withdrawn.is_empty() => {
                    let key = any(&state.withdrawn, rng);
                    (key.clone(), key.kid().to_owned())
                }
                _ => {
                    let key = any(&state.served, rng);
                    (key.clone(), key.kid().to_owned())
                }
            }
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
        let header = json!({ "alg": key.algorithm().name(), "kid": kid });
        let mut payload = json!({
            "iss": site.url(),
            "aud": [if for_us { "orders" } else { "vault" }],
            "exp": until,
            "jti": jti,
            "sub": "system:serviceaccount:payments:checkout",
            "kubernetes.io": {
                "namespace": "payments",
                "serviceaccount": { "name": "checkout", "uid": "1c6e" },
            },
        });
        if let Some(start) = start {
            payload[start] = json!(begins);
        }
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(&payload));
        let mut signature = key.sign(input.as_bytes());
        if rng.u8(..10) == 0 {
            let at = rng.usize(..signature.len());
            signature[at] ^= 1 << rng.u8(..8);
            flaws.push(Reason::Signature);
        }
        let text = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        if flaws.is_empty() {
            let mut state = site.state();
            state.minted.push_back(jti.clone());
            if state.minted.len() > 4 {
                state.minted.pop_front();
            }
        }
        Sent { text, kid, jti, flaws, good_from, good_until: until + LEEWAY, too_early }
    }

    pub(crate) async fn send(&self, site: &Site, sent: &Sent, rng: &mut Rng) {
        let kid = &sent.kid;
        let changes = site.changes.load(Ordering::SeqCst);
        let upheavals = self.upheavals.load(Ordering::SeqCst);
        let trusted = site.trusted.load(Ordering::SeqCst);
        let before = seconds(self.clock.wall());
        let mut flaws = sent.flaws.clone();
        let (was_served, was_sure, was_known, was_known_ever) = {
            let state = site.state();
            if state.distrusted.contains(kid) {
                flaws.push(Reason::DistrustedKey);
            }
            if state.denied.contains(&sent.jti) {
                flaws.push(Reason::DeniedJti);
            }
            let may_be = |is_still| state.may_be_known(kid, &self.clock, is_still);
            let sure = state.is_surely_known(kid, &self.clock);
            (state.is_served(kid), sure, may_be(true), may_be(false))
        };

        let verify = self.verifier.verify(&sent.text);
        let verdict = if rng.u8(..4) == 0 {
            let patience = MILLI * rng.u32(..5);
            match time::timeout(patience, verify).await {
                Ok(verdict) => verdict,
                Err(_) => return self.disturbances.count("cancellations"),
            }
        } else {
            verify.await
        };

        let (is_sure, is_known, is_known_ever) = {
            let state = site.state();
            let may_be = |is_still| state.may_be_known(kid, &self.clock, is_still);
            (state.is_surely_known(kid, &self.clock), may_be(true), may_be(false))
        };
        let after = seconds(self.clock.wall());
        let is_same = |then: u64, now: &AtomicU64| {
            then == now.load(Ordering::SeqCst) && then.is_multiple_of(2)
        };
        // no clock jumped, nobody came or went; and nothing changed at this site either
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
        let is_sure = is_quiet && trusted && was_sure && is_sure;

        // the verifier was told of the key, and not too long ago
        let known = if is_still { was_known || is_known } else { was_known_ever || is_known_ever };
        let may_know = known || (!is_quiet && was_served);
        let may_be_accepted = is_good && !is_untrusted && may_know;
        let must_be_accepted = is_good && is_sure && is_in_time;
        // to be refused by what is known, so nobody is to come back for keys
        let must_be_refused = hopeless || is_untrusted || (is_sure && !is_good);

        let about = |is: &str| format!("{is}: {} {flaws:?} {} {verdict:?}", site.name, sent.text);
        match &verdict {
            Ok(verified) => {
                self.verdicts.count("accepted");
                assert!(may_be_accepted && !must_be_refused, "{}", about("wrongly accepted"));
                assert_eq!(verified.cluster(), Some(&*site.name));
            }
            Err(VerifyError::Refused(refusal)) => {
                self.verdicts.count("refused");
                self.refusals.count(refusal.reason().code());
                assert!(!must_be_accepted, "{}", about("wrongly refused"));
                if is_untrusted {
                    let hidden = refusal.reason() == Reason::UnknownIssuer;
                    assert!(hidden, "{}", about("refused for another reason"));
                } else if is_sure {
                    let reason = refusal.reason();
                    let may_be = flaws.contains(&reason)
                        || !is_in_time && [Reason::Expired, sent.too_early].contains(&reason);
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
        }
        if must_be_refused {
            self.duties.count("had to be refused");
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
            // everybody is to have a turn
            time::sleep(MILLI * u32::from(rng.u8(..16) == 0)).await;
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}
