//! In which form a refusal is: as gRPC, as one of the forms of gRPC-Web, or as HTTP.

use super::*;
use http::{Method, StatusCode};
use kube_oidc_tests::{layer_builder_for, layer_for};
use serde_json::{Value, json};
use tower_kube_oidc::{AuthorizeLayer, Policy, ResponseFormat, in_namespace};

/// In which form a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Http,
    Grpc,
    Web,
    WebText,
}

/// Sends a request, and looks at all that makes the form of its refusal.
pub(super) async fn form(request: reqwest::RequestBuilder, status: u16, code: &str) -> Form {
    let response = request.send().await.unwrap();
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let form = match header("content-type").unwrap() {
        "application/problem+json" => Form::Http,
        "application/grpc" => Form::Grpc,
        "application/grpc-web" => Form::Web,
        "application/grpc-web-text" => Form::WebText,
        other => panic!("{other}"),
    };
    if form == Form::Http {
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(header("www-authenticate").is_some(), status < 500);
        assert_eq!(header("grpc-status"), None);
        assert_eq!(response.json::<Value>().await.unwrap()["status"], json!(status));
    } else {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header("www-authenticate"), None);
        assert_eq!(header("grpc-status"), Some(code));
        assert!(header("grpc-message").is_some());
        assert!(response.bytes().await.unwrap().is_empty());
    }
    form
}

/// A request with these headers, of which each may be missing.
fn request(
    client: &reqwest::Client,
    server: &GrpcServer,
    method: Method,
    content_type: &str,
    te: &str,
) -> reqwest::RequestBuilder {
    let mut request = client.request(method, format!("{}/test.Any/Call", server.url()));
    for (name, value) in [("content-type", content_type), ("te", te)] {
        if !value.is_empty() {
            request = request.header(name, value);
        }
    }
    request
}

// rule: response-format
#[tokio::test]
async fn only_what_is_surely_grpc_is_answered_so() {
    let issuer = TestIssuer::start();
    let server = serve(layer_for(&issuer)).await;
    let (post, get, put) = (Method::POST, Method::GET, Method::PUT);
    for client in versions() {
        for (method, content_type, te, expected) in [
            (&post, "application/grpc", "trailers", Form::Grpc),
            (&post, "application/grpc+proto", "trailers", Form::Grpc),
            (&post, "application/grpc+json", "trailers", Form::Grpc),
            (&post, "Application/GRPC+proto; x=y", "trailers", Form::Grpc),
            (&post, "application/grpc ;x=y", "trailers", Form::Grpc),
            (&post, "application/grpc", "", Form::Http),
            (&post, "application/grpc+proto", "", Form::Http),
            (&get, "application/grpc", "trailers", Form::Http),
            (&put, "application/grpc", "trailers", Form::Http),
            (&post, "application/grpcx", "trailers", Form::Http),
            (&post, "application/grpc-webx", "trailers", Form::Http),
            (&post, "application/grpc-web-textx", "trailers", Form::Http),
            (&post, "application/grpc-web-text-x", "trailers", Form::Http),
            (&post, "application/grpc-foo", "trailers", Form::Http),
            (&post, "application/grpc/x", "trailers", Form::Http),
            (&post, "application/json", "trailers", Form::Http),
            (&post, "application/json, application/grpc", "trailers", Form::Http),
            (&post, "application/json; application/grpc", "trailers", Form::Http),
            (&post, "text/application/grpc", "trailers", Form::Http),
            (&post, "grpc", "trailers", Form::Http),
            (&post, "", "trailers", Form::Http),
            (&post, "", "", Form::Http),
            (&post, "application/grpc-web", "", Form::Web),
            (&post, "application/grpc-web+proto", "", Form::Web),
            (&post, "Application/gRPC-Web+proto; x=y", "", Form::Web),
            (&post, "application/grpc-web", "trailers", Form::Web),
            (&post, "application/grpc-web-text", "", Form::WebText),
            (&post, "application/grpc-web-text+proto", "", Form::WebText),
            (&get, "application/grpc-web", "", Form::Http),
            (&get, "application/grpc-web-text", "", Form::Http),
        ] {
            let request = request(&client, &server, method.clone(), content_type, te);
            let shown = format!("{method} {content_type:?} {te:?}");
            assert_eq!(form(request, 401, "16").await, expected, "{shown}");
        }
    }
    // HTTP/2 knows no other `te`
    let [client, _] = versions();
    for (te, expected) in [
        ("Trailers", Form::Grpc),
        ("gzip;q=0.5, trailers", Form::Grpc),
        ("gzip", Form::Http),
        ("xtrailers", Form::Http),
        ("trailers-x", Form::Http),
    ] {
        let request = request(&client, &server, post.clone(), "application/grpc", te);
        assert_eq!(form(request, 401, "16").await, expected, "{te}");
    }
}

// rule: response-format
#[tokio::test]
async fn the_form_of_answers_can_be_set() {
    let issuer = TestIssuer::start();
    let http =
        serve(layer_builder_for(&issuer).response_format(ResponseFormat::Http).build().unwrap())
            .await;
    let grpc =
        serve(layer_builder_for(&issuer).response_format(ResponseFormat::Grpc).build().unwrap())
            .await;
    for client in versions() {
        for content_type in
            ["application/grpc", "application/grpc-web", "application/grpc-web-text"]
        {
            let perfect = |server| request(&client, server, Method::POST, content_type, "trailers");
            assert_eq!(form(perfect(&http), 401, "").await, Form::Http);
        }
        for (method, content_type, expected) in [
            (Method::GET, "", Form::Grpc),
            (Method::POST, "application/json", Form::Grpc),
            (Method::POST, "application/grpc", Form::Grpc),
            (Method::POST, "application/grpc-web", Form::Web),
            (Method::POST, "application/grpc-web-text", Form::WebText),
        ] {
            let request = request(&client, &grpc, method, content_type, "");
            assert_eq!(form(request, 0, "16").await, expected, "{content_type}");
        }
    }
}

#[tokio::test]
async fn a_policys_answers_have_a_form_of_their_own() {
    let issuer = TestIssuer::start();
    let serve = async |answers| {
        let policy = Policy::new(in_namespace("nowhere")).unwrap();
        let nobody = AuthorizeLayer::builder(policy).response_format(answers).build().unwrap();
        let layer = layer_for(&issuer);
        GrpcServer::start(|incoming| {
            let mut server = Server::builder().accept_http1(true).layer(layer).layer(nobody);
            server.add_service(WhoAmI::server()).serve_with_incoming(incoming)
        })
        .await
    };
    for (answers, of_grpc, of_json) in [
        (ResponseFormat::Auto, Form::Grpc, Form::Http),
        (ResponseFormat::Http, Form::Http, Form::Http),
        (ResponseFormat::Grpc, Form::Grpc, Form::Grpc),
    ] {
        let server = serve(answers).await;
        for client in versions() {
            for (content_type, expected) in
                [("application/grpc", of_grpc), ("application/json", of_json)]
            {
                let request = request(&client, &server, Method::POST, content_type, "trailers");
                let request = request.header("authorization", good(&issuer));
                assert_eq!(form(request, 403, "7").await, expected, "{answers:?}");
            }
        }
    }
}
