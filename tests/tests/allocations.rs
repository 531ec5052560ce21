//! How often memory is asked for on the way of a good token: a promise that no clock is needed for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Request, Response};
use kube_oidc::{Issuer, IssuerUrl, Verifier};
use kube_oidc_testing::{SigningAlgorithm, TestIssuer};
use tower::{Layer as _, Service};
use tower_kube_oidc::{OidcAuthLayer, Verified};

/// A verifier with fetched keys, and a token of a pod.
fn prepared(token_cache: usize) -> (Verifier, String) {
    let issuer = TestIssuer::start();
    let verifier = Verifier::builder(Issuer::new(issuer.url().parse().unwrap()))
        .audience("orders")
        .token_cache(token_cache)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(verifier.ready());
    let token = issuer.token().audience("orders").pod("checkout-7f9c").node("worker-1").mint();
    // what is done once in a thread or process is done here, and counters are looked up
    for _ in 0..2 {
        assert!(matches!(verifier.verify_with_cached_keys(&token), Some(Ok(_))));
    }
    (verifier, token)
}

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
fn a_remembered_token_costs_none() {
    let (verifier, token) = prepared(100);
    let count = allocations(|| {
        for _ in 0..100 {
            assert!(matches!(verifier.verify_with_cached_keys(&token), Some(Ok(_))));
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn claims_cost_two() {
    let (verifier, token) = prepared(0);
    // the texts, and what holds them; aws-lc's own are not Rust's to count
    let count = allocations(|| {
        assert!(matches!(verifier.verify_with_cached_keys(&token), Some(Ok(_))));
    });
    assert_eq!(count, 2);
}

#[test]
fn junk_that_is_refused_early_costs_none() {
    let (verifier, token) = prepared(100);
    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = format!("{head}.AAAA");
    for junk in ["", "a.b.c", "not a token", &token[1..], &forged] {
        let count = allocations(|| {
            assert!(matches!(verifier.verify_with_cached_keys(junk), Some(Err(_))));
        });
        assert_eq!(count, 0, "{junk:?}");
    }
}

/// A service that needs no memory of its own.
#[derive(Clone)]
struct Empty;

impl Service<Request<()>> for Empty {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(request.extensions().get::<Verified>().is_some());
        ready(Ok(Response::new(())))
    }
}

#[test]
fn the_layer_costs_what_an_extension_does() {
    let (verifier, token) = prepared(100);
    let mut service = OidcAuthLayer::from(verifier.clone()).layer(Empty);
    let Some(Ok(caller)) = verifier.verify_with_cached_keys(&token) else { panic!() };
    for others in [false, true] {
        let request = || {
            let mut request =
                Request::builder().header("authorization", format!("Bearer {token}")).body(());
            if others {
                request.as_mut().unwrap().extensions_mut().insert(1_u8);
            }
            request.unwrap()
        };
        let (given, mut bare) = (request(), request());
        let mut call = |request| {
            let mut context = Context::from_waker(Waker::noop());
            let mut future = pin!(service.call(request));
            assert!(matches!(future.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        };
        // looks its counter up
        call(request());
        let count = allocations(|| call(given));
        let insert = allocations(|| drop(bare.extensions_mut().insert(caller.clone())));
        assert_eq!(count, insert);
        assert_eq!(count, if others { 1 } else { 3 });
    }
}

#[test]
fn the_future_is_no_larger_than_the_inner_one() {
    let (verifier, token) = prepared(100);
    let mut service = OidcAuthLayer::from(verifier).layer(Empty);
    let request = Request::builder().header("authorization", format!("Bearer {token}")).body(());
    let future = service.call(request.unwrap());
    println!("the layer's future: {} bytes", size_of_val(&future));
    let inner = size_of::<<Empty as Service<Request<()>>>::Future>();
    assert!(size_of_val(&future) <= inner + size_of::<usize>());
}

#[test]
fn a_clone_of_a_layer_costs_none() {
    // axum clones the layers of a handler with every request, and puts them around it
    let issuer: IssuerUrl = "https://issuer.example".parse().unwrap();
    let layer = OidcAuthLayer::builder(issuer).audience("orders").realm("shop").build().unwrap();
    drop(layer.layer(Empty));
    let count = allocations(|| drop(layer.clone().layer(Empty)));
    assert_eq!(count, 0);
}

// rule: cache-bytes
#[test]
fn token_cache_with_custom_claims_keeps_within_twice_its_bytes() {
    const BYTES: usize = 16 * 1024 * 1024;
    let issuer = TestIssuer::builder().algorithm(SigningAlgorithm::EdDsa).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 3600;
    let list =
        |element: &str| format!("[{}]", vec![element; 11_000 / (element.len() + 1)].join(","));
    let members = |count: usize| {
        let member = |index| format!(r#""m{index:04}":{index}"#);
        format!("{{{}}}", (0..count).map(member).collect::<Vec<_>>().join(","))
    };
    for (claim, tokens) in [
        (list(r#"{"a":0}"#), 50),
        (list(r#"{"":""}"#), 50),
        (list("[]"), 150),
        (list("[0]"), 150),
        (list("{}"), 150),
        (list("0"), 150),
        (list(r#""a""#), 150),
        (list(r#""\"\\,[{""#), 150),
        (list(&members(12)), 150),
        (list(&members(100)), 150),
        (members(900), 150),
        (format!("\"{}\"", "a".repeat(11_000)), 700),
        (r#"{"roles":["reader","writer"],"tenant":"blue"}"#.to_owned(), 7_500),
    ] {
        let verifier = Verifier::builder(Issuer::new(issuer.url().parse().unwrap()))
            .claims::<serde_json::Value>()
            .audience("orders")
            .token_cache(100_000)
            .token_cache_bytes(BYTES)
            .build()
            .unwrap();
        runtime.block_on(verifier.ready());
        let held = allocation_counter::measure(|| {
            for jti in 0..tokens {
                let payload = format!(
                    r#"{{"iss":"{}","aud":"orders","exp":{exp},"jti":"{jti}","x":{claim}}}"#,
                    issuer.url()
                );
                let token = issuer.token().payload_text(&payload).mint();
                assert!(matches!(verifier.verify_with_cached_keys(&token), Some(Ok(_))));
            }
        });
        let held = usize::try_from(held.bytes_current).unwrap();
        println!("{held:>9} bytes for {tokens} tokens with {claim:.20}");
        assert!(held < 2 * BYTES, "{held} bytes for {claim:.20}");
        assert!(held > BYTES / 4, "{held} bytes for {claim:.20}");
    }
}
