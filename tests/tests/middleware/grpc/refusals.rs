//! What a call is told that is not let in.

use super::*;
use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_oidc_testing::{Endpoint, MockResponse, SigningAlgorithm, SigningKey};
use kube_oidc_tests::{bearer, layer_builder_for, layer_for};
use tokio::net::TcpStream;

#[tokio::test]
async fn calls_without_exactly_one_bearer_token_are_unauthenticated() {
    let issuer = TestIssuer::start();
    let server = serve(layer_for(&issuer)).await;
    let client = client(server.url());
    let good = good(&issuer);
    assert_eq!(caller(&client, &[&good]).await, "payments/checkout");
    for (sent, message) in [
        (&[][..], NO_CREDENTIALS),
        (&["Basic dXNlcjpwYXNz"], NO_CREDENTIALS),
        (&["Bearer"], MALFORMED),
        (&["Bearer a b"], MALFORMED),
        (&["Bearer \"a\""], MALFORMED),
        (&[&good, &good], MALFORMED),
        (&[&good, "Basic dXNlcjpwYXNz"], MALFORMED),
    ] {
        assert_refused(&client, sent, Code::Unauthenticated, message).await;
    }
}

#[tokio::test]
async fn calls_with_a_bad_token_are_unauthenticated() {
    let issuer = TestIssuer::start();
    let server = serve(layer_for(&issuer)).await;
    let client = client(server.url());
    let minted = || issuer.token().audience("orders");
    let padded = |bytes: usize| minted().claim("padding", "x".repeat(bytes)).mint();
    assert_eq!(caller(&client, &[&bearer(padded(8 * 1024))]).await, "default/default");
    let stranger = SigningKey::generate(SigningAlgorithm::Rs256);
    for (token, message) in [
        ("garbage".to_owned(), NOT_ACCEPTED),
        ("a".repeat(17 * 1024), NOT_ACCEPTED),
        (padded(17 * 1024), NOT_ACCEPTED),
        (minted().signature("x").mint(), NOT_ACCEPTED),
        (minted().forged_by(&stranger).mint(), NOT_ACCEPTED),
        (minted().signed_by(&stranger).mint(), NOT_ACCEPTED),
        (minted().header("alg", "none").mint(), NOT_ACCEPTED),
        (minted().claim("iss", "https://evil.example").mint(), NOT_ACCEPTED),
        (minted().claim("nbf", 9_999_999_999_u64).mint(), NOT_ACCEPTED),
        (minted().claim("sub", "system:admin").mint(), NOT_ACCEPTED),
        (minted().expired().mint(), EXPIRED),
        (issuer.token().audience("vault").mint(), OTHER_AUDIENCE),
        // what is said of a token needs its signature to be good
        (minted().expired().signature("x").mint(), NOT_ACCEPTED),
        (issuer.token().audience("vault").signature("x").mint(), NOT_ACCEPTED),
    ] {
        assert_refused(&client, &[&bearer(&token)], Code::Unauthenticated, message).await;
    }
}

// rule: response-format
#[tokio::test]
async fn calls_that_need_keys_which_are_not_here_are_unavailable() {
    let (down, failing) = (TestIssuer::start(), TestIssuer::start());
    down.stop();
    failing.respond_with(Endpoint::Jwks, MockResponse::new(500, ""));
    for issuer in [down, failing] {
        let server = serve(layer_for(&issuer)).await;
        let client = client(server.url());
        let status = refusal(&client, &[&good(&issuer)]).await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        let pushback: u64 = pushback.to_str().unwrap().parse().unwrap();
        assert!((1_000..=60_000).contains(&pushback), "{pushback}");

        // what needs no keys is as ever, and nobody is asked to come back
        let status = refusal(&client, &[]).await;
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, NO_CREDENTIALS));
        assert!(status.metadata().get("grpc-retry-pushback-ms").is_none());
        let expired = issuer.token().audience("orders").expired().mint();
        assert_refused(&client, &[&bearer(&expired)], Code::Unauthenticated, NOT_ACCEPTED).await;
    }
}

#[tokio::test]
async fn a_handler_without_the_layer_has_no_caller() {
    let issuer = TestIssuer::start();
    let server = GrpcServer::start(|incoming| {
        Server::builder().add_service(WhoAmI::server()).serve_with_incoming(incoming)
    })
    .await;
    let client = client(server.url());
    for sent in [&[][..], &["Bearer"], &["Bearer garbage"], &[&good(&issuer)]] {
        assert_refused(&client, sent, Code::Internal, MISCONFIGURED).await;
    }
}

#[tokio::test]
async fn a_handler_behind_optional_credentials_may_have_no_caller() {
    let issuer = TestIssuer::start();
    let server = serve(layer_builder_for(&issuer).optional().build().unwrap()).await;
    let client = client(server.url());
    // it is the handler that refuses, and it says the same as the layer would
    assert_refused(&client, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    assert_refused(&client, &["Bearer"], Code::Unauthenticated, MALFORMED).await;
    assert_refused(&client, &["Bearer garbage"], Code::Unauthenticated, NOT_ACCEPTED).await;
    assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
}

/// Sends a request by HTTP/2, and leaves the answer as it is.
async fn send_raw(
    server: &GrpcServer,
    authorization: &str,
) -> http::Response<hyper::body::Incoming> {
    let stream = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("{}/grpc.health.v1.Health/Check", server.url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", authorization)
        // an empty message, uncompressed
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .unwrap();
    sender.send_request(request).await.unwrap()
}

#[tokio::test]
async fn a_refusal_is_one_block_of_headers() {
    let issuer = TestIssuer::start();
    let server = serve(layer_for(&issuer)).await;

    let answered = send_raw(&server, &good(&issuer)).await;
    assert_eq!(answered.headers()["x-caller"], "payments/checkout");
    assert!(!answered.body().is_end_stream(), "an answer has a body");
    let collected = answered.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");

    let minted = || issuer.token().audience("orders").service_account("secretive", "whisperer");
    let missing = || minted().claim("jti", "0f7a1c9e-confidential");
    for (token, message) in [
        (missing().expired().mint(), EXPIRED),
        (missing().signature("x").mint(), NOT_ACCEPTED),
        (missing().header("kid", "unheard-of").mint(), NOT_ACCEPTED),
        (issuer.token().audience("vault-of-others").mint(), OTHER_AUDIENCE),
        ("not/a+token=".to_owned(), NOT_ACCEPTED),
    ] {
        let refused = send_raw(&server, &bearer(&token)).await;
        assert_eq!((refused.status(), refused.version()), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(refused.headers()["content-type"], "application/grpc");
        assert_eq!(refused.headers()["grpc-status"], "16");
        assert_eq!(refused.headers()["grpc-message"], message);
        let mut names: Vec<&str> = refused.headers().keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = ["cache-control", "content-type", "date", "grpc-message", "grpc-status"];
        assert_eq!(names, expected);

        let shown = format!("{:?}", refused.headers());
        let claims = ["secretive", "whisperer", "confidential", "unheard-of", "vault-of-others"];
        for part in token.split('.').chain(claims) {
            assert!(!shown.contains(part), "{part} is in {shown}");
        }
        // the headers end the stream: there is not even an empty frame of data
        assert!(refused.body().is_end_stream());
        let collected = refused.into_body().collect().await.unwrap();
        assert!(collected.trailers().is_none());
        assert!(collected.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn a_handler_says_when_to_come_back_as_the_layer_would() {
    let issuer = TestIssuer::start();
    issuer.stop();
    let server = serve(layer_builder_for(&issuer).dangerous_report_only().build().unwrap()).await;
    let status = refusal(&client(server.url()), &[&good(&issuer)]).await;
    assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some(), "{status:?}");
}
