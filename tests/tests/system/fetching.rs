//! How keys are fetched: TLS, credentials, redirects.

use kube_oidc::{Issuer, Verifier, VerifyError};
use kube_oidc_testing::{Answer, Endpoint, TestIssuer};
use kube_oidc_tests::Log;

fn verifier(issuer: Issuer) -> Verifier {
    Verifier::builder(issuer).audience("orders").build().unwrap()
}

fn trusted(issuer: &TestIssuer) -> Issuer {
    Issuer::new(issuer.url().parse().unwrap())
}

async fn is_unavailable(verifier: &Verifier, issuer: &TestIssuer) -> bool {
    let token = issuer.token().audience("orders").mint();
    matches!(verifier.verify(&token).await, Err(VerifyError::Unavailable(_)))
}

#[tokio::test]
async fn discovery_over_tls_with_a_private_authority() {
    let issuer = TestIssuer::builder().tls().start();
    assert!(issuer.url().starts_with("https://127.0.0.1:"));
    let verifier = verifier(trusted(&issuer).with_root_certificates_pem(issuer.ca_pem()));
    let token = issuer.token().audience("orders").mint();
    assert!(verifier.verify(&token).await.is_ok());
    assert_eq!((issuer.discovery_fetches(), issuer.key_fetches()), (1, 1));
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_trusted() {
    let log = Log::catch();
    let issuer = TestIssuer::builder().tls().start();
    let other = TestIssuer::builder().tls().start();
    let with_other = trusted(&issuer).with_root_certificates_pem(other.ca_pem());
    assert!(is_unavailable(&verifier(with_other), &issuer).await);
    assert!(is_unavailable(&verifier(trusted(&issuer)), &issuer).await);
    assert_eq!(issuer.requests().len(), 0, "no request passed the handshake");
    let lines = log.lines_with(&["ERROR", issuer.url(), "invalid peer certificate"]);
    assert_eq!(lines.len(), 2, "the log says why: {lines:?}");
}

#[tokio::test]
async fn a_guarded_key_set_needs_the_token_and_the_log_says_so() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    issuer.require_bearer_token("the-readers-token");
    assert!(is_unavailable(&verifier(trusted(&issuer)), &issuer).await);
    let lines =
        log.lines_with(&[issuer.url(), "status 403", "system:service-account-issuer-discovery"]);
    assert_eq!(lines.len(), 1, "{lines:?}");

    let wrong = trusted(&issuer).with_fetch_bearer_token("another-token");
    assert!(is_unavailable(&verifier(wrong), &issuer).await);
    let right = trusted(&issuer).with_fetch_bearer_token("the-readers-token");
    assert!(!is_unavailable(&verifier(right), &issuer).await);
}

/// An issuer whose document names another server for its keys, as kubeadm clusters have it.
fn with_keys_elsewhere() -> (TestIssuer, TestIssuer) {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    let document =
        format!(r#"{{"issuer":"{}","jwks_uri":"{}"}}"#, issuer.url(), elsewhere.jwks_uri());
    issuer.answer(Endpoint::Discovery, Answer::new(200, document));
    elsewhere.answer(Endpoint::Keys, Answer::new(200, issuer.key_set().to_string()));
    (issuer, elsewhere)
}

fn authorizations(issuer: &TestIssuer) -> Vec<Option<String>> {
    let requests = issuer.requests().into_iter();
    requests.map(|request| request.header("authorization").map(str::to_owned)).collect()
}

#[tokio::test]
async fn credentials_go_to_their_origin_only() {
    let (issuer, elsewhere) = with_keys_elsewhere();
    let sent = Some("Bearer for-the-issuer".to_owned());
    let with_token = || trusted(&issuer).with_fetch_bearer_token("for-the-issuer");
    assert!(!is_unavailable(&verifier(with_token()), &issuer).await);
    assert_eq!(authorizations(&issuer), std::slice::from_ref(&sent));
    assert_eq!(authorizations(&elsewhere), [None], "another port is another origin");

    let named = with_token().with_credential_origin(elsewhere.base_url());
    assert!(!is_unavailable(&verifier(named), &issuer).await);
    assert_eq!(authorizations(&elsewhere), [None, sent.clone()]);

    // with_jwks_uri moves the origin: the issuer is not asked at all
    let moved = with_token().with_jwks_uri(elsewhere.jwks_uri());
    assert!(!is_unavailable(&verifier(moved), &issuer).await);
    assert_eq!(authorizations(&elsewhere), [None, sent.clone(), sent]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_no_credentials_along() {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    for endpoint in [Endpoint::Discovery, Endpoint::Keys] {
        for status in [301, 302, 303, 307, 308] {
            let answer = Answer::new(status, "").with_header("location", elsewhere.jwks_uri());
            issuer.answer(endpoint, answer);
            let with_token = trusted(&issuer).with_fetch_bearer_token("for-the-issuer");
            assert!(is_unavailable(&verifier(with_token), &issuer).await, "{status}");
        }
        issuer.answer_normally(endpoint);
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_jwks_uri_that_is_not_safe_is_not_read() {
    for jwks_uri in [
        "http://127.0.0.1.evil.test/k",
        "http://10.0.0.1/k",
        "file:///etc/passwd",
        "http://user@127.0.0.1/k",
        "//127.0.0.1/k",
        "",
    ] {
        let issuer = TestIssuer::start();
        let document = format!(r#"{{"issuer":"{}","jwks_uri":"{jwks_uri}"}}"#, issuer.url());
        issuer.answer(Endpoint::Discovery, Answer::new(200, document));
        assert!(is_unavailable(&verifier(trusted(&issuer)), &issuer).await, "{jwks_uri}");
        assert_eq!(issuer.key_fetches(), 0);
    }
}
