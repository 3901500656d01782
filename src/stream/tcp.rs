//! TCP sockets to listen on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::lookup_host;

/// Binds a socket, which does not listen yet, to the first address of the host that this machine has.
///
/// # Errors
/// The host is unknown, or its last address cannot be bound.
pub async fn bind(host: &str, port: u16) -> io::Result<Socket> {
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for address in lookup_host((host, port)).await? {
        let mut bound = bind_to(address);
        // A machine without IPv6 cannot listen on `::`, which means all addresses.
        if address.ip() == Ipv6Addr::UNSPECIFIED && !bound.as_ref().is_err_and(is_taken) {
            bound = bound.or_else(|_| bind_to((Ipv4Addr::UNSPECIFIED, port).into()));
        }
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn bind_to(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for connections of the previous process.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}
