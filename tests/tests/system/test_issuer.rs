//! The issuer of these tests itself, where somebody could take it for a real one.

use std::collections::BTreeSet;

use kube_oidc_testing::TestIssuer;

/// The numbers of all its keys.
fn numbers(issuer: &TestIssuer) -> BTreeSet<String> {
    let keys = issuer.key_set();
    let keys = keys["keys"].as_array().unwrap();
    let number = |key: &serde_json::Value| key.get("n").or(key.get("x")).unwrap().to_string();
    keys.iter().map(number).collect()
}

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
        issuer.go_down();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let taken = socket.bind(issuer.address()).unwrap_err();
        assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
        let refused = tokio::net::TcpStream::connect(issuer.address()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        issuer.come_up();
        tokio::net::TcpStream::connect(issuer.address()).await.unwrap();
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
