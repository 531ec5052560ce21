//! One request through a whole router, behind our layer, behind others and behind none.

use axum::body::Body;
use axum07::body::Body as Body07;
use http::Request;
use kube_oidc_benches::{
    harness::{Contestant, Measured, print_quartiles, report},
    inputs::{RawCheck, builder, pod_token, verifier},
    jsonwebtoken_peer::{Backend, use_backend},
    layers::{
        Empty, ask, bearer, guarded, ours, passed_through, plain, refuses_bad, request, until_good,
    },
    peers::{jwks, jwt_auth, jwt_authorizer, keycloak, oauth2_resource_server},
};
use kube_oidc_testing::TestIssuer;
use tokio::task::coop::unconstrained;
use tower::{Layer, Service};
use tower_kube_oidc::OidcAuthLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(100);
    let issuer = TestIssuer::start();
    let key = issuer.signing_key();
    let good = pod_token(&issuer);
    let token = good.clone().mint();
    let raw = RawCheck::of(&token, &key);
    let header = bearer(&token);
    let get = || request::<Body>(&header);
    let get_empty = || request::<()>(&header);

    let plain = plain();
    let passed = passed_through();
    let cold_verifier = verifier(&issuer, 0).await;
    let warm_verifier = builder(&issuer).build().expect("good settings");
    warm_verifier.ready().await;
    let guarded_cold = guarded(cold_verifier.clone());
    let guarded_warm = guarded(warm_verifier.clone());
    let cold = ours(cold_verifier.clone());
    let warm = ours(warm_verifier.clone());
    let empty_cold = OidcAuthLayer::from(cold_verifier).layer(Empty);
    let empty_warm = OidcAuthLayer::from(warm_verifier).layer(Empty);

    use_backend(Backend::AwsLc);
    jwt_auth::use_backend(Backend::AwsLc);
    let oauth2 = oauth2_resource_server::router(&issuer).await;
    let jwt_auth = jwt_auth::router(&issuer).await;
    let authorizer = jwt_authorizer::router(&issuer).await;
    let get07 = || request::<Body07>(&header);
    let jwks = jwks::router(&issuer).await;
    let realm = keycloak::issuer(key);
    let keycloak = keycloak::router(&realm).await;
    let keycloak_good = keycloak::token(&realm);
    let keycloak_header = bearer(&keycloak_good.clone().mint());
    let get_keycloak = || request::<Body>(&keycloak_header);

    for router in [&plain, &passed, &guarded_cold, &guarded_warm, &cold, &warm] {
        until_good(router, get).await;
    }
    for router in [&oauth2, &jwt_auth, &jwks] {
        until_good(router, get).await;
    }
    until_good(&Empty, get_empty).await;
    until_good(&empty_cold, get_empty).await;
    until_good(&empty_warm, get_empty).await;
    until_good(&authorizer, get07).await;
    until_good(&keycloak, get_keycloak).await;
    for router in [&guarded_cold, &guarded_warm, &cold, &warm, &oauth2, &jwt_auth, &jwks] {
        refuses_bad(router, request::<Body>, &good).await;
    }
    refuses_bad(&empty_cold, request::<()>, &good).await;
    refuses_bad(&empty_warm, request::<()>, &good).await;
    refuses_bad(&authorizer, request::<Body07>, &good).await;
    refuses_bad(&keycloak, request::<Body>, &keycloak_good).await;

    let mut contestants = [
        Contestant::new("the check of the signature alone", || raw.check()),
        Contestant::new("router alone", || ask(&plain, get())),
        Contestant::new("router, a layer that does nothing", || ask(&passed, get())),
        Contestant::new("router, ours, cold, nobody asks who calls", || ask(&guarded_cold, get())),
        Contestant::new("router, ours, warm, nobody asks who calls", || ask(&guarded_warm, get())),
        Contestant::new("router, ours, cold", || ask(&cold, get())),
        Contestant::new("router, ours, warm", || ask(&warm, get())),
        Contestant::new("empty service alone", || ask(&Empty, get_empty())),
        Contestant::new("empty service, ours, cold", || ask(&empty_cold, get_empty())),
        Contestant::new("empty service, ours, warm", || ask(&empty_warm, get_empty())),
        Contestant::new("router, `tower-oauth2-resource-server`, aws-lc", || {
            use_backend(Backend::AwsLc);
            ask(&oauth2, get())
        }),
        Contestant::new("router, `tower-oauth2-resource-server`, pure Rust (default)", || {
            use_backend(Backend::RustCrypto);
            ask(&oauth2, get())
        }),
        Contestant::new("router, `axum-jwt-auth`, aws-lc", || {
            jwt_auth::use_backend(Backend::AwsLc);
            ask(&jwt_auth, get())
        }),
        Contestant::new("router, `axum-jwt-auth`, pure Rust (default)", || {
            jwt_auth::use_backend(Backend::RustCrypto);
            ask(&jwt_auth, get())
        }),
        Contestant::new("router, `jwt-authorizer`, ring", || ask(&authorizer, get07())),
        Contestant::new("router, `axum-jwks`, ring", || ask(&jwks, get())),
        Contestant::new("router, `axum-keycloak-auth`, ring", || ask(&keycloak, get_keycloak())),
    ];
    let title = format!("RS256, a token of {} bytes, one request", token.len());
    // locks of tokio would want to yield to a runtime after some requests
    if let Some(measured) = unconstrained(async { report(&title, rounds, &mut contestants) }).await
    {
        print_derived(&measured);
        print_sizes(&empty_warm, get_empty);
    }
}

/// What is worked out from several contestants, in the order of the table.
fn print_derived(measured: &[Measured]) {
    let [raw, alone, passed, guarded_cold, guarded_warm, cold, warm, _, _, _, peers @ ..] =
        measured
    else {
        panic!("not all contestants");
    };
    let added = |[with, without, raw]: [f64; 3]| (with - without) / raw;
    print_quartiles(
        "(router with our layer, cold − router alone) / signature",
        Measured::each_round([guarded_cold, alone, raw], added),
    );
    print_quartiles(
        "(router with our layer, warm − router with a layer that does nothing) / signature",
        Measured::each_round([guarded_warm, passed, raw], added),
    );
    let fastest = peers
        .iter()
        .min_by(|one, other| one.nanoseconds.total_cmp(&other.nanoseconds))
        .expect("some peers");
    for ours in [cold, warm] {
        print_quartiles(
            &format!("the fastest other ({}) / {}", fastest.name, ours.name),
            Measured::each_round([fastest, ours], |[other, ours]| other / ours),
        );
    }
}

/// How large the future is that our layer makes of another.
fn print_sizes<S>(layered: &S, request: impl Fn() -> Request<()>)
where
    S: Service<Request<()>> + Clone,
{
    let inner = size_of_val(&Empty.call(request()));
    let ours = size_of_val(&layered.clone().call(request()));
    println!("- size of the response future: {ours} bytes around one of {inner} bytes");
}
