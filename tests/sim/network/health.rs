//! What can be told from outside: whether a node is able to do its work over its links.

use std::time::Duration;

use tokio::time::Instant;

use super::{Network, Way, Which};

/// Redis answers, but with a refusal.
pub(crate) const REFUSAL: &str = "redis for writers";
/// It was replaced by another.
pub(crate) const OLD_MASTER: &str = "its master";
/// It brings messages, but takes no subscriptions.
pub(crate) const ONE_WAY: &str = "its subscriber link for commands";
/// What it asks of Redis is not done, or not answered.
pub(crate) const COMMANDS: &str = "its command link";
const SUBSCRIBER: &str = "its subscriber link";
/// Milliseconds: a link that is slower than this may miss every deadline.
const SLOW: u64 = 100;

impl Network {
    /// Why the node cannot do its work over its links, whatever it does.
    pub(crate) fn deaths(&self, node: usize) -> Vec<&'static str> {
        let inner = self.inner();
        let mut deaths = Vec::new();
        if inner.frozen || inner.down {
            deaths.push("redis");
        }
        let (master, replaced) = inner.servers.split_last().expect("there is a master");
        if master.is_full || master.is_replica || master.is_mute {
            deaths.push(REFUSAL);
        }
        let open = inner.of(node, Which::Both);
        if open
            .iter()
            .any(|id| inner.connections[*id].server < replaced.len())
        {
            deaths.push(OLD_MASTER);
        }
        let now = Instant::now();
        let is_stalled = |at: &Instant| *at > now;
        let is_node_stalled = inner.stalled.get(&node).is_some_and(is_stalled);
        let is_dead = |way: &Way| way.is_lost || way.stalled.as_ref().is_some_and(is_stalled);
        for (which, name) in [(Which::Commands, COMMANDS), (Which::Subscriber, SUBSCRIBER)] {
            // An older one is still open only for what was asked over it.
            let newest = inner.of(node, which).into_iter().max();
            let ways = newest.map(|id| &inner.connections[id].ways);
            let [to_redis, from_redis] =
                [0, 1].map(|way| ways.is_some_and(|ways| is_dead(&ways[way])));
            if is_node_stalled || from_redis || to_redis && which == Which::Commands {
                deaths.push(name);
            } else if to_redis {
                deaths.push(ONE_WAY);
            }
        }
        deaths
    }

    /// When the link of this death last worked before it was stalled or lost, if it was.
    pub(crate) fn worked(&self, node: usize, death: &str) -> Option<Instant> {
        let is_subscriber = match death {
            COMMANDS => false,
            SUBSCRIBER | ONE_WAY => true,
            _ => return None,
        };
        self.inner().worked.get(&(node, is_subscriber)).copied()
    }

    /// Whether its links are slow, or being opened again.
    pub(crate) fn is_impaired(&self, node: usize) -> bool {
        let inner = self.inner();
        let open = inner.of(node, Which::Both);
        let mut ways = open.iter().flat_map(|id| &inner.connections[*id].ways);
        let soon = Instant::now() + Duration::from_millis(SLOW);
        // What is under way on a link that was slow is late all the same.
        let is_slow = |way: &Way| way.slow > SLOW || way.last.is_some_and(|last| last > soon);
        inner.of(node, Which::Commands).is_empty() || ways.any(is_slow)
    }

    /// The channels of users that the node's connections still hear.
    pub(crate) fn user_channels(&self, node: usize) -> Vec<String> {
        let inner = self.inner();
        let open = inner.of(node, Which::Both);
        let channels = open.iter().flat_map(|id| {
            let server = inner.connections[*id].server;
            inner.servers[server].channels_of(*id)
        });
        channels.filter(|name| name.contains("user:")).collect()
    }
}
