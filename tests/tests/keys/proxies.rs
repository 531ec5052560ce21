//! Proxies for fetching keys: configured, and of the environment.

use kube_oidc::{Issuer, source::HttpFetcher};
use kube_oidc_testing::TestIssuer;
use kube_oidc_tests::{
    Proxy, is_child, issuer_via, run_in_child,
    tls::{LOOPBACK, acceptor, authority, certificate},
    verifier_for,
};
use tokio::net::TcpListener;

fn fetcher(issuer: &TestIssuer) -> HttpFetcher {
    if issuer.url().starts_with("https") {
        HttpFetcher::new().with_root_certificates_pem(issuer.ca_pem()).unwrap()
    } else {
        HttpFetcher::new()
    }
}

fn trusted(issuer: &TestIssuer) -> Issuer {
    issuer_via(issuer, fetcher(issuer))
}

fn proxied(issuer: &TestIssuer, proxy: &str) -> Issuer {
    issuer_via(issuer, fetcher(issuer).with_proxy(proxy).unwrap())
}

// rule: fetch-credentials
#[tokio::test]
async fn proxy_opens_tunnels_for_https_and_gets_only_its_own_credentials() {
    let issuer = TestIssuer::builder().tls().start();
    let private = authority(|_| ());
    let tls = acceptor(certificate(LOOPBACK, &private, |_| ()), &[]);
    for (scheme, tls) in [("http", None), ("https", Some(tls))] {
        let proxy = Proxy::start(tls, Proxy::OPENED).await;
        let url = format!("{scheme}://me:p%40ss@{}", proxy.address());
        let fetcher = fetcher(&issuer)
            .with_additional_root_certificates_pem(private.pem())
            .and_then(|fetcher| fetcher.with_bearer_token("5ecre7"))
            .and_then(|fetcher| fetcher.with_proxy(&url))
            .unwrap();
        verifier_for(issuer_via(&issuer, fetcher)).refresh_keys().await.unwrap();
        for head in proxy.heads() {
            let to = format!("CONNECT {} HTTP/1.1\r\n", issuer.address());
            assert!(head.starts_with(&to), "{head}");
            let head = head.to_ascii_lowercase();
            // me:p@ss
            assert!(head.contains("proxy-authorization: basic bwu6cebzcw==\r\n"), "{head}");
            assert!(head.contains("user-agent: kube-oidc/"), "{head}");
            assert!(!head.contains("5ecre7"), "{head}");
        }
        assert_eq!(proxy.heads().len(), 2, "the document, and the keys");
    }
    for request in issuer.received_requests() {
        assert_eq!(request.header("authorization"), Some("Bearer 5ecre7"));
        assert_eq!(request.header("proxy-authorization"), None);
    }
}

// rule: root-certificates
#[tokio::test]
async fn https_proxy_with_an_untrusted_certificate_is_not_used() {
    let issuer = TestIssuer::builder().tls().start();
    let tls = acceptor(certificate(LOOPBACK, &authority(|_| ()), |_| ()), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        tls.accept(stream).await.is_ok()
    });
    let verifier = verifier_for(proxied(&issuer, &format!("https://me:hidden@{address}")));
    verifier.refresh_keys().await.unwrap_err();
    assert!(!proxy.await.unwrap());
    let error = verifier.status().remove(0).last_error.unwrap().error;
    let words = format!("failed to fetch through the proxy https://{address}");
    assert!(error.contains(&words) && error.contains("UnknownIssuer"), "{error}");
    assert!(!error.contains("hidden"), "{error}");
}

// rule: connection-bytes
#[tokio::test]
async fn response_of_a_proxy_is_bounded_and_not_shown() {
    let issuer = TestIssuer::builder().tls().start();
    let endless: &'static str = "HTTP/1.1 103 hidden\r\nhidden: hidden\r\n\r\n".repeat(500).leak();
    for (response, words) in [
        ("HTTP/1.1 403 hidden\r\nhidden: hidden\r\n\r\nhidden", "unsuccessful"),
        ("HTTP/1.1 407 hidden\r\nproxy-authenticate: hidden\r\n\r\n", "authorization required"),
        ("HTTP/1.1 302 hidden\r\nlocation: http://hidden\r\n\r\n", "unsuccessful"),
        ("hidden", "failed to fetch through"),
        (endless, "unsuccessful"),
    ] {
        let proxy = Proxy::start(None, response).await;
        let url = format!("http://me:hidden@{}", proxy.address());
        let verifier = verifier_for(proxied(&issuer, &url));
        verifier.refresh_keys().await.unwrap_err();
        let error = verifier.status().remove(0).last_error.unwrap().error;
        assert!(error.contains(words) && error.contains(proxy.address()), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }
    assert_eq!(issuer.received_requests().len(), 0);
}

// rule: fetch-credentials
#[tokio::test]
async fn plain_http_never_goes_through_a_configured_proxy() {
    let (proxy, issuer) = (TestIssuer::start(), TestIssuer::start());
    let verifier = verifier_for(proxied(&issuer, proxy.base_url()));
    verifier.refresh_keys().await.unwrap();
    assert_eq!(proxy.received_requests().len(), 0);
}

// rule: fetch-credentials
#[tokio::test]
async fn proxy_of_the_environment_is_used_for_https_only() {
    if is_child() {
        let plain = TestIssuer::start();
        verifier_for(trusted(&plain)).refresh_keys().await.unwrap();
        assert_eq!((plain.discovery_fetches(), plain.key_fetches()), (1, 1));
        let https = TestIssuer::builder().tls().start();
        let verifier = verifier_for(trusted(&https));
        verifier.refresh_keys().await.unwrap_err();
        let error = verifier.status().remove(0).last_error.unwrap().error;
        assert!(error.contains("of the environment variable HTTPS_PROXY"), "{error}");
        assert_eq!(https.received_requests().len(), 0);
        return;
    }
    let proxy = TestIssuer::start();
    let names =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let variables = names.map(|name| (name, proxy.base_url()));
    run_in_child("proxies::proxy_of_the_environment_is_used_for_https_only", &variables);
    let requests = proxy.received_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].path.starts_with("127.0.0.1:"), "a tunnel: {requests:?}");
}

// rule: root-certificates
#[tokio::test]
async fn no_proxy_of_everything_holds_for_addresses() {
    if is_child() {
        let issuer = TestIssuer::builder().tls().start();
        verifier_for(trusted(&issuer)).refresh_keys().await.unwrap();
        return;
    }
    let proxy = TestIssuer::start();
    let variables = [("HTTPS_PROXY", proxy.base_url()), ("NO_PROXY", "*")];
    run_in_child("proxies::no_proxy_of_everything_holds_for_addresses", &variables);
    assert_eq!(proxy.received_requests().len(), 0);
}
