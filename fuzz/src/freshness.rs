//! What an answer with keys says of its age: any values of the headers that count.

use std::time::Duration;

use kube_oidc::{Issuer, KeyState, Verifier, source::FetchResponse};

use crate::world::{self, AUDIENCE, Table, block_on, clock, good_token, issuer_url};

const KEYS: &str = "https://issuer.test/keys";
const NAMES: [&str; 7] =
    ["cache-control", "expires", "date", "age", "etag", "last-modified", "retry-after"];

/// Each line is a value; its first byte says of which header.
///
/// Whatever they say, the keys are used, and fetched again within our bounds: not before three
/// quarters of a minute, and within the hour.
#[must_use]
pub fn run(data: &[u8]) -> bool {
    let mut answer = FetchResponse::new(200, world::key_set());
    for line in data.split(|byte| *byte == b'\n') {
        if let Some((name, value)) = line.split_first() {
            let name = NAMES[usize::from(*name) % NAMES.len()];
            answer = answer.with_header(name, &String::from_utf8_lossy(value));
        }
    }
    let table = Table::new(vec![(KEYS, answer)]);
    let issuer = Issuer::new(issuer_url()).with_jwks_uri(KEYS).with_fetcher(table);
    let verifier =
        Verifier::builder(issuer).audience(AUDIENCE).clock(clock()).build().expect("a verifier");
    block_on(async {
        verifier.verify(good_token()).await.expect("the keys are here");
        let status = &verifier.status()[0];
        assert_eq!(status.state, KeyState::Fresh);
        let next = status.next_fetch.expect("they are fetched again");
        let bounds = Duration::from_secs(45)..=Duration::from_secs(3600);
        assert!(bounds.contains(&next), "in {next:?}");
    });
    true
}
