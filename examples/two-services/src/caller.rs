//! The calling side: a client of each kind, which sends the token for whom it calls.

use std::{net::SocketAddr, path::Path};

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Layer as _, ServiceExt as _};
use tower_kube_oidc::{ServiceAccountToken, ServiceAccountTokenLayer, clock::ManualClock};

use crate::{BoxError, LEDGER, ORDERS, callee::CALLER};

pub(crate) struct Caller {
    http: ServiceAccountToken<Client<HttpConnector, Empty<Bytes>>>,
    ledger: HealthClient<ServiceAccountToken<Channel>>,
}

impl Caller {
    /// A caller with its token files in this folder.
    pub(crate) fn new(
        tokens: &Path,
        orders: SocketAddr,
        ledger: SocketAddr,
        clock: &ManualClock,
    ) -> Result<Self, BoxError> {
        let token = |audience| {
            ServiceAccountTokenLayer::from_file(tokens.join(audience)).clock(clock.clone())
        };
        let http = token(ORDERS)
            .for_origin(format!("http://{orders}").parse()?)
            .layer(Client::builder(TokioExecutor::new()).build_http());

        let ledger = format!("http://{ledger}");
        let channel = Endpoint::from_shared(ledger.clone())?.connect_lazy();
        // a channel does not tell a layer where it goes
        let channel = token(LEDGER).for_channel(ledger.parse()?).layer(channel);
        Ok(Self { http, ledger: HealthClient::new(channel) })
    }

    /// Calls whoever is there.
    pub(crate) async fn get(&self, callee: SocketAddr) -> Result<String, BoxError> {
        let request = Request::get(format!("http://{callee}/")).body(Empty::new())?;
        let answer = self.http.clone().oneshot(request).await?;
        if !answer.status().is_success() {
            return Err(answer.status().to_string().into());
        }
        Ok(String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?)
    }

    /// Calls the ledger.
    pub(crate) async fn check(&self) -> Result<String, BoxError> {
        let answer = self.ledger.clone().check(HealthCheckRequest::default()).await?;
        let caller = answer.metadata().get(CALLER).ok_or("the ledger did not say who called")?;
        Ok(caller.to_str()?.to_owned())
    }
}
