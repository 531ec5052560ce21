//! The keys as the page shows and changes them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Page as _, started};
use crate::process::Demo;

/// Their order means nothing.
fn kids(keys: &Value) -> BTreeSet<&str> {
    keys.as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect()
}

#[test]
fn a_rotated_key_is_seen_before_the_verifier_has_it() {
    let demo = started();
    let before = demo.status();
    assert_eq!(before["audience"], "demo");
    assert_eq!(before["issuer"]["is_up"], true);
    assert_eq!(before["cache"]["state"], "fresh");
    assert_eq!(kids(&before["issuer"]["keys"]).len(), 1);
    assert_eq!(kids(&before["issuer"]["keys"]), kids(&before["cache"]["keys"]));
    let old = demo.mint("good");

    let rotated = demo.change("rotate");
    let published = rotated["issuer"]["keys"].as_array().unwrap();
    assert_eq!(published.len(), 2);
    assert_eq!((&published[0]["signs"], &published[1]["signs"]), (&json!(false), &json!(true)));
    assert_eq!(rotated["cache"]["keys"], before["cache"]["keys"]);
    let new = demo.mint("good");
    assert_eq!(demo.explain(&new)["verdict"]["reason"], "unknown_key");
    assert_eq!(demo.explain(&old)["verdict"]["accepted"], true);

    let fetched = demo.change("fetch");
    assert_eq!(kids(&fetched["cache"]["keys"]), kids(&fetched["issuer"]["keys"]));
    assert_eq!(demo.explain(&new)["verdict"]["accepted"], true);

    assert_eq!(kids(&demo.change("drop_old_keys")["issuer"]["keys"]).len(), 1);
    assert_eq!(demo.explain(&old)["verdict"]["accepted"], true);
    demo.change("fetch");
    assert_eq!(demo.explain(&old)["verdict"]["reason"], "unknown_key");
    assert_eq!(demo.explain(&new)["verdict"]["accepted"], true);
}

#[test]
fn an_issuer_that_is_down_leaves_the_keys_in_use() {
    let demo = started();
    let token = demo.mint("good");
    assert_eq!(demo.change("stop")["issuer"]["is_up"], false);
    let response = demo.post("/api/issuer", br#"{"change":"fetch"}"#);
    assert_eq!(response.status, 502);
    assert!(response.json()["error"].as_str().unwrap().contains("the old ones stay"));
    let status = demo.status();
    assert_eq!(
        (&status["cache"]["failures"], &status["cache"]["state"]),
        (&json!(1), &json!("fresh"))
    );
    assert!(status["cache"]["last_error"]["error"].is_string());
    assert_eq!(demo.explain(&token)["verdict"]["accepted"], true);
    // it may be told so twice
    for _ in 0..2 {
        assert_eq!(demo.change("restart")["issuer"]["is_up"], true);
    }
    assert_eq!(demo.change("fetch")["cache"]["failures"], 1);
}

#[test]
fn without_keys_a_token_is_undecided() {
    let demo = Demo::start(&[
        "--min-key-set-lifetime",
        "200ms",
        "--max-key-set-lifetime",
        "200ms",
        "--max-stale",
        "0s",
    ]);
    demo.log_line_with("the keys of the issuer are here");
    let (good, unsigned) = (demo.mint("good"), demo.mint("unsigned"));
    demo.change("stop");
    let end = Instant::now() + Duration::from_secs(30);
    // an answer that was under way may come yet; after a failure none does
    let is_without = |cache: &Value| cache["state"] == "unavailable" && cache["failures"] != 0;
    while !is_without(&demo.status()["cache"]) {
        assert!(Instant::now() < end, "{}", demo.status());
    }
    let explained = demo.explain(&good);
    assert_eq!(explained["verdict"]["reason"], "keys_unavailable");
    assert_eq!(explained["verdict"]["undecided"], true);
    let steps = explained["steps"].as_array().unwrap();
    let undecided = steps.iter().filter(|step| step["finding"] == "undecided");
    let checks: Vec<&str> = undecided.map(|step| step["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["key", "signature"]);
    // what needs no key is decided
    assert_eq!(demo.explain(&unsigned)["verdict"]["undecided"], false);
}

#[test]
fn keys_do_not_pile_up() {
    let demo = started();
    for _ in 1..8 {
        demo.change("rotate");
    }
    assert_eq!(demo.post("/api/issuer", br#"{"change":"rotate"}"#).status, 409);
    demo.change("drop_old_keys");
    demo.change("rotate");
}

// rule: demo-page
#[test]
fn explaining_fetches_nothing_and_remembers_nothing() {
    let demo = started();
    let before = demo.status()["cache"].clone();
    assert_eq!((&before["fetches"], &before["last_seen"]), (&json!(1), &Value::Null));
    for kind in ["good", "past_warn_after", "unknown_key", "expired", "tampered", "other_issuer"] {
        demo.explain(&demo.mint(kind));
        demo.explain(&demo.mint(kind));
    }
    // keys that a request would make it fetch
    demo.change("rotate");
    demo.explain(&demo.mint("good"));
    let after = demo.status()["cache"].clone();
    for member in ["fetches", "failures", "last_success", "last_seen", "past_warn_after", "keys"] {
        assert_eq!(after[member], before[member], "{member}");
    }
    // which a request does
    assert_eq!(demo.whoami(&demo.mint("good")).status, 200);
    let asked = demo.status()["cache"].clone();
    assert_eq!(asked["fetches"], 2);
    assert!(asked["last_seen"].is_u64());
}
