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
