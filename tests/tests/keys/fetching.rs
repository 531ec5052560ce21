//! How keys are fetched: TLS, credentials, redirects.

use std::{sync::Arc, time::Duration};

use kube_oidc::{
    KeySource, Verifier, VerifyError,
    source::{Fetch, FetchRequest, HttpFetcher},
};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{
    Judge as _, Log, ScriptedFetcher, TempFolder, builder_for, issuer_at, issuer_via, issuer_with,
    verifier_for,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

async fn is_unavailable(verifier: &Verifier, issuer: &TestIssuer) -> bool {
    let token = issuer.token().audience("orders").mint();
    matches!(verifier.judge(&token).await, Err(VerifyError::Unavailable(_)))
}

#[tokio::test]
async fn discovery_over_tls_with_a_private_authority() {
    let issuer = TestIssuer::builder().tls().start();
    assert!(issuer.url().starts_with("https://127.0.0.1:"));
    let verifier = verifier_for(issuer_via(
        &issuer,
        HttpFetcher::new().with_root_certificates_pem(issuer.ca_pem()).unwrap(),
    ));
    let token = issuer.token().audience("orders").mint();
    assert!(verifier.judge(&token).await.is_ok());
    assert_eq!((issuer.discovery_fetches(), issuer.key_fetches()), (1, 1));
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_not_trusted() {
    let log = Log::catch();
    let issuer = TestIssuer::builder().tls().start();
    let other = TestIssuer::builder().tls().start();
    let with_other =
        issuer_via(&issuer, HttpFetcher::new().with_root_certificates_pem(other.ca_pem()).unwrap());
    assert!(is_unavailable(&verifier_for(with_other), &issuer).await);
    assert!(is_unavailable(&verifier_for(&issuer), &issuer).await);
    assert_eq!(issuer.received_requests().len(), 0, "no request passed the handshake");
    let lines =
        log.lines_with(&["ERROR ", " kube_oidc::", issuer.url(), "invalid peer certificate"]);
    assert_eq!(lines.len(), 2, "the log says why: {lines:?}");
}

// rule: fetch-credentials
#[tokio::test]
async fn a_guarded_key_set_needs_the_token_and_the_log_says_so() {
    let log = Log::catch();
    let issuer = TestIssuer::start();
    issuer.require_bearer_token("the-readers-token");
    assert!(is_unavailable(&verifier_for(&issuer), &issuer).await);
    let lines =
        log.lines_with(&[issuer.url(), "status 403", "system:service-account-issuer-discovery"]);
    assert_eq!(lines.len(), 1, "{lines:?}");

    let wrong = issuer_via(&issuer, HttpFetcher::new().with_bearer_token("another-token").unwrap());
    assert!(is_unavailable(&verifier_for(wrong), &issuer).await);
    let right =
        issuer_via(&issuer, HttpFetcher::new().with_bearer_token("the-readers-token").unwrap());
    assert!(!is_unavailable(&verifier_for(right), &issuer).await);
}

/// An issuer whose document names another server for its keys, as kubeadm clusters have it.
fn with_keys_elsewhere() -> (TestIssuer, TestIssuer) {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    let document =
        format!(r#"{{"issuer":"{}","jwks_uri":"{}"}}"#, issuer.url(), elsewhere.jwks_uri());
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
    elsewhere.respond_with(Endpoint::Jwks, MockResponse::new(200, issuer.key_set().to_string()));
    (issuer, elsewhere)
}

fn authorizations(issuer: &TestIssuer) -> Vec<Option<String>> {
    let requests = issuer.received_requests().into_iter();
    requests.map(|request| request.header("authorization").map(str::to_owned)).collect()
}

// rule: fetch-credentials
#[tokio::test]
async fn credentials_go_to_their_origin_only() {
    let (issuer, elsewhere) = with_keys_elsewhere();
    let sent = Some("Bearer for-the-issuer".to_owned());
    let with_token = || HttpFetcher::new().with_bearer_token("for-the-issuer").unwrap();
    let discovered = issuer_via(&issuer, with_token());
    assert!(!is_unavailable(&verifier_for(discovered), &issuer).await);
    assert_eq!(authorizations(&issuer), std::slice::from_ref(&sent));
    assert_eq!(authorizations(&elsewhere), [None], "another port is another origin");

    let named = with_token().add_credential_origin(elsewhere.base_url()).unwrap();
    assert!(!is_unavailable(&verifier_for(issuer_via(&issuer, named)), &issuer).await);
    assert_eq!(authorizations(&elsewhere), [None, sent.clone()]);

    // the origin of another key source: the issuer is not asked at all
    let moved = issuer_with(&issuer, KeySource::jwks(elsewhere.jwks_uri()).via(with_token()));
    assert!(!is_unavailable(&verifier_for(moved), &issuer).await);
    assert_eq!(authorizations(&elsewhere), [None, sent.clone(), sent]);
}

/// As with `discoveryURL` of a Kubernetes `AuthenticationConfiguration`.
// rule: fetch-credentials
#[tokio::test]
async fn discovery_document_at_another_url_must_name_the_issuer() {
    let (issuer, other) = (TestIssuer::start(), TestIssuer::start());
    let document =
        |name: &str| format!(r#"{{"issuer":"{name}","jwks_uri":"{}"}}"#, issuer.jwks_uri());
    let server = TestIssuer::start();
    let url = format!("{}/.well-known/openid-configuration", server.url());
    let verifier = || {
        let fetcher = HttpFetcher::new().with_bearer_token("for-the-document").unwrap();
        verifier_for(issuer_with(&issuer, KeySource::discovery_at(&url).via(fetcher)))
    };
    server.respond_with(Endpoint::Discovery, MockResponse::new(200, document(issuer.url())));
    assert!(!is_unavailable(&verifier(), &issuer).await);
    assert_eq!(issuer.discovery_fetches(), 0);
    assert_eq!(authorizations(&server), [Some("Bearer for-the-document".to_owned())]);
    assert_eq!(authorizations(&issuer), [None], "the origin of the keys is another");

    server.respond_with(Endpoint::Discovery, MockResponse::new(200, document(other.url())));
    assert!(is_unavailable(&verifier(), &issuer).await);
    assert_eq!(issuer.key_fetches(), 1, "the keys of a document for another issuer are not read");
}

// rule: anonymous-read, fetch-credentials
#[tokio::test]
async fn request_without_credentials_carries_none() {
    let issuer = TestIssuer::start();
    let file = std::env::temp_dir().join(format!("kube-oidc-absent-{}", fastrand::u64(..)));
    let fetcher = HttpFetcher::new()
        .with_header("x-api-key", "secret")
        .and_then(|fetcher| fetcher.with_bearer_token("token"))
        .unwrap();
    // a fetcher that hands on a request of its own must not lead credentials elsewhere
    fetcher.fetch(FetchRequest::new(issuer.jwks_uri())).await.unwrap();
    let elsewhere = FetchRequest::new(issuer.jwks_uri()).with_source("https://issuer.example");
    fetcher.fetch(elsewhere).await.unwrap();
    let request = FetchRequest::new(issuer.jwks_uri()).with_source(issuer.url());
    assert!(request.allows_credentials());
    fetcher.fetch(request.clone()).await.unwrap();
    fetcher.fetch(request.clone().without_credentials()).await.unwrap();
    let sent: Vec<bool> =
        issuer.received_requests().iter().map(|r| r.header("x-api-key").is_some()).collect();
    assert_eq!(sent, [false, false, true, false]);
    assert_eq!(authorizations(&issuer), [None, None, Some("Bearer token".to_owned()), None]);

    // a token file that cannot be read does not prevent such a request
    let fetcher = fetcher.with_bearer_token_file(file);
    fetcher.fetch(request.clone()).await.unwrap_err();
    fetcher.fetch(request.without_credentials()).await.unwrap();
}

// rule: moved-keys
#[tokio::test]
async fn a_slow_issuer_is_not_asked_for_its_document_over_and_over() {
    // each answer fits into the time, both together do not: the document must not be forgotten
    let issuer = TestIssuer::start();
    let http = Arc::new(HttpFetcher::new());
    let slow = ScriptedFetcher::new(move |request| {
        let http = Arc::clone(&http);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            http.fetch(request).await
        }
    });
    let verifier = builder_for(issuer_via(&issuer, slow))
        .fetch_timeout(Duration::from_millis(1_800))
        .build()
        .unwrap();
    assert!(is_unavailable(&verifier, &issuer).await);
    let token = issuer.token().audience("orders").mint();
    while let Err(error) = verifier.judge(&token).await {
        let VerifyError::Unavailable(unavailable) = error else { panic!("{error}") };
        tokio::time::sleep(unavailable.retry_after()).await;
    }
    assert_eq!(issuer.discovery_fetches(), 1);
}

// rule: moved-keys
#[tokio::test]
async fn a_document_that_turned_into_another_issuers_ends_the_trust_in_its_keys() {
    let (issuer, elsewhere) = with_keys_elsewhere();
    let verifier = verifier_for(&issuer);
    assert!(!is_unavailable(&verifier, &issuer).await);
    // the keys are gone from where they were, so the document is read again
    elsewhere.respond_with(Endpoint::Jwks, MockResponse::new(404, ""));
    assert!(verifier.refresh_keys().await.is_err());
    // a document whose server is down says nothing against the keys
    elsewhere.reset_response(Endpoint::Jwks);
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(500, ""));
    verifier.refresh_keys().await.unwrap();
    let other = r#"{"issuer":"https://other.example","jwks_uri":"https://other.example/k"}"#;
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, other));
    elsewhere.respond_with(Endpoint::Jwks, MockResponse::new(200, issuer.key_set().to_string()));
    let fetches = elsewhere.key_fetches();
    assert!(verifier.refresh_keys().await.is_err());
    assert_eq!(elsewhere.key_fetches(), fetches, "the old URL is not asked");
    // not even when the document's server is down after that
    issuer.respond_with(Endpoint::Discovery, MockResponse::new(500, ""));
    assert!(verifier.refresh_keys().await.is_err());
    assert_eq!(elsewhere.key_fetches(), fetches);
}

/// Against RFC 9112, 9.6: the response does not say so, and the connection ends a little later.
// rule: connection-bytes
#[tokio::test]
async fn server_that_closes_each_connection_is_read_by_the_first_fetch() {
    let issuer = TestIssuer::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let document = format!(r#"{{"issuer":"{url}","jwks_uri":"{url}/jwks"}}"#);
    let keys = issuer.key_set().to_string();
    let server = tokio::spawn(async move {
        for body in [document, keys] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
            // a client that reuses the connection is about to send its next request
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let verifier = verifier_for(issuer_at(url));
    verifier.refresh_keys().await.unwrap();
    server.await.unwrap();
    assert_eq!(verifier.status()[0].failures, 0);
}

// rule: fetch-credentials
#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_no_credentials_along() {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
        for status in [301, 302, 303, 307, 308] {
            let answer =
                MockResponse::new(status, "").with_header("location", elsewhere.jwks_uri());
            issuer.respond_with(endpoint, answer);
            let with_token = issuer_via(
                &issuer,
                HttpFetcher::new().with_bearer_token("for-the-issuer").unwrap(),
            );
            assert!(is_unavailable(&verifier_for(with_token), &issuer).await, "{status}");
        }
        issuer.reset_response(endpoint);
    }
    assert_eq!(elsewhere.received_requests().len(), 0);
}

// rule: fetch-credentials
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
        issuer.respond_with(Endpoint::Discovery, MockResponse::new(200, document));
        assert!(is_unavailable(&verifier_for(&issuer), &issuer).await, "{jwks_uri}");
        assert_eq!(issuer.key_fetches(), 0);
    }
}

#[tokio::test]
async fn a_token_file_is_read_at_each_fetch() {
    let issuer = TestIssuer::start();
    let folder = TempFolder::new();
    let file = folder.write("token", "first\n");
    let verifier =
        builder_for(issuer_via(&issuer, HttpFetcher::new().with_bearer_token_file(&file)))
            .dangerous_no_unknown_kid_cooldown()
            .build()
            .unwrap();
    assert!(!is_unavailable(&verifier, &issuer).await);
    folder.write("token", "  second  ");
    issuer.rotate();
    assert!(!is_unavailable(&verifier, &issuer).await);
    let sent: Vec<String> = authorizations(&issuer).into_iter().flatten().collect();
    assert_eq!(sent, ["Bearer first", "Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_fails_the_fetch_before_anything_is_sent() {
    let log = Log::catch();
    for contents in [None, Some(""), Some(" \n"), Some("a\nb"), Some("a\u{1}b")] {
        let issuer = TestIssuer::start();
        let folder = TempFolder::new();
        let path = folder.write("token", contents.unwrap_or_default());
        if contents.is_none() {
            std::fs::remove_file(&path).unwrap();
        }
        let verifier =
            verifier_for(issuer_via(&issuer, HttpFetcher::new().with_bearer_token_file(&path)));
        assert!(is_unavailable(&verifier, &issuer).await, "{contents:?}");
        assert_eq!(issuer.received_requests().len(), 0, "{contents:?}");
        let lines = log.lines_with(&["ERROR", path.to_str().unwrap()]);
        assert_eq!(lines.len(), 1, "the log names the file: {lines:?}");
    }
}

#[tokio::test]
async fn a_certificate_file_is_read_at_each_fetch_and_the_last_good_one_is_kept() {
    let issuer = TestIssuer::builder().tls().start();
    let other = TestIssuer::builder().tls().start();
    let folder = TempFolder::new();
    let file = folder.write("ca.crt", issuer.ca_pem());
    let verifier =
        builder_for(issuer_via(&issuer, HttpFetcher::new().with_root_certificates_file(&file)))
            .dangerous_no_unknown_kid_cooldown()
            .build()
            .unwrap();
    assert!(!is_unavailable(&verifier, &issuer).await);
    // half written: the last good one goes on
    folder.write("ca.crt", "-----BEGIN CERTIFICATE-----\n");
    issuer.rotate();
    assert!(!is_unavailable(&verifier, &issuer).await);
    // replaced by another authority: the issuer is no longer trusted
    folder.write("ca.crt", other.ca_pem());
    issuer.rotate();
    assert!(is_unavailable(&verifier, &issuer).await);

    let missing =
        issuer_via(&issuer, HttpFetcher::new().with_root_certificates_file("/no/such.pem"));
    assert!(is_unavailable(&verifier_for(missing), &issuer).await);
}

// rule: fetch-credentials
#[tokio::test]
async fn headers_for_fetching_go_to_their_origin_only() {
    let (issuer, elsewhere) = with_keys_elsewhere();
    let trusted =
        issuer_via(&issuer, HttpFetcher::new().with_header("x-api-key", "5ecre7").unwrap());
    assert!(!is_unavailable(&verifier_for(trusted), &issuer).await);
    let sent =
        |issuer: &TestIssuer| issuer.received_requests()[0].header("x-api-key").map(str::to_owned);
    assert_eq!(sent(&issuer).as_deref(), Some("5ecre7"));
    assert_eq!(sent(&elsewhere), None);
}
