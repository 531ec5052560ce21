//! A server on loopback that says what it is told, byte by byte, be that HTTP or not.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What somebody who asks is told.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// These bytes, and the connection ends.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing any more; the connection stays.
    Open(Vec<u8>),
    /// The first, and then the second for as long as anybody reads.
    Endless(Vec<u8>, Vec<u8>),
    /// Such bytes, one at a time with a pause behind it, for ever.
    Drip(Vec<u8>, Vec<u8>),
    /// The connection ends before anything is read.
    Close,
    /// Nothing is read or said.
    Hang,
}

/// As long as a dripping answer pauses: short beside any timeout of a test.
const PAUSE: Duration = Duration::from_millis(5);

impl Say {
    /// A whole answer of HTTP/1.1. It ends the connection, so that the next one is asked on its own.
    pub(super) fn http(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        Self::Bytes([&head(status, headers, Some(body.as_ref().len())), body.as_ref()].concat())
    }
}

/// The beginning of an answer, up to its body.
pub(super) fn head(status: &str, headers: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut lines = vec![format!("HTTP/1.1 {status}"), "connection: close".to_owned()];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend(length.map(|length| format!("content-length: {length}")));
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

/// The server, which ends with the test.
pub(super) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<HashMap<String, Say>>,
    /// Whatever is asked, by whatever protocol.
    always: Mutex<Option<Say>>,
    tls: Mutex<Option<TlsAcceptor>>,
    requests: Mutex<Vec<String>>,
    /// How many bytes of each endless answer were taken, until nobody read on.
    taken: watch::Sender<Vec<usize>>,
}

impl Server {
    pub(super) async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared { tls: Mutex::new(tls), ..Shared::default() });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, scheme, shared, task }
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says this to whoever asks for a path.
    pub(super) fn says(&self, path: &str, say: Say) {
        lock(&self.shared.answers).insert(path.to_owned(), say);
    }

    /// Says this to whoever comes, whatever is asked.
    pub(super) fn always_says(&self, say: Option<Say>) {
        *lock(&self.shared.always) = say;
    }

    /// Proves to be itself by another certificate, to whoever comes from now on.
    pub(super) fn proves_itself_by(&self, tls: TlsAcceptor) {
        *lock(&self.shared.tls) = Some(tls);
    }

    /// The heads of the requests so far.
    pub(super) fn received_requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }

    /// How many bytes were taken of an endless answer. It waits for so many of them to end.
    pub(super) async fn taken(&self, ended: usize) -> Vec<usize> {
        let mut taken = self.shared.taken.subscribe();
        let taken = taken.wait_for(|taken| taken.len() >= ended).await.unwrap();
        taken.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // dropped with this future, and all connections with it
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let (tls, always) = (lock(&shared.tls).clone(), lock(&shared.always).clone());
            match (tls, always) {
                (_, Some(Say::Close)) => {}
                (_, Some(Say::Hang)) => std::future::pending().await,
                (None, always) => serve(&mut stream, always, &shared).await,
                (Some(tls), always) => {
                    // a client that does not trust us goes away here
                    if let Ok(mut stream) = tls.accept(stream).await {
                        serve(&mut stream, always, &shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    always: Option<Say>,
    shared: &Shared,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") || head.starts_with(b"PRI ") {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) if always.is_some() && is_whole_of_another_protocol(&head) => break,
            Ok(_) => {}
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    lock(&shared.requests).push(head);
    let say = always.or_else(|| lock(&shared.answers).get(&path).cloned());
    let say = say.unwrap_or_else(|| Say::http("404 Not Found", &[], "nobody told me"));
    let mut sent = 0;
    // a client that goes away is what some tests wait for
    let _ = match say {
        Say::Bytes(bytes) => match stream.write_all(&bytes).await {
            Ok(()) => stream.shutdown().await,
            gone => gone,
        },
        Say::Open(bytes) => {
            let _ = stream.write_all(&bytes).await;
            until_gone(stream).await
        }
        Say::Endless(first, then) => {
            let _ = stream.write_all(&first).await;
            let gone = loop {
                match stream.write(&then[sent % then.len()..]).await {
                    Ok(written) => sent += written,
                    Err(gone) => break Err(gone),
                }
            };
            shared.taken.send_modify(|taken| taken.push(sent));
            gone
        }
        Say::Drip(first, then) => {
            let _ = stream.write_all(&first).await;
            loop {
                for byte in &then {
                    if let Err(gone) = stream.write_all(&[*byte]).await {
                        shared.taken.send_modify(|taken| taken.push(sent));
                        return drop(gone);
                    }
                    sent += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        Say::Close => Ok(()),
        Say::Hang => until_gone(stream).await,
    };
}

/// Whether the bytes are a request of HTTP/2, or have nothing to do with HTTP.
fn is_whole_of_another_protocol(bytes: &[u8]) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const HEADERS: u8 = 1;
    let Some(mut frames) = bytes.strip_prefix(PREFACE) else {
        return !PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())]);
    };
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = frames {
        if *kind == HEADERS {
            return true;
        }
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        frames = rest.get(length..).unwrap_or_default();
    }
    false
}

async fn until_gone(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut rest = Vec::new();
    while stream.read_buf(&mut rest).await? > 0 {}
    Ok(())
}
