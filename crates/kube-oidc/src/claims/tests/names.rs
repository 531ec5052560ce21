//! Names of namespaces, objects, and subjects.

use proptest::prelude::*;

use super::*;

#[test]
fn a_namespace_is_a_dns_label() {
    let longest = "n".repeat(63);
    for good in ["payments", "a", "0", "a-b", "a--b", "1-2", &longest] {
        let claims = service_account(&named(good, "checkout")).unwrap();
        assert_eq!(claims.namespace(), good);
    }
    let too_long = "n".repeat(64);
    for bad in [
        "", "-a", "a-", "a.b", "A", "payMents", "a_b", "a b", " a", "a\n", "a/b", "a:b", "ä", "*",
        "a\u{0}", &too_long,
    ] {
        let refusal = service_account(&named(bad, "checkout")).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{bad:?}");
    }
}

#[test]
fn the_name_of_an_object_is_a_dns_subdomain() {
    // its labels have no limit of their own
    let longest = "n".repeat(253);
    let dotted = format!("{}.{}", "a".repeat(126), "b".repeat(126));
    let good = ["checkout", "a", "0", "a-b", "a.b", "a.0-1.b", &longest, &dotted];
    let too_long = "n".repeat(254);
    let bad = [
        "", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "a.-b", "A", "a_b", "a b", "a\n", "a/b",
        "a:b", "ä", &too_long,
    ];
    for name in good {
        let claims = service_account(&named("payments", name)).unwrap();
        assert_eq!(claims.service_account().name(), name);
    }
    for name in bad {
        let refusal = service_account(&named("payments", name)).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{name:?}");
    }
    for kind in ["pod", "node", "secret"] {
        let bound = |name: &str, uid: &str| {
            let object = json!({ "name": name, "uid": uid });
            service_account(&with(&format!("/kubernetes.io/{kind}"), Some(object)))
        };
        for name in good {
            let claims = bound(name, "1").unwrap();
            let found = match kind {
                "pod" => claims.pod().map(ObjectRef::name),
                "node" => claims.node().map(NodeRef::name),
                _ => claims.secret().map(ObjectRef::name),
            };
            assert_eq!(found, Some(name), "{kind}");
        }
        for name in bad {
            assert_eq!(bound(name, "1").unwrap_err().reason(), Reason::Claims, "{kind} {name:?}");
        }
        for uid in ["", " ", "a b", "a\n", "ä", &"u".repeat(129)] {
            assert_eq!(bound("a", uid).unwrap_err().reason(), Reason::Claims, "{kind} {uid:?}");
        }
        assert!(bound("a", &"u".repeat(128)).is_ok());
    }
}

#[test]
fn a_node_may_lack_its_uid_beside_a_pod() {
    // an API server that does not find the pod's node still names it, without a uid
    let without_uid = with("/kubernetes.io/node/uid", None);
    let claims = service_account(&without_uid).unwrap();
    let node = claims.node().unwrap();
    assert_eq!((node.name(), node.uid()), ("worker-1.example", None));

    let mut alone = without_uid.clone();
    alone["kubernetes.io"].as_object_mut().unwrap().remove("pod");
    let refusal = service_account(&alone).unwrap_err();
    assert_eq!(refusal.reason(), Reason::Claims);
}

#[test]
fn sub_must_be_the_service_account_of_the_claim() {
    for sub in [
        "",
        "checkout",
        "payments:checkout",
        "system:serviceaccount:",
        "system:serviceaccount:payments",
        "system:serviceaccount:payments:",
        "system:serviceaccount:payments:other",
        "system:serviceaccount:other:checkout",
        "system:serviceaccount:checkout:payments",
        "system:serviceaccount:payments:checkout:",
        "system:serviceaccount:payments:checkout:x",
        "system:serviceaccount:payments:checkout ",
        " system:serviceaccount:payments:checkout",
        "System:serviceaccount:payments:checkout",
        "system:serviceaccount:payments:checkou\u{442}",
        "system:serviceaccounts:payments:checkout",
        "system:node:payments:checkout",
    ] {
        let refusal = service_account(&with("/sub", Some(json!(sub)))).unwrap_err();
        assert_eq!(refusal, InvalidToken::SubjectMismatch, "{sub:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn names_are_what_kubernetes_calls_names(text in "[-a-b0.A_é:]{0,6}") {
        let is_label = |text: &str| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            !text.is_empty()
                && text.bytes().all(|byte| inner(byte) || byte == b'-')
                && !text.starts_with('-')
                && !text.ends_with('-')
        };
        prop_assert_eq!(is_dns_label(&text), is_label(&text));
        prop_assert_eq!(is_dns_subdomain(&text), text.split('.').all(is_label));
    }
}
