//! A listener: on a TCP port, or on a unix socket.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use anyhow::{Context, anyhow};
use listenfd::ListenFd;
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::either::Either;

use crate::{
    config::{self, InternalListener},
    error::chain,
    stream::{
        Accepted, tcp,
        unix::{self, SocketFile},
    },
};

#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listener {
    /// The clients' port: the one that systemd has opened for the process, else the configured one.
    pub(super) async fn of_clients(config: &config::Server) -> anyhow::Result<Self> {
        if let Some(inherited) = inherited(config)? {
            return Ok(inherited);
        }
        let config::Server { host, port, .. } = config;
        let remedy = |error: &io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "port {port} is taken; stop the program that listens there, or set PORT or --port to another"
                )
            }
            io::ErrorKind::PermissionDenied => {
                format!(
                    "port {port} may not be taken by this user; set PORT or --port to one above 1023"
                )
            }
            _ => format!("{host}:{port} is not available; check server.host and server.port"),
        };
        listen(host, *port, config, remedy).await
    }

    /// The listener for internal routes, and the file of a unix socket.
    pub(super) async fn of_callers(
        wanted: &InternalListener,
        config: &config::Server,
    ) -> anyhow::Result<(Self, Option<SocketFile>)> {
        let (host, port) = match wanted {
            InternalListener::Tcp { host, port } => (host, *port),
            InternalListener::Unix(socket) => {
                let listening = unix::listen(socket, backlog(config));
                let (listener, file) =
                    listening.map_err(|error| anyhow!("{}; {}", chain(&error), error.remedy()))?;
                return Ok((Self::Unix(listener), Some(file)));
            }
        };
        let remedy = |error: &io::Error| {
            let remedy = match error.kind() {
                io::ErrorKind::AddrInUse if port == config.port => {
                    "is taken, perhaps by server.port; choose another port"
                }
                io::ErrorKind::AddrInUse => {
                    "is taken; stop the program that listens there, or choose another port"
                }
                io::ErrorKind::PermissionDenied => {
                    "may not be taken by this user; choose a port above 1023"
                }
                _ => "cannot be listened on; choose an address of this machine",
            };
            format!("internal.listen: {wanted} {remedy}")
        };
        let listener = listen(host, port, config, remedy).await?;
        Ok((listener, None))
    }

    /// Cancellation-safe.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(tcp, peer)| of_tcp(tcp, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(unix, _)| of_unix(unix)),
        }
    }

    /// Accepts the connections in the backlog, without waiting for more. Asks the system directly, because the
    /// runtime may not know about the last ones yet.
    pub(super) fn into_waiting(
        self,
    ) -> io::Result<Box<dyn FnMut() -> io::Result<Accepted> + Send>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (tcp, peer) = listener.accept()?;
                    tcp.set_nonblocking(true)?;
                    TcpStream::from_std(tcp).map(|tcp| of_tcp(tcp, peer))
                })
            }
            Self::Unix(listener) => {
                let listener = listener.into_std()?;
                Box::new(move || {
                    let (unix, _) = listener.accept()?;
                    unix.set_nonblocking(true)?;
                    UnixStream::from_std(unix).map(of_unix)
                })
            }
        })
    }

    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().unwrap_or("".as_ref());
                Ok(Address::Unix(path.to_owned()))
            }
        }
    }
}

fn of_tcp(tcp: TcpStream, peer: SocketAddr) -> Accepted {
    Accepted {
        socket: Either::Left(tcp),
        peer: Some(peer.into()),
    }
}

fn of_unix(unix: UnixStream) -> Accepted {
    Accepted {
        socket: Either::Right(unix),
        peer: None,
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The first socket of a systemd socket unit (sd_listen_fds(3)), where there is one.
fn inherited(config: &config::Server) -> anyhow::Result<Option<Listener>> {
    let taken = ListenFd::from_env()
        .take_tcp_listener(0)
        .context("the socket from systemd is not a TCP listener; see ListenStream= of its unit")?;
    let Some(listener) = taken else {
        return Ok(None);
    };
    let configured = || {
        listener.set_nonblocking(true)?;
        configure(&SockRef::from(&listener), config)
    };
    configured().context("failed to configure the socket from systemd")?;
    let listener = TcpListener::from_std(listener);
    let listener = listener.context("failed to use the socket from systemd")?;
    Ok(Some(Listener::Tcp(listener)))
}

async fn listen(
    host: &str,
    port: u16,
    config: &config::Server,
    remedy: impl Fn(&io::Error) -> String,
) -> anyhow::Result<Listener> {
    let listening = tcp::bind(host, port).await;
    let listening = listening.and_then(|socket| listen_on(socket, config));
    listening.map(Listener::Tcp).map_err(|error| {
        let remedy = remedy(&error);
        anyhow::Error::new(error).context(remedy)
    })
}

fn listen_on(socket: Socket, config: &config::Server) -> io::Result<TcpListener> {
    configure(&SockRef::from(&socket), config)?;
    socket.listen(backlog(config))?;
    TcpListener::from_std(socket.into())
}

/// On Linux, accepted connections inherit these, which saves each of them the system calls.
fn configure(socket: &SockRef<'_>, config: &config::Server) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(config.tcp_keepalive))?;
    socket.set_tcp_user_timeout(Some(config.tcp_user_timeout))
}

fn backlog(config: &config::Server) -> i32 {
    i32::try_from(config.backlog).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;
    use crate::config::ForwardedHeader;

    #[tokio::test]
    async fn accepted_connections_inherit_the_options_of_the_listener() {
        let config = config::Server {
            tcp_keepalive: Duration::from_secs(77),
            tcp_user_timeout: Duration::from_secs(33),
            host: String::new(),
            port: 0,
            backlog: 1,
            header_timeout: Duration::MAX,
            keep_alive: Duration::MAX,
            body_timeout: Duration::MAX,
            max_header_size: 0,
            drain_window: Duration::ZERO,
            max_connection_age: None,
            shutdown_timeout: Duration::ZERO,
            proxy_protocol: false,
            tls_cert_file: None,
            tls_key_file: None,
            trusted_proxies: None,
            forwarded_header: ForwardedHeader::XForwardedFor,
        };
        let socket = tcp::bind("127.0.0.1", 0).await.unwrap();
        let listener = listen_on(socket, &config).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), config.tcp_keepalive);
        let user_timeout = socket.tcp_user_timeout().unwrap();
        assert_eq!(user_timeout, Some(config.tcp_user_timeout));
    }
}
