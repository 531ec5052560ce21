//! Issuers that come and go, and have several names.

use kube_oidc::{KeySource, Reason, Verifier, source::HttpFetcher};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey, TestIssuer};
use kube_oidc_tests::{
    TempFolder, api_server_issuer, builder_for, issuer_at_with, issuer_for, issuer_with, token_for,
    verifier_for,
};

use crate::{
    deployment::{Deployment, turn},
    scrape::Scrape,
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
    let deployment = Deployment::new().await;
    let green = TestIssuer::start();
    let former = "https://former.example";
    let added = issuer_for(&green).with_cluster("green").add_alias(former);
    deployment.verifier.add_issuer(added).unwrap();
    let token = token_for(&green);
    for token in [token.clone(), token.clone().claim("iss", former)] {
        assert_eq!(deployment.ask("/whoami", Some(&token.mint())).await, 200);
    }
    let scrape = Scrape::of(&[&deployment.verifier]);
    let expected = [(green.url().to_owned(), "green".to_owned())];
    assert_eq!(issuers_of(&scrape, &[green.url(), "former"]), expected);
}

#[tokio::test]
async fn one_that_is_removed_has_no_keys_to_worry_about() {
    let deployment = Deployment::new().await;
    let green = TestIssuer::start();
    let issuer = || issuer_for(&green).with_cluster("green");
    deployment.verifier.add_issuer(issuer()).unwrap();
    let token = token_for(&green).mint();
    assert_eq!(deployment.ask("/whoami", Some(&token)).await, 200);
    let names = [("issuer", green.url()), ("cluster", "green")];
    let keys = || Scrape::of(&[&deployment.verifier]).value("kube_oidc_keys", &names).unwrap();
    let age = || {
        let scrape = Scrape::of(&[&deployment.verifier]);
        scrape.value("kube_oidc_key_set_age_seconds", &names).unwrap()
    };
    assert_eq!((keys(), age()), (1.0, 0.0));
    assert!(deployment.verifier.remove_cluster("green"));
    assert!(keys().is_nan() && age().is_nan(), "{} {}", keys(), age());
    // and again with its keys to come
    deployment.verifier.add_issuer(issuer()).unwrap();
    assert_eq!(keys(), 0.0);
    assert!(age().is_nan());
    assert_eq!(deployment.ask("/whoami", Some(&token)).await, 200);
    assert_eq!((keys(), age()), (1.0, 0.0));
}

#[tokio::test]
async fn what_an_issuer_does_not_do_is_not_shown() {
    let _turn = turn().await;
    let issuer = TestIssuer::start();
    let given = issuer_with(&issuer, KeySource::fixed(issuer.key_set().to_string()));
    let verifier = verifier_for(given);
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
        "kube_oidc_issuer_name_changes_total",
        "kube_oidc_issuer_names",
        "kube_oidc_keys",
        "kube_oidc_tokens_for_api_server_total",
        "kube_oidc_tokens_past_warnafter_total",
        "kube_oidc_unknown_kids_total",
    ];
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_key_that_one_of_two_clusters_has_is_unknown_to_neither() {
    const SHARED: &str = "https://kubernetes.default.svc.cluster.local";
    let _turn = turn().await;
    let clusters = ["twin-one", "twin-two"];
    let unknown = |verifier: &Verifier| {
        let scrape = Scrape::of(&[verifier]);
        clusters.map(|cluster| {
            let names = [("issuer", SHARED), ("cluster", cluster)];
            scrape.value("kube_oidc_unknown_kids_total", &names).unwrap()
        })
    };
    for is_given in [[true, true], [false, false], [true, false]] {
        let issuers = [(); 2].map(|()| TestIssuer::builder().tls().origin(SHARED).start());
        let trusted = |index: usize| {
            let (issuer, cluster) = (&issuers[index], clusters[index]);
            let keys = if is_given[index] {
                KeySource::fixed(issuer.key_set().to_string())
            } else {
                let fetcher = HttpFetcher::new();
                let fetcher = fetcher.with_root_certificates_pem(issuer.ca_pem().as_bytes());
                let url = issuer.jwks_uri().replace(SHARED, issuer.base_url());
                KeySource::jwks(url).via(fetcher.unwrap()).into()
            };
            issuer_at_with(SHARED, keys).with_cluster(cluster)
        };
        let verifier = builder_for(trusted(0)).add_issuer(trusted(1));
        let verifier = verifier.build().unwrap();
        let minted = |issuer: &TestIssuer| issuer.token().audience("orders");
        // the first waits for keys where they are fetched, and one that comes later does so for a
        // key that one of the two has not published yet
        let before = unknown(&verifier);
        for issuer in &issuers {
            for _ in 0..2 {
                verifier.verify(minted(issuer).mint()).await.unwrap();
            }
        }
        assert_eq!(unknown(&verifier), before, "given: {is_given:?}");
        let stranger = SigningKey::generate(SigningAlgorithm::Es256);
        verifier.verify(minted(&issuers[0]).signed_by(&stranger).mint()).await.unwrap_err();
        assert_eq!(unknown(&verifier), before.map(|count| count + 1.0), "given: {is_given:?}");
        // its kid is known to the first
        let forged = minted(&issuers[0]).forged_by(&stranger).mint();
        let refused = verifier.verify(forged).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::Signature, "given: {is_given:?}");
        assert_eq!(unknown(&verifier), before.map(|count| count + 1.0), "given: {is_given:?}");
    }
}

// rule: issuer-label
#[tokio::test]
async fn changed_name_is_counted_and_shown_without_the_name() {
    let _turn = turn().await;
    let api_server = TestIssuer::builder().tls().origin("https://old.example").start();
    let folder = TempFolder::with_service_account(api_server.ca_pem(), "token-of-the-pod");
    let issuer = api_server_issuer(api_server.base_url(), &folder);
    let verifier = verifier_for(issuer.with_cluster("renamed"));
    let labels = [("issuer", api_server.base_url()), ("cluster", "renamed")];
    let shown = || {
        let scrape = Scrape::of(&[&verifier]);
        ["kube_oidc_issuer_names", "kube_oidc_issuer_name_changes_total"]
            .map(|name| scrape.value(name, &labels).unwrap())
    };
    verifier.refresh_keys().await.unwrap();
    assert_eq!(shown(), [1.0, 0.0]);
    assert_eq!(verifier.status()[0].issuer, labels[0].1, "the label of the metrics");
    for name in ["https://new.example", "https://old.example", "https://new.example"] {
        let document = format!(r#"{{"issuer":"{name}"}}"#);
        api_server.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
        verifier.refresh_keys().await.unwrap();
        assert_eq!(shown(), [2.0, 1.0], "{name}");
    }
    let scrape = Scrape::of(&[&verifier]);
    assert!(issuers_of(&scrape, &["new.example", "old.example"]).is_empty());
}
