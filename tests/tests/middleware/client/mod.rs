//! The calling side: who is sent a token, and which.

mod files;
#[cfg(target_os = "linux")]
mod hung;
mod origins;
#[cfg(target_os = "linux")]
mod readings;
mod rotation;
mod secrets;
mod servers;
mod storm;
mod volume;

use std::{error::Error, fmt::Debug, iter, net::SocketAddr, time::Duration};

use axum::extract::Request;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube_oidc_testing::{TestIssuer, TokenBuilder};
use kube_oidc_tests::token_for;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer as _, ServiceExt as _};
use tower_kube_oidc::{CallError, Origin, ServiceAccountTokenLayer, TokenError};

use self::{
    servers::{Named, Stranger, grpc_callee, http_callee},
    volume::Volume,
};

/// How long a token is used before its file is read again.
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Stands in every token, and is to be seen nowhere.
const SECRET: &str = "private-value-of-a-caller";

type Http = Client<HttpConnector, Full<Bytes>>;
type Answered = Result<Response<Incoming>, CallError>;

fn http() -> Http {
    let mut connector = HttpConnector::new();
    // it would speak in the clear to an https origin too
    connector.enforce_http(false);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn request(uri: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::get(uri.as_ref()).body(Full::default()).unwrap()
}

async fn send(layer: &ServiceAccountTokenLayer, request: Request<Full<Bytes>>) -> Answered {
    layer.layer(http()).oneshot(request).await
}

async fn get_url(layer: &ServiceAccountTokenLayer, uri: impl AsRef<str>) -> Answered {
    send(layer, request(uri)).await
}

async fn grpc<S>(mut client: HealthClient<S>) -> Result<String, Status>
where
    S: tonic::client::GrpcService<
            tonic::body::Body,
            ResponseBody = tonic::body::Body,
            Error = CallError,
        >,
{
    let answer = client.check(HealthCheckRequest::default()).await?;
    Ok(answer.metadata().get("x-caller").unwrap().to_str().unwrap().to_owned())
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

fn not_sent<T: Debug>(answered: Result<T, CallError>) -> TokenError {
    match answered {
        Err(CallError::Token(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// The same of a gRPC client, which makes a status of every error.
fn not_sent_by_grpc(answered: Result<String, Status>) -> TokenError {
    let status = answered.unwrap_err();
    let error = status.source().unwrap().downcast_ref::<CallError>().unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unknown, &*error.to_string()));
    match error {
        CallError::Token(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// An error with all its causes, for people and for programmers.
fn shown(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |error| (*error).source());
    chain.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join("\n")
}

fn origin(text: &str) -> Origin {
    text.parse().unwrap()
}

fn minted(issuer: &TestIssuer) -> TokenBuilder {
    token_for(issuer).claim("x", SECRET)
}

fn bearer(token: &str) -> Vec<String> {
    vec![format!("Bearer {token}")]
}

async fn text(answered: Answered) -> String {
    let answer = answered.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}
