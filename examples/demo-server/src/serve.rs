//! Connections, and what one of them may cost.
//!
//! `OidcAuthLayer` sees a request once its head is whole. How long a client takes for that, and how
//! many clients there are, is for the server around the layer to limit, so for you: `axum::serve`
//! limits neither, and a few slow clients would hold its connections for ever. hyper's
//! `header_read_timeout` alone leaves out those who do not yet say which HTTP they speak. So here
//! a connection without a request is closed after a while, whatever it sends meanwhile, and a
//! request without an answer is given up, whether its body or something else does not come.

use std::{
    convert::Infallible,
    io::{
        self,
        ErrorKind::{ConnectionAborted, ConnectionReset},
    },
    net::SocketAddr,
    num::NonZeroU16,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt as _;

/// What clients may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many connections are open at once; others wait to be accepted.
    pub(crate) connections: NonZeroU16,
    /// How long a connection may be without a request.
    pub(crate) idle: Duration,
    /// How long a request may be without an answer.
    pub(crate) request: Duration,
}

/// Listens on the first address of this name that can be had.
///
/// `TcpListener::bind` lets 128 connections wait to be accepted. A crowd fills that, and what comes
/// then is lost, and tried again after seconds.
pub(crate) async fn listen(address: &str) -> io::Result<TcpListener> {
    const WAITING: u32 = 1024;
    let mut result = Err(io::Error::other("it has no address"));
    for address in lookup_host(address).await? {
        result = listen_at(address).and_then(|socket| socket.listen(WAITING));
        if result.is_ok() {
            break;
        }
    }
    result
}

fn listen_at(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // beside the remains of connections that are closed
    socket.set_reuseaddr(cfg!(unix))?;
    socket.bind(address)?;
    Ok(socket)
}

/// Serves, by HTTP/1.1 and HTTP/2, until it is told to stop and the last request is answered.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections.get().into()));
    let open = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (accept(&listener).await, place)
        };
        let (stream, place) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        let (app, watcher) = (app.clone(), open.watcher());
        tokio::spawn(async move {
            serve_connection(stream, app, limits, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // of one that is gone already
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted");
                // too many files are open, say, which does not pass at once
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, app: Router, limits: Limits, watcher: Watcher) {
    let (requests, seen) = watch::channel(0);
    let service = service_fn(move |request: Request<Incoming>| {
        let open = OpenRequest::count(&requests);
        let answer = timeout(limits.request, app.clone().oneshot(request));
        async move {
            let _open = open;
            let given_up = |_| Ok(StatusCode::REQUEST_TIMEOUT.into_response());
            answer.await.unwrap_or_else(given_up) as Result<Response, Infallible>
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = watcher.watch(connection.into_owned()) => {
            if let Err(error) = served {
                tracing::debug!(error, "a connection broke off");
            }
        }
        () = without_request_for(limits.idle, seen) => {
            tracing::debug!("a connection without a request was closed");
        }
    }
}

/// Is counted among the requests of its connection until it is dropped.
struct OpenRequest(watch::Sender<usize>);

impl OpenRequest {
    fn count(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|count| *count += 1);
        Self(requests.clone())
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Ends when there was no request for so long.
async fn without_request_for(idle: Duration, mut requests: watch::Receiver<usize>) {
    loop {
        let is_idle = *requests.borrow_and_update() == 0;
        let change = requests.changed();
        let is_over = if is_idle {
            timeout(idle, change).await.is_err()
        } else {
            // the sender is kept by the connection, which then has ended
            change.await.is_err()
        };
        if is_over {
            return;
        }
    }
}
