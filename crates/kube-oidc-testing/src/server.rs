//! The HTTP server of an issuer, on a thread of its own.

use std::{
    convert::Infallible,
    fmt, io,
    net::TcpListener as StdListener,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::oneshot,
    task::JoinSet,
};

use crate::token_review;

/// What an endpoint answers, the wrong way too.
#[derive(Clone, Debug)]
pub struct MockResponse {
    status: u16,
    headers: Vec<(String, String)>,
    body: AnswerBody,
}

#[derive(Clone, Debug)]
enum AnswerBody {
    Full(Bytes),
    /// Begins so, and breaks off.
    Half(Bytes),
    /// Never ends.
    Endless,
    /// There is no answer at all.
    Never,
}

impl MockResponse {
    /// An answer with a status and a body, and no header of its own.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with_body(status, AnswerBody::Full(body.into()))
    }

    /// An answer whose body begins so, and breaks off before it is whole.
    #[must_use]
    pub fn truncated(body: impl Into<Bytes>) -> Self {
        Self::with_body(200, AnswerBody::Half(body.into()))
    }

    /// An answer whose body never ends.
    #[must_use]
    pub fn endless() -> Self {
        Self::with_body(200, AnswerBody::Endless)
    }

    /// No answer: the request is taken, and hangs.
    #[must_use]
    pub fn hang() -> Self {
        Self::with_body(200, AnswerBody::Never)
    }

    fn with_body(status: u16, body: AnswerBody) -> Self {
        Self { status, headers: Vec::new(), body }
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

    async fn into_response(self) -> Response<ServedBody> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let body = match self.body {
            AnswerBody::Full(bytes) => ServedBody::Full(Full::new(bytes)),
            AnswerBody::Half(bytes) => ServedBody::Half(Some(bytes)),
            AnswerBody::Endless => ServedBody::Endless,
            AnswerBody::Never => std::future::pending().await,
        };
        response.body(body).expect("an answer that HTTP can carry")
    }
}

enum ServedBody {
    Full(Full<Bytes>),
    Half(Option<Bytes>),
    Endless,
}

impl Body for ServedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        const SPACES: [u8; 16 * 1024] = [b' '; 16 * 1024];
        match self.get_mut() {
            Self::Full(full) => Pin::new(full).poll_frame(context).map_err(|never| match never {}),
            Self::Half(bytes) => Poll::Ready(Some(match bytes.take() {
                Some(bytes) => Ok(Frame::data(bytes)),
                None => Err(io::Error::other("the answer breaks off")),
            })),
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&SPACES))))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Half(_) | Self::Endless => SizeHint::default(),
        }
    }
}

/// A request that reached the issuer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The path, with the query if there was one.
    pub path: String,
    /// The headers, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, which only a token review may have.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
}

impl RecordedRequest {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) type Handler = dyn Fn(RecordedRequest) -> MockResponse + Send + Sync;

/// What is between TCP and HTTP.
#[derive(Clone)]
pub(crate) enum Transport {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            #[cfg(feature = "tls")]
            Self::Tls(_) => "Tls",
        })
    }
}

/// A server that stops when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(
        listener: StdListener,
        transport: Transport,
        handler: Arc<Handler>,
    ) -> Self {
        listener.set_nonblocking(true).expect("a listener that does not block");
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the issuer");
        let thread = thread::Builder::new()
            .name("test-issuer".to_owned())
            .spawn(move || runtime.block_on(serve(listener, transport, handler, stopped)))
            .expect("a thread for the issuer");
        Self { stop: Some(stop), thread: Some(thread) }
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

/// The largest body of a token review: its token may have 16 KiB.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// The largest head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    handler: Arc<Handler>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = Arc::clone(&handler);
        async move {
            let (head, body) = request.into_parts();
            let limit = if head.uri.path() == token_review::PATH { MAX_BODY_BYTES } else { 0 };
            let answer = match Limited::new(body, limit).collect().await {
                Ok(body) => handler(seen(&head, body.to_bytes())),
                Err(_) => MockResponse::new(413, "the body is too large"),
            };
            Ok::<_, Infallible>(answer.into_response().await)
        }
    });
    // a connection that breaks off is the client's business
    let _ = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn seen(request: &Parts, body: Bytes) -> RecordedRequest {
    let headers = request.headers.iter();
    RecordedRequest {
        path: request.uri.to_string(),
        headers: headers
            .map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body,
        at: Instant::now(),
    }
}
