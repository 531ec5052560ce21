//! An HTTP proxy on loopback.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A proxy that opens tunnels, or has one response for everything.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// The response with which a proxy opens a tunnel.
    pub const OPENED: &str = "HTTP/1.1 200 Opened\r\n\r\n";

    /// Starts a proxy, behind TLS if an acceptor is given.
    pub async fn start(tls: Option<TlsAcceptor>, response: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let task = tokio::spawn({
            let heads = Arc::clone(&heads);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (tls, heads) = (tls.clone(), Arc::clone(&heads));
                    tokio::spawn(async move {
                        match tls {
                            None => tunnel(stream, &heads, response).await,
                            Some(tls) => {
                                let stream = tls.accept(stream).await.expect("a client of TLS");
                                tunnel(stream, &heads, response).await;
                            }
                        }
                    });
                }
            }
        });
        Self { address, heads, task }
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The request heads that the proxy received.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heads: &Mutex<Vec<String>>,
    response: &str,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    let head = String::from_utf8(head).expect("a head in UTF-8");
    let to = head.split(' ').nth(1).expect("a target").to_owned();
    heads.lock().expect("no panic").push(head);
    stream.write_all(response.as_bytes()).await.expect("a client that reads");
    if response == Proxy::OPENED {
        let mut server = TcpStream::connect(to).await.expect("a server");
        // the client ends it
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    }
}
