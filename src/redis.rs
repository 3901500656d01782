//! Redis: how to connect, and a command connection that comes back by itself.
//!
//! `connection` is what commands go over, whichever way Redis is run; `sentinel` and `cluster` find
//! the servers; `names` says what the bus channels are called.

pub mod cluster;
pub mod connection;
pub mod names;
mod sentinel;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, PushKind, RedisError, TlsCertificates,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use thiserror::Error;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior},
};

pub use self::connection::Connection;
use self::connection::Pulse;
use crate::{
    config::{self, Topology},
    lifecycle::Lifecycle,
    secret::Secret,
};

/// The first pause between two attempts to connect; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause, so that Redis is found again within seconds of its return.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often an idle connection is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Pings without an answer after which a connection is given up: a frozen Redis keeps its
/// connections, a cut link does not get them back.
const LOST_PINGS: u32 = 3;

/// Why there is no connection to Redis.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{url}: not a Redis URL; write redis://host:port/database")]
    Url {
        url: String,
        #[source]
        source: RedisError,
    },
    #[error("{}: cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("Redis at {url} cannot be reached")]
    Unreachable {
        url: String,
        #[source]
        source: RedisError,
    },
    #[error("no Sentinel at {sentinels} knows a master named {master}")]
    UnknownMaster { sentinels: String, master: String },
    #[error("Redis at {url} is not the master that others take it for")]
    NotMaster { url: String },
}

/// Opens one connection, to the present master or to all masters of a Cluster.
///
/// # Errors
/// A URL or a certificate that cannot be read, or a Redis that does not answer in time or refuses.
pub async fn connect(config: &config::Redis) -> Result<Connection, ConnectError> {
    connect_with_pushes(config, |_| ()).await
}

/// Opens one connection whose out-of-band messages go to `on_push`, which must not block.
///
/// # Errors
/// Those of [`connect`].
pub async fn connect_with_pushes(
    config: &config::Redis,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Connection, ConnectError> {
    match &config.topology {
        Topology::Standalone { url } => {
            let connection = open(config, url, on_push).await?;
            Ok(Connection::Standalone(connection))
        }
        Topology::Sentinel(place) => {
            let master = sentinel::master(config, place).await?;
            let connection = open_master(config, &master, on_push).await?;
            Ok(Connection::Master(connection))
        }
        Topology::Cluster { nodes } => {
            let connection = cluster::connect(config, nodes, on_push).await?;
            Ok(Connection::Cluster(connection))
        }
    }
}

/// Opens a connection to the one server at the URL.
async fn open(
    config: &config::Redis,
    url: &str,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    let (username, password) = (config.username.as_deref(), config.password.as_ref());
    let client = client(config, url, username, password)?;
    let on_push = move |push| -> Result<(), ()> {
        on_push(push);
        Ok(())
    };
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(config.command_timeout))
        .set_push_sender(on_push);
    client
        .get_multiplexed_async_connection_with_config(&options)
        .await
        .map_err(|source| ConnectError::Unreachable {
            url: url.to_owned(),
            source,
        })
}

/// Whoever named the server may not know yet that it was demoted, or came back as a replica.
async fn open_master(
    config: &config::Redis,
    url: &str,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    let mut connection = open(config, url, on_push).await?;
    let role = ::redis::cmd("ROLE").query_async(&mut connection).await;
    let url = url.to_owned();
    match role {
        Ok(role) if connection::is_replica(&role) => Err(ConnectError::NotMaster { url }),
        Ok(_) => Ok(connection),
        Err(source) => Err(ConnectError::Unreachable { url, source }),
    }
}

fn client(
    config: &config::Redis,
    url: &str,
    username: Option<&str>,
    password: Option<&Secret>,
) -> Result<Client, ConnectError> {
    let invalid = |source| ConnectError::Url {
        url: url.to_owned(),
        source,
    };
    let info = url.into_connection_info().map_err(invalid)?;
    let info = with_settings(info, username, password);
    if !url.starts_with("rediss:") {
        return Client::open(info).map_err(invalid);
    }
    Client::build_with_tls(info, certificates(config)?).map_err(invalid)
}

fn certificates(config: &config::Redis) -> Result<TlsCertificates, ConnectError> {
    let client_tls = match &config.tls_client_files {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    let root_cert = config.tls_ca_file.as_deref().map(read).transpose()?;
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

fn with_settings(
    info: ConnectionInfo,
    username: Option<&str>,
    password: Option<&Secret>,
) -> ConnectionInfo {
    // RESP3 lets one connection carry commands, subscriptions and the notice of its own end.
    let mut settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = username {
        settings = settings.set_username(username);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.expose());
    }
    info.set_redis_settings(settings)
        .set_tcp_settings(tcp_settings())
}

/// A link that was cut without a word must not outlive the watchdog by minutes.
fn tcp_settings() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10));
    TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10))
}

fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File {
        path: path.to_owned(),
        source,
    })
}

/// An error with all its causes in one line, for a log field or an operator.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        // Some libraries' errors repeat their source in their own text.
        if text.ends_with(&cause) {
            text
        } else {
            format!("{text}: {cause}")
        }
    })
}

/// Pauses between attempts: doubling, with jitter so that many nodes do not come back as one.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    pub async fn pause(&mut self) {
        let ceiling = LONGEST_PAUSE.min(SHORTEST_PAUSE * 2_u32.saturating_pow(self.attempts));
        self.attempts = self.attempts.saturating_add(1);
        tokio::time::sleep(ceiling.mul_f64(0.5 + random_fraction() / 2.0)).await;
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// A number between 0 and 1; jitter needs no better one than the clock's finest digits.
fn random_fraction() -> f64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    f64::from(bytes[0]) / 255.0
}

/// The command connection of this process, supervised: it is opened again whenever it ends.
#[derive(Debug, Clone)]
pub struct Link {
    connection: watch::Receiver<Option<Connection>>,
    renewal: Arc<Notify>,
    pub config: Arc<config::Redis>,
}

/// There was no connection to Redis within the time that the caller had.
#[derive(Debug, Error)]
#[error("no connection to Redis")]
pub struct NotConnected;

impl Link {
    /// Starts to connect at once and goes on until the process ends.
    pub fn start(config: config::Redis, lifecycle: &Lifecycle) -> Self {
        let config = Arc::new(config);
        let (publish, connection) = watch::channel(None);
        let renewal = Arc::<Notify>::default();
        lifecycle.spawn(supervise(config.clone(), renewal.clone(), publish));
        Self {
            connection,
            renewal,
            config,
        }
    }

    /// The connection works, but not with the servers that it should: it is replaced by another.
    pub fn renew(&self) {
        self.renewal.notify_one();
    }

    /// The connection, waiting for one for as long as the caller lets it. Cancellation-safe.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn connection(&self) -> Result<Connection, NotConnected> {
        let mut connection = self.connection.clone();
        let found = connection
            .wait_for(Option::is_some)
            .await
            .map_err(|_| NotConnected)?;
        found.clone().ok_or(NotConnected)
    }

    /// The connection, if there is one now.
    pub fn current(&self) -> Option<Connection> {
        self.connection.borrow().clone()
    }
}

async fn supervise(
    config: Arc<config::Redis>,
    renewal: Arc<Notify>,
    publish: watch::Sender<Option<Connection>>,
) {
    let mut backoff = Backoff::default();
    let mut told = String::new();
    let at = config.topology.to_string();
    loop {
        let (ended, mut end) = mpsc::channel(1);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.try_send(()).ok();
            }
        };
        match connect_with_pushes(&config, on_push).await {
            Ok(connection) => {
                tracing::info!(at, "connected to Redis");
                told.clear();
                publish.send_replace(Some(connection.clone()));
                let since = Instant::now();
                let why = tokio::select! {
                    why = watch_over(connection.clone(), &mut end) => {
                        // One to a Cluster may still reach all masters but one.
                        if !connection.is_cluster() {
                            publish.send_replace(None);
                        }
                        why
                    }
                    // It serves until there is another.
                    () = renewal.notified() => "its view of the servers is old",
                };
                tracing::warn!(at, why, "lost the connection to Redis; connecting again");
                // A Redis that accepts and hangs up at once must not be hammered.
                if since.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => {
                publish.send_replace(None);
                let why = chain(&error);
                if why != told {
                    tracing::warn!(why, "cannot connect to Redis; trying on");
                    told = why;
                }
            }
        }
        backoff.pause().await;
    }
}

/// Resolves when the connection is lost, to how: its `end` was told, its PINGs stay unanswered, or
/// it leads to a server that is not the master any more.
pub async fn watch_over(mut connection: Connection, end: &mut mpsc::Receiver<()>) -> &'static str {
    let mut tick = tokio::time::interval(PING_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The library's connection to a Cluster can stand still by itself when slots move under load.
    let tolerated = if connection.is_cluster() {
        1
    } else {
        LOST_PINGS
    };
    let mut lost = 0;
    while lost < tolerated {
        tokio::select! {
            _ = end.recv() => return "it was closed",
            _ = tick.tick() => {}
        }
        tokio::select! {
            _ = end.recv() => return "it was closed",
            pulse = connection.pulse() => match pulse {
                Pulse::Beats => lost = 0,
                Pulse::Missed => lost += 1,
                Pulse::Demoted => return "it leads to a replica, and not to the master",
            },
        }
    }
    "it does not answer"
}
