//! JSON that two parsers read differently, or that one never ends to read.
//!
//! RFC 7515, 4 and 5.2; RFC 7519, 4 and 7.2; RFC 8725, 2.6 and 3.7; RFC 8259. Every forged token is
//! signed by the issuer's own key.

use kube_oidc::{BuildError, KeySetError, KeySource, Reason};
use kube_oidc_tests::{builder_for, issuer_at_with};
use serde_json::json;

use super::{ISSUER, Lock};

/// RFC 7515, 4 and RFC 8259, 4: names are unique. Of two members of one name one parser takes the
/// first, and another the last.
// rule: strict-json
#[test]
fn members_twice_in_a_header() {
    let lock = Lock::new();
    let forge = lock.forge();
    for member in [
        r#""alg":"ES256""#,
        r#""alg":"none""#,
        r#""\u0061lg":"none""#,
        r#""al\u0067":"HS256""#,
        r#""kid":"other""#,
        r#""k\u0069d":"other""#,
        r#""x":1,"x":1"#,
        r#""x":1,"\u0078":2"#,
        r#""jwk":{"kty":"RSA","kty":"oct"}"#,
        r#""x":[{"a":[{"b":1,"b":2}]}]"#,
        r#""x":{"":1,"":2}"#,
        r#""\ud83d\ude00":1,"😀":2"#,
    ] {
        lock.refuses(member, forge.clone().with_header(member).mint(), Reason::Malformed);
    }
    for member in [
        r#""x":{"alg":"none","kid":"other"}"#,
        r#""x":[{"a":1},{"a":2}]"#,
        r#""x":1,"X":2"#,
        r#""e\u0301":1,"\u00e9":2"#,
    ] {
        lock.accepts(member, forge.clone().with_header(member).mint());
    }
}

/// RFC 7519, 4 and RFC 8259, 4: the same of claims.
// rule: strict-json
#[test]
fn members_twice_in_a_payload() {
    let lock = Lock::new();
    let forge = lock.forge();
    let first = |member: &str| forge.clone().with_payload(member).mint();
    let last = |member: &str| {
        let mut forge = forge.clone();
        assert_eq!(forge.payload.pop(), Some(b'}'));
        forge.payload.extend(format!(",{member}}}").bytes());
        forge.mint()
    };
    for member in [
        r#""iss":"https://issuer.example/id/7""#,
        r#""iss":"https://evil.example""#,
        r#""\u0069ss":"https://evil.example""#,
        r#""i\u0073s":null"#,
        r#""sub":"system:serviceaccount:kube-system:admin""#,
        r#""s\u0075b":"system:serviceaccount:payments:checkout""#,
        r#""aud":"orders""#,
        r#""a\u0075d":["vault"]"#,
        r#""exp":9999999999"#,
        r#""ex\u0070":0"#,
        r#""nbf":0"#,
        r#""iat":0"#,
        r#""jti":"x""#,
        r#""kubernetes.io":{}"#,
        r#""kubernetes\u002eio":{"namespace":"kube-system"}"#,
        r#""x":1,"x":1"#,
        r#""x":{"a":1,"b":[{"c":1,"\u0063":1}]}"#,
    ] {
        lock.refuses(member, first(member), Reason::Claims);
        lock.refuses(member, last(member), Reason::Claims);
    }
    // inside the claim of Kubernetes, at each depth
    for (old, twice) in [
        (r#""namespace":"#, r#""namespace":"kube-system","namespace":"#),
        (r#""namespace":"#, r#""n\u0061mespace":"kube-system","namespace":"#),
        (r#""serviceaccount":"#, r#""serviceaccount":{},"serviceaccount":"#),
        (r#""pod":"#, r#""pod":{"name":"a","uid":"b"},"pod":"#),
        (r#""name":"checkout","#, r#""name":"admin","name":"checkout","#),
        (r#""name":"checkout","#, r#""n\u0061me":"admin","name":"checkout","#),
        (r#""name":"checkout","#, r#""name":"checkout","uid":"0","#),
        (r#""namespace":"#, r#""x":{"y":1,"y":2},"namespace":"#),
    ] {
        lock.refuses(twice, forge.clone().payload(old, twice).mint(), Reason::Claims);
    }
    for member in [
        r#""x":{"iss":"https://evil.example","aud":"vault"}"#,
        r#""Iss":"https://evil.example","ISS":"x","iss ":"y""#,
        r#""kubernetes":{"io":1},"kubernetes_io":{}"#,
    ] {
        lock.accepts(member, first(member));
        lock.accepts(member, last(member));
    }
    // escaped and alone, a name is that name
    lock.accepts("iss", forge.payload(r#""iss""#, r#""\u0069\u0073\u0073""#).mint());
}

/// RFC 7515, 4 and RFC 7519, 4: thousands of names, of which only the last is there twice: found, and not in quadratic time.
#[test]
fn a_member_twice_among_thousands() {
    let lock = Lock::new();
    let forge = lock.forge();
    let many: Vec<String> = (0..1000).map(|index| format!("\"m{index}\":0")).collect();
    let many = many.join(",");
    lock.accepts("1,000", forge.clone().with_payload(&many).mint());
    let twice = format!("{many},\"m999\":0");
    lock.refuses("the last twice", forge.with_payload(twice).mint(), Reason::Claims);
}

/// RFC 7517, 4 and 5: the same in what an issuer publishes. A set with two `keys` is none, and a key with two
/// moduli is not used.
#[test]
fn members_twice_in_a_key_set() {
    let lock = Lock::new();
    let token = lock.forge().mint();
    let jwk = lock.key.jwk().to_string();
    let set = |text: String| {
        let issuer = issuer_at_with(ISSUER, KeySource::fixed(text));
        builder_for(issuer).build()
    };
    let good = set(format!(r#"{{"keys":[{jwk}]}}"#)).unwrap();
    assert_eq!(super::verdict(&good, token.as_bytes()), Ok(()));
    for document in [
        format!(r#"{{"keys":[],"keys":[{jwk}]}}"#),
        format!(r#"{{"keys":[{jwk}],"k\u0065ys":[]}}"#),
        format!(r#"{{"x":1,"x":2,"keys":[{jwk}]}}"#),
    ] {
        let error = set(document.clone()).unwrap_err();
        let malformed = matches!(&error, BuildError::KeySet(KeySetError::Malformed(_)));
        assert!(malformed, "{document}: {error}");
    }
    let other = kube_oidc_testing::SigningKey::generate(kube_oidc_testing::SigningAlgorithm::EdDsa);
    let with_other = |jwk: &str| set(format!(r#"{{"keys":[{jwk},{}]}}"#, other.jwk())).unwrap();
    for member in [
        r#""kid":"x""#,
        r#""k\u0069d":"x""#,
        r#""crv":"P-384""#,
        r#""x":"AAAA""#,
        r#""use":"sig""#,
        r#""alg":"ES384""#,
        r#""z":{"a":1,"a":2}"#,
    ] {
        let twice = jwk.replacen('{', &format!("{{{member},"), 1);
        let verdict = super::verdict(&with_other(&twice), token.as_bytes());
        assert_eq!(verdict, Err(Reason::UnknownKey), "{member}");
    }
}

/// RFC 8259, 9: a parser may set limits. 32 levels are read and 33 are not, of lists, of objects
/// and of both, in header and payload.
// rule: strict-json
#[test]
fn nesting() {
    let lock = Lock::new();
    let forge = lock.forge();
    let shapes: [fn(usize) -> String; 3] = [
        |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels)),
        |levels| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels)),
        |levels| {
            let pairs = levels / 2;
            let (open, close) = ("[{\"a\":".repeat(pairs), "}]".repeat(pairs));
            let (more, less) = if levels % 2 == 1 { ("[", "]") } else { ("", "") };
            format!("{open}{more}1{less}{close}")
        },
    ];
    for (shape, nested) in shapes.into_iter().enumerate() {
        // the payload itself is the first level
        for (levels, good) in [(30, true), (31, true), (32, false), (33, false), (1000, false)] {
            let member = format!("\"x\":{}", nested(levels));
            let (header, payload) =
                (forge.clone().with_header(&member), forge.clone().with_payload(&member));
            if good {
                lock.accepts((shape, levels), header.mint());
                lock.accepts((shape, levels), payload.mint());
            } else {
                lock.refuses((shape, levels), header.mint(), Reason::Malformed);
                lock.refuses((shape, levels), payload.mint(), Reason::Claims);
            }
        }
        // inside the claim of Kubernetes, which is the second
        let inside = |levels: usize| {
            let member = format!("\"x\":{},\"namespace\":", nested(levels));
            forge.clone().payload("\"namespace\":", member).mint()
        };
        lock.accepts(shape, inside(30));
        lock.refuses(shape, inside(31), Reason::Claims);
    }
    // as deep as a token can be long, and never closed
    for opening in ["[", "{\"a\":", "[{\"a\":["] {
        let member = format!("\"x\":{}", opening.repeat(10_000 / opening.len()));
        let (mut header, mut payload) = (forge.clone(), forge.clone());
        header.header = format!("{{{member}").into_bytes();
        payload.payload = format!("{{{member}").into_bytes();
        lock.refuses(opening, header.mint(), Reason::Malformed);
        lock.refuses(opening, payload.mint(), Reason::Claims);
    }
}

/// RFC 8259, 8.1 and 8.2; RFC 3629, 3: text that is no UTF-8, or that is two texts to two readers.
#[test]
fn bytes_that_are_no_unicode() {
    let lock = Lock::new();
    let forge = lock.forge();
    let bad: [&[u8]; 10] = [
        b"\xff",
        b"\xfe\xff",
        b"\x80",
        // overlong: a slash, a NUL and a quote of two and three bytes
        b"\xc0\xaf",
        b"\xc0\x80",
        b"\xe0\x80\xa2",
        // half a surrogate pair, as CESU-8 has it
        b"\xed\xa0\x80",
        // beyond the last character
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        // cut off
        b"\xe2\x82",
    ];
    for bytes in bad {
        let member = [b"\"x\":\"", bytes, b"\""].concat();
        // a text that cannot be read is no base64url of UTF-8
        lock.refuses(bytes, forge.clone().with_header(&member).mint(), Reason::Malformed);
        lock.refuses(bytes, forge.clone().with_payload(&member).mint(), Reason::Malformed);
        let inside = [b"\"orders", bytes, b"\""].concat();
        lock.refuses(bytes, forge.clone().payload("\"orders\"", inside).mint(), Reason::Malformed);
    }
    for text in
        [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud83dx", r"\uD800\u0041", r"\u12", r"\x41"]
    {
        let member = format!("\"x\":\"{text}\"");
        let name = format!("\"{text}\":1");
        for member in [member, name] {
            lock.refuses(&member, forge.clone().with_header(&member).mint(), Reason::Malformed);
            lock.refuses(&member, forge.clone().with_payload(&member).mint(), Reason::Claims);
        }
    }
    let good = "\"x\":\"ä€😀\u{10ffff}\u{0}\"".replace('\u{0}', r"\u0000\ud83d\ude00\ufeff");
    lock.accepts("unicode", forge.clone().with_header(&good).with_payload(&good).mint());
    // control characters must be escaped (RFC 8259, 7)
    for control in ["\u{0}", "\u{1}", "\n", "\t", "\u{1f}"] {
        let member = format!("\"x\":\"{control}\"");
        lock.refuses(control, forge.clone().with_header(&member).mint(), Reason::Malformed);
        lock.refuses(control, forge.clone().with_payload(&member).mint(), Reason::Claims);
    }
}

/// RFC 8259, 2 and 8.1; RFC 7515, 4 and RFC 7519, 7.2: a part is one object. This is what stands
/// before or behind it.
// rule: not-a-key-set
#[test]
fn what_is_beside_the_object() {
    let lock = Lock::new();
    let forge = lock.forge();
    let around = |part: &[u8], before: &str, after: &str| {
        [before.as_bytes(), part, after.as_bytes()].concat()
    };
    let both = |before: &str, after: &str| {
        let (mut header, mut payload) = (forge.clone(), forge.clone());
        header.header = around(&forge.header, before, after);
        payload.payload = around(&forge.payload, before, after);
        [(header, Reason::Malformed), (payload, Reason::Claims)]
    };
    for (before, after) in [
        ("\u{feff}", ""),
        ("", "\u{feff}"),
        ("", "x"),
        ("", "{}"),
        ("", " {}"),
        ("{}", ""),
        ("", ","),
        ("", "\0"),
        ("\0", ""),
        ("", ";"),
        ("", "]"),
        ("[", "]"),
        ("\"", "\""),
        ("/* x */", ""),
        ("", "// x"),
        ("", "#"),
        ("\u{a0}", ""),
        ("\u{2028}", ""),
        ("\u{b}", ""),
        (")]}',\n", ""),
    ] {
        for (forged, reason) in both(before, after) {
            lock.refuses((before, after, reason), forged.mint(), reason);
        }
    }
    // white space of JSON is none of these
    for (before, after) in [(" ", ""), ("", " "), ("\r\n\t", "\r\n\t")] {
        for (forged, _) in both(before, after) {
            lock.accepts((before, after), forged.mint());
        }
    }
}

/// RFC 8259, 2 to 7: what is no JSON, though many readers take it (9 lets them).
#[test]
fn what_is_nearly_json() {
    let lock = Lock::new();
    let forge = lock.forge();
    for member in [
        "'x':1",
        "x:1",
        "1:1",
        "\"x\":'y'",
        "\"x\":1,",
        "\"x\":[1,]",
        "\"x\":[,1]",
        "\"x\":{,}",
        "\"x\":01",
        "\"x\":+1",
        "\"x\":.5",
        "\"x\":1.",
        "\"x\":1e",
        "\"x\":0x10",
        "\"x\":1_000",
        "\"x\":NaN",
        "\"x\":-NaN",
        "\"x\":Infinity",
        "\"x\":-Infinity",
        "\"x\":nan",
        "\"x\":undefined",
        "\"x\":True",
        "\"x\":TRUE",
        "\"x\":None",
        "\"x\":",
        "\"x\"",
        "\"x\":1/* y */",
        "// x\n\"x\":1",
        "\"x\":\"\\'\"",
        "\"x\":\"\\\n\"",
        // I-JSON (RFC 7493, 2.2): no number that overflows
        "\"x\":1e400",
        "\"x\":-1e400",
    ] {
        lock.refuses(member, forge.clone().with_header(member).mint(), Reason::Malformed);
        lock.refuses(member, forge.clone().with_payload(member).mint(), Reason::Claims);
    }
    for text in ["", "null", "true", "1", "\"{}\"", "[]", "[{}]", "{", "}", "{}"] {
        let mut header = forge.clone();
        header.header = text.as_bytes().to_vec();
        lock.refuses(text, header.mint(), Reason::Malformed);
        let mut payload = forge.clone();
        payload.payload = text.as_bytes().to_vec();
        lock.refuses(text, payload.mint(), Reason::Claims);
    }
    // numbers of all kinds in a member that nobody reads
    let numbers = json!([0, -0.0, 1.5, 1e300, u64::MAX, i64::MIN, 1e-300]);
    lock.accepts("numbers", forge.with_payload(format!("\"x\":{numbers}")).mint());
}
