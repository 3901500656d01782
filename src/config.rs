//! The configuration: [`load`] reads all sources, and [`Settings::resolve`] returns a [`Config`]
//! without maybes.
//!
//! Values go one way, and so does every `use`:
//!
//! 1. `table` lists every setting; `define` makes types of the list, and `key`, `kind` and
//!    `kinds` are its words.
//! 2. `file`, `environment` (with `dotenv`) and the flags each give a `table::Raw`, all optional;
//!    `source` says where each value was read, and `problem` collects mistakes.
//! 3. `settings` merges them into a `table::Chosen`, where every setting has its value or default.
//! 4. `resolve`, with `secrets` and `redis`, makes the `Config`; `advice` warns of what works but
//!    probably not as intended. `example` writes the commented file.

mod advice;
mod algorithm;
mod define;
mod dotenv;
mod environment;
mod example;
mod file;
mod key;
mod kind;
mod kinds;
mod problem;
mod redis;
mod redis_url;
mod resolve;
mod secrets;
mod settings;
mod source;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    advice::named_secrets,
    algorithm::{ALGORITHMS, Algorithm, AlgorithmFamily},
    example::example,
    problem::{Problem, Problems},
    resolve::{Client, Loaded, SessionStorage},
    settings::{Row, Settings, load},
    source::{Flag, Sources},
};

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    id::{IdFormats, SupportedEvents},
    secret::Secret,
};

/// Everything that `sockd serve` needs.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub socketio: SocketIo,
    pub cors: Cors,
    pub auth: Auth,
    pub ids: IdFormats,
    pub internal: Internal,
    pub metrics: Metrics,
    pub events: SupportedEvents,
    pub sessions: Sessions,
    /// The prefix of a user's room, `user:`; the bus channel of the user is named after it.
    pub room_prefix: String,
    /// `None` keeps sessions in this process.
    pub redis: Option<Redis>,
    pub limits: Limits,
    pub log: Log,
}

/// The listener, and how the process ends.
#[derive(Debug, Clone)]
pub struct Server {
    /// An IP address or a host name; `::` listens on IPv4 and IPv6.
    pub host: String,
    /// 0 lets the system choose a port, which the log shows at startup.
    pub port: u16,
    /// How many connections the kernel holds for `accept`.
    pub backlog: u32,
    /// How long a client may take to send a request's head, from its first byte.
    pub header_timeout: Duration,
    /// How long a connection may stay open after an answer without another request.
    pub keep_alive: Duration,
    /// How long a client may take to send a request's body.
    pub body_timeout: Duration,
    /// The longest head of a request, in bytes.
    pub max_header_size: usize,
    /// How long a connection is silent before TCP probes it.
    pub tcp_keepalive: Duration,
    /// How long sent bytes may stay unacknowledged before the kernel ends the connection.
    pub tcp_user_timeout: Duration,
    /// The time over which a drain spreads the closing of connections.
    pub drain_window: Duration,
    /// How long after the first signal the process ends, whatever is left.
    pub shutdown_timeout: Duration,
}

/// The Engine.IO and Socket.IO protocol's settings.
#[derive(Debug, Clone)]
pub struct SocketIo {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long a connection may stay open without joining the namespace.
    pub connect_timeout: Duration,
    pub upgrade_timeout: Duration,
    /// The longest message from a client, in bytes.
    pub max_payload: usize,
}

/// Which origins may read responses of the Socket.IO endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cors {
    Any,
    One(String),
    List(Vec<String>),
}

/// How tokens are verified.
#[derive(Debug, Clone)]
pub struct Auth {
    /// HMAC secrets or PEM keys; each may verify a token, and the first signs those that sockd mints.
    pub secrets: Vec<Secret>,
    /// Names as in RFC 7518; an unknown one verifies nothing.
    pub algorithms: Vec<String>,
    pub user_claim: String,
    pub session_claim: String,
    /// If set, a token's `iss` must be this.
    pub issuer: Option<String>,
    /// If set, a token's `aud` must be or contain this.
    pub audience: Option<String>,
    pub on_expiry: OnExpiry,
}

/// What happens to a socket whose token expires while it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExpiry {
    Disconnect,
    Keep,
}

/// Who may call the internal routes.
#[derive(Debug, Clone)]
pub struct Internal {
    /// Each is accepted; sockd's own commands send the first.
    pub secrets: Vec<Secret>,
    /// The longest body of a request, in bytes.
    pub max_body: usize,
    /// How many requests run at once.
    pub concurrency: usize,
}

/// Who may read `/metrics` and the reason of `/readyz`, besides callers of the internal routes.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The bearer token of scrapers.
    pub secret: Option<Secret>,
    /// Whether `/metrics` needs no secret.
    pub public: bool,
}

/// Where and how long a user's active session is remembered.
#[derive(Debug, Clone)]
pub struct Sessions {
    pub key_prefix: String,
    pub ttl: Duration,
    /// How often all local users are compared with the stored sessions.
    pub sweep_interval: Duration,
}

/// How to reach Redis.
#[derive(Debug, Clone)]
pub struct Redis {
    pub topology: Topology,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// A PEM file with the certificate authorities to trust instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// PEM files with the client certificate for Redis and its key.
    pub tls_client_files: Option<(PathBuf, PathBuf)>,
    /// The prefix of all bus channels.
    pub channel_prefix: String,
    pub connect_timeout: Duration,
    pub command_timeout: Duration,
}

/// How Redis is deployed, and its addresses.
#[derive(Debug, Clone)]
pub enum Topology {
    Standalone {
        /// `redis://`, `rediss://` or `redis+unix://`, with host, port and database but without
        /// secrets.
        url: String,
    },
    /// A master that Sentinels find and may replace.
    Sentinel(Sentinel),
    Cluster {
        /// `redis://host:port` or `rediss://host:port` of some nodes, which name the others.
        nodes: Vec<String>,
    },
}

/// How to find the master.
#[derive(Debug, Clone)]
pub struct Sentinel {
    /// `redis://host:port`, or `rediss://host:port` for TLS to both Sentinels and Redis.
    pub sentinels: Vec<String>,
    /// The name under which the Sentinels monitor it.
    pub master: String,
    pub database: u64,
    /// The user at the Sentinels, independent of the one at Redis.
    pub username: Option<String>,
    pub password: Option<Secret>,
}

impl Topology {
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster { .. })
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone { url } => f.write_str(url),
            Self::Sentinel(Sentinel {
                sentinels, master, ..
            }) => write!(f, "the master {master} of {}", sentinels.join(",")),
            Self::Cluster { nodes } => write!(f, "the cluster of {}", nodes.join(",")),
        }
    }
}

/// What one client may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that may be queued for one client before it is disconnected.
    pub outbound_buffer: usize,
    /// How long a write may make no progress before the connection is closed.
    pub write_stall: Duration,
    /// Bytes that one client may send in a burst.
    pub inbound_burst: usize,
    /// Bytes per second that one client may send on average.
    pub inbound_rate: usize,
    /// Packets a second that one client may send in the long run.
    pub inbound_packets: usize,
    /// CONNECTs on one connection, whatever their answers; one more closes it.
    pub handshake_attempts: u32,
    /// Sockets of one user's session on this node.
    pub sockets_per_user: Option<usize>,
    /// Open connections of clients, on any transport.
    pub connections: Option<usize>,
    /// Connections that have not joined, and TCP connections that have sent no request.
    pub unjoined_connections: usize,
    /// CONNECTs whose session is being checked, while new connections are let in.
    pub handshakes: usize,
    /// New connections a second.
    pub handshake_rate: usize,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`, such as `info,sockd=debug`.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
