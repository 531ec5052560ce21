//! Tokens: any bytes, signed texts, and good tokens with wounds.

use std::{cell::RefCell, task::Poll};

use kube_oidc::{Verified, Verifier, VerifyError};

use crate::{
    oracle,
    world::{self, good_token, key},
};

thread_local! {
    static VERIFIERS: RefCell<(Verifier, Verifier)> =
        RefCell::new((world::verifier(true), world::verifier(false)));
}

/// The first byte says what the rest is: `t` a token, `s` header and payload with a line feed
/// between them, to be signed, `w` pairs of place and byte to change in a good token.
///
/// What is accepted, an independent check accepts too. A verifier that remembers tokens says what
/// one that does not says, the first time and the second, and so does an explanation.
#[must_use]
pub fn run(data: &[u8]) -> bool {
    token_of(data).is_some_and(|token| is_accepted(&token))
}

pub(crate) fn token_of(data: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = data.split_first()?;
    match kind {
        b't' => Some(rest.to_vec()),
        b's' => {
            let at = rest.iter().position(|byte| *byte == b'\n')?;
            let (header, payload) = (&rest[..at], &rest[at + 1..]);
            Some(world::signed(header, payload).into_bytes())
        }
        b'w' => {
            let mut token = good_token().as_bytes().to_vec();
            for wound in rest.chunks_exact(3) {
                let at = usize::from(wound[0]) << 8 | usize::from(wound[1]);
                let at = at % token.len();
                token[at] = wound[2];
            }
            Some(token)
        }
        _ => None,
    }
}

fn is_accepted(token: &[u8]) -> bool {
    VERIFIERS.with_borrow(|(warm, cold)| {
        let verdict = outcome(cold, token);
        assert_eq!(outcome(warm, token), verdict, "the first time");
        assert_eq!(outcome(warm, token), verdict, "the second time");
        let explained = cold.explain(token).verdict.map_err(kube_oidc::Reason::code);
        assert_eq!(explained, verdict, "explained");
        if verdict.is_ok() {
            let checked = oracle::check(token, key().public_bytes());
            assert_eq!(checked, Ok(()), "{}", String::from_utf8_lossy(token));
        }
        verdict.is_ok()
    })
}

fn outcome(verifier: &Verifier, token: &[u8]) -> Result<(), &'static str> {
    match verifier.verify_now(token) {
        Poll::Ready(Ok(caller)) => {
            look_at(&caller);
            Ok(())
        }
        Poll::Ready(Err(error)) => {
            // what an operator reads has no part of a token, and is short
            let shown = format!("{error} {error:?}");
            assert!(shown.len() < 4_096, "{} bytes", shown.len());
            Err(reason(&error))
        }
        Poll::Pending => panic!("the keys are here"),
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
