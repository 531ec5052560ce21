//! Whoever sends requests, and even signs what he likes, adds no series.

use std::collections::BTreeSet;

use fastrand::Rng;
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TokenBuilder};
use kube_oidc_tests::Hidden;
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};

use crate::{
    deployment::Deployment,
    everything,
    names::{OUTCOMES, reasons},
    recorder::recorder,
    scrape::{Scrape, Series},
};

/// Enough for each kind of token on each route, more than once.
const REQUESTS: usize = 800;

const ROUTES: [&str; 10] = [
    "/whoami",
    "/policy",
    "/reviewed",
    "/optional",
    "/optional/reviewed",
    "/report",
    "/report/policy",
    "/open",
    "/nobody/policy",
    "/",
];

/// What somebody chooses, from one byte to many, some of it such as breaks texts.
fn text(rng: &mut Rng) -> String {
    let odd = ["\"", "\\", "\n", "{", "}", "=", ",", "\u{202e}", "\0", "ä", "_total", "le=\"1\""];
    let length = [1, 8, 60, 300][rng.usize(..4)];
    (0..length)
        .map(|_| {
            if rng.u8(..4) == 0 {
                odd[rng.usize(..odd.len())].to_owned()
            } else {
                rng.alphanumeric().into()
            }
        })
        .collect()
}

/// A name that Kubernetes allows.
fn name(rng: &mut Rng) -> String {
    (0..rng.usize(1..50)).map(|_| rng.lowercase()).collect()
}

/// A token, each of whose parts may be anything. Those that are signed are kept.
fn token(
    deployment: &Deployment,
    stranger: &SigningKey,
    rng: &mut Rng,
    minted: &mut Vec<String>,
) -> Vec<u8> {
    let good = deployment.good();
    let any = text(rng);
    let made: TokenBuilder = match rng.u8(..20) {
        // what the issuer alone can sign
        0 => good.header("kid", any),
        1 => good.header("alg", any),
        2 => good.header("typ", any),
        3 => good.claim("iss", any),
        4 => good.claim("aud", any),
        5 => good.audience(&any),
        6 => good.claim("sub", any),
        7 => good.claim("jti", any),
        8 => good.service_account(&name(rng), &name(rng)).pod(&name(rng)).node(&name(rng)),
        9 => good.service_account(&any, &any),
        10 => good.kubernetes_claim("namespace", any),
        11 => good.payload_text(&any),
        12 => good.header_text(&any),
        13 => good.claim(&any, any.clone()).pod(&any),
        14 => good.claim("exp", rng.u64(..)).claim("nbf", rng.u64(..)),
        // what everybody can
        15 => good.signed_by(&stranger.clone().with_kid(&any)),
        16 => good.forged_by(stranger).claim("jti", any),
        17 => good.signature(any.into_bytes()),
        18 => {
            let of = b"abcXYZ019-_...";
            return (0..rng.usize(..40_000)).map(|_| of[rng.usize(..of.len())]).collect();
        }
        _ => return (0..rng.usize(1..200)).map(|_| rng.u8(0x80..)).collect(),
    };
    let token = made.mint();
    minted.push(token.clone());
    token.into_bytes()
}

async fn attack(
    deployment: &Deployment,
    stranger: &SigningKey,
    rng: &mut Rng,
    minted: &mut Vec<String>,
) {
    let route = ROUTES[rng.usize(..ROUTES.len())];
    let path = match rng.u8(..4) {
        0 => format!("{route}?{}", name(rng)),
        1 => format!("/{}", name(rng)),
        _ => route.to_owned(),
    };
    let method: String = (0..rng.usize(1..12)).map(|_| rng.uppercase()).collect();
    let method =
        if rng.bool() { Method::GET } else { Method::from_bytes(method.as_bytes()).unwrap() };
    let scheme = if rng.u8(..5) > 0 {
        "Bearer "
    } else {
        ["bearer ", "Basic ", "Bearer", ""][rng.usize(..4)]
    };
    let value = [scheme.as_bytes(), &token(deployment, stranger, rng, minted)].concat();
    let mut request = deployment.client.request(method, deployment.url(&path));
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        request = request.header(AUTHORIZATION, value);
    }
    let own = HeaderName::from_bytes(format!("x-{}", name(rng)).as_bytes()).unwrap();
    request = request.header(own, name(rng)).header("user-agent", name(rng));
    request.send().await.unwrap();
}

fn series(scrape: &Scrape) -> BTreeSet<Series> {
    scrape.samples.keys().cloned().collect()
}

/// The series that a closed set of words allows, beside those that are there for each issuer.
fn allowed() -> BTreeSet<Series> {
    let mut allowed = BTreeSet::new();
    for name in ["kube_oidc_requests_total", "kube_oidc_route_rejections_total"] {
        for outcome in OUTCOMES {
            for reason in reasons().into_iter().chain(["none"]) {
                let is_refusal = outcome.ends_with("rejected");
                if is_refusal != (reason == "none") {
                    let labels = [("outcome", outcome), ("reason", reason)];
                    allowed.insert(crate::scrape::series(name, &labels));
                }
            }
        }
    }
    allowed
}

// rule: logs-without-tokens
#[tokio::test]
async fn nothing_that_somebody_chooses_becomes_a_series() {
    let deployment = Deployment::new().await;
    everything::happens(&deployment).await;
    let before = series(&Scrape::of(&[&deployment.verifier]));
    let stranger = SigningKey::generate(SigningAlgorithm::Es256);
    let mut rng = Rng::with_seed(0x5eed);
    let mut minted = Vec::new();
    for _ in 0..REQUESTS {
        attack(&deployment, &stranger, &mut rng, &mut minted).await;
    }
    let scrape = Scrape::of(&[&deployment.verifier]);
    let after = series(&scrape);
    assert!(before.is_subset(&after));
    let added: Vec<_> = after.difference(&before).collect();
    let allowed = allowed();
    assert!(added.iter().all(|series| allowed.contains(series)), "{added:?}");

    // it was an attack on all that is counted
    let counted = |outcome: &str, reason: &str| {
        let labels = [("outcome", outcome), ("reason", reason)];
        scrape.value("kube_oidc_requests_total", &labels).unwrap_or_default()
    };
    for reason in [
        "malformed",
        "algorithm",
        "type",
        "unknown_issuer",
        "claims",
        "unknown_key",
        "signature",
        "too_long",
        "invalid_request",
        "no_credentials",
        "audience",
    ] {
        assert!(counted("rejected", reason) >= 1.0, "{reason}");
    }
    assert!(counted("verified", "none") > 50.0);

    // and once more, with other bytes: whatever can be added is there
    let words = |series: &BTreeSet<Series>| -> BTreeSet<String> {
        series.iter().flat_map(|(_, labels)| labels.values().cloned()).collect()
    };
    for _ in 0..REQUESTS {
        attack(&deployment, &stranger, &mut rng, &mut minted).await;
    }
    let again = series(&Scrape::of(&[&deployment.verifier]));
    assert!(again.difference(&after).all(|series| allowed.contains(series)));
    let new_words: Vec<_> = words(&again).difference(&words(&after)).cloned().collect();
    assert!(new_words.iter().all(|word| reasons().contains(word.as_str())), "{new_words:?}");

    // nor is a piece of a token anywhere in it
    let text = recorder().render();
    assert!(minted.len() > REQUESTS && text.len() > 1_000);
    for tokens in minted.chunks(100) {
        Hidden::of(tokens).assert_hidden_in("what is shown to Prometheus", &text);
    }
}
