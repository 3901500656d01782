//! The connection that commands go over: to one server, or to all of a Cluster.

use std::{collections::HashMap, fmt};

use ::redis::{
    Cmd, Pipeline, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use futures_util::future::join_all;

/// A connection that many callers share; commands on it are pipelined.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Server(MultiplexedConnection),
    /// To all nodes; each command goes to the node that serves its key.
    Cluster(ClusterConnection),
}

/// The result of a check whether the server is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulse {
    Beats,
    Missed,
    /// The server is alive, but is a replica, which accepts no writes.
    Demoted,
}

impl Connection {
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Publishes a message; returns the number of subscribers that received it.
    ///
    /// # Errors
    /// Redis cannot be reached or refuses.
    pub async fn publish(
        &mut self,
        channel: impl AsRef<str>,
        message: impl AsRef<[u8]>,
    ) -> RedisResult<usize> {
        let publish = self.publishing(channel, message);
        publish.query_async(self).await
    }

    /// Publishes messages on their channels, all at once; returns how many subscribers received each.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub async fn publish_each(
        &mut self,
        messages: impl Iterator<Item = (String, impl AsRef<[u8]>)>,
    ) -> RedisResult<Vec<RedisResult<usize>>> {
        let publishes = messages.map(|(channel, message)| self.publishing(channel, message));
        let published = self.each(publishes.collect()).await?.into_iter();
        let receivers = published.map(|receivers| Ok(::redis::from_redis_value(receivers?)?));
        Ok(receivers.collect())
    }

    fn publishing(&self, channel: impl AsRef<str>, message: impl AsRef<[u8]>) -> Cmd {
        let mut publish = ::redis::cmd(self.publish_command());
        publish.arg(channel.as_ref()).arg(message.as_ref());
        publish
    }

    /// The command that publishes: in a Cluster a message stays on the shard of its channel.
    pub fn publish_command(&self) -> &'static str {
        match self {
            Self::Server(_) => "PUBLISH",
            Self::Cluster(_) => "SPUBLISH",
        }
    }

    /// Runs commands on one key each, all at once; if Redis refuses one, the others still succeed.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub async fn each(&mut self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        let Self::Cluster(cluster) = self else {
            let mut pipe = ::redis::pipe();
            pipe.ignore_errors();
            for command in commands {
                pipe.add_command(command);
            }
            return pipe.query_async(self).await;
        };
        let ask = |command: Cmd| {
            let mut cluster = cluster.clone();
            async move { command.query_async(&mut cluster).await }
        };
        let answers = join_all(commands.into_iter().map(ask)).await;
        let refused = |answer: RedisResult<Value>| match answer {
            Err(error) if error.code().is_none() => Err(error),
            answer => Ok(answer),
        };
        answers.into_iter().map(refused).collect()
    }

    /// How many subscribers each of the channels has.
    ///
    /// # Errors
    /// Redis cannot be reached or refuses.
    pub async fn subscribers(&mut self, channels: &[String]) -> RedisResult<Vec<usize>> {
        let Self::Cluster(cluster) = self else {
            let mut numsub = ::redis::cmd("PUBSUB");
            numsub.arg("NUMSUB").arg(channels);
            let counts: Vec<(String, usize)> = numsub.query_async(self).await?;
            return Ok(counts.into_iter().map(|(_, count)| count).collect());
        };
        let ask = |channel: &String| {
            let mut numsub = ::redis::cmd("PUBSUB");
            numsub.arg("SHARDNUMSUB").arg(channel);
            let master = Route::with_key(channel, SlotAddr::Master);
            let master = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(master));
            let mut cluster = cluster.clone();
            async move {
                let answer = cluster
                    .route_command(numsub, master)
                    .await?
                    .extract_error()?;
                let counts: Vec<(String, usize)> = ::redis::from_redis_value(answer)?;
                Ok(counts.first().map_or(0, |(_, count)| *count))
            }
        };
        let counts = join_all(channels.iter().map(ask)).await;
        counts.into_iter().collect()
    }

    /// Whether it leads to a replica; a Cluster's commands find the masters by themselves.
    ///
    /// # Errors
    /// Redis cannot be reached.
    pub async fn is_replica(&mut self) -> RedisResult<bool> {
        match self {
            Self::Server(one) => is_replica(one).await,
            Self::Cluster(_) => Ok(false),
        }
    }

    pub(super) async fn pulse(&mut self) -> Pulse {
        let is_replica = match self {
            Self::Server(one) => is_replica(one).await,
            Self::Cluster(_) => {
                let ping = ::redis::cmd("PING").query_async::<Value>(self).await;
                ping.map(|_| false)
            }
        };
        match is_replica {
            Err(error) if error.is_io_error() || error.is_timeout() => Pulse::Missed,
            Ok(true) => Pulse::Demoted,
            // An error that Redis itself returns, such as BUSY, is a sign of life.
            _ => Pulse::Beats,
        }
    }
}

/// Whether the server is a replica. HELLO says so, and unlike ROLE no ACL can forbid it
/// (<https://redis.io/docs/latest/commands/hello/>).
pub(super) async fn is_replica(server: &mut MultiplexedConnection) -> RedisResult<bool> {
    let hello = ::redis::cmd("HELLO");
    let hello: HashMap<String, Value> = hello.query_async(server).await?;
    let role = hello
        .get("role")
        .map(::redis::from_redis_value_ref::<String>);
    Ok(role.is_some_and(|role| role.is_ok_and(|role| role == "replica")))
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(one) => one.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(one) => one.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Cluster(_) => "Cluster",
        })
    }
}
