//! Redis: how to connect, and a command connection that comes back by itself.

pub mod refusal;

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
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, timeout},
};

use self::refusal::{Grants, Refusal, said};
use crate::{config, lifecycle::Lifecycle};

/// A connection that many callers share; commands on it are pipelined.
pub type Connection = MultiplexedConnection;

/// The first pause between two attempts to connect; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: with an attempt that hangs before it, Redis is found again within seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
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
    #[error("redis.tls_ca_file, redis.tls_cert_file or redis.tls_key_file is no PEM of its kind")]
    Certificates(#[source] RedisError),
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
}

impl ConnectError {
    /// What the server at the URL, or the way to it, has said.
    fn new(url: &str, config: &config::Redis, error: &RedisError) -> Self {
        let url = url.to_owned();
        let refusal = Refusal::of_connecting(error);
        // No key is touched while connecting.
        let grants = Grants::new(config, "");
        let said = said(error).trim_end_matches('.').to_owned();
        let remedy = refusal.as_ref().map_or_else(
            || "see redis.url, and the log of Redis".to_owned(),
            |refusal| refusal.remedy(&grants).into_owned(),
        );
        if error.code().is_some() {
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
        }
    }

    /// Whether Redis, or what the URL names, was not there or did not answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// Whether Redis wants another user or password.
    pub fn is_unauthorized(&self) -> bool {
        use Refusal::{Command, NoPassword, Password};
        let Self::Refused { refusal, .. } = self else {
            return false;
        };
        matches!(refusal, Some(Password | NoPassword | Command(_)))
    }
}

/// Opens one connection.
///
/// # Errors
/// A URL or a certificate that cannot be read, or a Redis that does not answer in time or refuses.
pub async fn connect(config: &config::Redis) -> Result<Connection, ConnectError> {
    connect_with_pushes(config, Some(config.command_timeout), |_| ()).await
}

/// Opens one connection whose out-of-band messages go to `on_push`, which must not block, and whose
/// commands may take so long, or as long as [`watch_over`] finds the connection alive.
///
/// # Errors
/// Those of [`connect`].
pub async fn connect_with_pushes(
    config: &config::Redis,
    response_timeout: Option<Duration>,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<Connection, ConnectError> {
    let client = client(config)?;
    let on_push = move |push| -> Result<(), ()> {
        on_push(push);
        Ok(())
    };
    let options = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(response_timeout)
        .set_push_sender(on_push);
    client
        .get_multiplexed_async_connection_with_config(&options)
        .await
        .map_err(|error| ConnectError::new(&config.url, config, &error))
}

fn client(config: &config::Redis) -> Result<Client, ConnectError> {
    let invalid = |source| ConnectError::Url {
        url: config.url.clone(),
        source,
    };
    let info = config
        .url
        .as_str()
        .into_connection_info()
        .map_err(invalid)?;
    let info = with_settings(info, config);
    if !config.url.starts_with("rediss:") {
        return Client::open(info).map_err(invalid);
    }
    let client_tls = match &config.tls_client_files {
        Some((cert, key)) => Some(ClientTlsConfig {
            client_cert: read(cert)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    let root_cert = config.tls_ca_file.as_deref().map(read).transpose()?;
    Client::build_with_tls(
        info,
        TlsCertificates {
            client_tls,
            root_cert,
        },
    )
    .map_err(ConnectError::Certificates)
}

fn with_settings(info: ConnectionInfo, config: &config::Redis) -> ConnectionInfo {
    // RESP3 lets one connection carry commands, subscriptions and the notice of its own end.
    let mut settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.expose());
    }
    // A link that was cut without a word must not outlive the watchdog by minutes.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10));
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive)
        .set_user_timeout(Duration::from_secs(10));
    info.set_redis_settings(settings).set_tcp_settings(tcp)
}

fn read(path: &Path) -> Result<Vec<u8>, ConnectError> {
    std::fs::read(path).map_err(|source| ConnectError::File {
        path: path.to_owned(),
        source,
    })
}

/// An error with all its causes in one line, for a log field or an operator.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let redis = error.downcast_ref::<RedisError>();
        let cause = redis.map_or_else(|| error.to_string(), said);
        // Some libraries' errors repeat their source in their own text.
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source().filter(|_| redis.is_none());
    }
    text
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
        lifecycle.spawn(supervise(config.clone(), publish));
        Self { connection, config }
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

async fn supervise(config: Arc<config::Redis>, publish: watch::Sender<Option<Connection>>) {
    let mut backoff = Backoff::default();
    let mut told = String::new();
    loop {
        let (ended, mut end) = mpsc::channel(1);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.try_send(()).ok();
            }
        };
        match connect_with_pushes(&config, Some(config.command_timeout), on_push).await {
            Ok(connection) => {
                tracing::info!(url = config.url, "connected to Redis");
                told.clear();
                publish.send_replace(Some(connection.clone()));
                let since = Instant::now();
                let why = watch_over(connection, config.command_timeout, &mut end).await;
                publish.send_replace(None);
                tracing::warn!(
                    url = config.url,
                    why,
                    "lost the connection to Redis; connecting again"
                );
                // A Redis that accepts and hangs up at once must not be hammered.
                if since.elapsed() > LONGEST_PAUSE {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => {
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

/// Resolves when the connection is lost, to how: its `end` was told, or PINGs stay unanswered for
/// longer than the `limit` several times over.
pub async fn watch_over(
    mut connection: Connection,
    limit: Duration,
    end: &mut mpsc::Receiver<()>,
) -> &'static str {
    let mut tick = tokio::time::interval(PING_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ping = ::redis::cmd("PING");
    let mut lost = 0;
    while lost < LOST_PINGS {
        tokio::select! {
            _ = end.recv() => return "it was closed",
            _ = tick.tick() => {}
        }
        tokio::select! {
            _ = end.recv() => return "it was closed",
            answer = timeout(limit, ping.query_async::<String>(&mut connection)) => match answer {
                Err(_) => lost += 1,
                Ok(Err(error)) if error.is_io_error() || error.is_timeout() => lost += 1,
                // An error that Redis itself tells, such as LOADING, is a sign of life.
                Ok(_) => lost = 0,
            },
        }
    }
    "it does not answer"
}
