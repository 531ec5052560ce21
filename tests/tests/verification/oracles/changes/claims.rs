//! Changes to the claims: when, for whom, by whom, of whom.

use super::*;

macro_rules! claim {
    ($name:literal) => {
        |draft| set(&mut draft.payload, $name, None)
    };
    ($name:literal, $($value:tt)+) => {
        |draft| set(&mut draft.payload, $name, json!($($value)+))
    };
}

fn in_kubernetes(draft: &mut Draft<'_>, pointer: &str, value: Value) -> bool {
    *draft.payload["kubernetes.io"].pointer_mut(pointer).unwrap() = value;
    true
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |inner, _| json!([inner]))
}

pub(super) const CHANGES: &[Row] = &[
    // when
    ("exp in the leeway", EXP, GOOD, claim!("exp", NOW - 59)),
    ("exp at the end of the leeway", EXP, Some(Reason::Expired), claim!("exp", NOW - 60)),
    ("exp past the leeway", EXP, Some(Reason::Expired), claim!("exp", NOW - 61)),
    ("exp a fraction before the end", EXP, Some(Reason::Expired), |draft| {
        set(&mut draft.payload, "exp", json!(1_899_999_940.5))
    }),
    ("exp with a fraction", EXP, GOOD, claim!("exp", 1_900_000_001.75)),
    ("exp is zero", EXP, Some(Reason::Expired), claim!("exp", 0)),
    ("exp is negative", EXP, Some(Reason::Claims), claim!("exp", -1)),
    ("exp in the year 9999", EXP, GOOD, claim!("exp", 253_402_300_799_u64)),
    ("exp after the year 9999", EXP, Some(Reason::Claims), claim!("exp", 253_402_300_800_u64)),
    ("exp is missing", EXP, Some(Reason::MissingExpiry), claim!("exp")),
    ("exp is null", EXP, Some(Reason::Claims), claim!("exp", null)),
    ("exp is true", EXP, Some(Reason::Claims), claim!("exp", true)),
    ("exp is text", EXP, Some(Reason::Claims), claim!("exp", "1900003590")),
    ("exp is a list", EXP, Some(Reason::Claims), claim!("exp", [1_900_003_590])),
    ("exp in milliseconds", EXP, Some(Reason::Claims), claim!("exp", NOW * 1000)),
    ("exp with an exponent", EXP | PAYLOAD_TEXT, GOOD, |draft| {
        draft.payload_text =
            |text| text.replace("\"exp\":1900003590", "\"exp\":1.90000359E9").into_bytes();
        true
    }),
    ("exp is infinite", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "1e400").into_bytes();
        true
    }),
    ("exp is NaN", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "NaN").into_bytes();
        true
    }),
    ("exp with a leading zero", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| text.replace("1900003590", "01900003590").into_bytes();
        true
    }),
    ("exp twice", EXP | PAYLOAD_TEXT, Some(Reason::Claims), |draft| {
        draft.payload_text = |text| with(&text, "\"exp\":1");
        true
    }),
    ("nbf at the end of the leeway", NBF, GOOD, claim!("nbf", NOW + 60)),
    ("nbf past the leeway", NBF, Some(Reason::NotYetValid), claim!("nbf", NOW + 61)),
    ("nbf a fraction past the leeway", NBF, GOOD, claim!("nbf", 1_900_000_060.5)),
    ("nbf is missing", NBF, GOOD, claim!("nbf")),
    ("nbf is null", NBF, Some(Reason::Claims), claim!("nbf", null)),
    ("nbf is text", NBF, Some(Reason::Claims), claim!("nbf", "1899999990")),
    ("nbf is true", NBF, Some(Reason::Claims), claim!("nbf", true)),
    ("nbf is negative", NBF, Some(Reason::Claims), claim!("nbf", -1)),
    ("nbf is zero", NBF, GOOD, claim!("nbf", 0)),
    ("iat at the end of the leeway", IAT, GOOD, claim!("iat", NOW + 60)),
    ("iat past the leeway", IAT, Some(Reason::IssuedInFuture), claim!("iat", NOW + 61)),
    ("iat a fraction past the leeway", IAT, GOOD, claim!("iat", 1_900_000_060.5)),
    ("iat is missing", IAT, GOOD, claim!("iat")),
    ("iat is null", IAT, Some(Reason::Claims), claim!("iat", null)),
    ("iat is text", IAT, Some(Reason::Claims), claim!("iat", "1899999990")),
    ("iat is true", IAT, Some(Reason::Claims), claim!("iat", true)),
    ("iat is negative", IAT, Some(Reason::Claims), claim!("iat", -1)),
    // for whom, by whom, of whom
    ("aud is text", AUD, GOOD, claim!("aud", "orders")),
    ("aud is one of several", AUD, GOOD, claim!("aud", ["vault", "orders", ""])),
    ("aud is ours twice", AUD, GOOD, claim!("aud", ["orders", "orders"])),
    ("aud is another", AUD, Some(Reason::Audience), claim!("aud", ["vault"])),
    ("aud in capitals", AUD, Some(Reason::Audience), claim!("aud", "ORDERS")),
    ("aud is longer", AUD, Some(Reason::Audience), claim!("aud", "orders.example")),
    ("aud is shorter", AUD, Some(Reason::Audience), claim!("aud", "order")),
    ("aud with a zero byte", AUD, Some(Reason::Audience), claim!("aud", "orders\u{0}")),
    ("aud of several, joined", AUD, Some(Reason::Audience), claim!("aud", "vault orders")),
    ("aud is an empty list", AUD, Some(Reason::Audience), claim!("aud", [])),
    ("aud is empty", AUD, Some(Reason::Audience), claim!("aud", "")),
    ("aud is missing", AUD, Some(Reason::Audience), claim!("aud")),
    ("aud is null", AUD, Some(Reason::Claims), claim!("aud", null)),
    ("aud is a number", AUD, Some(Reason::Claims), claim!("aud", 7)),
    ("aud is an object", AUD, Some(Reason::Claims), claim!("aud", { "orders": true })),
    ("aud holds a number", AUD, Some(Reason::Claims), claim!("aud", ["orders", 7])),
    ("aud holds a list", AUD, Some(Reason::Claims), claim!("aud", [["orders"]])),
    ("iss with a slash", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(format!("{ISSUER}/")))
    }),
    ("iss in capitals", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(ISSUER.to_uppercase()))
    }),
    ("iss with its port", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!("https://issuer.example:443/id/7"))
    }),
    ("iss is a prefix", ISS, Some(Reason::UnknownIssuer), |draft| {
        set(&mut draft.payload, "iss", json!(&ISSUER[..ISSUER.len() - 1]))
    }),
    ("iss is missing", ISS, Some(Reason::Claims), claim!("iss")),
    ("iss is null", ISS, Some(Reason::Claims), claim!("iss", null)),
    ("iss is a list", ISS, Some(Reason::Claims), claim!("iss", [ISSUER])),
    ("iss is empty", ISS, Some(Reason::UnknownIssuer), claim!("iss", "")),
    ("sub is missing", SUBJECT, Some(Reason::SubjectMismatch), claim!("sub")),
    ("sub is a number", SUBJECT, Some(Reason::Claims), claim!("sub", 7)),
    ("sub is null", SUBJECT, Some(Reason::Claims), claim!("sub", null)),
    ("sub of another account", SUBJECT, Some(Reason::SubjectMismatch), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:payments:admin"))
    }),
    ("sub of another namespace", SUBJECT, Some(Reason::SubjectMismatch), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:kube-system:checkout"))
    }),
    ("sub is a user", SUBJECT, Some(Reason::SubjectMismatch), claim!("sub", "system:admin")),
    ("kubernetes.io is missing", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io")),
    ("kubernetes.io is null", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io", null)),
    ("kubernetes.io is a list", SUBJECT, Some(Reason::Claims), claim!("kubernetes.io", [])),
    ("kubernetes.io has no namespace", SUBJECT, Some(Reason::Claims), |draft| {
        in_kubernetes(draft, "/namespace", Value::Null)
    }),
    ("kubernetes.io has no uid", SUBJECT, Some(Reason::Claims), |draft| {
        in_kubernetes(draft, "/serviceaccount/uid", Value::Null)
    }),
    ("kubernetes.io has a strange name", SUBJECT, Some(Reason::Claims), |draft| {
        set(&mut draft.payload, "sub", json!("system:serviceaccount:payments:Check/out"));
        in_kubernetes(draft, "/serviceaccount/name", json!("Check/out"))
    }),
    ("kubernetes.io names a pod", SUBJECT, GOOD, |draft| {
        draft.payload["kubernetes.io"]["pod"] = json!({ "name": "checkout-0", "uid": "1-2" });
        draft.payload["kubernetes.io"]["node"] = json!({ "name": "node-7", "uid": "3-4" });
        draft.payload["kubernetes.io"]["warnafter"] = json!(NOW + 3000);
        true
    }),
    ("kubernetes.io knows more", SUBJECT, GOOD, |draft| {
        draft.payload["kubernetes.io"]["future"] = json!({ "x": [1] });
        true
    }),
    ("jti is missing", OTHER, GOOD, claim!("jti")),
    ("jti is a number", OTHER, Some(Reason::Claims), claim!("jti", 7)),
    ("jti is null", OTHER, Some(Reason::Claims), claim!("jti", null)),
    ("cnf has a key", OTHER, Some(Reason::SenderConstrained), claim!("cnf", { "jkt": "AAAA" })),
    ("cnf is null", OTHER, Some(Reason::Claims), claim!("cnf", null)),
    ("claims unknown", OTHER, GOOD, claim!("x", { "y": [1, null, "ä"], "__proto__": {} })),
    ("claims nested", OTHER, GOOD, |draft| set(&mut draft.payload, "x", nested(30))),
    ("claims nested too deep", OTHER, Some(Reason::Claims), |draft| {
        set(&mut draft.payload, "x", nested(40))
    }),
];
