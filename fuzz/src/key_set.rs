//! Key sets: any bytes, beside a good token.

use std::task::Poll;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc::{Issuer, Verifier};
use serde_json::Value;

use crate::world::{self, KID, clock, good_token, issuer_url, key};

/// As many keys as a set may have.
const MAX_KEYS: usize = 256;

/// The public key of the process stands where the input says `PUBLIC`.
///
/// A set that is taken is one by `serde_json` too, has no more keys than it may, and accepts the good
/// token only if the key that signed it is really in it.
#[must_use]
pub fn run(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let public = URL_SAFE_NO_PAD.encode(key().public_bytes());
    // bytes that are no text are tried as they are
    let document = match str::from_utf8(data) {
        Ok(_) => text.replace("PUBLIC", &public).into_bytes(),
        Err(_) => data.to_vec(),
    };
    let issuer = Issuer::new(issuer_url()).with_key_set(document.clone());
    let Ok(verifier) = Verifier::builder(issuer).audience(world::AUDIENCE).clock(clock()).build()
    else {
        return false;
    };
    let found: Value = serde_json::from_slice(&document).expect("a set that was taken is JSON");
    let listed = found["keys"].as_array().expect("it has a list of keys");
    let status = verifier.status();
    let used = &status[0].keys;
    assert!(!used.is_empty() && used.len() <= MAX_KEYS && used.len() <= listed.len());
    for key in used {
        assert!(!key.algorithms.is_empty(), "a key that is for nothing");
    }
    let is_accepted = matches!(verifier.verify_now(good_token()), Poll::Ready(Ok(_)));
    if is_accepted {
        let is_ours = |jwk: &&Value| {
            jwk["kty"] == "OKP"
                && jwk["crv"] == "Ed25519"
                && jwk["x"] == public.as_str()
                && (jwk["kid"] == KID || jwk["kid"].is_null())
                && (jwk["use"] == "sig" || jwk["use"].is_null())
        };
        assert!(listed.iter().any(|jwk| is_ours(&jwk)), "{}", String::from_utf8_lossy(&document));
    }
    is_accepted
}
