//! The words for faults of claims: the name of the claim where it is safe, and never a value.

use serde::Deserialize;

use super::*;

fn text_of<C: Claims>(payload: &str) -> String {
    read::<C>(payload).map(drop).unwrap_err().to_string()
}

// rule: claim-errors
#[test]
fn claim_at_fault_is_named_and_its_value_is_not() {
    let seconds = "seconds between 1970 and 9999";
    for (claim, values, expected) in [
        ("sub", vec![json!(42), json!(null), json!(["s3cr3t"])], "a string"),
        ("iss", vec![json!(42)], "a string"),
        ("jti", vec![json!(17), json!({ "s3cr3t": 1 })], "a string"),
        ("nbf", vec![json!(null), json!("s3cr3t")], seconds),
        ("exp", vec![json!("1795330026"), json!(-1)], seconds),
        ("iat", vec![json!(1_795_243_626_000_u64)], seconds),
        ("aud", vec![json!(7), json!(["s3cr3t", 7])], "a string or a list of strings"),
        ("kubernetes.io", vec![json!("s3cr3t"), json!(null)], "an object"),
        ("kubernetes.io/namespace", vec![json!(7)], "a string"),
        ("kubernetes.io/namespace", vec![json!("S3cr3t")], "a DNS label"),
        ("kubernetes.io/warnafter", vec![json!("s3cr3t")], seconds),
        ("kubernetes.io/pod", vec![json!("s3cr3t")], "an object"),
        ("kubernetes.io/pod/name", vec![json!(7)], "a string"),
        ("kubernetes.io/pod/name", vec![json!("s3cr3t_")], "a DNS subdomain"),
        ("kubernetes.io/node/name", vec![json!("s3cr3t_")], "a DNS subdomain"),
        ("kubernetes.io/node/uid", vec![json!({})], "a string"),
        ("kubernetes.io/serviceaccount/uid", vec![json!("")], "1 to 128 visible ASCII characters"),
    ] {
        let name = claim.replace('/', ".");
        for value in values {
            let payload = with(&format!("/{claim}"), Some(value.clone())).to_string();
            let text = text_of::<ServiceAccountClaims>(&payload);
            assert_eq!(text, format!("invalid claim `{name}`; expected {expected}"), "{value}");
            // white space is left to the other reader
            let spaced = payload.replacen('{', "{ ", 1);
            assert_eq!(text_of::<ServiceAccountClaims>(&spaced), text);
            if !claim.starts_with("kubernetes.io") {
                assert_eq!(text_of::<Value>(&payload), text_of::<ServiceAccountClaims>(&payload));
            }
        }
    }
    for claim in [
        "iss",
        "kubernetes.io",
        "kubernetes.io/namespace",
        "kubernetes.io/serviceaccount",
        "kubernetes.io/serviceaccount/name",
        "kubernetes.io/serviceaccount/uid",
        "kubernetes.io/pod/name",
        "kubernetes.io/pod/uid",
        "kubernetes.io/node/name",
    ] {
        let payload = with(&format!("/{claim}"), None).to_string();
        let name = claim.replace('/', ".");
        assert_eq!(text_of::<ServiceAccountClaims>(&payload), format!("missing claim `{name}`"));
    }
}

// rule: claim-errors
#[test]
fn claim_that_comes_twice_is_named() {
    let text = full().to_string();
    for (name, claim) in [
        ("\"exp\"", "exp"),
        ("\"kubernetes.io\"", "kubernetes.io"),
        ("\"pod\"", "kubernetes.io.pod"),
        ("\"warnafter\"", "kubernetes.io.warnafter"),
    ] {
        let value = if matches!(claim, "exp" | "kubernetes.io.warnafter") { "1" } else { "{}" };
        let twice = text.replacen(name, &format!("{name}:{value},{name}"), 1);
        let expected = format!("duplicate member at the claim `{claim}`");
        assert_eq!(text_of::<ServiceAccountClaims>(&twice), expected);
    }
    // a name that a caller chose is not shown
    let twice = text.replacen('{', r#"{"s3cr3t":1,"s3cr3t":2,"#, 1);
    let expected = "invalid JSON in the payload: a member stands twice, at column 20";
    assert_eq!(text_of::<ServiceAccountClaims>(&twice), expected);
}

/// A type that shows values of the token wherever its own code may.
#[derive(Debug)]
struct Loud;

impl<'de> Deserialize<'de> for Loud {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Err(serde::de::Error::custom(format!("missing field `{}`", value["scope"])))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    #[serde(rename = "iss")]
    _issuer: String,
    #[serde(rename = "exp")]
    _expiry: u64,
}

#[derive(Debug, Deserialize)]
struct Nested {
    #[serde(rename = "inner")]
    _inner: Own,
    #[serde(rename = "scope", default)]
    _scope: String,
}

#[derive(Debug, Deserialize)]
struct Flat {
    #[serde(flatten)]
    _own: Own,
}

#[derive(Debug, Deserialize)]
struct Wrapped(#[expect(dead_code, reason = "it is only read")] Own);

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "it is only read")]
enum Kinds {
    Reader { scope: String },
}

// rule: claim-errors
#[test]
fn custom_claim_is_named_where_its_type_names_it() {
    let payload = |own: &str| format!(r#"{{"iss":"i","exp":7{own}}}"#);
    let generic = "the claims do not fit the type";
    let scope = "the claim `scope` does not fit the type";
    let own = text_of::<Own>;
    assert_eq!(own(&payload("")), "missing claim `scope`, which the type requires");
    assert_eq!(own(&payload(r#","scope":["s3cr3t"]"#)), scope);
    assert_eq!(own(&payload(r#","s3cr3t":1,"scope":{"s3cr3t":1},"z":2"#)), scope);
    let level = payload(r#","scope":"s3cr3t","level":256"#);
    assert_eq!(own(&level), "the claim `level` does not fit the type");
    let wrapped = text_of::<Wrapped>(&payload(r#","scope":7"#));
    assert_eq!(wrapped, scope);
    assert_eq!(text_of::<Option<Own>>(&payload(r#","scope":7"#)), scope);
    let nested = text_of::<Nested>(&payload(r#","inner":{"s3cr3t":1}"#));
    assert_eq!(nested, "the claim `inner` does not fit the type");
    // no name that a token chose, and no value
    for text in [
        text_of::<Strict>(&payload(r#","s3cr3t":1"#)),
        text_of::<Loud>(&payload(r#","scope":"s3cr3t""#)),
        text_of::<Flat>(&payload(r#","scope":"s3cr3t","level":"s3cr3t""#)),
        text_of::<Kinds>(&payload(r#","s3cr3t":{"scope":1}"#)),
        text_of::<String>(&payload(r#","scope":"s3cr3t""#)),
        text_of::<u8>(&payload("")),
        text_of::<Vec<String>>(&payload(r#","scope":"s3cr3t""#)),
    ] {
        assert_eq!(text, generic);
    }
}
