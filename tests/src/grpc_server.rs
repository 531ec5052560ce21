//! A tonic server on a free port of loopback, and a service for it.

use std::{
    future::{Future, pending},
    net::SocketAddr,
};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{
    Request, Response, Status,
    transport::{self, server::TcpIncoming},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower_kube_oidc::CallerExt as _;

/// A real gRPC server, which ends with the test.
#[derive(Debug)]
pub struct GrpcServer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl GrpcServer {
    /// Serves what `serve` makes of the connections, by `serve_with_incoming`.
    pub async fn start<F>(serve: impl FnOnce(TcpIncoming) -> F) -> Self
    where
        F: Future<Output = Result<(), transport::Error>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = serve(listener.into());
        let task = tokio::spawn(async move { serving.await.expect("a server that serves") });
        Self { address, task }
    }

    /// Its URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A service that says who calls, with the methods and messages of the health service so that it
/// needs no code generated for it.
///
/// Its messages have no room for a name, so that is in the metadata `x-caller`. `Watch` sends the
/// numbers of `ticks` in the place of a status, and does not end by itself; `Check` of
/// [`NEVER`](Self::NEVER) sends a number, and is not answered, and of [`PANICS`](Self::PANICS)
/// panics with all that it was sent.
#[derive(Debug)]
pub struct WhoAmI {
    ticks: watch::Sender<i32>,
}

impl WhoAmI {
    /// What to ask for to get no answer.
    pub const NEVER: &str = "never";

    /// What to ask for to make it panic; the first words of that too.
    pub const PANICS: &str = "a handler that panics";

    /// A service whose streams send these.
    #[must_use]
    pub fn ticking(ticks: &watch::Sender<i32>) -> HealthServer<Self> {
        HealthServer::new(Self { ticks: ticks.clone() })
    }

    /// A service whose streams send one message.
    #[must_use]
    pub fn server() -> HealthServer<Self> {
        Self::ticking(&watch::Sender::new(0))
    }
}

type Ticks = Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send + Unpin>;

#[tonic::async_trait]
impl Health for WhoAmI {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.get_ref().service == Self::NEVER {
            self.ticks.send_replace(-1);
            return pending().await;
        }
        let headers = request.metadata().clone().into_headers();
        let may_go_on = request.get_ref().service != Self::PANICS;
        assert!(may_go_on, "{}: {request:?} {headers:?}", Self::PANICS);
        named(&request, HealthCheckResponse::default())
    }

    type WatchStream = Ticks;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Ticks>, Status> {
        let ticks = WatchStream::new(self.ticks.subscribe());
        named(&request, Box::new(ticks.map(|status| Ok(HealthCheckResponse { status }))))
    }
}

fn named<T>(request: &Request<HealthCheckRequest>, message: T) -> Result<Response<T>, Status> {
    let who = request.caller()?;
    let name = format!("{}/{}", who.namespace(), who.service_account().name());
    let mut response = Response::new(message);
    response.metadata_mut().insert("x-caller", name.parse().expect("a name"));
    Ok(response)
}
