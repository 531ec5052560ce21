//! Instructions of one verification, and of one request through a router, counted by callgrind.
//!
//! This needs valgrind and the runner of the same version: `cargo install gungraun-runner`.

#![allow(missing_docs)]

use std::{fs, hint::black_box};

use axum::{Router, body::Body};
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{Request, Response};
use kube_oidc::{Issuer, KeySource, Verified, Verifier};
use kube_oidc_benches::{
    inputs::{AUDIENCE, RawCheck, verify},
    layers::{ask, bearer, guarded, plain, request},
};
use serde_json::Value;
use tokio::runtime::Runtime;

const ISSUER: &str = "https://oidc.example";
/// A token of a pod that expires in 2100, and its key: generated ones would change the counts.
const TOKEN: &str = include_str!("../fixtures/pod-token.jwt");
const KEY_SET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/key-set.json");

fn token() -> String {
    TOKEN.trim_end().to_owned()
}

/// A token with another signature.
fn forged_token() -> String {
    let token = token();
    format!("{}AAAA", &token[..token.len() - 4])
}

/// A verifier that has read its keys and the token, in a runtime.
fn prepared_for(token: String, token_cache: usize) -> (Runtime, Verifier, String) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let issuer = Issuer::with_key_source(ISSUER.parse().expect("a URL"), KeySource::file(KEY_SET));
    let verifier = runtime.block_on(async {
        let builder = Verifier::builder(issuer).audience(AUDIENCE).token_cache(token_cache);
        let verifier = builder.build().expect("good settings");
        verifier.ready().await;
        // a forged token is rejected
        let _ = verifier.verify(&token).await;
        verifier
    });
    (runtime, verifier, token)
}

fn prepared(token_cache: usize) -> (Verifier, String) {
    let (_, verifier, token) = prepared_for(token(), token_cache);
    (verifier, token)
}

fn prepared_raw() -> RawCheck {
    let set: Value =
        serde_json::from_slice(&fs::read(KEY_SET).expect("a file")).expect("a key set");
    let raw = RawCheck::rs256(&token(), &set["keys"][0]);
    raw.check();
    raw
}

#[library_benchmark]
#[bench::rs256(prepared_raw())]
fn signature_alone(raw: RawCheck) -> RawCheck {
    raw.check();
    raw
}

#[library_benchmark]
#[bench::rs256(prepared(0))]
fn cold((verifier, token): (Verifier, String)) -> (Verifier, Verified) {
    let verified = verify(black_box(&verifier), black_box(&token));
    (verifier, verified)
}

#[library_benchmark]
#[bench::rs256(prepared(1_000))]
fn warm((verifier, token): (Verifier, String)) -> (Verifier, Verified) {
    let verified = verify(black_box(&verifier), black_box(&token));
    (verifier, verified)
}

#[library_benchmark]
#[bench::rs256(prepared_for(forged_token(), 0))]
fn forged((runtime, verifier, token): (Runtime, Verifier, String)) -> (Runtime, Verifier) {
    let verdict = {
        let _guard = runtime.enter();
        black_box(&verifier).verify_with_cached_keys(black_box(&token))
    };
    assert!(matches!(verdict, Some(Err(_))));
    (runtime, verifier)
}

/// A router and a request for it. The router has answered the same request twice.
fn prepared_router(
    router: impl FnOnce(Verifier) -> Router,
    token_cache: usize,
) -> (Router, Request<Body>) {
    let (verifier, token) = prepared(token_cache);
    let router = router(verifier);
    let token = bearer(&token);
    for _ in 0..2 {
        ask(&router, request::<Body>(&token));
    }
    (router, request(&token))
}

#[library_benchmark]
#[bench::alone(prepared_router(|_| plain(), 0))]
#[bench::cached_token(prepared_router(guarded, 1_000))]
#[bench::uncached_token(prepared_router(guarded, 0))]
fn respond((router, request): (Router, Request<Body>)) -> (Router, Response<Body>) {
    let response = ask(black_box(&router), black_box(request));
    (router, response)
}

library_benchmark_group!(
    name = verification;
    benchmarks = signature_alone, cold, warm, forged
);
library_benchmark_group!(
    name = router;
    benchmarks = respond
);
main!(library_benchmark_groups = verification, router);
