//! Claims of a type of the application.

use serde::Deserialize;

use super::*;

// rule: strict-json
#[test]
fn custom_claims_hold_nothing_that_the_strict_reader_rejects() {
    let twice = r#"{"role":"user","role":"admin"}"#;
    let deep = "[".repeat(40) + &"]".repeat(40);
    for hidden in [twice, &deep] {
        for object in [
            json!({ "$serde_json::private::RawValue": hidden }),
            json!({ "a": [{ "$serde_json::private::RawValue": hidden }] }),
            json!({ "$serde_json::private::Number": hidden }),
        ] {
            let refusal = read::<Value>(&with("/profile", Some(object)).to_string()).unwrap_err();
            assert_eq!(refusal.reason(), Reason::Claims);
            assert!(refusal.to_string().contains("`$serde_json::private::`"), "{refusal}");
        }
    }
}

/// Claims of an application's own.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Own {
    scope: String,
    #[serde(default)]
    level: u8,
}

#[test]
fn own_claims_are_read_beside_the_registered_ones() {
    let payload = r#"{"iss":"https://i.example","exp":7,"aud":"a","scope":"read","level":3,"x":1}"#;
    let kept = read::<Own>(payload).unwrap();
    assert_eq!(Own::claims(&kept), &Own { scope: "read".to_owned(), level: 3 });
    let registered = Own::registered(&kept);
    assert_eq!(registered.issuer(), "https://i.example");
    assert_eq!(registered.subject(), None);
    assert!(registered.audiences().eq(["a"]));
    assert_eq!(registered.expires_at(), at(7));
}

#[test]
fn own_claims_must_fit_their_type_and_have_the_registered_ones() {
    for (payload, reason) in [
        (r#"{"iss":"i","exp":7}"#, Reason::Claims),
        (r#"{"iss":"i","exp":7,"scope":1}"#, Reason::Claims),
        (r#"{"iss":"i","exp":7,"scope":"read","level":256}"#, Reason::Claims),
        (r#"{"exp":7,"scope":"read"}"#, Reason::Claims),
        (r#"{"iss":"i","scope":"read"}"#, Reason::MissingExpiry),
        (r#"{"iss":"i","exp":"7","scope":"read"}"#, Reason::Claims),
    ] {
        assert_eq!(read::<Own>(payload).unwrap_err().reason(), reason, "{payload}");
    }
}

#[test]
fn own_claims_may_have_another_kubernetes_io() {
    for other in [r#""yes""#, "[1]", r#"{"namespace":7}"#, "null", r#"{"pod":{"name":"-"}}"#] {
        let payload = format!(r#"{{"iss":"i","exp":7,"scope":"read","kubernetes.io":{other}}}"#);
        assert_eq!(read::<Own>(&payload).unwrap().claims.scope, "read");
        assert!(read::<ServiceAccountClaims>(&payload).is_err(), "{other}");
    }
}
