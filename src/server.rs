//! The composition root: puts the parts together, accepts connections, and ends in good order.

mod accept;
mod connection;
mod repoll;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, lookup_host},
    time::{Instant, timeout_at},
};

use crate::{
    auth::TokenVerifier,
    bus::{Bus, redis::RedisBus},
    config::{self, Config},
    gateway::Gateway,
    http::{Api, Dev},
    id::NodeId,
    lifecycle::{IgnoredSignals, Lifecycle, Signals},
    node::Node,
    redis::{Link, dialer::Dialer, names::ChannelNames, output_limit::warn_if_small},
    session::{SessionStore, memory::MemorySessions, redis::RedisSessions},
    telemetry,
};

/// The part of the shutdown limit that is kept for the process to end.
const LAST_MOMENT: Duration = Duration::from_millis(500);
/// How long telling the other nodes that this one leaves may take.
const LEAVE_LIMIT: Duration = Duration::from_millis(100);
/// How long the last log lines may wait for a slow reader of stderr.
const LOG_LIMIT: Duration = Duration::from_secs(3);
/// The same when the drain has used up the shutdown limit; part of [`LAST_MOMENT`].
const LAST_LOG_LIMIT: Duration = Duration::from_millis(200);

/// A server that is bound but does not accept connections yet.
pub struct Server {
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
    signals: Signals,
    bus: Bus,
    gateway: Gateway,
    api: Api,
}

impl Server {
    /// Takes the port and starts to connect to Redis. With `dev`, the page of `serve --dev`.
    ///
    /// # Errors
    /// A key that cannot be read, or an address that cannot be bound; the error says what to do.
    pub async fn bind(config: Config, dev: Option<Dev>) -> anyhow::Result<Self> {
        let verifier = Arc::new(TokenVerifier::new(&config.auth, config.ids.clone())?);
        // From here on a signal drains the server.
        let signals = Signals::listen().context("signals cannot be listened to")?;
        let ignored = IgnoredSignals::listen().context("signals cannot be listened to")?;
        let listener = listen(&config.server).await?;
        let lifecycle = Lifecycle::default();
        lifecycle.spawn(ignored.log());
        let id = NodeId::try_from(uuid::Uuid::new_v4().to_string())?;
        let (sessions, bus) = stores(&config, &id, &lifecycle);
        // Before any metric is looked up.
        let metrics = telemetry::metrics()?;
        if let Some(jwks) = verifier.jwks() {
            lifecycle.spawn(jwks.clone().run());
        }
        let node = Node::start(
            id,
            sessions,
            bus.clone(),
            config.sessions.sweep_interval,
            config.limits.sockets_per_user,
            &lifecycle,
        );
        let gateway = Gateway::new(&config, node.clone(), verifier.clone(), &lifecycle);
        let api = Api::new(&config, node, verifier, metrics, dev, &lifecycle);
        Ok(Self {
            config,
            listener,
            lifecycle,
            signals,
            bus,
            gateway,
            api,
        })
    }

    /// The address that the server is bound to.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until a signal comes, then drains. A second signal ends it at once.
    ///
    /// # Errors
    /// The system does not tell the address.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let address = self.local_addr()?;
        let sessions = match &self.config.redis {
            Some(redis) => redis.topology.to_string(),
            None => "in this process alone, forgotten at its end".to_owned(),
        };
        tracing::info!(%address, sessions, version = env!("CARGO_PKG_VERSION"), "listening");
        let accept = accept::run(
            self.listener,
            self.config.server.clone(),
            self.gateway.clone(),
            self.api,
            self.lifecycle.clone(),
        );
        self.lifecycle.spawn_awaited(accept);
        let signal = self.signals.next().await;
        let config::Server {
            drain_window,
            shutdown_timeout,
            ..
        } = self.config.server;
        self.lifecycle.drain();
        tracing::info!(signal, "draining; a second signal ends at once");
        let deadline = Instant::now() + shutdown_timeout.saturating_sub(LAST_MOMENT);
        let drain = async {
            self.gateway.drain(drain_window).await;
            self.lifecycle.close().await;
        };
        let end = async {
            match timeout_at(deadline, drain).await {
                Ok(()) => tracing::info!("drained"),
                Err(_) => tracing::warn!("the shutdown limit is over; ending with work under way"),
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
        Ok(())
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

async fn listen(config: &config::Server) -> anyhow::Result<TcpListener> {
    let config::Server { host, port, .. } = config;
    let wanted = format!("{host}:{port}");
    let addresses = lookup_host((host.as_str(), *port)).await;
    let addresses = addresses
        .with_context(|| format!("{host:?} is not an address of this machine; see server.host"))?;
    let mut failure = None;
    for address in addresses {
        match bind(address, config) {
            Ok(listener) => return Ok(listener),
            // A machine without IPv6 cannot listen on `::`, which means all addresses.
            Err(error)
                if address.ip() == Ipv6Addr::UNSPECIFIED
                    && error.kind() != io::ErrorKind::AddrInUse =>
            {
                match bind((Ipv4Addr::UNSPECIFIED, *port).into(), config) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => failure = Some(error),
                }
            }
            Err(error) => failure = Some(error),
        }
    }
    let error = failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "port {port} is taken; end what listens there, or set PORT or --port to another"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "port {port} may not be taken by this user; set PORT or --port to one above 1023"
            )
        }
        _ => format!("{wanted} cannot be listened on; see server.host and server.port"),
    };
    Err(anyhow::Error::new(error).context(remedy))
}

fn bind(address: SocketAddr, config: &config::Server) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart must not wait for the connections of the previous process.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // On Linux, accepted connections inherit these, which saves each of them the system calls.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(config.tcp_keepalive))?;
    socket.set_tcp_user_timeout(Some(config.tcp_user_timeout))?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

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
            shutdown_timeout: Duration::ZERO,
        };
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into(), &config).unwrap();
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
