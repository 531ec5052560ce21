//! Calls that end with their token, where that was asked for.

use std::{
    convert::Infallible,
    future::pending,
    mem::replace,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    web::{web_client, web_servers},
    *,
};
use axum::{Router, routing::get};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use kube_oidc::clock::ManualClock;
use kube_oidc_tests::{Busy, HttpServer, bearer, builder_for};
use tokio::{sync::Notify, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::WatchStream};
use tonic_health::pb::HealthCheckResponse;
use tower::{ServiceBuilder, ServiceExt as _};
use tower_kube_oidc::{OidcAuthLayerBuilder, Rejection, ResponseFormat, Verifier};

/// Far more than anything here takes, and less than the layer would take to look at a clock that
/// it is not to wait for.
const LONG: Duration = Duration::from_secs(9);

/// How long before its expiry a token comes, and so how often the layer looks whether it is over.
const MOMENT: Duration = Duration::from_millis(200);

/// A clock that stands still a moment before a token expires, for a verifier without leeway.
struct Countdown<'a> {
    issuer: &'a TestIssuer,
    clock: ManualClock,
    expiry: SystemTime,
}

impl<'a> Countdown<'a> {
    fn of(issuer: &'a TestIssuer) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        Self { issuer, clock: ManualClock::at(expiry), expiry }
    }

    fn verifier(&self) -> Verifier {
        let builder = builder_for(self.issuer).leeway(Duration::ZERO).clock(self.clock.clone());
        builder.build().unwrap()
    }

    /// A token that expires in a moment; those before it have expired.
    fn token(&mut self) -> String {
        self.expiry += Duration::from_secs(60);
        self.clock.set_wall(self.expiry - MOMENT);
        bearer(self.issuer.token().audience("orders").expires_at(self.expiry).mint())
    }

    fn finish(&self) {
        self.clock.set_wall(self.expiry);
    }

    /// Waits until a later call has ended, so that an earlier one would have if it was to.
    async fn give_time(&mut self, ending: &mut Client) {
        let mut later = soon(ending.watch(call(&[&self.token()]))).await.unwrap().into_inner();
        self.finish();
        while let Ok(message) = soon(later.message()).await {
            assert!(message.is_some());
        }
    }
}

/// Begins a layer that ends calls.
fn ending(verifier: &Verifier) -> OidcAuthLayerBuilder<Verifier> {
    OidcAuthLayer::builder_for(verifier.clone()).end_streams_at_expiry()
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("in time")
}

fn number(message: Result<Option<HealthCheckResponse>, Status>) -> i32 {
    message.unwrap().expect("a message").status
}

// rule: stream-expiry
#[tokio::test]
async fn a_grpc_call_ends_when_its_token_expires_if_that_was_asked_for() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let verifier = countdown.verifier();
    let ending = serve_ticks(ending(&verifier).build().unwrap(), &ticks).await;
    let lasting = serve_ticks(OidcAuthLayer::from(verifier), &ticks).await;
    let (mut ending, mut lasting) = (client(ending.url()), client(lasting.url()));
    let token = countdown.token();
    // the first call waits for keys, the others find them here
    let mut ended = soon(ending.watch(call(&[&token]))).await.unwrap().into_inner();
    let mut open = soon(lasting.watch(call(&[&token]))).await.unwrap().into_inner();
    for tick in [0, 1] {
        // the first one is there already
        ticks.send_if_modified(|now| replace(now, tick) != tick);
        assert_eq!(number(soon(ended.message()).await), tick);
        assert_eq!(number(soon(open.message()).await), tick);
    }
    assert_eq!(ticks.receiver_count(), 2);

    countdown.finish();
    let end = soon(ended.message()).await.unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unauthenticated, EXPIRED));
    assert_eq!(ticks.receiver_count(), 1, "the stream of the service is dropped");
    assert_refused(&ending, &[&token], Code::Unauthenticated, EXPIRED).await;
    assert_refused(&lasting, &[&token], Code::Unauthenticated, EXPIRED).await;

    // what was not to end goes on
    countdown.give_time(&mut ending).await;
    ticks.send_replace(2);
    assert_eq!(number(soon(open.message()).await), 2);
}

#[tokio::test]
async fn a_grpc_call_that_is_not_answered_ends_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let server = serve_ticks(ending(&countdown.verifier()).build().unwrap(), &ticks).await;
    let mut arrived = ticks.subscribe();
    // the first call waits for keys, the second finds them here
    for _ in 0..2 {
        let (mut client, token) = (client(server.url()), countdown.token());
        let never = client.check(call_of(WhoAmI::NEVER, &[&token]));
        let (unanswered, ()) = soon(async {
            tokio::join!(never, async {
                arrived.changed().await.unwrap();
                countdown.finish();
            })
        })
        .await;
        let status = unanswered.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, EXPIRED));
    }
}

#[tokio::test]
async fn a_grpc_web_stream_ends_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let layer = ending(&countdown.verifier()).build().unwrap();
    let [inside, outside] = web_servers(&layer, &watch::Sender::new(7)).await;
    let token = countdown.token();
    let open = async |server| {
        let mut stream = web_client(server).watch(call(&[&token])).await.unwrap().into_inner();
        assert_eq!(number(stream.message().await), 7);
        stream
    };
    let (mut inside, mut outside) = (soon(open(&inside)).await, soon(open(&outside)).await);
    countdown.finish();
    // inside of the translation it is gRPC, whose end can be told
    let status = soon(inside.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, EXPIRED));
    // outside it breaks off, and does not seem whole
    assert!(soon(outside.message()).await.is_err());
}

// rule: stream-expiry
#[tokio::test]
async fn an_http_answer_breaks_off_when_its_token_expires() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let serve = async |layer: OidcAuthLayer| {
        let (receiver, arrived) = (ticks.subscribe(), ticks.clone());
        let stream = async move || {
            let ticks = WatchStream::new(receiver.clone());
            axum::body::Body::from_stream(ticks.map(|tick| Ok::<_, Infallible>(tick.to_string())))
        };
        let never = async move || {
            arrived.send_replace(-1);
            pending::<StatusCode>().await
        };
        let app = Router::new().route("/stream", get(stream)).route("/never", get(never));
        HttpServer::start(app.layer(layer)).await
    };
    let verifier = countdown.verifier();
    let ending = serve(ending(&verifier).build().unwrap()).await;
    let lasting = serve(OidcAuthLayer::from(verifier)).await;
    let [client, _] = versions();
    let ask = async |server: &HttpServer, path: &str, token: &str| {
        let request = client.get(format!("{}{path}", server.url()));
        soon(request.header("authorization", token).send()).await.unwrap()
    };
    let token = countdown.token();
    let mut ended = ask(&ending, "/stream", &token).await;
    let mut open = ask(&lasting, "/stream", &token).await;
    for tick in [0, 1] {
        ticks.send_if_modified(|now| replace(now, tick) != tick);
        assert_eq!(soon(ended.chunk()).await.unwrap().unwrap(), tick.to_string());
        assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), tick.to_string());
    }
    countdown.finish();
    assert!(soon(ended.chunk()).await.is_err(), "a clean end would make half a body seem whole");

    let (mut arrived, token) = (ticks.subscribe(), countdown.token());
    let (unanswered, ()) = tokio::join!(ask(&ending, "/never", &token), async {
        soon(arrived.changed()).await.unwrap();
        countdown.finish();
    });
    assert_eq!(unanswered.status(), StatusCode::UNAUTHORIZED);
    let challenge = unanswered.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.ends_with(&format!("error_description=\"{EXPIRED}\"")), "{challenge}");

    // what was not to end had as much time to
    assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), "-1");
    ticks.send_replace(2);
    assert_eq!(soon(open.chunk()).await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn a_body_that_is_no_grpc_breaks_off_whatever_the_form_of_answers() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let layer =
        ending(&countdown.verifier()).response_format(ResponseFormat::Grpc).build().unwrap();
    let stream = async || {
        let begun = tokio_stream::once(Ok::<_, Infallible>("begun"));
        axum::body::Body::from_stream(begun.chain(tokio_stream::pending()))
    };
    let server = HttpServer::start(Router::new().route("/", get(stream)).layer(layer)).await;
    for client in versions() {
        let request = client.get(server.url()).header("authorization", countdown.token());
        let mut response = soon(request.send()).await.unwrap();
        assert_eq!(soon(response.chunk()).await.unwrap().unwrap(), "begun");
        countdown.finish();
        let version = response.version();
        assert!(soon(response.chunk()).await.is_err(), "it seems whole by {version:?}");
    }
}

#[tokio::test]
async fn a_layer_that_only_reports_ends_nothing() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let ticks = watch::Sender::new(0);
    let verifier = countdown.verifier();
    let reporting = ending(&verifier).dangerous_report_only().build().unwrap();
    let reporting = serve_ticks(reporting, &ticks).await;
    let ending = serve_ticks(ending(&verifier).build().unwrap(), &ticks).await;
    let request = call(&[&countdown.token()]);
    let mut open = soon(client(reporting.url()).watch(request)).await.unwrap().into_inner();
    assert_eq!(number(soon(open.message()).await), 0);
    countdown.finish();
    countdown.give_time(&mut client(ending.url())).await;
    ticks.send_replace(1);
    assert_eq!(number(soon(open.message()).await), 1);
}

// rule: stream-expiry
#[tokio::test]
async fn a_call_ends_when_its_token_expires_even_if_the_service_is_busy() {
    let issuer = TestIssuer::start();
    let mut countdown = Countdown::of(&issuer);
    let told = Arc::new(Notify::new());
    let layer = ending(&countdown.verifier()).build().unwrap();
    // the first waits for keys, then for a clone to be ready; the second for an answer
    for _ in 0..2 {
        let busy = Busy::telling(&told);
        let service = ServiceBuilder::new().layer(layer.clone()).service(busy);
        let request = http::Request::builder().header("authorization", countdown.token());
        let waiting = service.oneshot(request.body(Full::<Bytes>::default()).unwrap());
        let (response, ()) = soon(async {
            tokio::join!(waiting, async {
                told.notified().await;
                countdown.finish();
            })
        })
        .await;
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let rejection = response.extensions().get::<Rejection>();
        assert!(matches!(rejection, Some(Rejection::ExpiredInFlight)), "{rejection:?}");
    }
}
