//! Redis, and the way to it, as a server would use them.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::redis::{AsyncCommands, FromRedisValue, PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::{sync::mpsc, time::timeout};

use super::{Checkup, Finding, Obstacle, rights::Trial};
use crate::{
    config::{self, Config},
    redis::{
        ConnectError, Connection, chain, connect, connect_with_pushes,
        refusal::{Grants, Refusal, said},
    },
};

/// The oldest Redis with all commands that sockd uses.
const OLDEST: (u32, u32) = (6, 2);
const PINGS: usize = 50;
/// A server counts an event that is under way for longer as lost.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// From here on each handshake and emit takes noticeably longer.
const SLOW: Duration = Duration::from_millis(10);
/// Tokens are judged by the clock of this machine, in whole seconds.
const SKEW: Duration = Duration::from_secs(2);
/// Past this a token can be over, or not begun, long before others think so.
const WILD_SKEW: Duration = Duration::from_secs(60);
/// A store that is fuller than this is soon full.
const NEARLY_FULL: f64 = 0.9;

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
    let way = if redis.url.starts_with("rediss:") {
        "over TLS"
    } else {
        "without TLS"
    };
    checkup.add(Finding::ok(
        "redis",
        format!(
            "{} {way} as user {}, in {:.1?}",
            redis.url,
            grants.user,
            started.elapsed()
        ),
    ));
    let hello = cmd("HELLO").query_async(&mut commands).await;
    checkup.add(version(&hello));
    checkup.add(role(&hello));
    checkup.add(eviction(&mut commands, &grants).await);

    let trial = Trial::new(
        &config.sessions.key_prefix,
        &redis.channel_prefix,
        &config.room_prefix,
    );
    let (heard, mut echo) = mpsc::channel(1);
    let on_push = move |push: PushInfo| {
        if push.kind == PushKind::Message {
            // One is enough; the channel is ours alone.
            heard.try_send(()).ok();
        }
    };
    match connect_with_pushes(redis, Some(redis.command_timeout), on_push).await {
        Ok(mut ears) => {
            let rights = trial.try_server(&mut commands, &mut ears, &grants).await;
            checkup.add(rights.of_server(&grants));
            checkup.add(rights.of_writes(&grants));
            let operator = trial.try_operator(&mut commands, &grants).await;
            checkup.add(operator.of_operator(&grants));
            while echo.try_recv().is_ok() {}
            let canary = canary(&mut commands, &mut ears, &mut echo, trial.channel());
            checkup.add(canary.await);
        }
        Err(error) => checkup.add(Finding::fail(
            "canary",
            chain(&error),
            "a server needs two connections; see maxclients of Redis",
        )),
    }
    checkup.add(latency(&mut commands).await);
    checkup.add(clock(&mut commands, &grants).await);
}

fn obstacle(error: &ConnectError) -> Option<Obstacle> {
    match error {
        ConnectError::Unreachable { .. } => Some(Obstacle::Unreachable),
        error if error.is_unauthorized() => Some(Obstacle::Unauthorized),
        ConnectError::Refused { .. } => None,
        ConnectError::Url { .. } | ConnectError::File { .. } | ConnectError::Certificates(_) => {
            Some(Obstacle::Misconfigured)
        }
    }
}

type Hello = RedisResult<HashMap<String, Value>>;

fn text(hello: &Hello, key: &str) -> Option<String> {
    let value = hello.as_ref().ok()?.get(key)?;
    String::from_redis_value_ref(value).ok()
}

fn version(hello: &Hello) -> Finding {
    let (Some(server), Some(version)) = (text(hello, "server"), text(hello, "version")) else {
        return Finding::warn(
            "version",
            "Redis does not tell it",
            "use Redis 6.2 or newer, or Valkey",
        );
    };
    let found = format!("{server} {version}");
    match server.as_str() {
        "valkey" => Finding::ok("version", found),
        "redis" if number(&version).is_some_and(|number| number >= OLDEST) => {
            Finding::ok("version", found)
        }
        "redis" => Finding::fail(
            "version",
            found,
            "upgrade it to Redis 6.2 or newer, or Valkey",
        ),
        _ => Finding::warn(
            "version",
            found,
            "sockd is tried with Redis and Valkey alone",
        ),
    }
}

fn number(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

fn role(hello: &Hello) -> Finding {
    match text(hello, "role").as_deref() {
        Some("master") => Finding::ok("role", "a master"),
        Some("replica" | "slave") => Finding::fail(
            "role",
            "a replica, which refuses to be written to",
            "point redis.url to its master, which INFO replication names",
        ),
        _ => Finding::warn(
            "role",
            "Redis does not tell it",
            "see that redis.url leads to a master",
        ),
    }
}

/// Whether Redis may forget sessions to make room, and how much there is.
async fn eviction(commands: &mut Connection, grants: &Grants) -> Finding {
    const CHECK: &str = "eviction";
    let info: String = match cmd("INFO").arg("memory").query_async(commands).await {
        Ok(info) => info,
        Err(error) => return untold(CHECK, &error, "+info", grants),
    };
    let field = |name: &str| {
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim).unwrap_or_default()
    };
    let policy = field("maxmemory_policy");
    let bytes = |name| field(name).parse::<u64>().unwrap_or(0);
    let (used, limit) = (bytes("used_memory"), bytes("maxmemory"));
    let room = match limit {
        0 => "no maxmemory".to_owned(),
        _ => format!("{used} of {limit} bytes used"),
    };
    let found = format!("{policy}, {room}");
    if policy != "noeviction" {
        let remedy = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf: else sessions are forgotten when memory is short, and another login gets in beside the first";
        return Finding::warn(CHECK, found, remedy);
    }
    if limit > 0 && used as f64 > limit as f64 * NEARLY_FULL {
        return Finding::warn(
            CHECK,
            found,
            "raise maxmemory: once it is reached nobody new gets in",
        );
    }
    Finding::ok(CHECK, found)
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
    ears: &mut Connection,
    echo: &mut mpsc::Receiver<()>,
    channel: &str,
) -> Finding {
    const CHECK: &str = "canary";
    let started = Instant::now();
    let singing = async {
        ears.subscribe(channel).await?;
        let started = Instant::now();
        let () = commands.publish(channel, "").await?;
        echo.recv().await;
        RedisResult::Ok(started.elapsed())
    };
    let sung = timeout(3 * ECHO_LIMIT, singing).await;
    ears.unsubscribe(channel).await.ok();
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

/// How far the clocks of this machine and of Redis are apart.
async fn clock(commands: &mut Connection, grants: &Grants) -> Finding {
    const CHECK: &str = "clock";
    let before = SystemTime::now();
    let (seconds, micros): (u64, u64) = match cmd("TIME").query_async(commands).await {
        Ok(time) => time,
        Err(error) => return untold(CHECK, &error, "+time", grants),
    };
    let there = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let skew = match there.duration_since(here) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    let found = format!("{:.3} s between this machine and Redis", skew.as_secs_f64());
    let remedy = "set both by NTP: tokens begin and end by the clock of this machine";
    match skew {
        skew if skew > WILD_SKEW => Finding::fail(CHECK, found, remedy),
        skew if skew > SKEW => Finding::warn(CHECK, found, remedy),
        _ => Finding::ok(CHECK, found),
    }
}

/// A check that the server does without, so that a narrow ACL is no failure.
fn untold(
    check: &'static str,
    error: &::redis::RedisError,
    rule: &str,
    grants: &Grants,
) -> Finding {
    let found = format!("Redis does not tell: {}", said(error));
    let remedy = match Refusal::of(error) {
        Some(Refusal::Command(_)) => {
            format!("{}, if the doctor shall look", grants.command(rule))
        }
        _ => "see the log of Redis, and the network between".to_owned(),
    };
    Finding::warn(check, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkup::Verdict;

    fn hello(server: &str, version: &str, role: &str) -> Hello {
        let text = |text: &str| Value::BulkString(text.into());
        let fields = [("server", server), ("version", version), ("role", role)];
        Ok(fields
            .map(|(key, value)| (key.to_owned(), text(value)))
            .into())
    }

    #[test]
    fn redis_from_6_2_on_and_any_valkey_are_good() {
        for (server, number, expected) in [
            ("redis", "6.2.0", Verdict::Ok),
            ("redis", "7.0.15", Verdict::Ok),
            ("redis", "10.0.1", Verdict::Ok),
            ("redis", "6.0.16", Verdict::Fail),
            ("redis", "5.0", Verdict::Fail),
            ("valkey", "8.1.0", Verdict::Ok),
            ("another", "1.0", Verdict::Warn),
        ] {
            let finding = version(&hello(server, number, "master"));
            assert_eq!(finding.verdict, expected, "{server} {number}");
        }
    }

    #[test]
    fn a_replica_fails() {
        assert_eq!(
            role(&hello("redis", "7.0.0", "master")).verdict,
            Verdict::Ok
        );
        assert_eq!(
            role(&hello("redis", "7.0.0", "replica")).verdict,
            Verdict::Fail
        );
    }
}
