//! The Redis servers: their version, role, eviction policy and clock.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::redis::{FromRedisValue, RedisResult, Value, cmd};

use super::Finding;
use crate::{
    config::Topology,
    redis::{
        Connection,
        grants::Grants,
        refusal::{Refusal, said},
    },
};

type Version = (u32, u32);

/// The oldest Redis that has all commands sockd uses.
const OLDEST: Version = (6, 2);
/// The oldest with the sharded channels that a Cluster needs.
const OLDEST_IN_CLUSTER: Version = (7, 0);
/// Tokens are checked by the clock of this machine, in whole seconds.
const SKEW: Duration = Duration::from_secs(2);
/// Beyond this, a token can expire here long before it does elsewhere, or become valid long after.
const WILD_SKEW: Duration = Duration::from_secs(60);
/// A Redis that is fuller than this will soon be full.
const NEARLY_FULL: f64 = 0.9;

/// Checks each server; of a Cluster's masters, the worst finding of each check counts.
pub(super) async fn examine(
    masters: &mut [Connection],
    topology: &Topology,
    grants: &Grants,
) -> Vec<Finding> {
    let oldest = if topology.is_cluster() {
        OLDEST_IN_CLUSTER
    } else {
        OLDEST
    };
    let mut worst: Vec<Finding> = Vec::new();
    for master in masters {
        let hello = cmd("HELLO").query_async(&mut *master).await;
        let findings = [
            version(&hello, oldest),
            role(&hello),
            eviction(master, grants).await,
            clock(master, grants).await,
        ];
        if worst.is_empty() {
            worst = findings.into();
            continue;
        }
        for (worst, finding) in worst.iter_mut().zip(findings) {
            if finding.verdict > worst.verdict {
                *worst = finding;
            }
        }
    }
    worst
}

type Hello = RedisResult<HashMap<String, Value>>;

fn text(hello: &Hello, key: &str) -> Option<String> {
    let value = hello.as_ref().ok()?.get(key)?;
    String::from_redis_value_ref(value).ok()
}

fn version(hello: &Hello, oldest: Version) -> Finding {
    let remedy = format!("use Redis {}.{} or newer, or Valkey", oldest.0, oldest.1);
    let (Some(server), Some(version)) = (text(hello, "server"), text(hello, "version")) else {
        return Finding::warn("version", "Redis does not say", remedy);
    };
    let found = format!("{server} {version}");
    match server.as_str() {
        "valkey" => Finding::ok("version", found),
        "redis" if number(&version).is_some_and(|number| number >= oldest) => {
            Finding::ok("version", found)
        }
        "redis" => Finding::fail("version", found, remedy),
        _ => Finding::warn(
            "version",
            found,
            "sockd is tested only with Redis and Valkey",
        ),
    }
}

fn number(version: &str) -> Option<Version> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Returns a finding if the server is a Sentinel or an unexpected Cluster node, where the results of
/// other checks would mislead.
pub(super) async fn misplaced(
    server: &mut Connection,
    topology: &Topology,
    grants: &Grants,
) -> Option<Finding> {
    let hello = cmd("HELLO").query_async(server).await;
    let (found, refusal) = match text(&hello, "mode").as_deref() {
        Some("sentinel") => ("a Sentinel, which stores no keys", Refusal::Sentinel),
        Some("cluster") if !topology.is_cluster() => (
            "a Cluster node, which holds only some of the keys",
            Refusal::Slots,
        ),
        _ => return None,
    };
    Some(Finding::fail("role", found, refusal.remedy(grants)))
}

fn role(hello: &Hello) -> Finding {
    match text(hello, "role").as_deref() {
        Some("master") => Finding::ok("role", "a master"),
        Some("replica" | "slave") => Finding::fail(
            "role",
            "a replica, which refuses writes",
            "point redis.url to its master, which INFO replication names",
        ),
        _ => Finding::warn(
            "role",
            "Redis does not say",
            "check that redis.url leads to a master",
        ),
    }
}

/// Whether Redis may evict sessions, and how full it is.
async fn eviction(commands: &mut Connection, grants: &Grants) -> Finding {
    const CHECK: &str = "eviction";
    let info: String = match cmd("INFO").arg("memory").query_async(commands).await {
        Ok(info) => info,
        Err(error) => return unchecked(CHECK, &error, "+info", grants),
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
        let remedy = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf: otherwise Redis evicts sessions when memory runs short, and a second login gets in beside the first";
        return Finding::warn(CHECK, found, remedy);
    }
    if limit > 0 && used as f64 > limit as f64 * NEARLY_FULL {
        return Finding::warn(
            CHECK,
            found,
            "raise maxmemory: once it is reached, new sessions are refused",
        );
    }
    Finding::ok(CHECK, found)
}

/// How far apart the clocks of this machine and of Redis are.
async fn clock(commands: &mut Connection, grants: &Grants) -> Finding {
    const CHECK: &str = "clock";
    let before = SystemTime::now();
    let (seconds, micros): (u64, u64) = match cmd("TIME").query_async(commands).await {
        Ok(time) => time,
        Err(error) => return unchecked(CHECK, &error, "+time", grants),
    };
    let there = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros);
    let here = before + before.elapsed().unwrap_or_default() / 2;
    let skew = match there.duration_since(here) {
        Ok(ahead) => ahead,
        Err(behind) => behind.duration(),
    };
    judge_clock(CHECK, skew, "Redis")
}

/// Whether this clock and another one are close enough for tokens.
pub(super) fn judge_clock(check: &'static str, skew: Duration, other: &str) -> Finding {
    let found = format!(
        "{:.3} s between this machine and {other}",
        skew.as_secs_f64()
    );
    let remedy = "synchronise both by NTP: tokens begin and end by the clock of this machine";
    match skew {
        skew if skew > WILD_SKEW => Finding::fail(check, found, remedy),
        skew if skew > SKEW => Finding::warn(check, found, remedy),
        _ => Finding::ok(check, found),
    }
}

/// A check that a server does not need, so that a narrow ACL only warns.
fn unchecked(
    check: &'static str,
    error: &::redis::RedisError,
    rule: &str,
    grants: &Grants,
) -> Finding {
    let found = format!("Redis does not say: {}", said(error));
    let remedy = match Refusal::of(error) {
        Some(Refusal::Command(_)) => {
            format!("{}, to let the doctor check", grants.command(rule))
        }
        Some(refusal @ Refusal::Unknown(_)) => refusal.remedy(grants).into_owned(),
        _ => "check the log of Redis, and the network to it".to_owned(),
    };
    Finding::warn(check, found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn hello(server: &str, version: &str, role: &str) -> Hello {
        let text = |text: &str| Value::BulkString(text.into());
        let fields = [("server", server), ("version", version), ("role", role)];
        Ok(fields
            .map(|(key, value)| (key.to_owned(), text(value)))
            .into())
    }

    #[test]
    fn redis_since_6_2_and_any_valkey_are_ok() {
        for (server, number, expected) in [
            ("redis", "6.2.0", Verdict::Ok),
            ("redis", "7.0.15", Verdict::Ok),
            ("redis", "10.0.1", Verdict::Ok),
            ("redis", "6.0.16", Verdict::Fail),
            ("redis", "5.0", Verdict::Fail),
            ("valkey", "8.1.0", Verdict::Ok),
            ("another", "1.0", Verdict::Warn),
        ] {
            let finding = version(&hello(server, number, "master"), OLDEST);
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
