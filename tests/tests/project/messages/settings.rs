//! Settings of verifiers. Those of the demo server are among its own tests.

use kube_oidc::{BuildError, Issuer, KeySource};
use kube_oidc_tests::{builder_for, issuer_at, issuer_at_with};

use super::{Case, chain};

const SHARED: &str = "https://kubernetes.default.svc.cluster.local";
const KEYS: &str = "https://api.example:6443/openid/v1/jwks";

pub(super) fn cases() -> Vec<Case> {
    let issuer = || issuer_at(SHARED);
    let named = |name: &'static str| issuer().with_cluster(name);
    let both = |keys: KeySource| {
        ["blue", "green"].map(|name| issuer_at_with(SHARED, keys.clone()).with_cluster(name))
    };
    let case = |input, words, issuers: [Issuer; 2]| {
        let message = chain(&build(issuers));
        Case { input, message, words, secrets: vec!["5ecre7".to_owned()] }
    };
    vec![
        case(
            "two clusters, one name, no place of keys",
            ["\"blue\" and \"green\"", SHARED, "own key set URL or file"],
            [named("blue"), named("green")],
        ),
        case(
            "two clusters, one key set URL",
            ["\"blue\" and \"green\"", KEYS, "own key set URL or file"],
            both(KeySource::jwks(KEYS).into()),
        ),
        case(
            "two clusters, one key set URL with a query",
            ["\"blue\" and \"green\"", KEYS, "own key set URL or file"],
            both(KeySource::jwks(format!("{KEYS}?sig=5ecre7")).into()),
        ),
        case(
            "two clusters, one file",
            ["\"blue\" and \"green\"", "/etc/keys.json", "own key set URL or file"],
            both(KeySource::file("/etc/keys.json")),
        ),
        case("one issuer twice", [SHARED, "twice", "cluster"], [issuer(), issuer()]),
        case(
            "a cluster without a name",
            ["https://other.example", "name of its cluster", "with_cluster()"],
            [named("blue"), issuer_at("https://other.example")],
        ),
    ]
}

fn build([one, other]: [Issuer; 2]) -> BuildError {
    builder_for(one).add_issuer(other).build().unwrap_err()
}
