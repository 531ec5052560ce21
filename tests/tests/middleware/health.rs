//! Readiness and health, by the keys that are here.

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use http::StatusCode;
use kube_oidc::{
    KeySource,
    clock::ManualClock,
    source::{FetchError, FetchResponse},
};
use kube_oidc_testing::{Endpoint, MockResponse, TestIssuer};
use kube_oidc_tests::{
    GrpcServer, HttpServer, Judge as _, ScriptedFetcher, builder_for, http_client, issuer_for,
    issuer_with, layer_builder_for, layer_for, verifier_for,
};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Server},
};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
        health_client::HealthClient, health_server::Health as _,
    },
    server::{HealthReporter, HealthService, health_reporter},
};
use tower_kube_oidc::{
    KeyState, OidcAuthLayer, Readiness, ReadinessProbe, Verifier, report_health,
};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

fn of_service(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.to_owned() })
}

fn status<E: std::fmt::Debug>(message: Result<HealthCheckResponse, E>) -> ServingStatus {
    message.unwrap().status()
}

fn health_client(server: &GrpcServer) -> HealthClient<Channel> {
    HealthClient::new(Channel::from_shared(server.url()).unwrap().connect_lazy())
}

// rule: readiness-fetch
#[tokio::test]
async fn a_health_service_serves_once_the_keys_are_here() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let verifier = verifier_for(&issuer);
    let (reporter, health) = health_reporter();
    for service in ["", "shop.Orders"] {
        let readiness = Readiness::any(&verifier);
        tokio::spawn(report_health(readiness, reporter.clone(), [service]).await);
    }
    let layer = OidcAuthLayer::builder_for(verifier.clone())
        .add_open_grpc_method("/grpc.health.v1.Health/Check")
        .add_open_grpc_method("/grpc.health.v1.Health/Watch")
        .build()
        .unwrap();
    let server = GrpcServer::start(|incoming| {
        Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming)
    })
    .await;

    let mut client = health_client(&server);
    let mut changes = Vec::new();
    for service in ["", "shop.Orders"] {
        let checked = client.check(of_service(service)).await.unwrap();
        assert_eq!(checked.into_inner().status(), ServingStatus::NotServing);
        let mut watched = client.watch(of_service(service)).await.unwrap().into_inner();
        assert_eq!(status(watched.next().await.unwrap()), ServingStatus::NotServing);
        changes.push(watched);
    }

    // neither a request nor warm_up() starts the fetch
    issuer.restart();
    for (mut watched, service) in changes.into_iter().zip(["", "shop.Orders"]) {
        let change = timeout(LONG, watched.next()).await.expect("a change");
        assert_eq!(status(change.unwrap()), ServingStatus::Serving);
        let checked = client.check(of_service(service)).await.unwrap();
        assert_eq!(checked.into_inner().status(), ServingStatus::Serving);
    }
}

/// What a watcher is told until nothing happens for a while.
async fn changes(
    watched: &mut (impl Stream<Item = Result<HealthCheckResponse, Status>> + Unpin),
) -> Vec<ServingStatus> {
    let mut told = Vec::new();
    while let Ok(change) = timeout(Duration::from_secs(10), watched.next()).await {
        told.push(change.unwrap().unwrap().status());
    }
    told
}

// In memory, so that time can be paused: then it passes only when nobody has anything to do, and
// the reporter has surely looked.
#[tokio::test(start_paused = true)]
async fn a_health_service_serves_with_stale_keys_and_not_without() {
    let issuer = TestIssuer::start();
    let on = Arc::new(AtomicBool::new(false));
    let (is_on, keys) = (Arc::clone(&on), issuer.key_set().to_string());
    let fetcher = ScriptedFetcher::new(move |_| {
        ready(if is_on.load(Ordering::Relaxed) {
            Ok(FetchResponse::new(200, keys.clone()))
        } else {
            Err(FetchError::new("switched off"))
        })
    });
    let trusted = issuer_with(&issuer, KeySource::jwks(issuer.jwks_uri()).via(fetcher));
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(trusted)
        .default_key_set_lifetime(HOUR)
        .max_stale(3 * HOUR)
        .clock(clock.clone())
        .build()
        .unwrap();
    let reporter = HealthReporter::new();
    let health = HealthService::from_health_reporter(reporter.clone());
    tokio::spawn(report_health(Readiness::any(&verifier), reporter, [""]).await);
    let mut watched = health.watch(of_service("")).await.unwrap().into_inner();

    assert_eq!(changes(&mut watched).await.last(), Some(&ServingStatus::NotServing));
    on.store(true, Ordering::Relaxed);
    clock.advance(HOUR);
    assert_eq!(changes(&mut watched).await, [ServingStatus::Serving]);

    on.store(false, Ordering::Relaxed);
    let failures = verifier.status()[0].failures;
    for state in [KeyState::Fresh, KeyState::Stale, KeyState::Stale] {
        assert_eq!(verifier.status()[0].state, state);
        assert_eq!(changes(&mut watched).await, []);
        // the issuer is asked meanwhile, in vain
        assert_eq!(verifier.status()[0].failures > failures, state == KeyState::Stale);
        clock.advance(HOUR + HOUR / 4);
    }
    clock.advance(HOUR);
    assert_eq!(verifier.status()[0].state, KeyState::Unavailable);
    assert_eq!(changes(&mut watched).await, [ServingStatus::NotServing]);

    on.store(true, Ordering::Relaxed);
    clock.advance(HOUR);
    verifier.ready().await;
    assert_eq!(changes(&mut watched).await, [ServingStatus::Serving]);
}

// rule: open-paths
#[tokio::test]
async fn only_the_methods_that_are_named_are_open() {
    let issuer = TestIssuer::start();
    let serve = async |layer: OidcAuthLayer| {
        let (reporter, health) = health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        GrpcServer::start(|incoming| {
            Server::builder().layer(layer).add_service(health).serve_with_incoming(incoming)
        })
        .await
    };
    let closed = serve(layer_for(&issuer)).await;
    let open = layer_builder_for(&issuer).add_open_grpc_method("/grpc.health.v1.Health/Check");
    let open = serve(open.build().unwrap()).await;
    let token = issuer.token().audience("orders").mint();

    let refused = health_client(&closed).check(of_service("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = health_client(&open).watch(of_service("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "it is another method");
    for authorization in [None, Some("Bearer garbage"), Some("Bearer")] {
        let mut request = of_service("");
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization.parse().unwrap());
        }
        let checked = health_client(&open).check(request).await.unwrap();
        assert_eq!(checked.into_inner().status(), ServingStatus::Serving);
    }

    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let call = async |path: &str, authorization: Option<&str>| {
        let mut request = http
            .post(format!("{}{path}", open.url()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.unwrap();
        response.headers().get("grpc-status").map(|code| code.to_str().unwrap().to_owned())
    };
    for path in [
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/check",
        "/grpc.health.v1.health/Check",
        "/grpc.health.v1.Health/Check/",
        "/grpc.health.v1.Health//Check",
        "/grpc.health.v1.Health/Chec%6b",
        "/grpc.health.v1.Health/Check;a",
        "/grpc.health.v1.Health/",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/shop.Orders/Check",
    ] {
        assert_eq!(call(path, None).await.as_deref(), Some("16"), "{path}");
        // a good token comes through, to where there is no such method
        let code = call(path, Some(&format!("Bearer {token}"))).await;
        assert_eq!(code.as_deref(), Some("12"), "{path}");
    }
    let got = http.get(format!("{}/grpc.health.v1.Health/Check", open.url())).send().await.unwrap();
    assert_eq!(got.status(), StatusCode::UNAUTHORIZED, "a call is a POST");
}

/// What a probe at `/readyz` gets.
async fn probe(server: &HttpServer) -> (StatusCode, Vec<String>) {
    let client = http_client();
    let response = client.get(format!("{}/readyz", server.url())).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let status = response.status();
    (status, response.text().await.unwrap().lines().map(str::to_owned).collect())
}

async fn serve(readiness: Readiness) -> HttpServer {
    let layer = OidcAuthLayer::builder_for(readiness.verifier().clone()).add_open_path("/readyz");
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route_service("/readyz", ReadinessProbe::new(readiness))
        .layer(layer.build().unwrap());
    HttpServer::start(app).await
}

// rule: readiness
#[tokio::test]
async fn a_probe_follows_the_keys_from_none_to_fresh_to_stale_to_none() {
    let issuer = TestIssuer::start();
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(&issuer).clock(clock.clone()).build().unwrap();
    let server = serve(Readiness::any(&verifier)).await;
    let probe = async || {
        let (status, lines) = probe(&server).await;
        let [line] = lines.try_into().unwrap();
        (status.as_u16(), line)
    };
    let says = |line: &str, state: &str| line.starts_with(&format!("{}: {state}", issuer.url()));

    assert_eq!(probe().await, (503, format!("{}: unavailable", issuer.url())));
    timeout(LONG, verifier.ready()).await.unwrap();
    let (status, line) = probe().await;
    assert!(status == 200 && says(&line, "fresh"), "{status} {line}");

    issuer.stop();
    // its lifetime is an hour, and it is kept for a day beyond
    for _ in 0..2 {
        clock.advance(12 * HOUR);
        let (status, line) = probe().await;
        assert!(status == 200 && says(&line, "stale"), "{status} {line}");
    }
    clock.advance(HOUR);
    let (status, line) = probe().await;
    assert!(status == 503 && says(&line, "unavailable"), "{status} {line}");

    issuer.restart();
    clock.advance(HOUR);
    timeout(LONG, verifier.ready()).await.unwrap();
    let (status, line) = probe().await;
    assert!(status == 200 && says(&line, "fresh"), "{status} {line}");
}

// rule: readiness-fetch
#[tokio::test]
async fn first_probe_starts_the_first_fetch_of_each_issuer() {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    let verifier = builder_for(issuer_for(&blue).with_cluster("blue"))
        .add_issuer(issuer_for(&green).with_cluster("green"))
        .build()
        .unwrap();
    let server = serve(Readiness::all(&verifier)).await;
    assert_eq!(probe(&server).await.0, 503);
    let ready = async { while probe(&server).await.0 != 200 {} };
    timeout(LONG, ready).await.unwrap();
    assert_eq!((blue.key_fetches(), green.key_fetches()), (1, 1));
}

// rule: readiness-fetch
#[tokio::test]
async fn probes_start_no_fetch_that_the_backoff_forbids() {
    let issuer = TestIssuer::start();
    issuer.respond_with(
        Endpoint::Jwks,
        MockResponse::new(500, "").with_header("retry-after", "3600"),
    );
    let clock = ManualClock::at(SystemTime::now());
    let verifier = builder_for(&issuer).clock(clock.clone()).build().unwrap();
    let server = serve(Readiness::any(&verifier)).await;
    for fetches in 1..=3 {
        let failed = async {
            while verifier.status()[0].failures < fetches {
                assert_eq!(probe(&server).await.0, 503);
            }
        };
        timeout(LONG, failed).await.unwrap();
        for _ in 0..100 {
            assert_eq!(probe(&server).await.0, 503);
        }
        assert_eq!(issuer.key_fetches() as u64, fetches);
        // as much of Retry-After as is honored without keys
        clock.advance(Duration::from_secs(60));
    }
}

#[test]
fn probe_outside_a_runtime_fetches_nothing_and_harms_nothing() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(&issuer);
    assert!(!Readiness::all(&verifier).is_ready());
    assert_eq!(verifier.status()[0].fetches, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert!(!Readiness::all(&verifier).is_ready());
        timeout(LONG, verifier.ready()).await.unwrap();
    });
    assert!(Readiness::all(&verifier).is_ready());
    assert_eq!(issuer.key_fetches(), 1);
}

/// Two clusters, of which the second is down, and a verifier that has the keys of the first.
async fn blue_and_green() -> (TestIssuer, TestIssuer, Verifier) {
    let (blue, green) = (TestIssuer::start(), TestIssuer::start());
    green.stop();
    let verifier = builder_for(issuer_for(&blue).with_cluster("blue"))
        .add_issuer(issuer_for(&green).with_cluster("green"))
        .build()
        .unwrap();
    let readiness = [Readiness::any(&verifier), Readiness::all(&verifier)];
    assert!(readiness.iter().all(|readiness| !readiness.is_ready()));
    verifier.warm_up();
    timeout(LONG, verifier.ready()).await.unwrap();
    (blue, green, verifier)
}

fn clusters(verifier: &Verifier, names: &[&str]) -> Readiness {
    Readiness::clusters(verifier, names).unwrap()
}

// rule: readiness
#[tokio::test]
async fn ready_by_one_issuer_by_all_or_by_those_that_are_named() {
    let (blue, green, verifier) = blue_and_green().await;
    let modes = [
        (Readiness::any(&verifier), true),
        (Readiness::all(&verifier), false),
        (clusters(&verifier, &["blue"]), true),
        (clusters(&verifier, &["green"]), false),
        (clusters(&verifier, &["blue", "green"]), false),
    ];
    for (readiness, ready) in &modes {
        assert_eq!(readiness.is_ready(), *ready, "{readiness:?}");
        let (status, lines) = probe(&serve(readiness.clone()).await).await;
        assert_eq!(status, if *ready { 200 } else { 503 });
        let [of_blue, of_green] = <[String; 2]>::try_from(lines).unwrap();
        assert!(of_blue.starts_with(&format!("{} (blue): fresh", blue.url())), "{of_blue}");
        assert!(
            of_green.starts_with(&format!("{} (green): unavailable", green.url())),
            "{of_green}"
        );
    }
    green.restart();
    verifier.refresh_keys().await.unwrap();
    for (readiness, _) in &modes {
        assert!(readiness.is_ready(), "{readiness:?}");
        assert_eq!(probe(&serve(readiness.clone()).await).await.0, 200);
    }
}

#[tokio::test]
async fn of_a_cluster_with_several_issuers_one_is_enough() {
    let (old, new) = (TestIssuer::start(), TestIssuer::start());
    old.stop();
    let verifier = builder_for(issuer_for(&old).with_cluster("blue"))
        .add_issuer(issuer_for(&new).with_cluster("blue"))
        .build()
        .unwrap();
    let blue = clusters(&verifier, &["blue"]);
    assert!(!blue.is_ready());
    verifier.warm_up();
    timeout(LONG, verifier.ready()).await.unwrap();
    assert!(blue.is_ready());
    assert!(!Readiness::all(&verifier).is_ready());
}

#[test]
fn a_cluster_that_nobody_knows_is_an_error() {
    let issuer = TestIssuer::start();
    let verifier = verifier_for(issuer_for(&issuer).with_cluster("blue"));
    for names in [&["red"][..], &["blue", "red"], &["red", "blue"]] {
        let unknown = Readiness::clusters(&verifier, names).unwrap_err();
        assert_eq!(unknown.to_string(), "the verifier has no issuer of a cluster \"red\"");
    }
    for name in ["", "Blue", "blue "] {
        assert!(Readiness::clusters(&verifier, [name]).is_err(), "{name:?}");
    }
    // an issuer without a name is of no cluster
    let nameless = verifier_for(&issuer);
    assert!(Readiness::clusters(&nameless, [issuer.url()]).is_err());
}

// rule: readiness
#[tokio::test]
async fn an_issuer_that_is_added_makes_nobody_unready() {
    let (blue, red) = (TestIssuer::start(), TestIssuer::start());
    red.stop();
    let verifier = verifier_for(issuer_for(&blue).with_cluster("blue"));
    let modes =
        [Readiness::any(&verifier), Readiness::all(&verifier), clusters(&verifier, &["blue"])];
    let all_ready = || modes.iter().all(Readiness::is_ready);
    verifier.warm_up();
    timeout(LONG, verifier.ready()).await.unwrap();
    assert!(all_ready());

    verifier.add_issuer(issuer_for(&red).with_cluster("red")).unwrap();
    assert!(all_ready());
    let token = red.token().audience("orders").mint();
    assert!(verifier.judge(&token).await.is_err());
    assert!(verifier.status()[1].failures > 0, "it was asked, in vain");
    assert!(all_ready());
    // who asks after it was added waits for it
    assert!(!Readiness::all(&verifier).is_ready());
    assert!(!clusters(&verifier, &["red"]).is_ready());
}

#[tokio::test]
async fn an_issuer_that_is_removed_is_not_missed() {
    let (blue, green, verifier) = blue_and_green().await;
    let modes = [
        Readiness::any(&verifier),
        Readiness::all(&verifier),
        clusters(&verifier, &["green"]),
        clusters(&verifier, &["blue", "green"]),
    ];
    let ready = || modes.each_ref().map(Readiness::is_ready);
    assert_eq!(ready(), [true, false, false, false]);
    assert!(verifier.remove_issuer(green.url()));
    assert_eq!(ready(), [true; 4]);
    // without any keys nobody is served
    assert!(verifier.remove_issuer(blue.url()));
    assert_eq!(ready(), [false; 4]);
}
