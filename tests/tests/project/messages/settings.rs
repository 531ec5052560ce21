//! Settings of verifiers. Those of the demo server are among its own tests.

use kube_oidc::{BuildError, Issuer};
use kube_oidc_tests::{builder_for, issuer_at};

use super::{Case, chain};

const SHARED: &str = "https://kubernetes.default.svc.cluster.local";
const KEYS: &str = "https://api.example:6443/openid/v1/jwks";

pub(super) fn cases() -> Vec<Case> {
    let issuer = || issuer_at(SHARED);
    let named = |name: &'static str| issuer().with_cluster(name);
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
            [named("blue").with_jwks_uri(KEYS), named("green").with_jwks_uri(KEYS)],
        ),
        case(
            "two clusters, one key set URL with a query",
            ["\"blue\" and \"green\"", KEYS, "own key set URL or file"],
            ["blue", "green"].map(|name| named(name).with_jwks_uri(format!("{KEYS}?sig=5ecre7"))),
        ),
        case(
            "two clusters, one file",
            ["\"blue\" and \"green\"", "/etc/keys.json", "own key set URL or file"],
            ["blue", "green"].map(|name| named(name).with_key_set_file("/etc/keys.json")),
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
    builder_for(one).issuer(other).build().unwrap_err()
}
