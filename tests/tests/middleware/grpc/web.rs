//! gRPC-Web, with the layer on either side of what translates it.

use super::*;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::StatusCode;
use hyper_util::rt::TokioExecutor;
use kube_oidc_tests::{bearer, layer_for};
use tonic_web::{GrpcWebClientLayer, GrpcWebLayer};
use tower::ServiceBuilder;

/// tonic's own, through what makes gRPC-Web of it.
pub(super) fn web_client(server: &GrpcServer) -> Client {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let web = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .map_err(Into::into)
        .layer(GrpcWebClientLayer::new())
        .service(http);
    HealthClient::with_origin(BoxCloneService::new(web), server.url().parse().unwrap())
}

/// Servers that speak gRPC-Web, with the layer inside of what translates it and outside.
pub(super) async fn web_servers(
    layer: &OidcAuthLayer,
    ticks: &watch::Sender<i32>,
) -> [GrpcServer; 2] {
    let server = || Server::builder().accept_http1(true);
    let service = || WhoAmI::ticking(ticks);
    let inside = GrpcServer::start(|incoming| {
        let mut server = server().layer(GrpcWebLayer::new()).layer(layer.clone());
        server.add_service(service()).serve_with_incoming(incoming)
    });
    let outside = GrpcServer::start(|incoming| {
        let mut server = server().layer(layer.clone()).layer(GrpcWebLayer::new());
        server.add_service(service()).serve_with_incoming(incoming)
    });
    [inside.await, outside.await]
}

#[tokio::test]
async fn grpc_web_works_with_the_layer_on_either_side_of_the_translation() {
    let (issuer, down) = (TestIssuer::start(), TestIssuer::start());
    down.stop();
    let ticks = watch::Sender::new(0);
    for server in web_servers(&layer_for(&issuer), &ticks).await {
        let client = web_client(&server);
        assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
        let expired = bearer(issuer.token().audience("orders").expired().mint());
        for (sent, message) in [
            (&[][..], NO_CREDENTIALS),
            (&["Bearer"], MALFORMED),
            (&["Bearer garbage"], NOT_ACCEPTED),
            (&[&expired], EXPIRED),
        ] {
            assert_refused(&client, sent, Code::Unauthenticated, message).await;
        }
        // gRPC proper goes by the same port
        let client = self::client(server.url());
        assert_eq!(caller(&client, &[&good(&issuer)]).await, "payments/checkout");
        assert_refused(&client, &[], Code::Unauthenticated, NO_CREDENTIALS).await;
    }
    for server in web_servers(&layer_for(&down), &ticks).await {
        let status = refusal(&web_client(&server), &[&good(&down)]).await;
        assert_eq!((status.code(), status.message()), (Code::Unavailable, NO_KEYS));
        assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
    }
}

#[tokio::test]
async fn grpc_web_as_text_works_with_the_layer_on_either_side_of_the_translation() {
    let issuer = TestIssuer::start();
    let servers = web_servers(&layer_for(&issuer), &watch::Sender::new(0)).await;
    for server in &servers {
        for client in versions() {
            let ask = async |token: Option<String>| {
                let url = format!("{}/grpc.health.v1.Health/Check", server.url());
                let mut request = client
                    .post(url)
                    .header("content-type", "application/grpc-web-text+proto")
                    .header("accept", "application/grpc-web-text+proto")
                    // an empty message, uncompressed
                    .body(BASE64_STANDARD.encode([0; 5]));
                if let Some(token) = token {
                    request = request.header("authorization", token);
                }
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                let content_type = response.headers()["content-type"].to_str().unwrap();
                assert!(content_type.starts_with("application/grpc-web-text"), "{content_type}");
                let headers = response.headers().clone();
                (headers, response.text().await.unwrap())
            };
            let (headers, body) = ask(Some(good(&issuer))).await;
            assert_eq!(headers["x-caller"], "payments/checkout");
            let (message, trailers) = body.split_at(8);
            assert_eq!(BASE64_STANDARD.decode(message).unwrap(), [0; 5]);
            let trailers = BASE64_STANDARD.decode(trailers).unwrap();
            assert_eq!(trailers[0], 0x80);
            assert!(String::from_utf8(trailers[5..].to_vec()).unwrap().contains("grpc-status:0"));

            for sent in [None, Some("Bearer garbage".to_owned())] {
                let (headers, body) = ask(sent).await;
                assert_eq!(headers["grpc-status"], "16");
                assert_eq!(body, "");
            }
        }
    }
}
