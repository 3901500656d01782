//! Redis, and the way to it, as a server would use them.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use ::redis::{PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::{sync::mpsc, time::timeout};

use super::{Checkup, Finding, Obstacle, rights::Trial, servers};
use crate::{
    bus::subscriber::{SubscribeError, Subscriber},
    config::{self, Config, Topology},
    redis::{
        ConnectError, Connection, chain,
        cluster::connect_to_masters,
        connect,
        names::ChannelNames,
        refusal::{Grants, Refusal},
    },
};

const PINGS: usize = 50;
/// A server counts an event that is under way for longer as lost.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// From here on each handshake and emit takes noticeably longer.
const SLOW: Duration = Duration::from_millis(10);

/// Adds what is found of Redis; stops where it cannot be reached.
pub(super) async fn examine(config: &Config, redis: &config::Redis, checkup: &mut Checkup) {
    let grants = Grants::new(redis, &config.sessions.key_prefix);
    let started = Instant::now();
    let connected = connect(redis).await;
    let mut commands = match connected {
        Ok(connection) => connection,
        Err(error) => {
            checkup.obstacle = obstacle(&error);
            let text = chain(&error);
            let found = text
                .strip_suffix(&format!("; {}", error.remedy()))
                .unwrap_or(&text);
            checkup.add(Finding::fail("redis", found, error.remedy()));
            return;
        }
    };
    let way = if is_tls(&redis.topology) {
        "over TLS"
    } else {
        "without TLS"
    };
    checkup.add(Finding::ok(
        "redis",
        format!(
            "{} {way} as user {}, in {:.1?}",
            redis.topology,
            grants.user,
            started.elapsed()
        ),
    ));
    match connect_to_masters(redis).await {
        Ok(mut masters) => {
            let found = servers::examine(&mut masters, &redis.topology, &grants).await;
            found.into_iter().for_each(|finding| checkup.add(finding));
            let servers = Servers {
                all: &mut commands,
                one: masters.first_mut(),
            };
            try_rights(config, redis, servers, &grants, checkup).await;
        }
        Err(error) => checkup.add(Finding::fail("role", chain(&error), error.remedy())),
    }
    checkup.add(latency(&mut commands).await);
}

/// Where commands are tried.
struct Servers<'a> {
    /// Each goes where its key is.
    all: &'a mut Connection,
    /// A master, for what has no key: of a Cluster the library tells not always what it refuses.
    one: Option<&'a mut Connection>,
}

/// Tries all that a server does, with the connections of one.
async fn try_rights(
    config: &Config,
    redis: &config::Redis,
    servers: Servers<'_>,
    grants: &Grants,
    checkup: &mut Checkup,
) {
    let key_prefix = &config.sessions.key_prefix;
    let names = ChannelNames::new(redis, &config.room_prefix, key_prefix);
    let trial = Trial::new(&names, key_prefix);
    let (heard, mut echo) = mpsc::channel(1);
    let channel = Value::BulkString(trial.channel().into());
    let on_push = move |push: PushInfo| {
        let is_message = matches!(push.kind, PushKind::Message | PushKind::SMessage);
        if is_message && push.data.first() == Some(&channel) {
            // One is enough; the channel is ours alone.
            heard.try_send(()).ok();
        }
    };
    let canary_name = move |number| names.canary("doctor", number);
    let shared = Arc::new(redis.clone());
    let opened = Subscriber::open(&shared, canary_name, on_push);
    let opened = timeout(redis.connect_timeout + ECHO_LIMIT, opened).await;
    let mut ears = match opened {
        Ok(Ok((ears, _watch))) => ears,
        Ok(Err(error)) => {
            let found = match &error {
                SubscribeError::Redis(error) => grants.explain(error),
                other => chain(other),
            };
            let remedy = "a server needs connections for its channels; see maxclients of Redis";
            return checkup.add(Finding::fail("canary", found, remedy));
        }
        Err(_) => {
            let found = "connections for channels take too long";
            let remedy = "see the load of Redis and of this machine";
            return checkup.add(Finding::fail("canary", found, remedy));
        }
    };
    let commands = servers.all;
    let rights = trial.try_server(commands, &mut ears, grants).await;
    checkup.add(rights.of_server(grants));
    checkup.add(rights.of_writes(grants));
    if let Some(master) = servers.one {
        let operator = trial.try_operator(commands, master, grants).await;
        checkup.add(operator.of_operator(grants));
    }
    while echo.try_recv().is_ok() {}
    let canary = canary(commands, &mut ears, &mut echo, trial.channel());
    checkup.add(canary.await);
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

/// A round trip takes part in every handshake and emit.
async fn latency(commands: &mut Connection) -> Finding {
    const CHECK: &str = "latency";
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let started = Instant::now();
        let answer = cmd("PING").query_async::<Value>(commands).await;
        // A Redis that refuses PING has answered too.
        if let Err(error) = answer
            && error.code().is_none()
        {
            let remedy = "see the network between here and Redis, and its SLOWLOG";
            return Finding::fail(CHECK, error.to_string(), remedy);
        }
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let (median, worst) = (times[PINGS / 2], times[PINGS - 1]);
    let found = format!("median {median:.1?}, worst {worst:.1?} of {PINGS} PINGs");
    if median > SLOW || worst > ECHO_LIMIT {
        let remedy = "bring sockd and Redis closer together, or see the SLOWLOG of Redis: each handshake and emit waits for it";
        return Finding::warn(CHECK, found, remedy);
    }
    Finding::ok(CHECK, found)
}

/// An event goes out over one connection and must come back over the other.
async fn canary(
    commands: &mut Connection,
    ears: &mut Subscriber,
    echo: &mut mpsc::Receiver<()>,
    channel: &str,
) -> Finding {
    const CHECK: &str = "canary";
    let channels = [channel.to_owned()];
    let started = Instant::now();
    let singing = async {
        refusal(ears.subscribe(&channels).await)?;
        let started = Instant::now();
        commands.publish(channel, "").await?;
        echo.recv().await;
        RedisResult::Ok(started.elapsed())
    };
    let sung = timeout(3 * ECHO_LIMIT, singing).await;
    timeout(ECHO_LIMIT, ears.unsubscribe(&channels)).await.ok();
    match sung {
        Ok(Ok(elapsed)) if elapsed <= ECHO_LIMIT => {
            Finding::ok(CHECK, format!("a message came back in {elapsed:.1?}"))
        }
        Ok(Ok(elapsed)) => Finding::warn(
            CHECK,
            format!("a message came back in {elapsed:.1?}"),
            "a server counts one that takes over a second as lost: see the load of Redis and of this machine",
        ),
        Ok(Err(error)) => match Refusal::of(&error) {
            Some(Refusal::Command(_) | Refusal::Channels) => {
                Finding::fail(CHECK, "could not be tried", "grant the rights first")
            }
            _ => Finding::fail(CHECK, error.to_string(), "see the log of Redis"),
        },
        Err(_) => Finding::fail(
            CHECK,
            format!("no message came back in {:.1?}", started.elapsed()),
            "see that nothing between here and Redis takes connections apart: publish and subscribe must reach the same Redis",
        ),
    }
}

/// What Redis has said to a subscription, as it says it to any command.
pub(super) fn refusal(answer: Result<(), SubscribeError>) -> RedisResult<()> {
    answer.map_err(|error| match error {
        SubscribeError::Redis(error) => error,
        other => io::Error::other(chain(&other)).into(),
    })
}
