//! A port where nobody listens.

use std::{io, net::SocketAddr};

use tokio::net::TcpSocket;

/// A port of loopback where nobody listens, and which nobody else is given meanwhile.
#[derive(Debug)]
pub struct DeadPort(TcpSocket);

impl DeadPort {
    /// Any port.
    #[must_use]
    pub fn new() -> Self {
        let bound = || -> io::Result<_> {
            let socket = TcpSocket::new_v4()?;
            socket.bind(([127, 0, 0, 1], 0).into())?;
            Ok(socket)
        };
        Self(bound().expect("a free port"))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound address")
    }
}

impl Default for DeadPort {
    fn default() -> Self {
        Self::new()
    }
}
