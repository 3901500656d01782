//! Connections to a node that begin with a header of the PROXY protocol.
//!
//! The HTTP client opens its connections itself, and nothing can be sent on them before TLS begins. So
//! it is given a unix socket of this process instead of the node's address. What arrives there is
//! passed on to the node, after the header.

use std::{io, path::PathBuf, time::Duration};

use reqwest::Url;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    sync::{OnceCell, mpsc},
    task::AbortHandle,
    time::timeout,
};
use tokio_util::either::Either;
use url::Host;

/// The header of a caller that speaks for itself and not for a client (version 2, `LOCAL`).
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

type Socket = Either<TcpStream, UnixStream>;

/// Passes connections on until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    node: Node,
    socket: PathBuf,
    reached: OnceCell<()>,
    connections: mpsc::Sender<Socket>,
    task: AbortHandle,
}

/// Where the node is.
#[derive(Debug, Clone)]
enum Node {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl Relay {
    /// For the node at a URL, or at a unix socket whatever the URL. Needs a runtime.
    ///
    /// # Errors
    /// The system has no abstract unix sockets; only Linux has them.
    pub(crate) fn start(url: &Url, socket: Option<PathBuf>) -> io::Result<Self> {
        let node = match (socket, url.host()) {
            (Some(path), _) => Node::Unix(path),
            (None, Some(host)) => {
                let host = match host {
                    Host::Domain(name) => name.to_owned(),
                    Host::Ipv4(ip) => ip.to_string(),
                    Host::Ipv6(ip) => ip.to_string(),
                };
                Node::Tcp(host, url.port_or_known_default().unwrap_or_default())
            }
            (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // An abstract name leaves no file behind.
        let name = format!("\0sockd-{:032x}", u128::from_ne_bytes(random()));
        let listener = UnixListener::bind(&name)?;
        let (connections, waiting) = mpsc::channel(1);
        let task = tokio::spawn(run(listener, node.clone(), waiting));
        Ok(Self {
            node,
            socket: name.into(),
            reached: OnceCell::new(),
            connections,
            task: task.abort_handle(),
        })
    }

    /// The socket to connect to.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// Connects to the node before the first request: the HTTP client, which connects to this process,
    /// cannot see whether the node can be reached.
    ///
    /// # Errors
    /// The node cannot be reached.
    pub(crate) async fn reach(&self, limit: Duration) -> io::Result<()> {
        let reach = async || {
            let connected = timeout(limit, self.node.connect()).await;
            let socket = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            // The first connection takes it.
            self.connections.send(socket).await.ok();
            Ok(())
        };
        self.reached.get_or_try_init(reach).await.copied()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    async fn connect(&self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(host, port) => {
                let tcp = TcpStream::connect((host.as_str(), *port)).await?;
                tcp.set_nodelay(true)?;
                Either::Left(tcp)
            }
            Self::Unix(path) => Either::Right(UnixStream::connect(path).await?),
        })
    }
}

async fn run(listener: UnixListener, node: Node, mut connections: mpsc::Receiver<Socket>) {
    while let Ok((caller, _)) = listener.accept().await {
        // No other process may use it, which would get around the permissions of the node's own
        // socket.
        let process = caller.peer_cred().ok().and_then(|peer| peer.pid());
        if process != i32::try_from(std::process::id()).ok() {
            continue;
        }
        let (connected, node) = (connections.try_recv(), node.clone());
        tokio::spawn(async move {
            // If it fails, the caller sees that the connection has ended.
            let connected = match connected {
                Ok(connected) => connected,
                Err(_) => node.connect().await?,
            };
            pass_on(caller, connected).await
        });
    }
}

async fn pass_on(mut caller: UnixStream, mut node: Socket) -> io::Result<()> {
    node.write_all(HEADER).await?;
    copy_bidirectional(&mut caller, &mut node).await?;
    Ok(())
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}
