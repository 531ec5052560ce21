//! Tokens that are minted, pasted and explained.

use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use serde_json::{Value, json};

use super::{Page as _, started, wanted};
use crate::process::{Demo, command};

/// The first check that refuses a token, and why; the verdict says the same.
fn refusal(explained: &Value) -> (&str, &str) {
    let mut steps = explained["steps"].as_array().unwrap().iter();
    let step = steps.find(|step| step["finding"] == "refused").unwrap();
    assert!(step["advice"].is_string() && step["found"].is_string(), "{explained}");
    assert_eq!(explained["verdict"]["accepted"], false);
    assert_eq!(explained["verdict"]["reason"], step["reason"]);
    (step["check"].as_str().unwrap(), step["reason"].as_str().unwrap())
}

fn found<'a>(explained: &'a Value, check: &str) -> &'a str {
    let steps = explained["steps"].as_array().unwrap();
    let step = steps.iter().find(|step| step["check"] == check).unwrap();
    step["found"].as_str().unwrap()
}

/// The script names members of the answer as texts, which no compiler compares.
#[test]
fn page_reads_members_that_the_server_sends() {
    const SCRIPT: &str = include_str!("../../../page/verdict.js");
    let demo = started();
    let explained = demo.explain(&demo.mint("good"));
    for (object, sent) in [("step.", &explained["steps"][0]), ("verdict.", &explained["verdict"])] {
        let members = SCRIPT
            .split(object)
            .skip(1)
            .filter_map(|rest| rest.split(|letter: char| !letter.is_ascii_lowercase()).next());
        // those of an element of the page
        let members = members.filter(|member| !["dataset", "replace"].contains(member));
        let missing: Vec<_> = members.filter(|member| sent.get(member).is_none()).collect();
        assert!(missing.is_empty(), "{object}{missing:?} of {sent}");
    }
    let checks = explained["steps"].as_array().unwrap().iter();
    for check in checks.filter_map(|step| step["check"].as_str()) {
        assert!(SCRIPT.contains(&format!("\n  {check}: ")), "{check}");
    }
}

#[test]
fn a_good_token_passes_every_check() {
    let demo = started();
    let token = demo.mint("good");
    let explained = demo.explain(&token);
    let steps = explained["steps"].as_array().unwrap();
    let checks: Vec<&str> = steps.iter().map(|step| step["check"].as_str().unwrap()).collect();
    assert_eq!(
        checks,
        [
            "format",
            "issuer",
            "key",
            "signature",
            "expiry",
            "nbf",
            "lifetime",
            "audience",
            "denylist",
            "claims"
        ]
    );
    assert!(steps.iter().all(|step| step["finding"] == "ok"), "{explained}");
    let verdict = json!({ "accepted": true, "reason": null, "advice": null, "undecided": false });
    assert_eq!(explained["verdict"], verdict);
    assert_eq!(
        found(&explained, "claims"),
        "sub \"system:serviceaccount:payments:checkout\", pod \"checkout-7d9f8b6c5d-x2x4z\", \
         node \"node-1\""
    );
    assert!(found(&explained, "audience").contains("demo"));

    let times = &explained["times"];
    let time = |name: &str| times[name].as_u64().unwrap();
    assert_eq!(time("expires_at") - time("issued_at"), 3600);
    assert_eq!(time("not_before"), time("issued_at"));
    assert!((time("issued_at")..time("expires_at")).contains(&time("checked_at")));
    assert_eq!((time("leeway"), &times["warn_after"]), (60, &Value::Null));

    // it is what it was said to be, to the service as well
    let who = demo.whoami(&token).json();
    assert_eq!(who["pod"]["name"], "checkout-7d9f8b6c5d-x2x4z");
    assert_eq!(who["node"]["name"], "node-1");
    assert_eq!(who["audiences"], json!(["demo"]));
}

#[test]
fn what_is_wrong_with_a_token_is_what_was_asked_for() {
    let demo = started();
    for (kind, refused) in [
        ("expired", ("expiry", "expired")),
        ("not_yet_valid", ("nbf", "not_yet_valid")),
        ("other_audience", ("audience", "audience")),
        ("other_issuer", ("issuer", "unknown_issuer")),
        ("unknown_key", ("key", "unknown_key")),
        ("tampered", ("signature", "signature")),
        ("unsigned", ("format", "algorithm")),
        ("legacy", ("format", "legacy_token")),
    ] {
        let token = demo.mint(kind);
        assert_eq!(refusal(&demo.explain(&token)), refused, "{kind}");
        assert_eq!(demo.whoami(&token).status, 401, "{kind}");
    }
    let tampered = demo.explain(&demo.mint("tampered"));
    assert!(found(&tampered, "claims").contains("kube-system:admin"));
    let other = demo.explain(&demo.mint("other_audience"));
    assert!(found(&other, "audience").contains("somebody-else"));

    let late = demo.mint("past_warn_after");
    let explained = demo.explain(&late);
    assert_eq!(explained["verdict"]["accepted"], true);
    let time = |name: &str| explained["times"][name].as_u64().unwrap();
    assert!(time("warn_after") < time("checked_at") && time("checked_at") < time("expires_at"));
    assert_eq!(demo.whoami(&late).status, 200);
}

#[test]
fn names_and_lifetimes_are_taken_within_reason() {
    let demo = started();
    let mut form = wanted("good");
    form["audience"] = json!(" demo , vault,");
    form["pod"] = json!("");
    form["node"] = json!("");
    form["lifetime_seconds"] = json!(60);
    let token = demo.post_json("/api/mint", &form)["token"].as_str().unwrap().to_owned();
    let who = demo.whoami(&token).json();
    assert_eq!(who["audiences"], json!(["demo", "vault"]));
    assert_eq!((&who["pod"], &who["node"]), (&Value::Null, &Value::Null));
    for (member, value) in [
        ("lifetime_seconds", json!(0)),
        ("lifetime_seconds", json!(365 * 24 * 3600 + 1)),
        ("lifetime_seconds", json!(u64::MAX)),
        ("namespace", json!("n".repeat(1025))),
        ("audience", json!("n".repeat(1025))),
        ("pod", json!("n".repeat(1025))),
    ] {
        let mut form = wanted("good");
        form[member] = value;
        let response = demo.post("/api/mint", form.to_string().as_bytes());
        assert_eq!(response.status, 422, "{member}");
    }
    for (member, value) in [
        ("lifetime_seconds", json!(-1)),
        ("lifetime_seconds", json!("1h")),
        ("kind", json!("wonderful")),
        ("namespace", Value::Null),
        ("more", json!(1)),
    ] {
        let mut form = wanted("good");
        form[member] = value;
        let response = demo.post("/api/mint", form.to_string().as_bytes());
        assert_eq!(response.status, 400, "{member}");
    }
}

#[test]
fn hostile_tokens_are_data() {
    let issuer = TestIssuer::start();
    let demo = started();
    let html = "<img src=x onerror=alert(1)><script>alert(1)</script>";
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(3000), "]".repeat(3000));
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    for (token, reason) in [
        (
            issuer.token().claim("iss", html).service_account(html, html).pod(html).mint(),
            "unknown_issuer",
        ),
        (issuer.token().header("kid", html).header("typ", "JWT").mint(), "unknown_issuer"),
        (issuer.token().signed_by(&stranger).payload_text(&deep).mint(), "claims"),
        (issuer.token().header_text(&deep).mint(), "malformed"),
        (issuer.token().payload_text("\u{1b}[31m\u{0}\u{202e}").mint(), "claims"),
        // bytes that are no UTF-8
        ("eyJhbGciOiJSUzI1NiJ9.__6A.AAAA".to_owned(), "malformed"),
        (html.to_owned(), "malformed"),
        (String::new(), "malformed"),
        ("..".to_owned(), "malformed"),
        ("\u{0}\u{fffd}.ä.\n".to_owned(), "malformed"),
        ("a".repeat(1_000_000), "too_long"),
        (".".repeat(1_000_000), "too_long"),
    ] {
        let body = json!({ "token": token }).to_string();
        let response = demo.post("/api/explain", body.as_bytes());
        assert_eq!(response.status, 200, "{:.80}", response.body);
        assert_eq!(response.header("content-type"), ["application/json"]);
        let explained = response.json();
        assert_eq!(refusal(&explained).1, reason, "{explained:#}");
        // what stands in it is cut
        assert!(response.body.len() < 4096, "{}", response.body);
    }
    // a name that no cluster has goes the whole way
    let mut form = wanted("good");
    form["service_account"] = json!(html);
    let token = demo.post_json("/api/mint", &form)["token"].as_str().unwrap().to_owned();
    assert_eq!(refusal(&demo.explain(&token)), ("claims", "claims"));
    assert_eq!(demo.explain(&demo.mint("good"))["verdict"]["accepted"], true);
}

#[test]
fn bodies_that_are_no_question_are_told_so() {
    let demo = started();
    let deep = "[".repeat(100_000);
    for path in ["/api/explain", "/api/mint", "/api/issuer"] {
        for body in [
            b"" as &[u8],
            b"{",
            b"null",
            b"[]",
            b"\"a\"",
            b"{\"token\":1}",
            b"{\"token\":\"a\",\"token\":\"b\"}",
            b"{\"token\":\"a\",\"more\":1}",
            b"{\"token\":\"\\ud800\"}",
            b"{\"token\":\"\xff\xfe\"}",
            b"{\"change\":\"explode\"}",
            deep.as_bytes(),
        ] {
            let response = demo.post(path, body);
            assert_eq!(response.status, 400, "{path} {:?}", String::from_utf8_lossy(body));
            assert!(response.json()["error"].as_str().unwrap().contains("the form that is needed"));
        }
        let response = demo.post(path, &vec![b' '; 1024 * 1024 + 1]);
        assert_eq!(response.status, 413, "{path}");
        assert!(response.json()["error"].as_str().unwrap().contains("more than 1 MiB"));
    }
}

#[test]
fn a_token_is_in_no_log() {
    let mut command = command(&[]);
    command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "trace");
    let demo = Demo::spawn(command);
    demo.log_line_with("the keys of the issuer are here");
    let tokens = ["good", "tampered", "unknown_key", "unsigned"].map(|kind| demo.mint(kind));
    for token in &tokens {
        demo.explain(token);
        // a parser's own words would quote it
        for body in [format!("\"{token}\""), format!(r#"{{"{token}":1}}"#), format!("{{{token}")] {
            let response = demo.post("/api/explain", body.as_bytes());
            assert_eq!(response.status, 400);
            assert!(!response.body.contains(&token[..20]), "{}", response.body);
            assert_eq!(demo.post("/api/mint", body.as_bytes()).status, 400);
        }
    }
    // the log is there, and all of it
    assert_eq!(demo.whoami(&tokens[1]).status, 401);
    let log = demo.log_to_the_end();
    assert!(log.contains("DEBUG") && log.contains("not accepted (signature)"), "{log}");
    for part in tokens.iter().flat_map(|token| token.split('.')).filter(|part| part.len() > 8) {
        assert!(!log.contains(part), "a part of a token is in the log: {part}");
    }
}
