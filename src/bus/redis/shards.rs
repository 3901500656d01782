//! Sharded subscriptions in a Cluster (<https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub>).
//!
//! A channel can be subscribed to only on the master of its slot. When the slot moves, that master ends the
//! subscription and says so, and a master that does not serve the slot redirects SSUBSCRIBE to the one
//! that does.
//!
//! Only the pushed confirmations count, and not the responses that the library matches to our commands: it
//! takes the unrequested end of a subscription for the response to whatever command is pending.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::redis::{
    ErrorKind, PushInfo, PushKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::MultiplexedConnection, cluster_routing::Slot,
};
use futures_util::future::try_join_all;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};

use super::subscriber::{SubscribeError, Watches};
use crate::{
    config,
    redis::{
        Connection,
        cluster::{SlotMap, connect_to_master},
    },
};

/// How many redirections are followed to find a channel.
const HOPS: u32 = 12;
/// The pause after a fruitless hop: a slot's old and new master do not switch at the same instant.
const HOP_PAUSE: Duration = Duration::from_millis(25);
/// Commands in one pipeline to one node.
const PIPELINE: usize = 1_000;
/// How many names are tried to find a canary in a shard's slots: the smallest shard has one slot of
/// 16,384.
const CANARY_TRIES: u32 = 1 << 18;

type OnPush = Arc<dyn Fn(PushInfo) + Send + Sync>;
type CanaryName = Box<dyn Fn(u32) -> String + Send + Sync>;

/// The connections to the masters, and what is subscribed on them.
pub struct Shards {
    config: Arc<config::Redis>,
    slots: SlotMap,
    connections: HashMap<String, Shard>,
    subscriptions: Arc<Subscriptions>,
    on_push: OnPush,
    watches: Watches,
    canary: CanaryName,
    /// For each master, the channel that shows whether its messages arrive.
    canaries: BTreeMap<String, String>,
}

struct Shard {
    connection: MultiplexedConnection,
    _watched: oneshot::Sender<()>,
}

/// What is subscribed, as the masters have confirmed it.
#[derive(Default)]
struct Subscriptions {
    confirmed: Mutex<Confirmed>,
    moved: Notify,
}

#[derive(Default)]
struct Confirmed {
    subscribed: HashSet<String>,
    /// Channels whose slot has moved away, and the master that ended the subscription.
    moved: Vec<(String, String)>,
}

impl Shards {
    pub(super) async fn open(
        config: Arc<config::Redis>,
        nodes: &[String],
        canary: CanaryName,
        on_push: OnPush,
        watches: Watches,
    ) -> Result<Self, SubscribeError> {
        let slots = SlotMap::read(&config, nodes).await?;
        let mut shards = Self {
            slots,
            connections: HashMap::new(),
            subscriptions: Arc::default(),
            on_push,
            watches,
            canary,
            canaries: BTreeMap::new(),
            config,
        };
        shards.place_canaries().await?;
        Ok(shards)
    }

    pub(super) async fn subscribe(&mut self, channels: &[String]) -> Result<(), SubscribeError> {
        for hop in 0..HOPS {
            let missing: Vec<&String> = {
                let confirmed = self.subscriptions.confirmed();
                let is_missing = |channel: &&String| !confirmed.subscribed.contains(*channel);
                channels.iter().filter(is_missing).collect()
            };
            if missing.is_empty() {
                return Ok(());
            }
            if hop > 1 {
                sleep(HOP_PAUSE * hop).await;
            }
            let answers = self.ask("SSUBSCRIBE", &missing).await?;
            for answer in answers {
                let Err(error) = answer else { continue };
                match error.redirect_node() {
                    Some((address, slot)) if is_moved(&error) => {
                        let slot = Slot::new(slot).ok_or(SubscribeError::SlotsMoving)?;
                        self.slots.assign(slot, address);
                    }
                    // The cluster is about to have a master for the slot.
                    _ if error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown) => {}
                    _ => return Err(error.into()),
                }
            }
        }
        Err(SubscribeError::SlotsMoving)
    }

    pub(super) async fn unsubscribe(&mut self, channels: &[String]) -> Result<(), SubscribeError> {
        {
            // Before asking, so that their end is not taken for a move.
            let mut confirmed = self.subscriptions.confirmed();
            for channel in channels {
                confirmed.subscribed.remove(channel);
            }
            if !confirmed.moved.is_empty() {
                let gone: HashSet<&String> = channels.iter().collect();
                confirmed
                    .moved
                    .retain(|(channel, _)| !gone.contains(channel));
            }
        }
        let channels: Vec<&String> = channels.iter().collect();
        for answer in self.ask("SUNSUBSCRIBE", &channels).await? {
            match answer {
                // A master that no longer serves the channel has no subscription to it.
                Err(error) if !is_moved(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn moved(&self) {
        while self.subscriptions.confirmed().moved.is_empty() {
            self.subscriptions.moved.notified().await;
        }
    }

    pub(super) async fn follow(&mut self) -> Result<Vec<String>, SubscribeError> {
        let moved = std::mem::take(&mut self.subscriptions.confirmed().moved);
        let (channels, left): (Vec<_>, BTreeSet<_>) = moved.into_iter().unzip();
        // The master that lost a slot knows the new one. Others may not, and one that has become a
        // replica would accept the subscription without an error.
        for master in left {
            if let Some(shard) = self.connections.get(&master) {
                let connection = shard.connection.clone();
                self.slots = SlotMap::read_from(&self.config, connection, &master).await?;
            }
        }
        let is_canary = |channel: &String| self.canaries.values().any(|canary| canary == channel);
        let (canaries, channels): (Vec<_>, Vec<_>) = channels.into_iter().partition(is_canary);
        self.canaries.retain(|_, canary| !canaries.contains(canary));
        self.subscribe(&channels).await?;
        self.place_canaries().await?;
        let masters = self.slots.masters();
        self.connections
            .retain(|master, _| masters.contains(master.as_str()));
        Ok(channels)
    }

    pub(super) fn canaries(&self) -> Vec<String> {
        self.canaries.values().cloned().collect()
    }

    /// Gives each master with slots a canary in one of them.
    async fn place_canaries(&mut self) -> Result<(), SubscribeError> {
        let masters: Vec<String> = self
            .slots
            .masters()
            .into_iter()
            .map(str::to_owned)
            .collect();
        self.canaries.retain(|master, canary| {
            masters.contains(master)
                && self.slots.owner(Slot::for_key(canary)) == Some(master.as_str())
        });
        for master in masters {
            if self.canaries.contains_key(&master) {
                continue;
            }
            let mut names = (0..CANARY_TRIES).map(&self.canary);
            let owned =
                |name: &String| self.slots.owner(Slot::for_key(name)) == Some(master.as_str());
            let Some(canary) = names.find(owned) else {
                continue;
            };
            drop(names);
            self.subscribe(std::slice::from_ref(&canary)).await?;
            self.canaries.insert(master, canary);
        }
        Ok(())
    }

    /// Sends a command for each channel to its master, all at once. One command names one channel, so that
    /// a slot that has moved fails no other.
    async fn ask(
        &mut self,
        command: &str,
        channels: &[&String],
    ) -> Result<Vec<RedisResult<Value>>, SubscribeError> {
        let mut by_master: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for channel in channels {
            let slot = Slot::for_key(channel);
            let master = self.slots.owner(slot);
            let master = master.ok_or(SubscribeError::Unserved(slot))?;
            match by_master.get_mut(master) {
                Some(channels) => channels.push(channel),
                None => {
                    by_master.insert(master.to_owned(), vec![channel]);
                }
            }
        }
        let mut asked = Vec::new();
        for (master, channels) in by_master {
            let connection = self.connection(&master).await?;
            for chunk in channels.chunks(PIPELINE) {
                let mut pipe = ::redis::pipe();
                pipe.ignore_errors();
                for channel in chunk {
                    pipe.cmd(command).arg(channel);
                }
                let mut connection = connection.clone();
                asked.push(async move {
                    pipe.query_async::<Vec<RedisResult<Value>>>(&mut connection)
                        .await
                });
            }
        }
        let answers: Result<_, RedisError> = try_join_all(asked).await;
        Ok(answers?.into_iter().flatten().collect())
    }

    async fn connection(&mut self, master: &str) -> Result<MultiplexedConnection, SubscribeError> {
        if let Some(shard) = self.connections.get(master) {
            return Ok(shard.connection.clone());
        }
        let (ended, end) = mpsc::channel(1);
        let (subscriptions, on_push) = (self.subscriptions.clone(), self.on_push.clone());
        let from = master.to_owned();
        let on_push = move |push: PushInfo| match push.kind {
            PushKind::Disconnection => {
                ended.try_send(()).ok();
            }
            PushKind::SSubscribe => subscriptions.begin(push),
            PushKind::SUnsubscribe => subscriptions.end(push, &from),
            _ => on_push(push),
        };
        let connection = connect_to_master(&self.config, master, on_push).await?;
        let watched = Connection::Server(connection.clone());
        let shard = Shard {
            connection: connection.clone(),
            _watched: self.watches.add(watched, end, None).await,
        };
        self.connections.insert(master.to_owned(), shard);
        Ok(connection)
    }
}

impl Subscriptions {
    fn begin(&self, push: PushInfo) {
        if let Some(channel) = channel_of(push) {
            self.confirmed().subscribed.insert(channel);
        }
    }

    fn end(&self, push: PushInfo, master: &str) {
        let Some(channel) = channel_of(push) else {
            return;
        };
        let mut confirmed = self.confirmed();
        // A channel that this node has unsubscribed from is no longer in it.
        if confirmed.subscribed.remove(&channel) {
            confirmed.moved.push((channel, master.to_owned()));
            self.moved.notify_one();
        }
    }

    fn confirmed(&self) -> MutexGuard<'_, Confirmed> {
        // No operation leaves it half-changed, so a poisoned lock is as good as new.
        self.confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shards")
            .field("canaries", &self.canaries)
            .finish_non_exhaustive()
    }
}

fn channel_of(push: PushInfo) -> Option<String> {
    match push.data.into_iter().next()? {
        Value::BulkString(channel) => String::from_utf8(channel).ok(),
        _ => None,
    }
}

fn is_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}
