//! Discovery documents: any bytes.

use std::sync::Arc;

use kube_oidc::{Issuer, KeySource, Verifier, VerifyError, source::FetchResponse};

use crate::{
    Reached, json,
    world::{self, AUDIENCE, ISSUER, Table, block_on, clock, good_token, issuer_url},
};

/// The document was not followed, or the keys were asked for, or they were of use.
pub const BRANCHES: [&str; 3] = ["not followed", "followed", "accepted"];

const DOCUMENT: &str = "https://issuer.test/.well-known/openid-configuration";
const KEYS: &str = "https://issuer.test/keys";

/// Keys are asked for only where a document by this very issuer says that they are, over https; the
/// good token is accepted only then, and is never refused for what a document says.
#[must_use]
pub fn run(data: &[u8]) -> Reached {
    let table = Table::new(vec![
        (DOCUMENT, FetchResponse::new(200, data)),
        (KEYS, FetchResponse::new(200, world::key_set().to_string())),
    ]);
    let keys = KeySource::discovery().via(Arc::clone(&table));
    let issuer = Issuer::with_key_source(issuer_url(), keys);
    let verifier =
        Verifier::builder(issuer).audience(AUDIENCE).clock(clock()).build().expect("a verifier");
    let verdict = block_on(verifier.verify(good_token()));
    let asked = table.asked();
    assert_eq!(asked.first().map(String::as_str), Some(DOCUMENT));
    assert!(asked.len() <= 2, "{asked:?}");
    if let Some(url) = asked.get(1) {
        let told = json::read_document(data).expect("a document that was followed is JSON");
        assert_eq!(told["issuer"], ISSUER);
        let named = told["jwks_uri"].as_str().expect("it names a place");
        let named: url::Url = named.parse().expect("which is a URL");
        assert_eq!(named.scheme(), "https");
        assert_eq!(url, named.as_str());
    }
    match &verdict {
        Ok(_) => assert_eq!(asked.get(1).map(String::as_str), Some(KEYS)),
        Err(VerifyError::Unavailable(_)) => {}
        Err(other) => panic!("a good token is not refused for a document: {other}"),
    }
    let followed = if asked.len() > 1 { "followed" } else { "not followed" };
    [Some(followed), verdict.is_ok().then_some("accepted")].into_iter().flatten().collect()
}
