//! [`BoundedConnection`]: a connection whose peer cannot send without end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that fails once its peer has sent more than a maximum number of bytes.
///
/// A limit on the body of a response does not bound what comes before the body: an HTTP client
/// skips informational (1xx) responses for as long as they come. The limit of a connection bounds
/// everything.
///
/// Use one connection for each request and wrap the TCP stream, below TLS, so that handshakes and
/// responses of proxies count as well. For a connection that serves many requests, wrap the stream
/// above TLS and call [`renewed_by_writes`](Self::renewed_by_writes).
///
/// ```
/// use kube_oidc::source::BoundedConnection;
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (client, mut server) = tokio::io::duplex(64);
/// let mut client = BoundedConnection::new(client, 4);
/// server.write_all(b"12345").await.unwrap();
/// let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
/// assert_eq!(error.to_string(), "failed to read from a connection: more than 4 bytes received");
/// # }
/// ```
#[derive(Debug)]
pub struct BoundedConnection<C> {
    connection: C,
    max_bytes: usize,
    /// `None`: the limit was exceeded.
    left: Option<usize>,
    renewed_by_writes: bool,
}

impl<C> BoundedConnection<C> {
    /// Creates a connection that fails once it has received more than `max_bytes` bytes.
    ///
    /// Every later read fails as well, so a client closes the connection.
    #[must_use]
    pub fn new(connection: C, max_bytes: usize) -> Self {
        Self { connection, max_bytes, left: Some(max_bytes), renewed_by_writes: false }
    }

    /// Starts to count again at each write, so that the limit applies to each response.
    ///
    /// Use this method above TLS only: below it a peer can cause writes, for example by a request
    /// to update keys. Once the limit is exceeded, no write renews it.
    #[must_use]
    pub fn renewed_by_writes(mut self) -> Self {
        self.renewed_by_writes = true;
        self
    }

    /// Returns a reference to the wrapped connection.
    #[must_use]
    pub fn get_ref(&self) -> &C {
        &self.connection
    }

    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if self.renewed_by_writes && matches!(written, Poll::Ready(Ok(1..))) {
            self.left = self.left.map(|_| self.max_bytes);
        }
        written
    }

    fn exceeded(&self) -> io::Error {
        io::Error::other(format!(
            "failed to read from a connection: more than {} bytes received",
            self.max_bytes
        ))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for BoundedConnection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left else { return Poll::Ready(Err(self.exceeded())) };
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, buffer))?;
        self.left = left.checked_sub(buffer.filled().len() - before);
        if self.left.is_none() {
            // an error comes without bytes
            buffer.set_filled(before);
            return Poll::Ready(Err(self.exceeded()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for BoundedConnection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn connection_within_its_limit_is_read_to_the_end() {
        let (client, mut server) = duplex(64);
        let mut client = BoundedConnection::new(client, 8);
        server.write_all(b"12345678").await.unwrap();
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"12345678");
    }

    // rule: connection-bytes
    #[tokio::test]
    async fn connection_over_its_limit_fails_for_good() {
        let (client, mut server) = duplex(64);
        let mut client = BoundedConnection::new(client, 8);
        server.write_all(b"123456789").await.unwrap();
        let error = client.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("more than 8 bytes"), "{error}");
        client.write_all(b"a request").await.unwrap();
        client.read_u8().await.unwrap_err();
    }

    #[tokio::test]
    async fn write_renews_the_limit_only_where_configured() {
        for renewed in [false, true] {
            let (client, mut server) = duplex(64);
            let mut client = BoundedConnection::new(client, 8);
            if renewed {
                client = client.renewed_by_writes();
            }
            for round in 0..3 {
                client.write_all(b"get").await.unwrap();
                server.write_all(b"12345").await.unwrap();
                let read = client.read_exact(&mut [0; 5]).await;
                assert_eq!(read.is_ok(), renewed || round == 0, "{renewed}, {round}");
            }
            client.write_all(b"get").await.unwrap();
            server.write_all(b"123456789").await.unwrap();
            client.read_exact(&mut [0; 9]).await.unwrap_err();
            client.write_all(b"get").await.unwrap();
            client.read_u8().await.unwrap_err();
        }
    }
}
