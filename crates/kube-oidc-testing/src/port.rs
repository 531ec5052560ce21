//! A port that nobody else is given while an issuer is down.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use tokio::net::TcpSocket;

/// A port of this machine. It is held by a socket that does not listen, beside the one that does:
/// whoever connects while there is only the former is refused.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    /// Not there where a system does not let two sockets have one port.
    _held: Option<TcpSocket>,
}

impl Port {
    /// Takes a port, any if it is 0, and listens.
    pub(crate) fn take(address: SocketAddr) -> (Self, TcpListener) {
        let (held, listener) = hold(address)
            .map(|(held, listener)| (Some(held), listener))
            .or_else(|_| TcpListener::bind(address).map(|listener| (None, listener)))
            .expect("an address that is free");
        let address = listener.local_addr().expect("a bound address");
        (Self { address, _held: held }, listener)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).expect("an address that is free")
    }
}

/// Both sockets reuse the address, which those of the standard library do on Unix.
fn hold(address: SocketAddr) -> io::Result<(TcpSocket, TcpListener)> {
    let held = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    held.set_reuseaddr(true)?;
    held.bind(address)?;
    let listener = TcpListener::bind(held.local_addr()?)?;
    Ok((held, listener))
}
