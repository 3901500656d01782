//! The composition root: puts the parts together, accepts connections, and shuts down in order.

mod accept;
mod connection;
mod listener;
mod reload;
mod repoll;
mod systemd;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub use self::listener::Address;
use self::{
    accept::{Acceptor, Audience},
    connection::Preamble,
    listener::Listener,
    reload::Reloader,
};
use crate::{
    bus::{Bus, redis::RedisBus},
    config::{self, Config, Loaded, Problem, Problems, Sources},
    gateway::Gateway,
    http::{Api, Dev},
    id::NodeId,
    lifecycle::{IgnoredSignals, Lifecycle, Signals, hang_ups},
    metrics,
    node::Node,
    redis::{Link, dialer::Dialer, names::ChannelNames, output_limit::warn_if_small},
    reload::{Current, Reloadable},
    session::{SessionStore, memory::MemorySessions, redis::RedisSessions},
    stream::unix::SocketFile,
    telemetry,
    tls::{Certificates, TlsError},
};

/// The part of the shutdown limit that is reserved for the process to end.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// How long telling the other nodes that this one leaves may take.
const LEAVE_LIMIT: Duration = Duration::from_millis(100);
/// How many requests to reload may wait while one runs; further callers wait to queue theirs.
const RELOAD_QUEUE: usize = 16;
/// How long the last log lines may wait for a slow reader of stderr.
const LOG_LIMIT: Duration = Duration::from_secs(3);
/// The same when the drain has used up the shutdown limit; part of [`LAST_MOMENT`].
const LAST_LOG_LIMIT: Duration = Duration::from_millis(200);

/// A server that is bound but does not accept connections yet.
pub struct Server {
    id: NodeId,
    config: Config,
    listener: Listener,
    /// Where internal routes are served, if not on `listener`.
    internal: Option<(Listener, Option<SocketFile>)>,
    addresses: Addresses,
    /// The certificates of the clients' listener, and of that for internal routes.
    certificates: [Option<Arc<Certificates>>; 2],
    lifecycle: Lifecycle,
    signals: Signals,
    bus: Bus,
    gateway: Gateway,
    api: Api,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    pub clients: Address,
    /// Where internal routes are served, if not at `clients`.
    pub internal: Option<Address>,
}

impl Server {
    /// Takes the port, and the address for internal routes, and starts to connect to Redis. A reload
    /// reads the sources again. `dev` makes the page of `serve --dev` for these addresses.
    ///
    /// # Errors
    /// A key that cannot be read, or an address that cannot be bound; the error says what to do.
    pub async fn bind(
        loaded: Loaded,
        sources: Sources,
        dev: Option<impl FnOnce(&Addresses) -> Dev>,
    ) -> anyhow::Result<Self> {
        let config = loaded.config.clone();
        // Everything that a reload replaces; its users load it each time.
        let reloadable = Reloadable::new(&config);
        let current =
            Current::new(reloadable.map_err(|error| Problems::from(Problem::from(error)))?);
        let tls = [&config.server_tls, &config.internal.tls];
        let certificates = tls.map(|files| files.as_ref().map(Certificates::open).transpose());
        let [for_clients, for_callers] = certificates;
        let problem = |error: TlsError| Problems::from(Problem::from(error));
        let certificates = [for_clients.map_err(problem)?, for_callers.map_err(problem)?];
        // From here on a signal drains the server.
        let signals = Signals::listen().context("failed to install the signal handlers")?;
        let ignored = IgnoredSignals::listen().context("failed to install the signal handlers")?;
        let hang_ups = hang_ups().context("failed to install the signal handlers")?;
        let listener = Listener::of_clients(&config.server).await?;
        let internal = match &config.internal.listen {
            Some(wanted) => Some(Listener::of_callers(wanted, &config.server).await?),
            None => None,
        };
        let addresses = Addresses {
            clients: listener.address()?,
            internal: match &internal {
                Some((listener, _)) => Some(listener.address()?),
                None => None,
            },
        };
        let dev = dev.map(|dev| dev(&addresses));
        let lifecycle = Lifecycle::default();
        lifecycle.spawn(ignored.log());
        let id = NodeId::try_from(uuid::Uuid::new_v4().to_string())?;
        let (sessions, bus) = stores(&config, &id, &lifecycle);
        metrics::start();
        if let Some(jwks) = current.load().verifier.jwks() {
            lifecycle.spawn(jwks.clone().run());
        }
        for certificates in certificates.iter().flatten() {
            lifecycle.spawn(certificates.clone().run());
        }
        let (reloads, requests) = mpsc::channel(RELOAD_QUEUE);
        let reloader = Reloader::new(
            sources,
            loaded,
            current.clone(),
            certificates.iter().flatten().cloned().collect(),
            requests,
            hang_ups,
            &lifecycle,
        );
        lifecycle.spawn(reloader.run());
        let node = Node::start(
            id.clone(),
            sessions,
            bus.clone(),
            config.sessions.sweep_interval,
            &lifecycle,
        );
        let gateway = Gateway::new(&config, current.clone(), node.clone(), &lifecycle);
        // One request is taken at a time; others wait.
        let (moves, move_requests) = mpsc::channel(1);
        lifecycle.spawn(gateway.clone().move_connections(move_requests));
        let api = Api::new(&config, current, reloads, moves, node, dev, &lifecycle);
        Ok(Self {
            id,
            config,
            listener,
            internal,
            addresses,
            certificates,
            lifecycle,
            signals,
            bus,
            gateway,
            api,
        })
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Serves until a signal arrives, then drains. A second signal ends the process at once.
    pub async fn run(mut self) {
        let Addresses {
            clients: address,
            internal,
        } = self.addresses;
        let internal = internal.map(tracing::field::display);
        let sessions = match &self.config.redis {
            Some(redis) => redis.topology.to_string(),
            None => "in memory, lost when the process ends".to_owned(),
        };
        tracing::info!(
            %address,
            internal,
            sessions,
            node = %self.id,
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let server = self.config.server.clone();
        let [tls, internal_tls] = self.certificates;
        let preamble = Preamble::new("server", server.proxy_protocol, tls);
        let acceptor = Acceptor::new(server, self.gateway.clone(), self.lifecycle.clone());
        let (api, internal) = match self.internal {
            None => (self.api, None),
            Some((listener, file)) => {
                let (clients, callers) = self.api.split();
                let proxy_protocol = self.config.internal.proxy_protocol;
                let preamble = Preamble::new("internal", proxy_protocol, internal_tls);
                let accept = acceptor.clone();
                let internal = InternalListening::start(listener, file, preamble, callers, accept);
                (clients, Some(internal))
            }
        };
        let closed = self.lifecycle.clone();
        let closed = async move { closed.closed().await };
        let accept = acceptor.run(self.listener, Audience::Clients, preamble, api, closed);
        self.lifecycle.spawn_awaited(accept);
        systemd::ready();
        self.lifecycle.spawn(systemd::feed_watchdog());
        let signal = self.signals.next().await;
        let config::Server {
            drain_window,
            shutdown_timeout,
            ..
        } = self.config.server;
        self.lifecycle.drain();
        systemd::stopping();
        tracing::info!(signal, "draining; a second signal ends at once");
        let deadline = Instant::now() + shutdown_timeout.saturating_sub(LAST_MOMENT);
        let drain = async {
            self.gateway.drain(drain_window).await;
            self.lifecycle.close().await;
            if let Some(internal) = internal {
                internal.end().await;
                self.lifecycle.close().await;
            }
        };
        let end = async {
            match timeout_at(deadline, drain).await {
                Ok(()) => tracing::info!("drained"),
                Err(_) => {
                    tracing::warn!("the shutdown limit has passed, ending with work unfinished")
                }
            }
            // No hello may follow the goodbye.
            self.lifecycle.end().await;
            self.bus.leave(LEAVE_LIMIT).await;
            let last = deadline + LEAVE_LIMIT + LAST_LOG_LIMIT;
            telemetry::flush(last.min(Instant::now() + LOG_LIMIT).into_std()).await;
        };
        tokio::select! {
            () = end => {}
            signal = self.signals.next() => tracing::warn!(signal, "ending at once"),
        }
    }
}

/// The running listener for internal routes. It outlasts the clients' listener, so that probes and callers get
/// responses until the end.
struct InternalListening {
    /// Removed while this process still listens, because another process may put its own there afterwards.
    file: Option<SocketFile>,
    end: oneshot::Sender<()>,
    accept: JoinHandle<()>,
}

impl InternalListening {
    fn start(
        listener: Listener,
        file: Option<SocketFile>,
        preamble: Preamble,
        api: Api,
        acceptor: Acceptor,
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let ended = async {
            ended.await.ok();
        };
        let accept = tokio::spawn(acceptor.run(listener, Audience::Callers, preamble, api, ended));
        Self { file, end, accept }
    }

    /// Resolves once every pending connection has been accepted.
    async fn end(self) {
        let Self { file, end, accept } = self;
        drop(file);
        drop(end);
        accept.await.ok();
    }
}

fn stores(config: &Config, id: &NodeId, lifecycle: &Lifecycle) -> (SessionStore, Bus) {
    let config::Sessions {
        key_prefix, ttl, ..
    } = &config.sessions;
    match &config.redis {
        None => (SessionStore::Memory(MemorySessions::new(*ttl)), Bus::Local),
        Some(redis) => {
            let link = Link::start(redis.clone(), Dialer::Network, lifecycle);
            lifecycle.spawn(warn_if_small(link.clone(), config.internal.max_body));
            let sessions = RedisSessions::new(link.clone(), key_prefix.clone(), *ttl);
            let names = ChannelNames::new(redis, &config.room_prefix, key_prefix);
            let bus = RedisBus::new(id.clone(), link, names);
            (SessionStore::Redis(sessions), Bus::Redis(Arc::new(bus)))
        }
    }
}
