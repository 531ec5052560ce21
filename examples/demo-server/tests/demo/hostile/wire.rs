//! A connection whose bytes are the test's own.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

use crate::process::{Demo, Response};

pub(super) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    was_reset: bool,
}

impl Wire {
    pub(super) fn to(demo: &Demo) -> Self {
        let stream = demo.connect();
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new(), was_reset: false }
    }

    /// A connection on which little is on the way to this side.
    pub(super) fn that_takes_little(demo: &Demo) -> Self {
        let wire = Self::to(demo);
        set_socket_recv_buffer_size(&wire.stream, 4096).unwrap();
        wire
    }

    /// The same connection, to write from elsewhere.
    pub(super) fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other side may not want to read to its end.
    pub(super) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next answer, or `None` if the connection was closed in its place.
    pub(super) fn answer(&mut self) -> Option<Response> {
        let head_end = loop {
            let found = self.unread.windows(4).position(|end| end == b"\r\n\r\n");
            match found {
                Some(end) => break end + 4,
                None => self.read_some()?,
            }
        };
        let head = String::from_utf8(self.unread[..head_end - 4].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Response { status, head, body: String::new() };
        let length = match response.header("content-length")[..] {
            [length] => length.parse().unwrap(),
            _ => 0,
        };
        while self.unread.len() < head_end + length {
            self.read_some().expect("a whole body");
        }
        let body = self.unread[head_end..head_end + length].to_vec();
        response.body = String::from_utf8(body).unwrap();
        self.unread.drain(..head_end + length);
        Some(response)
    }

    /// All answers until the connection is closed.
    pub(super) fn answers(mut self) -> Vec<Response> {
        std::iter::from_fn(|| self.answer()).collect()
    }

    /// Waits until the other side has closed it, whatever it sends before.
    pub(super) fn until_closed(mut self) {
        while self.read_some().is_some() {
            self.unread.clear();
        }
    }

    /// So many bytes, or `None` if the connection was closed in their place.
    pub(super) fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.read_some()?;
        }
        Some(self.unread.drain(..length).collect())
    }

    fn read_some(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(length) => {
                self.unread.extend_from_slice(&buffer[..length]);
                Some(())
            }
            Err(error) if is_reset(&error) => {
                self.was_reset = true;
                None
            }
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }

    /// Whether the other side broke it off, and what it had sent may be lost.
    pub(super) fn was_reset(&self) -> bool {
        self.was_reset
    }

    /// Nothing more will be sent.
    pub(super) fn finish(&self) {
        // the other side may have closed it already
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Breaks the connection off, so that the other side sees a reset.
    pub(super) fn reset(self) {
        set_socket_linger(&self.stream, Some(std::time::Duration::ZERO)).unwrap();
    }
}

/// Whether the other side has broken it off.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
