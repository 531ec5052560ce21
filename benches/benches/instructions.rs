//! Instructions of one verification, counted by callgrind: a figure that does not wobble.
//!
//! It needs valgrind and the runner of the same version: `cargo install gungraun-runner`.

#![allow(missing_docs)]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use kube_oidc::{Verified, Verifier};
use kube_oidc_benches::inputs::{RawCheck, pod_token, verifier, verify};
use kube_oidc_testing::{SigningAlgorithm, SigningKey, TestIssuer};
use tokio::runtime::Runtime;

/// A verifier with keys, and a token that it has seen.
fn prepared(token_cache: usize) -> (Verifier, String) {
    let issuer = TestIssuer::start();
    let token = pod_token(&issuer).mint();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let verifier = runtime.block_on(verifier(&issuer, token_cache));
    verify(&verifier, &token);
    (verifier, token)
}

/// The same, and a token that another key signed in the name of a known one, in a runtime. It was
/// seen, so that no fetch of keys may start for it.
fn prepared_forged() -> (Runtime, Verifier, String) {
    let issuer = TestIssuer::start();
    let forged =
        pod_token(&issuer).forged_by(&SigningKey::generate(SigningAlgorithm::Rs256)).mint();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let verifier = runtime.block_on(async {
        let verifier = verifier(&issuer, 0).await;
        verifier.verify(&forged).await.expect_err("a forged token");
        verifier
    });
    (runtime, verifier, forged)
}

fn prepared_raw() -> RawCheck {
    let issuer = TestIssuer::start();
    let raw = RawCheck::of(&pod_token(&issuer).mint(), &issuer.signing_key());
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
#[bench::rs256(prepared_forged())]
fn forged((runtime, verifier, token): (Runtime, Verifier, String)) -> (Runtime, Verifier) {
    let verdict = {
        let _guard = runtime.enter();
        black_box(&verifier).verify_with_cached_keys(black_box(&token))
    };
    assert!(matches!(verdict, Some(Err(_))));
    (runtime, verifier)
}

library_benchmark_group!(
    name = instructions;
    benchmarks = signature_alone, cold, warm, forged
);
main!(library_benchmark_groups = instructions);
