//! Who is called: a server that was named, one that nobody named, and those that ask who calls.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use axum::{Router, response::IntoResponse as _, routing::get};
use http::{
    HeaderValue,
    header::{AUTHORIZATION, LOCATION},
};
use kube_oidc_tests::{GrpcServer, HttpServer, WhoAmI, layer_for};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tonic::transport::Server;
use tower_kube_oidc::Caller;

/// A server that was named: it remembers the `Authorization` of each request.
pub(super) struct Named {
    server: HttpServer,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Named {
    pub(super) async fn start() -> Self {
        Self::answering(StatusCode::OK, "").await
    }

    /// Answers every request with this status and a place to go to.
    pub(super) async fn answering(status: StatusCode, location: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (here, location) = (Arc::clone(&seen), HeaderValue::from_str(location).unwrap());
        let app = Router::new().fallback(async move |request: Request| {
            let sent = request.headers().get_all(AUTHORIZATION).iter();
            here.lock().unwrap().push(sent.map(|value| value.to_str().unwrap().into()).collect());
            (status, [(LOCATION, location)]).into_response()
        });
        Self { server: HttpServer::start(app).await, seen }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    pub(super) fn origin(&self) -> Origin {
        origin(&self.url())
    }

    /// What came with each request since this was asked last.
    pub(super) fn seen(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// A server that nobody named: it counts connections, before a byte is read of them.
pub(super) struct Stranger {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Stranger {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { address, connections, task }
    }

    /// Nobody has ever connected to it.
    pub(super) async fn assert_untouched(&self) {
        // connections are accepted one after the other, so this one is the first or the last
        let mut own = TcpStream::connect(self.address).await.unwrap();
        own.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        own.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(self.connections.swap(0, Ordering::SeqCst), 1, "somebody called the stranger");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn grpc_callee(issuer: &TestIssuer) -> GrpcServer {
    let layer = layer_for(issuer);
    GrpcServer::start(|incoming| {
        Server::builder().layer(layer).add_service(WhoAmI::server()).serve_with_incoming(incoming)
    })
    .await
}

pub(super) async fn http_callee(issuer: &TestIssuer) -> HttpServer {
    let who = async |Caller(who): Caller| who.subject().to_owned();
    HttpServer::start(Router::new().route("/", get(who)).layer(layer_for(issuer))).await
}
