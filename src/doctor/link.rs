//! The connection to Redis, used as a server would use it.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{PushInfo, PushKind, RedisError, RedisResult, Value, cmd};
use futures_util::future::join_all;
use thiserror::Error;
use tokio::{sync::mpsc, time::timeout};

use super::{Diagnosis, Finding, Obstacle, Verdict, rights::Trial, servers};
use crate::{
    bus::redis::{SubscribeError, Subscriber},
    config::{self, Config, Topology},
    error::chain,
    redis::{
        ConnectError, Connection,
        cluster::connect_to_masters,
        connect,
        grants::Grants,
        names::ChannelNames,
        output_limit::OutputLimit,
        refusal::{Refusal, said},
    },
};

const PINGS: usize = 50;
/// A server counts an event that takes longer as lost.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// Beyond this, every handshake and emit takes noticeably longer.
const SLOW: Duration = Duration::from_millis(10);
/// The largest trial message, in bytes; more would burden a shared Redis.
const LARGEST_TRIED: usize = 16 << 20;

/// Adds the findings about Redis; stops if it cannot be reached.
pub(super) async fn examine(config: &Config, redis: &config::Redis, diagnosis: &mut Diagnosis) {
    let grants = Grants::new(redis, &config.sessions.key_prefix);
    let started = Instant::now();
    let connected = connect(redis).await;
    let mut commands = match connected {
        Ok(connection) => connection,
        Err(error) => {
            diagnosis.obstacle = obstacle(&error);
            return diagnosis.add(failed("redis", &error));
        }
    };
    let security = if is_tls(&redis.topology) {
        "over TLS"
    } else {
        "without TLS"
    };
    diagnosis.add(Finding::ok(
        "redis",
        format!(
            "{} {security} as user {}, in {:.1?}",
            redis.topology,
            grants.user,
            started.elapsed()
        ),
    ));
    match connect_to_masters(redis).await {
        Ok(mut masters) => {
            for master in &mut masters {
                let misplaced = servers::misplaced(master, &redis.topology, &grants).await;
                if let Some(finding) = misplaced {
                    return diagnosis.add(finding);
                }
            }
            let found = servers::examine(&mut masters, &redis.topology, &grants).await;
            found.into_iter().for_each(|finding| diagnosis.add(finding));
            let limits = join_all(masters.iter_mut().map(OutputLimit::of)).await;
            let servers = Servers {
                all: &mut commands,
                one: masters.first_mut(),
                limits: limits.into_iter().filter_map(|limit| limit.ok()?).collect(),
            };
            try_rights(config, redis, servers, &grants, diagnosis).await;
        }
        Err(error) => diagnosis.add(failed("role", &error)),
    }
    diagnosis.add(latency(&mut commands).await);
}

/// The connections that commands are tried on.
struct Servers<'a> {
    /// Routes each command by its key.
    all: &'a mut Connection,
    /// A master, for commands without a key: for a Cluster, the library does not always report
    /// refusals.
    one: Option<&'a mut Connection>,
    /// From the masters that allow CONFIG GET.
    limits: Vec<OutputLimit>,
}

/// The finding for a connection that failed; the error text ends with its remedy.
fn failed(check: &'static str, error: &ConnectError) -> Finding {
    let text = chain(error);
    let found = text
        .strip_suffix(&format!("; {}", error.remedy()))
        .unwrap_or(&text);
    Finding::fail(check, found, error.remedy())
}

/// Tries everything that a server does, on its kinds of connections.
async fn try_rights(
    config: &Config,
    redis: &config::Redis,
    servers: Servers<'_>,
    grants: &Grants,
    diagnosis: &mut Diagnosis,
) {
    let key_prefix = &config.sessions.key_prefix;
    let names = ChannelNames::new(redis, &config.room_prefix, key_prefix);
    let trial = Trial::new(&names, key_prefix);
    let (heard, mut echo) = mpsc::channel(1);
    let channel = Value::BulkString(trial.channel().into());
    let on_push = move |push: PushInfo| {
        let is_message = matches!(push.kind, PushKind::Message | PushKind::SMessage);
        if is_message && push.data.first() == Some(&channel) {
            // One is enough; nothing else uses the channel.
            heard.try_send(()).ok();
        }
    };
    let canary_name = move |number| names.canary("doctor", number);
    let shared = Arc::new(redis.clone());
    let opened = Subscriber::open(&shared, None, canary_name, on_push);
    let opened = timeout(redis.connect_timeout + ECHO_LIMIT, opened).await;
    let mut subscriber = match opened {
        Ok(Ok((subscriber, _watch))) => subscriber,
        Ok(Err(error)) => {
            let found = match &error {
                SubscribeError::Redis(error) => grants.explain(error),
                other => chain(other),
            };
            let remedy = "a server needs connections for its channels; check maxclients of Redis";
            return diagnosis.add(Finding::fail("canary", found, remedy));
        }
        Err(_) => {
            let found = "connecting to the channels takes too long";
            let remedy = "check the load of Redis and of this machine";
            return diagnosis.add(Finding::fail("canary", found, remedy));
        }
    };
    let commands = servers.all;
    let rights = trial.try_server(commands, &mut subscriber, grants).await;
    diagnosis.add(rights.of_server(grants));
    diagnosis.add(rights.of_writes(grants));
    if let Some(master) = servers.one {
        let operator = trial.try_operator(commands, master, grants).await;
        diagnosis.add(operator.of_operator(grants));
    }
    while echo.try_recv().is_ok() {}
    let mut path = Path {
        commands,
        subscriber: &mut subscriber,
        echo: &mut echo,
        channel: trial.channel(),
    };
    let canary = canary(&mut path, grants).await;
    let is_heard = canary.verdict != Verdict::Fail;
    diagnosis.add(canary);
    if is_heard {
        let max_body = config.internal.max_body;
        diagnosis.add(largest(&mut path, max_body, &servers.limits).await);
    }
}

/// The path of an event: published on one connection, received on another.
struct Path<'a> {
    commands: &'a mut Connection,
    subscriber: &'a mut Subscriber,
    echo: &'a mut mpsc::Receiver<()>,
    channel: &'a str,
}

impl Path<'_> {
    /// Returns how long a message of this size takes.
    async fn try_with(&mut self, bytes: usize) -> Result<Duration, PathError> {
        let channels = [self.channel.to_owned()];
        let round_trip = async {
            refusal(self.subscriber.subscribe(&channels).await)?;
            let started = Instant::now();
            self.commands
                .publish(self.channel, vec![b' '; bytes])
                .await?;
            let heard = self.echo.recv().await;
            heard.ok_or_else(|| io::Error::other("Redis ended the subscription"))?;
            RedisResult::Ok(started.elapsed())
        };
        let result = timeout(3 * ECHO_LIMIT, round_trip).await;
        timeout(ECHO_LIMIT, self.subscriber.unsubscribe(&channels))
            .await
            .ok();
        Ok(result.map_err(|_| PathError::TimedOut)??)
    }
}

/// Why a message did not come back.
#[derive(Debug, Error)]
enum PathError {
    #[error("nothing came back")]
    TimedOut,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

fn is_tls(topology: &Topology) -> bool {
    let urls = match topology {
        Topology::Standalone { url } => std::slice::from_ref(url),
        Topology::Sentinel(place) => &place.sentinels,
        Topology::Cluster { nodes } => nodes,
    };
    urls.iter().any(|url| url.starts_with("rediss:"))
}

fn obstacle(error: &ConnectError) -> Option<Obstacle> {
    match error {
        ConnectError::Unreachable { .. } => Some(Obstacle::Unreachable),
        error if error.is_unauthorized() => Some(Obstacle::Unauthorized),
        ConnectError::Refused { .. } => None,
        ConnectError::NotMaster { .. } => Some(Obstacle::Unreachable),
        ConnectError::UnknownMaster { .. }
        | ConnectError::Url { .. }
        | ConnectError::File { .. }
        | ConnectError::Certificates(_) => Some(Obstacle::Misconfigured),
    }
}

/// Every handshake and emit takes at least one round trip.
async fn latency(commands: &mut Connection) -> Finding {
    const CHECK: &str = "latency";
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let started = Instant::now();
        let answer = cmd("PING").query_async::<Value>(commands).await;
        // A refusal of PING is a reply too.
        if let Err(error) = answer
            && error.code().is_none()
        {
            let remedy = "check the network to Redis, and its SLOWLOG";
            return Finding::fail(CHECK, error.to_string(), remedy);
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let (median, worst) = (times[PINGS / 2], times[PINGS - 1]);
    let found = format!("median {median:.1?}, worst {worst:.1?} of {PINGS} PINGs");
    if median > SLOW || worst > ECHO_LIMIT {
        let remedy = "move sockd closer to Redis, or check its SLOWLOG: every handshake and emit waits for it";
        return Finding::warn(CHECK, found, remedy);
    }
    Finding::ok(CHECK, found)
}

/// Checks that a message published on one connection comes back on the other.
async fn canary(path: &mut Path<'_>, grants: &Grants) -> Finding {
    const CHECK: &str = "canary";
    match path.try_with(0).await {
        Ok(elapsed) if elapsed <= ECHO_LIMIT => {
            Finding::ok(CHECK, format!("a message came back in {elapsed:.1?}"))
        }
        Ok(elapsed) => Finding::warn(
            CHECK,
            format!("a message came back in {elapsed:.1?}"),
            "a server counts a message that takes over a second as lost: check the load of Redis and of this machine",
        ),
        Err(PathError::Redis(error)) => match Refusal::of(&error) {
            Some(Refusal::Command(_) | Refusal::Channels | Refusal::Unknown(_)) => {
                Finding::fail(CHECK, "could not be tried", "grant the rights first")
            }
            Some(refusal) => Finding::fail(CHECK, said(&error), refusal.remedy(grants)),
            None => Finding::fail(CHECK, said(&error), "check the log of Redis"),
        },
        Err(PathError::TimedOut) => Finding::fail(
            CHECK,
            format!("no message came back in {:.1?}", 3 * ECHO_LIMIT),
            "check that no proxy splits the connections: publish and subscribe must reach the same Redis",
        ),
    }
}

/// Checks that the largest allowed event arrives. If it does not, Redis has closed the subscription.
async fn largest(path: &mut Path<'_>, max_body: usize, limits: &[OutputLimit]) -> Finding {
    const CHECK: &str = "largest";
    let small = limits.iter().filter_map(|limit| limit.check(max_body));
    let small = small.max_by_key(|small| small.is_certain);
    if let Some(small) = small {
        let verdict = if small.is_certain {
            Verdict::Fail
        } else {
            Verdict::Warn
        };
        return Finding::of(verdict, CHECK, small.found, small.remedy);
    }
    if max_body > LARGEST_TRIED {
        let found = format!("events of {max_body} bytes are allowed, which is too large to try");
        return Finding::ok(CHECK, found);
    }
    match path.try_with(max_body).await {
        Ok(elapsed) => Finding::ok(
            CHECK,
            format!("an event of {max_body} bytes came back in {elapsed:.1?}"),
        ),
        Err(error) => {
            let said = match &error {
                PathError::TimedOut => error.to_string(),
                PathError::Redis(error) => said(error),
            };
            Finding::fail(
                CHECK,
                format!(
                    "an event of {max_body} bytes, as internal.max_body allows, is not received: {said}"
                ),
                "raise client-output-buffer-limit pubsub of Redis (32mb 8mb 60 by default), or lower internal.max_body",
            )
        }
    }
}

/// The error of a subscription, as the error of a command.
pub(super) fn refusal(answer: Result<(), SubscribeError>) -> RedisResult<()> {
    answer.map_err(|error| match error {
        SubscribeError::Redis(error) => error,
        other => io::Error::other(chain(&other)).into(),
    })
}
