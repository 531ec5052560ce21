//! Key sets: any bytes, beside good tokens.

use kube_oidc::{Issuer, KeySource, Verifier};
use kube_oidc_testing::SigningAlgorithm;

use crate::{
    Reached, json, oracle,
    world::{self, clock, good_tokens, issuer_url, key},
};

/// As many keys as a set may have.
const MAX_KEYS: usize = 256;

/// The set is not taken, or is, and has a key that a good token was signed by.
pub const BRANCHES: [&str; 10] =
    ["refused", "taken", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256"];

/// Where the input says these, the numbers of the process's public keys stand: the algorithm that
/// such a key is for, and the member of its JWK.
const PLACES: [(&str, SigningAlgorithm, &str); 4] = [
    ("PUBLIC", SigningAlgorithm::EdDsa, "x"),
    ("MODULUS", SigningAlgorithm::Rs256, "n"),
    ("ABSCISSA", SigningAlgorithm::Es256, "x"),
    ("ORDINATE", SigningAlgorithm::Es256, "y"),
];

/// A set that is taken is JSON, has no more keys than it may, and accepts a good token only if an
/// independent check by this very set does.
#[must_use]
pub fn run(data: &[u8]) -> Reached {
    // bytes that are no text are tried as they are
    let document = str::from_utf8(data).map_or(data.to_vec(), |text| filled(text).into_bytes());
    let issuer = Issuer::with_key_source(issuer_url(), KeySource::fixed(document.clone()));
    let Ok(verifier) = Verifier::builder(issuer).audience(world::AUDIENCE).clock(clock()).build()
    else {
        return vec!["refused"];
    };
    let found = json::read_document(&document).expect("a set that was taken is JSON");
    let listed = found["keys"].as_array().expect("it has a list of keys");
    let status = verifier.status();
    let used = &status[0].keys;
    assert!(!used.is_empty() && used.len() <= MAX_KEYS && used.len() <= listed.len());
    for key in used {
        assert!(!key.algorithms.is_empty(), "a key that is for nothing");
    }
    let mut reached = vec!["taken"];
    for token in good_tokens() {
        if let Some(Ok(_)) = verifier.verify_with_cached_keys(token) {
            match oracle::check(token.as_bytes(), &found) {
                Ok(good) => reached.push(good.algorithm),
                Err(why) => panic!("{why}: {}", String::from_utf8_lossy(&document)),
            }
        }
    }
    reached
}

fn filled(text: &str) -> String {
    PLACES.iter().fold(text.to_owned(), |text, (place, algorithm, member)| {
        let jwk = key(*algorithm).jwk();
        text.replace(place, jwk[member].as_str().expect("a member of a JWK"))
    })
}
