//! What a payload must hold to become claims, and what is left unsaid when it does not.

mod custom;
mod faults;
mod names;

use serde_json::{Value, json};

use self::custom::Own;
use super::{packed::Span, sealed::FromPayload, *};
use crate::{
    error::Reason,
    testing::{at, secs},
};

/// What a kube-apiserver of today signs for a pod, except that its names are ours.
fn full() -> Value {
    json!({
        "aud": ["orders", "vault"],
        "exp": 1_795_330_026,
        "iat": 1_795_243_626,
        "iss": "https://127.0.0.1:26443",
        "jti": "2f1b7c0e-9a55-4a43-93d5-0f8e6b1c7d11",
        "kubernetes.io": {
            "namespace": "payments",
            "node": { "name": "worker-1.example", "uid": "55d1a0a2-62a0-4be7-97a6-5c9d3d5c7a4b" },
            "pod": {
                "name": "checkout-7d9f8b6c5d-x2x4z",
                "uid": "ab196201-1a7e-4df7-88b5-736e527013b4",
            },
            "serviceaccount": { "name": "checkout", "uid": "1c6ea8bb-f466-4fcf-99a3-d268e17bb60f" },
            "warnafter": 1_795_247_233,
        },
        "nbf": 1_795_243_626,
        "sub": "system:serviceaccount:payments:checkout",
    })
}

/// A payload of a real kube-apiserver v1.20.
const APISERVER_PAYLOAD: &str = r#"{"aud":["orders"],"exp":1795330027,"iat":1795243627,"iss":"https://127.0.0.1:26443","kubernetes.io":{"namespace":"payments","secret":{"name":"checkout-binding","uid":"c1263910-ff5b-4f06-a519-2e0fadae5dec"},"serviceaccount":{"name":"checkout","uid":"1c6ea8bb-f466-4fcf-99a3-d268e17bb60f"}},"nbf":1795243627,"sub":"system:serviceaccount:payments:checkout"}"#;

/// The payload with one value replaced, by its JSON pointer, or taken out.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut payload = full();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = payload.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => Some(parent.remove(name).unwrap()),
    };
    payload
}

fn read<C: Claims>(payload: &str) -> Result<C::Kept, InvalidToken> {
    C::keep(&Payload::parse(payload, C::KUBERNETES)?, payload)
}

#[test]
fn what_it_is_bound_to_is_told_by_kind_and_name() {
    let bound_to = |payload: &str, kubernetes| {
        let payload = Payload::parse(payload, kubernetes).unwrap();
        payload.bound_to().map(|(kind, name)| format!("{kind} {name}")).collect::<Vec<_>>()
    };
    assert_eq!(
        bound_to(&full().to_string(), true),
        ["pod checkout-7d9f8b6c5d-x2x4z", "node worker-1.example"]
    );
    assert_eq!(bound_to(APISERVER_PAYLOAD, true), ["secret checkout-binding"]);
    let nameless = with("/kubernetes.io/pod/name", None);
    assert_eq!(bound_to(&nameless.to_string(), true), ["node worker-1.example"]);
    // claims of another type say nothing of it
    assert_eq!(bound_to(&full().to_string(), false), [""; 0]);
}

fn service_account(payload: &Value) -> Result<ServiceAccountClaims, InvalidToken> {
    read::<ServiceAccountClaims>(&payload.to_string())
}

/// The payload of a service account, by its names.
fn named(namespace: &str, name: &str) -> Value {
    let mut payload = full();
    payload["kubernetes.io"]["namespace"] = json!(namespace);
    payload["kubernetes.io"]["serviceaccount"]["name"] = json!(name);
    payload["sub"] = json!(format!("system:serviceaccount:{namespace}:{name}"));
    payload
}

#[test]
fn everything_that_a_token_says_is_kept() {
    let claims = service_account(&full()).unwrap();
    let both = |object: Option<ObjectRef<'_>>| {
        object.map(|object| (object.name().to_owned(), object.uid().to_owned()))
    };
    let object = |name: &str, uid: &str| Some((name.to_owned(), uid.to_owned()));
    assert_eq!(claims.namespace(), "payments");
    assert_eq!(
        both(Some(claims.service_account())),
        object("checkout", "1c6ea8bb-f466-4fcf-99a3-d268e17bb60f")
    );
    assert_eq!(
        both(claims.pod()),
        object("checkout-7d9f8b6c5d-x2x4z", "ab196201-1a7e-4df7-88b5-736e527013b4")
    );
    let node = claims.node().unwrap();
    assert_eq!(node.name(), "worker-1.example");
    assert_eq!(node.uid(), Some("55d1a0a2-62a0-4be7-97a6-5c9d3d5c7a4b"));
    assert_eq!(claims.secret(), None);
    assert_eq!(claims.warn_after(), Some(at(1_795_247_233)));
    assert_eq!(claims.subject(), "system:serviceaccount:payments:checkout");
    assert_eq!(claims.issuer(), "https://127.0.0.1:26443");
    assert!(claims.audiences().eq(["orders", "vault"]));
    assert_eq!(claims.expires_at(), at(1_795_330_026));
    assert_eq!(claims.not_before(), Some(at(1_795_243_626)));
    assert_eq!(claims.issued_at(), Some(at(1_795_243_626)));
    assert_eq!(claims.jti(), Some("2f1b7c0e-9a55-4a43-93d5-0f8e6b1c7d11"));
}

#[test]
fn only_a_service_account_is_a_user_of_the_api_server() {
    let text = full().to_string();
    let kept = read::<ServiceAccountClaims>(&text).unwrap();
    assert_eq!(
        ServiceAccountClaims::user(&kept),
        Some(("system:serviceaccount:payments:checkout", "1c6ea8bb-f466-4fcf-99a3-d268e17bb60f"))
    );
    assert_eq!(Value::user(&read::<Value>(&text).unwrap()), None);
}

#[test]
fn registered_claims_are_equal_where_all_of_them_are() {
    let registered = |payload: &Value| read::<Value>(&payload.to_string()).unwrap().registered;
    let one = registered(&full());
    assert_eq!(one, registered(&full()));
    // the others are no concern of theirs
    assert_eq!(one, registered(&with("/kubernetes.io", None)));
    for (name, other) in [
        ("/iss", json!("https://127.0.0.1:26444")),
        ("/sub", json!("system:serviceaccount:payments:other")),
        ("/aud", json!(["vault", "orders"])),
        ("/exp", json!(1_795_330_027)),
        ("/nbf", json!(1_795_243_627)),
        ("/iat", json!(1_795_243_627)),
        ("/jti", json!("2f1b7c0e-9a55-4a43-93d5-0f8e6b1c7d12")),
    ] {
        assert_ne!(one, registered(&with(name, Some(other))), "{name}");
    }
}

#[test]
fn claims_of_a_service_account_are_equal_where_all_of_them_are() {
    let one = service_account(&full()).unwrap();
    assert_eq!(one, service_account(&full()).unwrap());
    let uid = "00000000-0a55-4a43-93d5-0f8e6b1c7d11";
    let secret = json!({ "name": "checkout-binding", "uid": uid });
    let others = [
        named("billing", "checkout"),
        named("payments", "other"),
        with("/jti", None),
        with("/kubernetes.io/serviceaccount/uid", Some(json!(uid))),
        with("/kubernetes.io/pod", None),
        with("/kubernetes.io/pod/name", Some(json!("other"))),
        with("/kubernetes.io/pod/uid", Some(json!(uid))),
        with("/kubernetes.io/node", None),
        with("/kubernetes.io/node/name", Some(json!("other"))),
        with("/kubernetes.io/node/uid", Some(json!(uid))),
        with("/kubernetes.io/secret", Some(secret)),
        with("/kubernetes.io/warnafter", Some(json!(1_795_247_234))),
    ];
    for other in others {
        assert_ne!(one, service_account(&other).unwrap(), "{other}");
    }
}

#[test]
fn the_memory_of_claims_is_counted() {
    let text = full().to_string();
    let kept = read::<ServiceAccountClaims>(&text).unwrap();
    let bytes = <ServiceAccountClaims as FromPayload>::bytes(&kept);
    let least = text.len() + 2 * size_of::<Span>();
    assert!((least..least + 64).contains(&bytes), "{bytes} to {least}");
}

#[test]
fn a_real_api_servers_payload_is_read() {
    let claims = read::<ServiceAccountClaims>(APISERVER_PAYLOAD).unwrap();
    assert_eq!((claims.namespace(), claims.service_account().name()), ("payments", "checkout"));
    assert_eq!(claims.secret().unwrap().name(), "checkout-binding");
    assert_eq!((claims.pod(), claims.node(), claims.warn_after()), (None, None, None));
    assert_eq!(claims.jti(), None);
}

#[test]
fn what_may_be_missing_may_be_missing() {
    for optional in [
        "/aud",
        "/nbf",
        "/iat",
        "/jti",
        "/kubernetes.io/pod",
        "/kubernetes.io/node",
        "/kubernetes.io/warnafter",
    ] {
        assert!(service_account(&with(optional, None)).is_ok(), "{optional}");
    }
}

#[test]
fn what_must_be_there_must_be_there() {
    for (pointer, reason) in [
        ("/iss", Reason::Claims),
        ("/exp", Reason::MissingExpiry),
        ("/sub", Reason::SubjectMismatch),
        ("/kubernetes.io", Reason::Claims),
        ("/kubernetes.io/namespace", Reason::Claims),
        ("/kubernetes.io/serviceaccount", Reason::Claims),
        ("/kubernetes.io/serviceaccount/name", Reason::Claims),
        ("/kubernetes.io/serviceaccount/uid", Reason::Claims),
        ("/kubernetes.io/pod/name", Reason::Claims),
        ("/kubernetes.io/pod/uid", Reason::Claims),
        ("/kubernetes.io/node/name", Reason::Claims),
    ] {
        assert_eq!(
            service_account(&with(pointer, None)).unwrap_err().reason(),
            reason,
            "{pointer}"
        );
    }
}

#[test]
fn a_value_of_another_kind_is_refused() {
    for pointer in [
        "/iss",
        "/sub",
        "/jti",
        "/exp",
        "/nbf",
        "/iat",
        "/kubernetes.io",
        "/kubernetes.io/namespace",
        "/kubernetes.io/serviceaccount",
        "/kubernetes.io/serviceaccount/name",
        "/kubernetes.io/serviceaccount/uid",
        "/kubernetes.io/pod",
        "/kubernetes.io/pod/uid",
        "/kubernetes.io/node",
        "/kubernetes.io/warnafter",
    ] {
        for wrong in [json!(null), json!(true), json!(["payments"]), json!([{ "name": "x" }])] {
            let refusal = service_account(&with(pointer, Some(wrong.clone()))).unwrap_err();
            assert_eq!(refusal.reason(), Reason::Claims, "{pointer}: {wrong}");
        }
    }
    for (pointer, wrong) in [("/exp", json!("1795330026")), ("/exp", json!(-1)), ("/sub", json!(7))]
    {
        let refusal = service_account(&with(pointer, Some(wrong.clone()))).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{pointer}: {wrong}");
    }
}

// rule: accepted-forms
#[test]
fn times_may_have_a_fraction_or_an_exponent() {
    let text = full().to_string().replace(":1795330026", ":1.795330026999e9");
    let claims = read::<ServiceAccountClaims>(&text).unwrap();
    assert_eq!(claims.expires_at(), at(1_795_330_026));
}

#[test]
fn aud_is_a_text_or_a_list_of_texts() {
    for (aud, expected) in [
        (json!("orders"), &["orders"][..]),
        (json!(["orders"]), &["orders"]),
        (json!(["a", "b", "a"]), &["a", "b", "a"]),
        (json!([]), &[]),
        (json!(""), &[""]),
    ] {
        let text = with("/aud", Some(aud.clone())).to_string();
        assert_eq!(&*Payload::parse(&text, true).unwrap().aud, expected, "{aud}");
    }
    for aud in [
        json!(null),
        json!(1),
        json!(false),
        json!({ "0": "orders" }),
        json!(["orders", 1]),
        json!(["orders", null]),
        json!([["orders"]]),
    ] {
        let text = with("/aud", Some(aud.clone())).to_string();
        assert_eq!(Payload::parse(&text, true).unwrap_err().reason(), Reason::Claims, "{aud}");
    }
}

#[test]
fn escapes_are_undone_once() {
    let text = full()
        .to_string()
        .replace("\"orders\"", r#""\u006frders""#)
        .replace("https://127.0.0.1:26443", r"https:\/\/127.0.0.1:26443");
    let payload = Payload::parse(&text, true).unwrap();
    assert_eq!(*payload.aud, ["orders", "vault"]);
    assert_eq!(payload.iss, "https://127.0.0.1:26443");
    let text = text.replace(r"\u006f", r"\\u006f");
    assert_eq!(Payload::parse(&text, true).unwrap().aud[0], r"\u006frders");
}

#[test]
fn a_member_that_stands_twice_is_refused_wherever_it_is() {
    let twice = |anchor: &str, second: &str| {
        let text = full().to_string();
        assert!(text.contains(anchor), "{anchor}");
        text.replacen(anchor, &format!("{second},{anchor}"), 1)
    };
    for payload in [
        twice("\"sub\":", r#""sub":"system:serviceaccount:kube-system:admin""#),
        twice("\"sub\":", r#""\u0073ub":"system:serviceaccount:payments:checkout""#),
        twice("\"iss\":", r#""iss":"https://127.0.0.1:26443""#),
        twice("\"exp\":", r#""exp":9795330026"#),
        twice("\"aud\":", r#""\u0061\u0075\u0064":"vault""#),
        twice("\"kubernetes.io\":", r#""kubernetes.io":{}"#),
        twice("\"kubernetes.io\":", r#""kubernetes\u002eio":{}"#),
        twice("\"namespace\":", r#""namespace":"kube-system""#),
        twice("\"serviceaccount\":", r#""servic\u0065account":{}"#),
        twice("\"pod\":", r#""pod":{"name":"a","uid":"b"}"#),
        twice("\"uid\":", r#""uid":"0""#),
        twice("\"jti\":", r#""other":{"a":[{"b":1,"b":1}]}"#),
        twice("\"jti\":", r#""x":1,"x":1"#),
    ] {
        let refusal = read::<ServiceAccountClaims>(&payload).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{payload}");
        // before a type of the application's own sees it, too
        let refusal = read::<Value>(&payload).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{payload}");
    }
}

/// A token has no room for so many, so no limit of its own stands in the way: they are read, all of
/// them and in their order.
#[test]
fn ten_thousand_audiences_are_read() {
    let payload = |count: usize| {
        let mut audiences = vec!["a"; count - 1];
        audiences.push("orders");
        with("/aud", Some(json!(audiences))).to_string()
    };
    for kubernetes in [true, false] {
        let text = payload(10_000);
        let read = Payload::parse(&text, kubernetes).unwrap();
        assert_eq!(read.aud.len(), 10_000);
        assert_eq!((&*read.aud[0], &*read.aud[9_999]), ("a", "orders"));
    }
    let claims = service_account(&with("/aud", Some(json!(vec!["a"; 10_000])))).unwrap();
    assert_eq!(claims.audiences().len(), 10_000);
    // one that is no text is no audience, wherever it is
    let mut audiences = vec![json!("a"); 9_999];
    audiences.push(json!(7));
    let refusal = service_account(&with("/aud", Some(json!(audiences)))).unwrap_err();
    assert_eq!(refusal.reason(), Reason::Claims);
    // in linear time: if each were compared with those before it, this would take minutes
    let text = payload(200_000);
    let start = std::time::Instant::now();
    assert_eq!(Payload::parse(&text, true).unwrap().aud.len(), 200_000);
    assert!(start.elapsed() < secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    let whole = full().to_string();
    let deep = |depth: usize| {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        whole.replacen('{', &format!("{{\"x\":{nested},"), 1)
    };
    assert!(Payload::parse(&deep(31), true).is_ok());
    for payload in ["", "null", "[]", "{}", "{", &whole[1..], &format!("{whole} 1"), &deep(32)] {
        let refusal = Payload::parse(payload, true).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Claims, "{payload}");
    }
}

#[test]
fn a_legacy_token_is_told_apart_from_one_without_exp() {
    let mut legacy = with("/exp", None);
    legacy["iss"] = json!("kubernetes/serviceaccount");
    assert_eq!(service_account(&legacy).unwrap_err(), InvalidToken::LegacyToken);
    legacy["exp"] = json!(1_795_330_026);
    for (iss, is_legacy) in
        [("kubernetes/serviceaccount", true), ("kubernetes/serviceaccount/", false)]
    {
        legacy["iss"] = json!(iss);
        let text = legacy.to_string();
        assert_eq!(Payload::parse(&text, true).unwrap().has_legacy_issuer(), is_legacy, "{iss}");
        assert!(service_account(&legacy).is_ok(), "{iss}");
    }
    assert_eq!(service_account(&with("/exp", None)).unwrap_err(), InvalidToken::MissingExpiry);
}

// rule: sender-constrained
#[test]
fn key_of_the_sender_is_found_wherever_it_stands() {
    let constrained = |payload: &str, kubernetes| {
        Payload::parse(payload, kubernetes).map(|payload| payload.is_sender_constrained)
    };
    let text = full().to_string();
    let last = |cnf: &str| text.replacen("\"exp\"", &format!("{cnf},\"exp\""), 1);
    let first = |cnf: &str| text.replacen('{', &format!("{{{cnf},"), 1);
    for kubernetes in [true, false] {
        assert_eq!(constrained(&text, kubernetes), Ok(false));
        for cnf in [
            r#""cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}"#,
            r#""cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}"#,
            r#""cnf":{"jwk":{"kty":"EC"},"kid":["a",{}]}"#,
            r#""cnf":{}"#,
            r#""cnf": {}"#,
            r#""c\u006ef":{}"#,
        ] {
            assert_eq!(constrained(&first(cnf), kubernetes), Ok(true), "{cnf}");
            assert_eq!(constrained(&last(cnf), kubernetes), Ok(true), "{cnf}");
        }
        for cnf in ["null", "true", "7", r#""jkt""#, "[]", r#"[{"jkt":"x"}]"#] {
            let refusal = constrained(&first(&format!("\"cnf\":{cnf}")), kubernetes);
            let expected = "invalid claim `cnf`; expected an object";
            assert_eq!(refusal, Err(InvalidToken::Claims(expected.to_owned())), "{cnf}");
        }
        for cnf in [r#""cnf":{"jkt":"a","jkt":"b"}"#, r#""cnf":{},"cnf":{}"#] {
            assert!(constrained(&first(cnf), kubernetes).is_err(), "{cnf}");
        }
        // only the claim itself counts
        let other = first(r#""CNF":{},"cnf ":{},"x":{"cnf":{}}"#);
        assert_eq!(constrained(&other, kubernetes), Ok(false));
    }
}

#[test]
fn unknown_members_are_ignored() {
    for pointer in ["/scope", "/kubernetes.io/zone", "/kubernetes.io/pod/labels"] {
        for value in [json!(null), json!(1.5), json!("x"), json!([{ "name": "a" }, []])] {
            let claims = service_account(&with(pointer, Some(value.clone())));
            assert_eq!(claims, service_account(&full()), "{pointer}: {value}");
        }
    }
}

#[test]
fn an_error_never_shows_a_value_of_the_payload() {
    const SECRET: &str = "s3cr3t-value";
    let mut payloads: Vec<String> = [
        "/sub",
        "/exp",
        "/kubernetes.io",
        "/kubernetes.io/namespace",
        "/kubernetes.io/pod",
        "/kubernetes.io/pod/name",
        "/kubernetes.io/serviceaccount/uid",
        "/kubernetes.io/warnafter",
    ]
    .into_iter()
    .map(|pointer| with(pointer, Some(json!(format!("{SECRET} ")))).to_string())
    .collect();
    let own = json!({ "iss": "i", "exp": 7, "scope": "read", "level": SECRET }).to_string();
    payloads.push(with("/aud", Some(json!([1, SECRET]))).to_string());
    payloads.push(with("/aud", Some(json!({ SECRET: SECRET }))).to_string());
    // a name is a value too
    payloads.push(full().to_string().replacen('{', &format!(r#"{{"{SECRET}":1,"{SECRET}":2,"#), 1));
    payloads.push(format!("{}{SECRET}", full()));
    payloads.push(json!(SECRET).to_string());
    let refusals = payloads
        .iter()
        .map(|payload| read::<ServiceAccountClaims>(payload).map(|_| ()).expect_err(payload));
    let refusals = refusals.chain([read::<Own>(&own).map(|_| ()).unwrap_err()]);
    for refusal in refusals {
        let shown = format!("{refusal} {refusal:?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
