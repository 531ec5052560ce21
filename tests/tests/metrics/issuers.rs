//! Issuers that come and go, and have several names.

use kube_oidc::{Issuer, Verifier};
use kube_oidc_testing::TestIssuer;

use crate::{
    scrape::Scrape,
    world::{World, turn},
};

/// The issuers that series have, with their clusters, of those that are asked about.
fn issuers_of(scrape: &Scrape, ours: &[&str]) -> Vec<(String, String)> {
    let issuers = scrape.samples.keys().filter_map(|(_, labels)| {
        let issuer = labels.get("issuer")?;
        ours.iter()
            .any(|ours| issuer.contains(ours))
            .then(|| (issuer.clone(), labels["cluster"].clone()))
    });
    let mut issuers: Vec<_> = issuers.collect();
    issuers.sort();
    issuers.dedup();
    issuers
}

#[tokio::test]
async fn one_that_is_added_has_the_operators_names_only() {
    let world = World::new().await;
    let green = TestIssuer::start();
    let former = "https://former.example";
    let added = Issuer::new(green.url().parse().unwrap()).of_cluster("green").also_named(former);
    world.verifier.add_issuer(added).unwrap();
    let token = green.token().audience("orders").service_account("payments", "checkout");
    for token in [token.clone(), token.clone().claim("iss", former)] {
        assert_eq!(world.ask("/whoami", Some(&token.mint())).await, 200);
    }
    let scrape = Scrape::of(&[&world.verifier]);
    let expected = [(green.url().to_owned(), "green".to_owned())];
    assert_eq!(issuers_of(&scrape, &[green.url(), "former"]), expected);
}

#[tokio::test]
async fn one_that_is_removed_has_no_keys_to_worry_about() {
    let world = World::new().await;
    let green = TestIssuer::start();
    let issuer = || Issuer::new(green.url().parse().unwrap()).of_cluster("green");
    world.verifier.add_issuer(issuer()).unwrap();
    let token = green.token().audience("orders").service_account("payments", "checkout").mint();
    assert_eq!(world.ask("/whoami", Some(&token)).await, 200);
    let names = [("issuer", green.url()), ("cluster", "green")];
    let keys = || Scrape::of(&[&world.verifier]).value("kube_oidc_keys", &names).unwrap();
    let age = || {
        let scrape = Scrape::of(&[&world.verifier]);
        scrape.value("kube_oidc_key_set_age_seconds", &names).unwrap()
    };
    assert_eq!((keys(), age()), (1.0, 0.0));
    assert!(world.verifier.remove_cluster("green"));
    assert!(keys().is_nan() && age().is_nan(), "{} {}", keys(), age());
    // and again with its keys to come
    world.verifier.add_issuer(issuer()).unwrap();
    assert_eq!(keys(), 0.0);
    assert!(age().is_nan());
    assert_eq!(world.ask("/whoami", Some(&token)).await, 200);
    assert_eq!((keys(), age()), (1.0, 0.0));
}

#[tokio::test]
async fn what_an_issuer_does_not_do_is_not_shown() {
    let _turn = turn().await;
    let issuer = TestIssuer::start();
    let given =
        Issuer::new(issuer.url().parse().unwrap()).with_key_set(issuer.key_set().to_string());
    let verifier = Verifier::builder(given).audience("orders").build().unwrap();
    let scrape = Scrape::of(&[&verifier]);
    let names = [("issuer", issuer.url()), ("cluster", "")];
    assert_eq!(scrape.value("kube_oidc_keys", &names), Some(1.0));
    let shown: Vec<_> = scrape
        .samples
        .keys()
        .filter(|(_, labels)| labels.get("issuer").is_some_and(|found| found == issuer.url()))
        .map(|(name, _)| name.as_str())
        .collect();
    let expected = [
        "kube_oidc_keys",
        "kube_oidc_tokens_for_api_server_total",
        "kube_oidc_tokens_past_warnafter_total",
        "kube_oidc_unknown_kids_total",
    ];
    assert_eq!(shown, expected);
}
