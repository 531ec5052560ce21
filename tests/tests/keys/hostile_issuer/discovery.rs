//! Discovery documents that are wrong. Whoever is believed here says where the keys are, and so
//! who may sign.

use serde_json::{Value, json};

use super::{DISCOVERY, Hostile, KEYS, Say, ok};

/// The document with other members, or without those that are null.
fn with(hostile: &Hostile, members: &Value) -> String {
    let mut document = hostile.document();
    for (name, value) in members.as_object().unwrap() {
        document[name] = value.clone();
    }
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    document.to_string()
}

/// OpenID Connect Discovery, 4.3, and the mix-up of issuers (RFC 9207, RFC 9700, 4.4): the document must
/// be of the issuer that was asked, byte for byte.
#[tokio::test]
async fn documents_of_another_issuer() {
    let hostile = Hostile::start().await;
    let url = hostile.server.url();
    let port = hostile.server.address().port();
    for issuer in [
        format!("{url}/"),
        format!("{url}//"),
        format!("{url}/x"),
        format!("{url}?"),
        format!("{url}#"),
        format!(" {url}"),
        format!("{url} "),
        format!("{url}\n"),
        format!("{url}\u{0}"),
        format!("{url}\u{200b}"),
        url.to_uppercase(),
        url.replace("http:", "https:"),
        url.replace("127.0.0.1", "localhost"),
        url.replace("127.0.0.1", "127.1"),
        url.replace("127.0.0.1", "user@127.0.0.1"),
        format!("http://127.0.0.1:0{port}"),
        "http://127.0.0.1".to_owned(),
        "https://evil.example".to_owned(),
        "x".repeat(100_000)[..2048].to_owned(),
    ] {
        let document = with(&hostile, &json!({ "issuer": issuer }));
        hostile.assert_no_answer(DISCOVERY, &issuer, ok(document), "names another issuer").await;
    }
    for issuer in [json!(null), json!(""), json!("x".repeat(2049))] {
        let document = with(&hostile, &json!({ "issuer": issuer }));
        hostile.assert_no_answer(DISCOVERY, "none", ok(document), "has no issuer").await;
    }
    for issuer in [json!(7), json!([url]), json!({ "issuer": url }), json!(false)] {
        let document = with(&hostile, &json!({ "issuer": issuer }));
        hostile.assert_no_answer(DISCOVERY, "no text", ok(document), "not well formed").await;
    }
    assert_only_own_paths(&hostile);
}

/// Where keys are read from must be as safe as where the issuer is.
#[tokio::test]
async fn keys_in_places_that_are_not_safe() {
    let hostile = Hostile::start().await;
    let url = hostile.server.url();
    let host = hostile.server.address();
    for place in [
        // no URL, or not a whole one
        String::new(),
        " ".to_owned(),
        KEYS.to_owned(),
        "jwks".to_owned(),
        "?jwks".to_owned(),
        format!("//{host}{KEYS}"),
        format!("{host}{KEYS}"),
        "http:".to_owned(),
        "http://".to_owned(),
        "http:///jwks".to_owned(),
        format!("http:/{host}{KEYS}"),
        format!("http:{host}{KEYS}"),
        "http://127.0.0.1:99999/jwks".to_owned(),
        "http://127.0.0.1:-1/jwks".to_owned(),
        "http://[::1/jwks".to_owned(),
        "https://".to_owned(),
        // what parsers mend, each in its own way
        format!(" {url}{KEYS}"),
        format!("{url}{KEYS} "),
        format!("{url}{KEYS}\n"),
        format!("{url}\t{KEYS}"),
        format!("http:\\\\{host}{KEYS}"),
        format!("HTTP://{host}{KEYS}"),
        // another scheme
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/jwks".to_owned(),
        "data:application/json,{\"keys\":[]}".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        "unix:/var/run/docker.sock".to_owned(),
        "javascript:alert(1)".to_owned(),
        // with credentials, or what looks like them
        format!("http://user@{host}{KEYS}"),
        format!("http://user:password@{host}{KEYS}"),
        format!("http://@{host}{KEYS}"),
        format!("http://{host}@evil.example{KEYS}"),
        // plain http to somebody else than loopback
        "http://10.0.0.1/jwks".to_owned(),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://127.0.0.1.evil.test/jwks".to_owned(),
        "http://localhost.evil.test/jwks".to_owned(),
        "http://evil.test/127.0.0.1".to_owned(),
        "http://0.0.0.0/jwks".to_owned(),
        "http://[::ffff:127.0.0.1]/jwks".to_owned(),
        "http://[::]/jwks".to_owned(),
        "http://metadata.google.internal/".to_owned(),
        format!("http://127.0.0.1/{}", "x".repeat(2048)),
    ] {
        let document = with(&hostile, &json!({ "jwks_uri": place }));
        let words = if place.is_empty() { "jwks_uri" } else { "is not acceptable" };
        hostile.assert_no_answer(DISCOVERY, &place, ok(document), words).await;
    }
    for jwks_uri in [json!(7), json!([format!("{url}{KEYS}")]), json!({}), json!(true)] {
        let document = with(&hostile, &json!({ "jwks_uri": jwks_uri }));
        hostile.assert_no_answer(DISCOVERY, "no text", ok(document), "not well formed").await;
    }
    let without = with(&hostile, &json!({ "jwks_uri": null }));
    hostile.assert_no_answer(DISCOVERY, "none", ok(without), "has no jwks_uri").await;
    // keys in the document itself are not what it is asked for
    let inside = with(&hostile, &json!({ "jwks_uri": null, "jwks": hostile.key_set() }));
    hostile.assert_no_answer(DISCOVERY, "inside", ok(inside), "has no jwks_uri").await;
    assert_only_own_paths(&hostile);
}

fn assert_only_own_paths(hostile: &Hostile) {
    for request in hostile.server.received_requests() {
        let path = request.split(' ').nth(1).unwrap();
        assert!([DISCOVERY, KEYS].contains(&path), "{path}");
        assert!(!request.to_ascii_lowercase().contains("authorization"), "{request}");
    }
}

/// Other spellings of a place that is safe: a query is sent, a fragment is not, and loopback has
/// more than one name.
#[tokio::test]
async fn keys_in_places_of_another_spelling() {
    let hostile = Hostile::start().await;
    let url = hostile.server.url();
    for (place, path) in [
        (format!("{url}{KEYS}?v=1&w=a%20b"), "/jwks?v=1&w=a%20b"),
        (format!("{url}{KEYS}#fragment"), KEYS),
        (format!("{url}/a/../jwks"), KEYS),
        (format!("{url}/%6awks"), "/%6awks"),
        (url.replace("127.0.0.1", "0x7f.1") + KEYS, KEYS),
    ] {
        let document = with(&hostile, &json!({ "jwks_uri": place }));
        hostile.server.says(path, ok(hostile.key_set().to_string()));
        hostile.assert_good_answer(DISCOVERY, &place, ok(document)).await;
        let last = hostile.server.received_requests().pop().unwrap();
        assert!(last.starts_with(&format!("GET {path} ")), "{last}");
    }
}

/// What is no document at all.
#[tokio::test]
async fn documents_that_cannot_be_read() {
    let hostile = Hostile::start().await;
    let document = hostile.document().to_string();
    let member = |member: &str| document.replacen('{', &format!("{{{member},"), 1);
    let deep =
        |levels: usize| member(&format!("\"x\":{}1{}", "[".repeat(levels), "]".repeat(levels)));
    for (what, text) in [
        ("nothing", String::new()),
        ("HTML", "<html>".to_owned()),
        ("a list", format!("[{document}]")),
        ("a text", json!(document).to_string()),
        ("null", "null".to_owned()),
        ("a number", "7".to_owned()),
        ("cut", document[..document.len() - 1].to_owned()),
        ("twice", document.repeat(2)),
        ("something behind", format!("{document} x")),
        ("two BOMs", format!("\u{feff}\u{feff}{document}")),
        ("a comment", format!("/* x */{document}")),
        ("single quotes", document.replace('"', "'")),
        ("an issuer twice", member(r#""issuer":"https://evil.example""#)),
        ("an issuer twice, escaped", member(r#""iss\u0075er":"https://evil.example""#)),
        ("keys twice", member(r#""jwks_uri":"https://evil.example/jwks""#)),
        ("keys twice, escaped", member(r#""jwks\u005furi":"https://evil.example/jwks""#)),
        ("another member twice", member(r#""x":1,"x":1"#)),
        ("twice further in", member(r#""x":[{"y":1,"y":2}]"#)),
        ("32 lists", deep(32)),
        ("a hundred thousand lists", deep(100_000)),
        ("a list without an end", format!("{{\"x\":{}", "[".repeat(1_000_000))),
        ("a lone surrogate", member(r#""x":"\ud800""#)),
        ("a number too great", member(r#""x":1e400"#)),
    ] {
        hostile.assert_no_answer(DISCOVERY, what, ok(text), "not well formed").await;
    }
    hostile.assert_no_answer(DISCOVERY, "no member", ok("{}"), "has no issuer").await;
    for bytes in [&b"\xff\xfe"[..], b"\xc0\x80", b"\xed\xa0\x80"] {
        let text = member("\"x\":\"?\"").into_bytes();
        let at = text.iter().position(|byte| *byte == b'?').unwrap();
        let text = [&text[..at], bytes, &text[at + 1..]].concat();
        hostile.assert_no_answer(DISCOVERY, "no UTF-8", ok(text), "not UTF-8").await;
    }
    let wide: Vec<u8> = document.encode_utf16().flat_map(u16::to_le_bytes).collect();
    hostile.assert_no_answer(DISCOVERY, "UTF-16", ok(wide), "not well formed").await;
    // unusual, and good
    for (what, text) in [
        ("31 lists", deep(31)),
        ("a BOM", format!("\u{feff}{document}")),
        ("white space", format!(" \r\n\t{document}\n")),
        ("escapes", document.replace('/', r"\/").replace("issuer", r"\u0069ssuer")),
        (
            "a thousand members",
            member(
                &(0..1000).map(|index| format!("\"m{index}\":[]")).collect::<Vec<_>>().join(","),
            ),
        ),
    ] {
        hostile.assert_good_answer(DISCOVERY, what, ok(text)).await;
    }
}

/// A document that is another's ends the trust in it for the next fetch, and not the use of keys
/// that were fetched by the good one.
#[tokio::test]
async fn a_document_that_is_turned_into_anothers() {
    let hostile = Hostile::start().await;
    let evil = Hostile::start().await;
    let verifier = hostile.in_mid_life(super::PATIENT).await;
    let theirs = evil.document().to_string();
    let members =
        json!({ "jwks_uri": format!("{}{KEYS}", evil.server.url()), "issuer": evil.server.url() });
    let mixed = with(&hostile, &members);
    for document in [theirs, mixed] {
        hostile.server.says(KEYS, Say::http("404 Not Found", &[], ""));
        hostile.server.says(DISCOVERY, ok(document));
        for _ in 0..3 {
            verifier.refresh_keys().await.unwrap_err();
            super::assert_still_good(&verifier, &hostile.token(), "the last good set");
        }
        hostile.tell_the_truth();
        verifier.refresh_keys().await.unwrap();
    }
    assert_eq!(evil.server.received_requests().len(), 0);
}
