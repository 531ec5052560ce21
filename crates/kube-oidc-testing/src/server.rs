//! The HTTP server of an issuer, on a thread of its own.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
};

/// What an endpoint answers.
#[derive(Clone, Debug)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Answer {
    /// An answer with a status and a body, and no header of its own.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// JSON that may be kept for an hour, as a kube-apiserver sends it.
    pub(crate) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, body)
            .with_header("content-type", "application/json")
            .with_header("cache-control", "public, max-age=3600")
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body)).expect("an answer that HTTP can carry")
    }
}

/// A request that reached the issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeenRequest {
    /// The path, with the query if there was one.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
}

impl SeenRequest {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) type Handler = dyn Fn(SeenRequest) -> Answer + Send + Sync;

/// What is between TCP and HTTP.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

/// A server that stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn bind(address: SocketAddr) -> StdListener {
        let listener = StdListener::bind(address).expect("an address that is free");
        listener.set_nonblocking(true).expect("a listener that does not block");
        listener
    }

    pub(crate) fn start(
        listener: StdListener,
        transport: Transport,
        handler: Arc<Handler>,
    ) -> Self {
        let address = listener.local_addr().expect("a bound address");
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the issuer");
        let thread = thread::Builder::new()
            .name("test-issuer".to_owned())
            .spawn(move || runtime.block_on(serve(listener, transport, handler, stopped)))
            .expect("a thread for the issuer");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // the receiver is gone if the thread is
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: StdListener,
    transport: Transport,
    handler: Arc<Handler>,
    stopped: oneshot::Receiver<()>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener for tokio");
    let accept = async {
        // dropped with this future, and all connections with it
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let handler = Arc::clone(&handler);
            match transport.clone() {
                Transport::Plain => {
                    connections.spawn(serve_connection(stream, handler));
                }
                #[cfg(feature = "tls")]
                Transport::Tls(acceptor) => {
                    connections.spawn(async move {
                        // a client that does not trust us goes away here
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve_connection(stream, handler).await;
                        }
                    });
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        _ = stopped => {}
    }
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<Handler>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = handler(seen(&request));
        async move { Ok::<_, Infallible>(answer.into_response()) }
    });
    // a connection that breaks off is the client's business
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn seen(request: &Request<Incoming>) -> SeenRequest {
    let headers = request.headers().iter();
    SeenRequest {
        path: request.uri().to_string(),
        headers: headers
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
    }
}
