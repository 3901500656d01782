//! Redis: how to connect, and a command connection that is reopened when it is lost.
//!
//! `connection` runs commands, however Redis is deployed; `sentinel` and `cluster` find the servers;
//! `names` has the names of the bus channels, `output_limit` how large an event can be.
//! If connecting fails, `refusal` has the remedy, `grants` the ACL rules, and `probe` finds out what listens
//! there instead.

pub mod cluster;
pub mod connection;
pub mod dialer;
pub mod grants;
mod link;
pub mod names;
pub mod output_limit;
mod probe;
pub mod refusal;
mod sentinel;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, PushInfo, RedisError, TlsCertificates,
    aio::MultiplexedConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use thiserror::Error;
use tokio::time::timeout;

pub use self::{
    connection::Connection,
    dialer::{Dial, Dialer},
    link::{Backoff, Demoted, Link, Lost, NotConnected, OnDemotion, View, watch_over},
};
use self::{
    grants::Grants,
    refusal::{Refusal, said},
};
use crate::{
    config::{self, Topology},
    file,
    secret::Secret,
};

/// An error of the redis crate, in one line and as Redis sent it.
#[derive(Debug, Error)]
#[error("{}", said(.0))]
pub struct DriverError(pub RedisError);

/// Why there is no connection to Redis.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{url}: not a Redis URL; write redis://host:port/database")]
    Url {
        url: String,
        #[source]
        source: DriverError,
    },
    #[error("{}: cannot be read", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(
        "the PEM in redis.tls_ca_file, redis.tls_cert_file or redis.tls_key_file cannot be used"
    )]
    Certificates(#[source] DriverError),
    #[error("Redis at {url} cannot be reached: {said}; {remedy}")]
    Unreachable {
        url: String,
        said: String,
        remedy: String,
    },
    #[error("Redis at {url} refuses: {said}; {remedy}")]
    Refused {
        url: String,
        said: String,
        remedy: String,
        refusal: Option<Refusal>,
    },
    #[error("no Sentinel at {sentinels} knows a master named {master}")]
    UnknownMaster { sentinels: String, master: String },
    #[error("Redis at {url} is not a master, although it is listed as one")]
    NotMaster { url: String },
}

impl ConnectError {
    /// Explains a failed connection, and probes the server if the error does not say enough.
    async fn explained(url: &str, config: &config::Redis, error: &RedisError) -> Self {
        let refusal = refusal_of(url, error);
        let probed = match refusal {
            None | Some(Refusal::HungUp | Refusal::NotRedis) => {
                probe::identify(url, config.command_timeout).await
            }
            // A Redis without TLS reads the handshake as an incomplete command and waits for more.
            Some(Refusal::Silent) if url.starts_with("rediss:") => {
                probe::identify(url, config.command_timeout).await
            }
            _ => None,
        };
        match probed {
            Some((said, refusal)) => {
                let url = url.to_owned();
                let remedy = refusal.remedy(&Grants::new(config, "")).into_owned();
                Self::Unreachable { url, said, remedy }
            }
            None => Self::new(url, config, error),
        }
    }

    /// An error of the server at the URL, or of the connection to it.
    fn new(url: &str, config: &config::Redis, error: &RedisError) -> Self {
        let refusal = refusal_of(url, error);
        let url = url.to_owned();
        // No key is touched while connecting.
        let grants = Grants::new(config, "");
        let said = match refusal {
            // Whether this is a reset, a broken pipe or an EOF is chance; a constant text is logged once.
            Some(Refusal::HungUp | Refusal::HungUpInTls) => {
                "it closes the connection at once".to_owned()
            }
            _ => said(error).trim_end_matches('.').to_owned(),
        };
        let remedy = refusal.as_ref().map_or_else(
            || "see redis.url, and the log of Redis".to_owned(),
            |refusal| refusal.remedy(&grants).into_owned(),
        );
        // Like an unreachable Redis, a full one may accept the next attempt.
        let is_full = refusal == Some(Refusal::TooManyClients);
        if error.code().is_some() && !is_full {
            Self::Refused {
                url,
                said,
                remedy,
                refusal,
            }
        } else {
            Self::Unreachable { url, said, remedy }
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        match self {
            Self::Url { .. } => "write redis://host:port/database",
            Self::File { .. } | Self::Certificates(_) => "name files in PEM that sockd may read",
            Self::Unreachable { remedy, .. } | Self::Refused { remedy, .. } => remedy,
            Self::UnknownMaster { .. } => {
                "see redis.sentinel_master, and SENTINEL MASTERS at one of the Sentinels"
            }
            Self::NotMaster { .. } => {
                "wait for the failover to end, or check that there is a master"
            }
        }
    }

    /// Whether Redis could not be reached or did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotMaster { .. })
    }

    /// Whether Redis requires another user or password.
    pub fn is_unauthorized(&self) -> bool {
        use Refusal::{Command, NoPassword, Password};
        let Self::Refused { refusal, .. } = self else {
            return false;
        };
        matches!(refusal, Some(Password | NoPassword | Command(_)))
    }
}

fn refusal_of(url: &str, error: &RedisError) -> Option<Refusal> {
    match Refusal::of_connecting(error) {
        Some(Refusal::HungUp) if url.starts_with("rediss:") => Some(Refusal::HungUpInTls),
        refusal => refusal,
    }
}

/// Opens one connection, to the current master or to all masters of a Cluster.
///
/// # Errors
/// A URL or a certificate cannot be read, or Redis refuses or does not answer in time.
pub async fn connect(config: &config::Redis) -> Result<Connection, ConnectError> {
    let timeout = Some(config.command_timeout);
    connect_with_pushes(config, &Dialer::Network, timeout, |_| ()).await
}

/// Opens one connection whose out-of-band messages go to `on_push`, which must not block. Its commands may
/// take `response_timeout`; with `None`, as long as [`watch_over`] finds the connection alive.
///
/// # Errors
/// Those of [`connect`].
pub async fn connect_with_pushes(
    config: &config::Redis,
    dialer: &Dialer,
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Connection, ConnectError> {
    match &config.topology {
        Topology::Standalone { url } => {
            let connection = match dialer {
                Dialer::Network => open(config, url, response_timeout, on_push).await?,
                Dialer::Given(network) => {
                    open_over(&**network, config, url, response_timeout, on_push).await?
                }
            };
            Ok(Connection::Server(connection))
        }
        Topology::Sentinel(place) => {
            let master = sentinel::master(config, place).await?;
            let connection = open_master(config, &master, response_timeout, on_push).await?;
            Ok(Connection::Server(connection))
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
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    let (username, password) = (config.username.as_deref(), config.password.as_ref());
    let client = client(config, url, username, password)?;
    let options = options(config, response_timeout, on_push);
    let opened = client
        .get_multiplexed_async_connection_with_config(&options)
        .await;
    match opened {
        Ok(connection) => Ok(connection),
        Err(error) => Err(ConnectError::explained(url, config, &error).await),
    }
}

/// Like [`open`], over another network.
async fn open_over(
    network: &dyn Dial,
    config: &config::Redis,
    url: &str,
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    let (username, password) = (config.username.as_deref(), config.password.as_ref());
    let client = client(config, url, username, password)?;
    let settings = client.get_connection_info().redis_settings();
    let options = options(config, response_timeout, on_push);
    let opening = async {
        let stream = network.dial(url).await?;
        MultiplexedConnection::new_with_config(settings, stream, options).await
    };
    let opened = timeout(config.connect_timeout, opening).await;
    let opened = opened.unwrap_or_else(|elapsed| Err(io::Error::from(elapsed).into()));
    let (connection, driver) = opened.map_err(|error| ConnectError::new(url, config, &error))?;
    // It ends by itself once the connection is dropped.
    tokio::spawn(driver);
    Ok(connection)
}

fn options(
    config: &config::Redis,
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> AsyncConnectionConfig {
    let on_push = move |push| -> Result<(), ()> {
        on_push(push);
        Ok(())
    };
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(response_timeout)
        .set_push_sender(on_push)
}

/// Like [`open`], but refuses a replica: the server may have been demoted since a Sentinel or a configured
/// URL named it.
async fn open_master(
    config: &config::Redis,
    url: &str,
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    let mut connection = open(config, url, response_timeout, on_push).await?;
    let is_replica = connection::is_replica(&mut connection);
    let is_replica = timeout(config.command_timeout, is_replica).await;
    match is_replica.unwrap_or_else(|elapsed| Err(io::Error::from(elapsed).into())) {
        Ok(true) => Err(ConnectError::NotMaster {
            url: url.to_owned(),
        }),
        Ok(false) => Ok(connection),
        Err(error) => Err(ConnectError::new(url, config, &error)),
    }
}

fn client(
    config: &config::Redis,
    url: &str,
    username: Option<&str>,
    password: Option<&Secret>,
) -> Result<Client, ConnectError> {
    let invalid = |error| ConnectError::Url {
        url: url.to_owned(),
        source: DriverError(error),
    };
    let info = url.into_connection_info().map_err(invalid)?;
    let info = with_settings(info, username, password);
    if !url.starts_with("rediss:") {
        return Client::open(info).map_err(invalid);
    }
    let client = Client::build_with_tls(info, certificates(config)?);
    client.map_err(|error| ConnectError::Certificates(DriverError(error)))
}

fn certificates(config: &config::Redis) -> Result<TlsCertificates, ConnectError> {
    let client_tls = match &config.tls.identity {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    let root_cert = config.tls.authorities.as_deref().map(read).transpose()?;
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

/// A connection that was cut silently must not outlive the watchdog by minutes.
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
    file::read(path, file::LONGEST).map_err(|source| ConnectError::File {
        path: path.to_owned(),
        source,
    })
}
