//! The issuer of these tests itself, where somebody could take it for a real one.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kube_oidc_testing::TestIssuer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The numbers of all its keys.
fn numbers(issuer: &TestIssuer) -> BTreeSet<String> {
    let keys = issuer.key_set();
    let keys = keys["keys"].as_array().unwrap();
    let number = |key: &serde_json::Value| key.get("n").or(key.get("x")).unwrap().to_string();
    keys.iter().map(number).collect()
}

// rule: test-issuer-keys
#[test]
fn its_keys_are_new_each_time() {
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let issuer = TestIssuer::start();
        issuer.rotate();
        for number in numbers(&issuer) {
            assert!(seen.insert(number), "a key that another issuer has");
        }
    }
    assert_eq!(seen.len(), 4);
}

/// A test that runs beside it would answer in its place.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn its_port_is_given_to_nobody_while_it_is_down() {
    let issuer = TestIssuer::start();
    for _ in 0..2 {
        issuer.stop();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let taken = socket.bind(issuer.address()).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        let refused = TcpStream::connect(issuer.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        issuer.restart();
        TcpStream::connect(issuer.address()).await.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn it_listens_where_it_is_told_to() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 2], 0));
    let issuer = TestIssuer::builder().listen(address).start();
    assert_eq!(issuer.address().ip(), address.ip());
    assert!(issuer.url().starts_with("http://127.0.0.2:"));
}

/// Sends a request with a body on a connection of its own, and returns the status.
async fn post(issuer: &TestIssuer, path: &str, length: usize, body: &str) -> String {
    let mut stream = TcpStream::connect(issuer.address()).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n");
    let request = format!("{head}connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    // a body that was not read ends the connection
    let _ = stream.read_to_end(&mut response).await;
    let response = String::from_utf8(response).unwrap();
    response.split(' ').nth(1).unwrap_or_default().to_owned()
}

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

// rule: test-issuer-history
#[tokio::test]
async fn body_that_is_no_review_is_neither_read_nor_kept() {
    let issuer = TestIssuer::start();
    let part = "x".repeat(1024);
    for (path, length) in
        [("/openid/v1/jwks", 50_000_000), ("/elsewhere", 1024), (REVIEWS, 50_000_000)]
    {
        let part = part.repeat(if path == REVIEWS { 70 } else { 1 });
        assert_eq!(post(&issuer, path, length, &part).await, "413", "{path}");
    }
    assert_eq!(issuer.received_requests().len(), 0);
}

// rule: test-issuer-history
#[tokio::test]
async fn history_of_requests_is_bounded_and_counts_are_not() {
    let issuer = TestIssuer::start();
    let mut stream = TcpStream::connect(issuer.address()).await.unwrap();
    for _ in 0..15 {
        let requests = "GET /openid/v1/jwks HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut seen = 0;
        while seen < 100 {
            let mut response = [0; 16 * 1024];
            let length = stream.read(&mut response).await.unwrap();
            let response = String::from_utf8_lossy(&response[..length]).into_owned();
            seen += response.matches("{\"keys\"").count();
        }
    }
    assert_eq!(issuer.key_fetches(), 1_500);
    assert_eq!(issuer.received_requests().len(), 1_000);
}

// rule: test-issuer-history
#[tokio::test]
async fn malformed_token_review_is_answered() {
    let issuer = TestIssuer::start();
    let payload = URL_SAFE_NO_PAD.encode(r#"{"aud":"orders","exp":18446744073709551615}"#);
    let endless = format!(r#"{{"spec":{{"token":"e30.{payload}.AA","audiences":["orders"]}}}}"#);
    for (body, status) in [
        ("[]", "400"),
        ("1", "400"),
        ("", "400"),
        ("{}", "201"),
        (r#"{"spec":[]}"#, "201"),
        (r#"{"spec":{"token":1,"audiences":{}}}"#, "201"),
        (&endless, "201"),
    ] {
        assert_eq!(post(&issuer, REVIEWS, body.len(), body).await, status, "{body}");
    }
    assert_eq!(issuer.token_reviews(), 7);
}
