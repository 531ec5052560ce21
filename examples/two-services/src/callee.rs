//! The called side: two services that answer with the name of their caller.

use std::net::SocketAddr;

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    codegen::tokio_stream,
    metadata::errors::InvalidMetadataValue,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower_kube_oidc::{
    Caller, CallerExt as _, IssuerUrl, OidcAuthLayer, ServiceAccountClaims, Verified,
};

use crate::{BoxError, LEDGER, LISTEN, ORDERS};

/// Where the ledger's answer has the name.
pub(crate) const CALLER: &str = "x-caller";

fn name(who: &Verified<ServiceAccountClaims>) -> String {
    let (namespace, name) = (who.namespace(), who.service_account().name());
    // so that it can be seen that the token is replaced
    let token = who.registered().jti().unwrap_or("?");
    format!("{namespace}/{name} with token {token}")
}

/// An axum app.
pub(crate) async fn orders(issuer: IssuerUrl) -> Result<SocketAddr, BoxError> {
    let app = Router::new()
        .route("/", get(async |Caller(who): Caller| name(&who)))
        .layer(OidcAuthLayer::builder(issuer).audience(ORDERS).build()?);
    let listener = TcpListener::bind(LISTEN).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(address)
}

/// A tonic server.
pub(crate) fn ledger(issuer: IssuerUrl) -> Result<SocketAddr, BoxError> {
    let authenticated = OidcAuthLayer::builder(issuer).audience(LEDGER).build()?;
    let server = Server::builder().layer(authenticated).add_service(HealthServer::new(Ledger));
    let incoming = TcpIncoming::bind(LISTEN.parse()?)?;
    let address = incoming.local_addr()?;
    tokio::spawn(server.serve_with_incoming(incoming));
    Ok(address)
}

/// It borrows the messages of the health service, so that no code is generated for it.
struct Ledger;

#[tonic::async_trait]
impl Health for Ledger {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = name(request.caller()?).parse();
        let caller =
            caller.map_err(|error: InvalidMetadataValue| Status::internal(error.to_string()))?;
        let mut answer = Response::new(HealthCheckResponse::default());
        answer.metadata_mut().insert(CALLER, caller);
        Ok(answer)
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("there is nothing to watch"))
    }
}
