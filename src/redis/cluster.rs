//! The nodes of a Cluster: which slots they serve, and connections to one or all of them.

use std::collections::{BTreeSet, HashMap};

use ::redis::{
    IntoConnectionInfo, ProtocolVersion, PushInfo, RedisError, Value, aio::MultiplexedConnection,
    cluster::ClusterClientBuilder, cluster_async::ClusterConnection, cluster_routing::Slot,
};
use futures_util::future::{join_all, select_ok};

use super::{
    ConnectError, Connection, certificates, host_and_port, open, refusal::Refusal, tcp_settings,
};
use crate::config::{self, Topology};

/// How many times a command is retried that a node redirected or could not run. Retries follow a slot that
/// moves, since another command on the same connection may use up the library's ASKING. The timeout of one
/// command bounds them all.
const RETRIES: u32 = 16;
/// The pauses between retries, in milliseconds.
const SHORTEST_RETRY_PAUSE: u64 = 20;
const LONGEST_RETRY_PAUSE: u64 = 200;

/// Opens a connection to all nodes of the Cluster, found through any of `nodes`.
pub(super) async fn connect(
    config: &config::Redis,
    nodes: &[String],
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<ClusterConnection, ConnectError> {
    let failed = |error| ConnectError::new(&nodes.join(","), config, &error);
    let infos = nodes.iter().map(|url| {
        let info = url.as_str().into_connection_info();
        info.map(|info| {
            let settings = info.redis_settings().clone();
            info.set_redis_settings(settings.set_protocol(ProtocolVersion::RESP3))
        })
    });
    let infos: Vec<_> = infos.collect::<Result<_, _>>().map_err(failed)?;
    let on_push = move |push| -> Result<(), ()> {
        on_push(push);
        Ok(())
    };
    let mut builder = ClusterClientBuilder::new(infos)
        .use_protocol(ProtocolVersion::RESP3)
        .connection_timeout(config.connect_timeout)
        .response_timeout(config.command_timeout)
        .retries(RETRIES)
        .min_retry_wait(SHORTEST_RETRY_PAUSE)
        .max_retry_wait(LONGEST_RETRY_PAUSE)
        .tcp_settings(tcp_settings())
        .push_sender(on_push);
    if let Some(username) = &config.username {
        builder = builder.username(username);
    }
    if let Some(password) = &config.password {
        builder = builder.password(password.expose());
    }
    if is_tls(nodes) {
        builder = builder.certs(certificates(config)?);
    }
    let client = builder.build().map_err(failed)?;
    match client.get_async_connection().await {
        Ok(connection) => Ok(connection),
        // The library's error for several nodes says little, so each node is tried on its own.
        Err(error) => match Refusal::of_connecting(&error) {
            None | Some(Refusal::HungUp | Refusal::NotRedis) => {
                let explained = SlotMap::read(config, nodes).await.err();
                Err(explained.unwrap_or_else(|| failed(error)))
            }
            Some(_) => Err(failed(error)),
        },
    }
}

/// Opens a connection to each master that has slots; without a Cluster, to the one master.
///
/// # Errors
/// One of them cannot be reached.
pub async fn connect_to_masters(config: &config::Redis) -> Result<Vec<Connection>, ConnectError> {
    let Topology::Cluster { nodes } = &config.topology else {
        return Ok(vec![super::connect(config).await?]);
    };
    let slots = SlotMap::read(config, nodes).await?;
    let masters = slots.masters();
    let opened = join_all(
        masters
            .iter()
            .map(|master| open(config, master, Some(config.command_timeout), |_| ())),
    )
    .await;
    opened
        .into_iter()
        .map(|opened| opened.map(Connection::Server))
        .collect()
}

/// Opens a connection to one master.
///
/// # Errors
/// It cannot be reached, or is a replica, which would accept subscriptions without effect.
pub async fn connect_to_master(
    config: &config::Redis,
    url: &str,
    on_push: impl Fn(PushInfo) + Send + Sync + 'static,
) -> Result<MultiplexedConnection, ConnectError> {
    super::open_master(config, url, Some(config.command_timeout), on_push).await
}

/// Which master serves each slot.
#[derive(Debug, Clone)]
pub struct SlotMap {
    masters: Vec<String>,
    /// For each slot, the index of its master in `masters`.
    owners: HashMap<Slot, usize>,
    scheme: String,
}

impl SlotMap {
    /// Asks the nodes, and uses the first reply.
    ///
    /// # Errors
    /// None of them can be reached.
    pub async fn read(config: &config::Redis, nodes: &[String]) -> Result<Self, ConnectError> {
        let asked = nodes.iter().map(|url| {
            Box::pin(async move {
                let connection = open(config, url, Some(config.command_timeout), |_| ()).await?;
                Self::read_from(config, connection, url).await
            })
        });
        let (slots, _) = select_ok(asked).await?;
        Ok(slots)
    }

    /// Asks the node at the URL.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn read_from(
        config: &config::Redis,
        mut connection: MultiplexedConnection,
        url: &str,
    ) -> Result<Self, ConnectError> {
        let asked = ::redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async::<Vec<Vec<Value>>>(&mut connection)
            .await;
        let slots = asked.and_then(|ranges| Self::parse(&ranges, url));
        slots.map_err(|error| ConnectError::new(url, config, &error))
    }

    /// `[[first, last, [host, port, id, …], replica, …], …]`; without a host, it is the node that was asked
    /// (<https://redis.io/docs/latest/commands/cluster-slots/>).
    fn parse(ranges: &[Vec<Value>], asked: &str) -> Result<Self, RedisError> {
        let (scheme, asked) = asked.split_once("://").unwrap_or(("redis", asked));
        let asked = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
        let mut slots = Self {
            masters: Vec::new(),
            owners: HashMap::new(),
            scheme: scheme.to_owned(),
        };
        for range in ranges {
            let [first, last, Value::Array(master), ..] = range.as_slice() else {
                continue;
            };
            let [host, port, ..] = master.as_slice() else {
                continue;
            };
            let first: u16 = ::redis::from_redis_value_ref(first)?;
            let last: u16 = ::redis::from_redis_value_ref(last)?;
            let host: Option<String> = ::redis::from_redis_value_ref(host)?;
            let host = host.filter(|host| !host.is_empty());
            let address = host_and_port(
                host.as_deref().unwrap_or(asked),
                ::redis::from_redis_value_ref(port)?,
            );
            let owner = slots.index_of(&address);
            let range = (first..=last).map_while(Slot::new);
            slots.owners.extend(range.map(|slot| (slot, owner)));
        }
        Ok(slots)
    }

    /// The URL of the slot's master; `None` if no node serves it.
    pub fn owner(&self, slot: Slot) -> Option<&str> {
        let owner = *self.owners.get(&slot)?;
        Some(&self.masters[owner])
    }

    /// Records a redirection: the node at `host:port` serves the slot.
    pub fn assign(&mut self, slot: Slot, address: &str) {
        let owner = self.index_of(address);
        self.owners.insert(slot, owner);
    }

    fn index_of(&mut self, address: &str) -> usize {
        let url = format!("{}://{address}", self.scheme);
        let known = self.masters.iter().position(|master| *master == url);
        known.unwrap_or_else(|| {
            self.masters.push(url);
            self.masters.len() - 1
        })
    }

    /// The URLs of the masters that have slots.
    pub fn masters(&self) -> BTreeSet<&str> {
        self.owners
            .values()
            .map(|&owner| self.masters[owner].as_str())
            .collect()
    }
}

fn is_tls(nodes: &[String]) -> bool {
    nodes.iter().any(|url| url.starts_with("rediss:"))
}
