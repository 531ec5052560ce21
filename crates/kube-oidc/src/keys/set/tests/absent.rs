//! Members of a key that are `null` or an empty list, which issuers write for what a key does not say.

use proptest::prelude::*;

use super::*;

/// As Microsoft.IdentityModel and others write what a key does not say.
#[test]
fn null_and_empty_lists_are_absent_members() {
    let absent = json!({
        "alg": null, "use": null, "key_ops": null, "x5c": null, "x5t": null, "x5u": null,
        "oth": null, "d": null,
    });
    let empty = json!({ "key_ops": [], "x5c": [], "oth": [], "use": "sig" });
    for signer in [Signer::rsa(), &Signer::ec(Algorithm::Es256), &Signer::ed25519()] {
        for members in [&absent, &empty] {
            let mut key = signer.named("k");
            for (name, value) in members.as_object().unwrap() {
                key[name] = value.clone();
            }
            for name in ["n", "e", "crv", "x", "y", "pub"] {
                key.as_object_mut().unwrap().entry(name).or_insert(Value::Null);
            }
            let set = whole(std::slice::from_ref(&key));
            let [algorithm, ..] = set.describe()[0].algorithms[..] else { panic!("{key}") };
            assert!(
                verifies(&set, Some("k"), algorithm, &signer.sign(algorithm, MESSAGE)),
                "{key}"
            );
        }
    }
    let mut key = Signer::ed25519().jwk();
    for kid in [json!(null), json!("")] {
        key["kid"] = kid;
        assert_eq!(whole(std::slice::from_ref(&key)).describe()[0].kid, None);
    }
}

// rule: absent-key-members
#[test]
fn null_member_still_counts_as_a_member() {
    let good = Signer::ed25519();
    let signer = Signer::rsa();
    for member in ["kty", "kid", "alg", "use", "key_ops", "n", "e", "crv", "x5c"] {
        let value = &signer.named("k")[member];
        for (one, other) in [("null", value.to_string()), (&value.to_string(), "null".to_owned())] {
            let key = with(&signer.named("k"), &json!({ member: null })).to_string();
            let key = key.replacen('{', &format!(r#"{{"{member}":{one},"{member}":{other},"#), 1);
            let (set, skipped) =
                parse(&format!(r#"{{"keys":[{key},{}]}}"#, good.named("good"))).unwrap();
            assert_eq!(set.len(), 1, "{key}");
            assert!(texts(&skipped)[0].contains("a member stands twice"), "{key}: {skipped:?}");
        }
    }
}

/// A member that an issuer may write, with a value that stands for none or one that counts.
fn member() -> impl Strategy<Value = (&'static str, Value)> {
    let names =
        vec!["kty", "kid", "alg", "use", "key_ops", "crv", "n", "e", "x", "y", "x5c", "oth", "pub"];
    let values = vec![
        json!(null),
        json!([]),
        json!(""),
        json!("sig"),
        json!("enc"),
        json!("ES256"),
        json!(["verify"]),
        json!(["sign"]),
        json!([null]),
    ];
    (prop::sample::select(names), prop::sample::select(values))
}

proptest! {
    // rule: absent-key-members
    #[test]
    fn null_or_empty_list_is_read_as_no_member(
        members in prop::collection::vec(member(), 0..5),
    ) {
        let lists = ["key_ops", "x5c", "oth"];
        let key = Signer::ec(Algorithm::Es256).named("k");
        let mut written = key;
        for (name, value) in members {
            written[name] = value;
        }
        let is_absent =
            |name: &str, value: &Value| value.is_null() || lists.contains(&name) && *value == json!([]);
        // in the same order, since the first fault counts
        let absent = written.as_object().unwrap().iter();
        let absent = absent.filter(|(name, value)| !is_absent(name, value));
        let absent = Value::Object(absent.map(|(name, value)| (name.clone(), value.clone())).collect());
        let read = |key: &Value| match parse_keys(std::slice::from_ref(key)) {
            Ok((set, _)) => Ok(format!("{set:?}")),
            // where in a key a fault is says nothing of the fault
            Err(error) => Err(error.to_string().split(" at line").next().unwrap().to_owned()),
        };
        prop_assert_eq!(read(&written), read(&absent), "{}", written);
    }
}
