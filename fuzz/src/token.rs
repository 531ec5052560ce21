//! Tokens: any bytes, signed texts, and good tokens with wounds.

use std::cell::RefCell;

use kube_oidc::{Verified, Verifier, VerifyError};
use kube_oidc_testing::SigningAlgorithm;

use crate::{
    Reached, oracle,
    world::{self, good_token, good_tokens},
};

thread_local! {
    static VERIFIERS: RefCell<(Verifier, Verifier)> =
        RefCell::new((world::verifier(true), world::verifier(false)));
}

/// Refused, or accepted with one of the algorithms.
pub const BRANCHES: [&str; 11] = [
    "refused", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "ES512",
];

/// The first byte says what the rest is:
///
/// | byte | rest |
/// | --- | --- |
/// | `t` | a token |
/// | `s` | header and payload with a line feed between them, to be signed with Ed25519 |
/// | `a` | a digit, which says with which algorithm, and the same |
/// | `w` | triples of place and byte to change in a good token |
/// | `v` | a digit, which says of which algorithm the token is, and the same |
///
/// What is accepted, an independent check accepts too. A verifier that remembers tokens says what
/// one that does not says, the first time and the second, and so does an explanation. Nothing of
/// the token is in what any of them says.
#[must_use]
pub fn run(data: &[u8]) -> Reached {
    token_of(data).map(|token| verdict(&token)).into_iter().collect()
}

pub(crate) fn token_of(data: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = data.split_first()?;
    match kind {
        b't' => Some(rest.to_vec()),
        b's' => signed(SigningAlgorithm::EdDsa, rest),
        b'a' => rest
            .split_first()
            .and_then(|(digit, rest)| signed(SigningAlgorithm::ALL[index(*digit)], rest)),
        b'w' => Some(wounded(good_token(), rest)),
        b'v' => {
            rest.split_first().map(|(digit, rest)| wounded(&good_tokens()[index(*digit)], rest))
        }
        _ => None,
    }
}

/// Of the algorithm that a digit stands for.
fn index(digit: u8) -> usize {
    usize::from(digit.wrapping_sub(b'0')) % SigningAlgorithm::ALL.len()
}

fn signed(algorithm: SigningAlgorithm, texts: &[u8]) -> Option<Vec<u8>> {
    let at = texts.iter().position(|byte| *byte == b'\n')?;
    Some(world::signed(algorithm, &texts[..at], &texts[at + 1..]).into_bytes())
}

fn wounded(token: &str, wounds: &[u8]) -> Vec<u8> {
    let mut token = token.as_bytes().to_vec();
    for wound in wounds.chunks_exact(3) {
        let at = usize::from(wound[0]) << 8 | usize::from(wound[1]);
        let at = at % token.len();
        token[at] = wound[2];
    }
    token
}

fn verdict(token: &[u8]) -> &'static str {
    VERIFIERS.with_borrow(|(warm, cold)| {
        let verdict = outcome(cold, token);
        assert_eq!(outcome(warm, token), verdict, "the first time");
        assert_eq!(outcome(warm, token), verdict, "the second time");
        let explanation = cold.explain(token);
        oracle::assert_hidden(token, &format!("{explanation} {explanation:?}"));
        let explained = explanation.verdict.map_err(kube_oidc::Reason::code);
        assert_eq!(explained, verdict, "explained");
        if verdict.is_err() {
            return "refused";
        }
        match oracle::check(token, world::key_set()) {
            Ok(good) => good.algorithm,
            Err(why) => panic!("{why}: {}", String::from_utf8_lossy(token)),
        }
    })
}

fn outcome(verifier: &Verifier, token: &[u8]) -> Result<(), &'static str> {
    match verifier.verify_with_cached_keys(token) {
        Some(Ok(caller)) => {
            look_at(&caller);
            oracle::assert_hidden(token, &format!("{caller:?}"));
            Ok(())
        }
        Some(Err(error)) => {
            // what an operator reads has no part of a token, and is short
            let shown = format!("{error} {error:?}");
            assert!(shown.len() < 4_096, "{} bytes", shown.len());
            oracle::assert_hidden(token, &shown);
            Err(reason(&error))
        }
        None => panic!("the keys are cached"),
    }
}

fn reason(error: &VerifyError) -> &'static str {
    error.reason().code()
}

/// The claims agree with each other.
fn look_at(caller: &Verified) {
    let account = caller.service_account();
    let subject = format!("system:serviceaccount:{}:{}", caller.namespace(), account.name());
    assert_eq!(caller.subject(), subject);
    assert_eq!(caller.issuer(), world::ISSUER);
    assert!(caller.audiences().any(|audience| audience == world::AUDIENCE));
    assert_eq!(caller.user_info().username, subject);
}
