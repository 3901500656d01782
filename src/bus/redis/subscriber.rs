//! The connections that subscribe to channels: one, or in a Cluster one to each master.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use ::redis::{PushInfo, PushKind, RedisError, aio::MultiplexedConnection, cluster_routing::Slot};
use futures_util::stream::{FuturesUnordered, StreamExt};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::shards::Shards;
use crate::{
    config::{self, Topology},
    redis::{ConnectError, Connection, Link, Lost, OnDemotion, connect_with_pushes, watch_over},
};

/// How many connections may be opened before they are watched: one to each master, and the Cluster
/// specification recommends no more nodes than that.
const WATCHES: usize = 1_000;

/// Subscribes to channels, plain or sharded.
#[derive(Debug)]
pub enum Subscriber {
    /// One connection, which is watched for as long as the sender is kept.
    Plain(MultiplexedConnection, oneshot::Sender<()>),
    Sharded(Box<Shards>),
}

/// Why a channel cannot be subscribed to.
#[derive(Debug, Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no node of the cluster serves {0:?}")]
    Unserved(Slot),
    #[error("the slots of the cluster move too fast to be followed")]
    SlotsMoving,
}

impl Subscriber {
    /// Opens the connections that are needed; messages go to `on_push`, which must not block. The watch
    /// notices when one of them is lost, and with it some subscriptions. A connection to a server that becomes
    /// a replica is kept until `successor` is connected to the master, or in a Cluster for some pings.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub async fn open(
        config: &Arc<config::Redis>,
        successor: Option<Link>,
        canary: impl Fn(u32) -> String + Send + Sync + 'static,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<(Self, Watch), SubscribeError> {
        let (watches, watch) = Watch::new(config.command_timeout);
        if let Topology::Cluster { nodes } = &config.topology {
            let (on_push, canary) = (Arc::new(on_push), Box::new(canary));
            let shards = Shards::open(config.clone(), nodes, canary, on_push, watches).await?;
            return Ok((Self::Sharded(Box::new(shards)), watch));
        }
        let (ended, end) = mpsc::channel(1);
        let on_push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                ended.try_send(()).ok();
            } else {
                on_push(push);
            }
        };
        // A Redis that hangs for a moment must not cost all subscriptions, so commands may take as long as
        // the connection lives.
        let dialer = successor.as_ref().map(|link| link.dialer.clone());
        let dialer = dialer.unwrap_or_default();
        let connection = connect_with_pushes(config, &dialer, None, on_push).await?;
        let watched = watches.add(connection.clone(), end, successor).await;
        match connection {
            Connection::Server(one) => Ok((Self::Plain(one, watched), watch)),
            Connection::Cluster(_) => unreachable!("the topology is not that of a Cluster"),
        }
    }

    /// Resolves when Redis has confirmed all these subscriptions.
    ///
    /// # Errors
    /// It refuses or is lost; some may be subscribed already.
    pub async fn subscribe(&mut self, channels: &[String]) -> Result<(), SubscribeError> {
        match self {
            Self::Plain(connection, _) => Ok(connection.subscribe(channels).await?),
            Self::Sharded(shards) => shards.subscribe(channels).await,
        }
    }

    /// # Errors
    /// Redis refuses or is lost.
    pub async fn unsubscribe(&mut self, channels: &[String]) -> Result<(), SubscribeError> {
        match self {
            Self::Plain(connection, _) => Ok(connection.unsubscribe(channels).await?),
            Self::Sharded(shards) => shards.unsubscribe(channels).await,
        }
    }

    /// Resolves when channels have moved to another node and are no longer subscribed, until
    /// [`Self::follow`] has found them. Cancellation-safe.
    pub async fn moved(&self) {
        match self {
            Self::Plain(..) => std::future::pending().await,
            Self::Sharded(shards) => shards.moved().await,
        }
    }

    /// Subscribes again to the channels that have moved; returns them.
    ///
    /// # Errors
    /// They cannot be found.
    pub async fn follow(&mut self) -> Result<Vec<String>, SubscribeError> {
        match self {
            Self::Plain(..) => Ok(Vec::new()),
            Self::Sharded(shards) => shards.follow().await,
        }
    }

    /// Channels that are subscribed only to notice that a shard is silent: one on each.
    pub fn canaries(&self) -> Vec<String> {
        match self {
            Self::Plain(..) => Vec::new(),
            Self::Sharded(shards) => shards.canaries(),
        }
    }
}

/// Waits for the first of some connections to be lost.
pub struct Watch {
    added: mpsc::Receiver<Watched>,
    watched: FuturesUnordered<Watched>,
}

/// Resolves when a connection is lost, or to `None` when it is no longer needed.
type Watched = Pin<Box<dyn Future<Output = Option<Lost>> + Send>>;

/// Puts connections under the watch.
#[derive(Debug, Clone)]
pub(super) struct Watches {
    add: mpsc::Sender<Watched>,
    /// How long a connection may take to show that it lives.
    limit: Duration,
}

impl Watch {
    fn new(limit: Duration) -> (Watches, Self) {
        let (add, added) = mpsc::channel(WATCHES);
        let watched = FuturesUnordered::new();
        (Watches { add, limit }, Self { added, watched })
    }

    /// Resolves when a connection is lost, and returns how.
    pub(super) async fn lost(&mut self) -> Lost {
        loop {
            tokio::select! {
                biased;
                Some(connection) = self.added.recv() => self.watched.push(connection),
                Some(Some(lost)) = self.watched.next() => return lost,
            }
        }
    }
}

impl Watches {
    /// Watches the connection for as long as the result is kept.
    pub(super) async fn add(
        &self,
        connection: Connection,
        mut end: mpsc::Receiver<()>,
        successor: Option<Link>,
    ) -> oneshot::Sender<()> {
        let (needed, unneeded) = oneshot::channel();
        let limit = self.limit;
        let watch = Box::pin(async move {
            let on_demotion = match &successor {
                Some(link) => OnDemotion::KeptUntilMaster(link),
                None => OnDemotion::KeptForAWhile,
            };
            tokio::select! {
                biased;
                lost = watch_over(connection, limit, &mut end, on_demotion) => Some(lost),
                _ = unneeded => None,
            }
        });
        // If the watch is gone, nothing uses the connections any more.
        self.add.send(watch).await.ok();
        needed
    }
}
