//! Plays random conversations to sockd and to a stock Socket.IO server in Node, and compares what
//! clients and callers see, packet by packet.
//!
//! A seed makes a conversation. `SOCKD_SEED=17 cargo test --test it differential::` plays one, and
//! `SOCKD_SEEDS=5000` so many instead of the usual ones.

mod comparison;
mod conversation;
mod packets;
mod player;
mod rules;
mod seed;
mod shrink;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    time::Duration,
};

use futures_util::{StreamExt, stream};

use self::{
    comparison::{Comparison, Difference},
    conversation::Step,
    rules::RULES,
    seed::{conversation, heartbeat},
};
use crate::support::{PATIENCE, node::Node, redis::Redis, sockd::Sockd};

/// Conversations that every run plays, how many of them with sessions in Redis, and some that need
/// further rules.
const SEEDS: u64 = 200;
const SEEDS_WITH_REDIS: u64 = 40;
const ALSO: [u64; 3] = [401, 493, 1706];
const SEEDS_WITH_HEARTBEAT: u64 = 40;
/// The interval of pings, and how long a pong may take: long enough for a busy machine.
const HEARTBEAT: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1_500));
/// Longer than any conversation.
const NEVER: Duration = Duration::from_secs(300);
/// Conversations at a time.
const AT_ONCE: usize = 32;
/// How often a difference must recur: one that a busy machine causes does not.
const REPLAYS: usize = 2;
/// Differences that are reported in full.
const TOLD: usize = 5;

/// The two servers, as alike as can be configured.
struct Servers {
    node: Node,
    sockd: Sockd,
    beats: bool,
}

impl Servers {
    async fn start(redis: Option<&Redis>, heartbeat: Option<(Duration, Duration)>) -> Self {
        // Without a heartbeat no ping falls into a conversation.
        let (interval, timeout) = heartbeat.unwrap_or((NEVER, NEVER));
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let mut environment = vec![
            ("PING_INTERVAL", milliseconds(interval)),
            ("PING_TIMEOUT", milliseconds(timeout)),
            ("CONNECT_TIMEOUT", milliseconds(NEVER)),
        ];
        let in_unit = |time| format!("{}ms", milliseconds(time));
        let mut sockd = Sockd::builder()
            .env("SOCKD_SOCKETIO__PING_INTERVAL", in_unit(interval))
            .env("SOCKD_SOCKETIO__PING_TIMEOUT", in_unit(timeout))
            .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", in_unit(NEVER))
            .env("SOCKD_LIMITS__HANDSHAKE_ATTEMPTS", "1000")
            .env("SOCKD_LOG__LEVEL", "warn,sockd::server=info");
        if let Some(redis) = redis {
            environment.push(("REDIS_PORT", redis.port.to_string()));
            sockd = sockd.redis(redis);
        }
        let sockd = sockd.start().await;
        sockd.is_ready(PATIENCE).await;
        let node = Node::start(&environment);
        let beats = heartbeat.is_some();
        Self { node, sockd, beats }
    }

    async fn compare(&self, steps: &[Step]) -> Comparison {
        let play = async |address: SocketAddr| player::play(address, steps, self.beats).await;
        let (node, sockd) = tokio::join!(play(self.node.address), play(self.sockd.address()));
        comparison::compare(steps, node, sockd)
    }

    /// Compares a conversation, and returns a difference that did not come again: a busy machine
    /// causes such, and a real one comes each time.
    async fn judge(&self, steps: &[Step]) -> (Comparison, Option<Difference>) {
        let mut comparison = self.compare(steps).await;
        let mut passing = None;
        for _ in 0..REPLAYS {
            if let Some(difference) = comparison.difference.take() {
                passing = Some(difference);
                comparison = self.compare(steps).await;
            }
        }
        match comparison.difference {
            Some(_) => (comparison, None),
            None => (comparison, passing),
        }
    }
}

/// The outcome of all conversations.
#[derive(Default)]
struct Outcome {
    /// The rules that were needed, and the seeds that need them.
    met: BTreeMap<&'static str, BTreeSet<u64>>,
    failed: Vec<(u64, Vec<Step>, Difference)>,
}

#[expect(clippy::print_stdout, reason = "to look at with --nocapture")]
async fn play_all(
    servers: &Servers,
    seeds: Vec<u64>,
    conversation: fn(u64) -> Vec<Step>,
) -> Outcome {
    let judged = stream::iter(seeds).map(async |seed| {
        let steps = conversation(seed);
        let (comparison, passing) = servers.judge(&steps).await;
        (seed, steps, comparison, passing)
    });
    let mut judged = judged.buffer_unordered(AT_ONCE);
    let mut outcome = Outcome::default();
    while let Some((seed, steps, comparison, passing)) = judged.next().await {
        if let Some(difference) = passing {
            println!("seed {seed} differed once:\n{}", difference.explain(&steps));
        }
        for rule in comparison.met {
            outcome.met.entry(rule).or_default().insert(seed);
        }
        if let Some(difference) = comparison.difference {
            outcome.failed.push((seed, steps, difference));
        }
    }
    outcome.failed.sort_by_key(|(seed, ..)| *seed);
    outcome
}

/// Plays the seeds that the environment asks for, or else the usual ones. A difference fails the
/// test with a readable report and the shortest conversation.
async fn assert_alike(
    servers: &Servers,
    usual: impl IntoIterator<Item = u64>,
    conversation: fn(u64) -> Vec<Step>,
) -> Outcome {
    let seeds = asked().unwrap_or_else(|| usual.into_iter().collect());
    let outcome = play_all(servers, seeds, conversation).await;
    if outcome.failed.is_empty() {
        return outcome;
    }
    let seeds: Vec<_> = outcome.failed.iter().map(|(seed, ..)| *seed).collect();
    let mut report = format!("{} seeds differ: {seeds:?}\n", seeds.len());
    for (seed, steps, difference) in outcome.failed.into_iter().take(TOLD) {
        report += &format!("\nseed {seed}:\n{}", difference.explain(&steps));
        let (steps, difference) = shrink::shrink(servers, steps, difference).await;
        report += &format!("in short:\n{}", difference.explain(&steps));
        report += &format!("replay: set SOCKD_SEED={seed} and run this test\n");
    }
    panic!("{report}");
}

/// The seeds that the environment asks for.
fn asked() -> Option<Vec<u64>> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse::<u64>();
        Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
    };
    let one = number("SOCKD_SEED").map(|seed| vec![seed]);
    one.or_else(|| number("SOCKD_SEEDS").map(|count| (0..count).collect()))
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "to look at with --nocapture")]
async fn clients_see_what_a_stock_server_would_show_them() {
    let servers = Servers::start(None, None).await;
    let outcome = assert_alike(&servers, (0..SEEDS).chain(ALSO), conversation).await;
    for (rule, seeds) in &outcome.met {
        let first: Vec<_> = seeds.iter().take(TOLD).collect();
        println!("{} seeds need \"{rule}\": {first:?} ...", seeds.len());
    }
    if asked().is_none() {
        let idle = RULES
            .iter()
            .filter(|rule| !outcome.met.contains_key(rule.name));
        let idle: Vec<_> = idle.map(|rule| (rule.name, rule.why)).collect();
        assert!(
            idle.is_empty(),
            "take off the list what no conversation needs: {idle:#?}"
        );
    }
}

#[tokio::test]
async fn clients_see_the_same_with_sessions_in_redis() {
    let redis = Redis::start().await;
    let servers = Servers::start(Some(&redis), None).await;
    assert_alike(&servers, 0..SEEDS_WITH_REDIS, conversation).await;
}

#[tokio::test]
async fn heartbeats_are_those_of_a_stock_server() {
    let servers = Servers::start(None, Some(HEARTBEAT)).await;
    assert_alike(&servers, 0..SEEDS_WITH_HEARTBEAT, heartbeat).await;
}

/// The rules are the rows of a table in docs/moving-from-typescript.md, and the rows are rules.
#[test]
fn the_documentation_lists_what_is_allowed_to_differ() {
    const TABLE: &str = "**What clients see differently:**";
    let docs = include_str!("../../../docs/moving-from-typescript.md");
    let (_, table) = docs.split_once(TABLE).expect("the table");
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .map_while(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows: Vec<_> = rows.map(|(name, _)| name).collect();
    let known: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
    for row in &rows {
        assert!(known.contains(row), "docs: \"{row}\" is no rule");
    }
    for rule in RULES {
        assert!(rows.contains(&rule.name), "docs: no \"{}\"", rule.name);
    }
    let distinct: HashSet<_> = known.iter().collect();
    assert_eq!(distinct.len(), known.len(), "{known:?}");
}
