//! Whom a fetch trusts: the platform's root certificates, given ones, and both.

use kube_oidc::{BuildError, Issuer, source::HttpFetcher};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{Log, TempFolder, is_child, issuer_via, run_in_child, verifier_for};

fn fetcher() -> HttpFetcher {
    HttpFetcher::new().with_bearer_token("5ecre7").unwrap()
}

/// The last error of a fetch, or `None` if it succeeds.
async fn error_of(issuer: Issuer) -> Option<String> {
    let verifier = verifier_for(issuer);
    let refreshed = verifier.refresh_keys().await;
    let error = verifier.status().remove(0).last_error.map(|last| last.error);
    assert_eq!(refreshed.is_err(), error.is_some(), "{error:?}");
    error
}

/// In a process whose platform trusts the server's root.
// rule: root-certificates
#[tokio::test]
async fn platform_root_is_trusted_unless_roots_are_given() {
    if is_child() {
        let server = TestIssuer::builder().tls().start();
        let other = TestIssuer::builder().tls().start();
        std::fs::write(std::env::var("SSL_CERT_FILE").unwrap(), server.ca_pem()).unwrap();
        let folder = TempFolder::new();
        let other_file = folder.write("ca.crt", other.ca_pem());
        folder.write("token", "the-pods-own-token");
        let server_file = folder.write("server.crt", server.ca_pem());

        let other_ca = other.ca_pem().as_bytes();
        let in_cluster = || HttpFetcher::in_cluster_at(folder.path()).unwrap();
        let api_server =
            |fetcher: HttpFetcher| Issuer::api_server(server.base_url().parse().unwrap(), fetcher);
        let of = |fetcher: HttpFetcher| issuer_via(&server, fetcher);
        let unknown = [
            of(fetcher().with_root_certificates_pem(other_ca).unwrap()),
            of(fetcher().with_root_certificates_file(&other_file)),
            of(fetcher()
                .with_additional_root_certificates_pem(other_ca)
                .and_then(|fetcher| fetcher.with_root_certificates_pem(other_ca))
                .unwrap()),
            api_server(in_cluster()),
            api_server(in_cluster().with_additional_root_certificates_pem(other_ca).unwrap()),
        ];
        for issuer in unknown {
            let name = format!("{issuer:?}");
            let error = error_of(issuer).await.expect(&name);
            assert!(error.contains("invalid peer certificate"), "{name}: {error}");
        }
        assert_eq!(server.received_requests().len(), 0, "no token was sent");

        let server_ca = server.ca_pem().as_bytes();
        let known = [
            of(fetcher()),
            of(fetcher().with_additional_root_certificates_pem(other_ca).unwrap()),
            of(fetcher().with_additional_root_certificates_file(&other_file)),
            of(fetcher()
                .with_root_certificates_pem(other_ca)
                .and_then(|fetcher| fetcher.with_additional_root_certificates_pem(server_ca))
                .unwrap()),
            of(fetcher()
                .with_root_certificates_pem(other_ca)
                .unwrap()
                .with_root_certificates_file(&server_file)),
        ];
        for issuer in known {
            let name = format!("{issuer:?}");
            assert_eq!(error_of(issuer).await, None, "{name}");
        }

        return;
    }
    let folder = TempFolder::new();
    let store = folder.write("store.pem", "");
    let variables = [("SSL_CERT_FILE", store.to_str().unwrap())];
    let test = "trust::platform_root_is_trusted_unless_roots_are_given";
    run_in_child(test, &variables);
}

/// A proxy of the environment could answer in place of the API server, and would get its token.
// rule: root-certificates
#[tokio::test]
async fn in_cluster_fetch_uses_only_a_configured_proxy_and_its_errors_name_both_ways_out() {
    const WAYS_OUT: [&str; 2] = ["with_additional_root_certificates_file()", "with_proxy()"];
    if is_child() {
        let proxy = std::env::var("HTTPS_PROXY").unwrap();
        let server = TestIssuer::builder().tls().start();
        server.require_bearer_token("the-pods-own-token");
        let folder = TempFolder::new();
        folder.write("token", "the-pods-own-token");
        folder.write("ca.crt", server.ca_pem());
        let fetcher = || HttpFetcher::in_cluster_at(folder.path()).unwrap();
        let api_server =
            |fetcher: HttpFetcher| Issuer::api_server(server.base_url().parse().unwrap(), fetcher);
        let in_cluster = || api_server(fetcher());
        assert_eq!(error_of(in_cluster()).await, None);

        let proxied = api_server(fetcher().with_proxy(&proxy).unwrap());
        let error = error_of(proxied).await.unwrap();
        assert!(error.contains("failed to fetch through the proxy"), "{error}");

        server.stop();
        let down = error_of(in_cluster()).await.unwrap();
        assert!(WAYS_OUT.iter().all(|way| down.contains(way)), "{down}");
        server.restart();
        folder.write("ca.crt", TestIssuer::builder().tls().start().ca_pem());
        let unknown = error_of(in_cluster()).await.unwrap();
        assert!(unknown.contains("invalid peer certificate"), "{unknown}");
        assert!(WAYS_OUT.iter().all(|way| unknown.contains(way)), "{unknown}");
        return;
    }
    let proxy = TestIssuer::start();
    let test =
        "trust::in_cluster_fetch_uses_only_a_configured_proxy_and_its_errors_name_both_ways_out";
    run_in_child(test, &[("HTTPS_PROXY", proxy.base_url())]);
    let requests = proxy.received_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
}

const NO_BASE64: &str = "-----BEGIN CERTIFICATE-----\n!hidden!\n-----END CERTIFICATE-----\n";
const NO_DER: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const NO_END: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n";
const NO_BEGIN: &str = "-----BEGIN hidden\n";
const OTHER: &str = "-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n";

// rule: root-certificates
#[tokio::test]
async fn bad_block_in_a_bundle_is_skipped_with_one_warning_for_each_change() {
    let log = Log::catch();
    let server = TestIssuer::builder().tls().start();
    let folder = TempFolder::new();
    for (bad, skipped) in [
        (NO_BASE64, 1),
        (NO_DER, 1),
        (NO_END, 1),
        (NO_BEGIN, 1),
        (&[NO_DER, NO_END, NO_BASE64].concat(), 3),
        (OTHER, 0),
        ("a comment\n", 0),
    ] {
        for bundle in [[bad, server.ca_pem()].concat(), [server.ca_pem(), bad].concat()] {
            let file = folder.write(&format!("{}.pem", fastrand::u64(..)), &bundle);
            let verifier =
                verifier_for(issuer_via(&server, fetcher().with_root_certificates_file(&file)));
            let warnings = |least: usize| {
                let texts = [" WARN ", "skipped invalid root certificates", file.to_str().unwrap()];
                let lines = log.lines_with(&texts);
                assert_eq!(lines.len(), if skipped > 0 { least } else { 0 }, "{bundle}: {lines:?}");
                let number = format!("skipped={skipped} ");
                assert!(lines.iter().all(|line| line.contains(&number)), "{lines:?}");
                assert!(lines.iter().all(|line| !line.contains("hidden")), "{lines:?}");
            };
            for _ in 0..3 {
                verifier.refresh_keys().await.unwrap();
            }
            warnings(1);
            std::fs::write(&file, format!("{bundle}# changed\n")).unwrap();
            verifier.refresh_keys().await.unwrap();
            verifier.refresh_keys().await.unwrap();
            warnings(2);
            let given = fetcher().with_root_certificates_pem(&bundle).unwrap();
            assert_eq!(error_of(issuer_via(&server, given)).await, None, "{bundle}");
        }
    }
}

// rule: root-certificates
#[tokio::test]
async fn bundle_without_a_usable_block_is_an_error_that_names_the_file() {
    let server = TestIssuer::builder().tls().start();
    let folder = TempFolder::new();
    for bundle in [NO_BASE64, NO_DER, NO_END, NO_BEGIN, OTHER, "", "a comment", "\0"] {
        let file = folder.write("bundle.pem", bundle);
        for fetcher in [
            fetcher().with_root_certificates_file(&file),
            fetcher().with_additional_root_certificates_file(&file),
        ] {
            let error = error_of(issuer_via(&server, fetcher)).await.unwrap();
            let words = format!("invalid root certificates in `{}`: no ", file.display());
            assert!(error.contains(&words) && !error.contains("hidden"), "{error}");
        }
        let error = fetcher().with_root_certificates_pem(bundle).unwrap_err();
        assert!(matches!(error, BuildError::InvalidRootCertificates(_)), "{error}");
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error:?}");
    }
    let missing = fetcher().with_root_certificates_file("/no/such.pem");
    let error = error_of(issuer_via(&server, missing)).await.unwrap();
    assert!(error.contains("failed to read `/no/such.pem`"), "{error}");
    assert_eq!(server.received_requests().len(), 0);
}
