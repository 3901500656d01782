//! Plays random conversations to sockd and to a stock Socket.IO server in Node, and compares what
//! clients and callers see, packet by packet.
//!
//! A seed makes a conversation. `SOCKD_SEED=17 cargo test --test it differential::` plays one, and
//! `SOCKD_SEEDS=5000` so many instead of the usual ones.

mod conversation;
mod packets;
mod player;
mod rules;
mod seed;
mod shrink;
mod verdict;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
};

use futures_util::{StreamExt, stream};

use self::{
    conversation::Step,
    rules::{FAULTS, RULES},
    seed::conversation,
    verdict::{Difference, Verdict},
};
use crate::support::{PATIENCE, node::Node, redis::Redis, sockd::Sockd};

/// Conversations that every run plays, as many with sessions in Redis, and some that need rules
/// which these do not.
const SEEDS: u64 = 200;
const SEEDS_WITH_REDIS: u64 = 40;
const ALSO: [u64; 2] = [356, 401];
/// Conversations at the same time.
const AT_ONCE: usize = 32;
/// How often a difference has to come again: one that the machine makes by being busy does not.
const REPLAYS: usize = 2;
/// Differences that are told in full.
const TOLD: usize = 5;

/// The two servers, as alike as can be configured.
struct Servers {
    node: Node,
    sockd: Sockd,
}

impl Servers {
    async fn start(redis: Option<&Redis>) -> Self {
        // No ping of a heartbeat falls into a conversation.
        let mut environment = vec![
            ("PING_INTERVAL", "300000".to_owned()),
            ("CONNECT_TIMEOUT", "300000".to_owned()),
        ];
        let mut sockd = Sockd::builder()
            .env("SOCKD_SOCKETIO__PING_INTERVAL", "300s")
            .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "300s")
            .env("SOCKD_SOCKETIO__UPGRADE_TIMEOUT", "1s")
            .env("SOCKD_LIMITS__HANDSHAKE_ATTEMPTS", "1000")
            .env("SOCKD_LOG__LEVEL", "warn,sockd::server=info")
            // What comes over two connections is worked on in the order in which it comes.
            .env("TOKIO_WORKER_THREADS", "1");
        if let Some(redis) = redis {
            environment.push(("REDIS_PORT", redis.port.to_string()));
            sockd = sockd.redis(redis);
        }
        let sockd = sockd.start().await;
        sockd.is_ready(PATIENCE).await;
        let node = Node::start(&environment);
        Self { node, sockd }
    }

    async fn compare(&self, steps: &[Step]) -> Verdict {
        let play = async |address: SocketAddr| player::play(address, steps).await;
        let (node, sockd) = tokio::join!(play(self.node.address), play(self.sockd.address()));
        verdict::compare(steps, node, sockd)
    }

    /// The verdict on a seed; a difference is one that comes each time.
    async fn judge(&self, steps: &[Step]) -> Verdict {
        let mut verdict = self.compare(steps).await;
        for _ in 0..REPLAYS {
            if verdict.difference.is_some() {
                verdict = self.compare(steps).await;
            }
        }
        verdict
    }
}

/// What came of all conversations.
#[derive(Default)]
struct Outcome {
    /// The rules that were needed, and the seeds that need them.
    met: BTreeMap<&'static str, BTreeSet<u64>>,
    failed: Vec<(u64, Vec<Step>, Difference)>,
}

async fn play_all(servers: &Servers, seeds: Vec<u64>) -> Outcome {
    let judged = stream::iter(seeds).map(async |seed| {
        let steps = conversation(seed);
        let verdict = servers.judge(&steps).await;
        (seed, steps, verdict)
    });
    let mut judged = judged.buffer_unordered(AT_ONCE);
    let mut outcome = Outcome::default();
    while let Some((seed, steps, verdict)) = judged.next().await {
        for rule in verdict.met {
            outcome.met.entry(rule).or_default().insert(seed);
        }
        if let Some(difference) = verdict.difference {
            outcome.failed.push((seed, steps, difference));
        }
    }
    outcome.failed.sort_by_key(|(seed, ..)| *seed);
    outcome
}

/// Tells the failures as a person can read them, each with its shortest conversation.
async fn report(servers: &Servers, outcome: Outcome) -> String {
    let seeds: Vec<_> = outcome.failed.iter().map(|(seed, ..)| *seed).collect();
    let mut report = format!("{} seeds differ: {seeds:?}\n", seeds.len());
    for (seed, steps, difference) in outcome.failed.into_iter().take(TOLD) {
        report += &format!("\nseed {seed}:\n{}", difference.explain(&steps));
        let (steps, difference) = shrink::shrink(servers, steps, difference).await;
        report += &format!("in short:\n{}", difference.explain(&steps));
        report += &format!("replay: SOCKD_SEED={seed} cargo test --test it differential::\n");
    }
    report
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
#[expect(
    clippy::print_stdout,
    reason = "where a rule is needed, to look at with --nocapture"
)]
async fn clients_see_what_they_would_see_of_a_stock_server() {
    let servers = Servers::start(None).await;
    let usual = || (0..SEEDS).chain(ALSO).collect();
    let outcome = play_all(&servers, asked().unwrap_or_else(usual)).await;
    for (rule, seeds) in &outcome.met {
        let first: Vec<_> = seeds.iter().take(TOLD).collect();
        println!("{} seeds need \"{rule}\": {first:?} ...", seeds.len());
    }
    if !outcome.failed.is_empty() {
        panic!("{}", report(&servers, outcome).await);
    }
    if asked().is_none() {
        let rules = RULES.iter().chain(FAULTS);
        let idle = rules.filter(|rule| !outcome.met.contains_key(rule.name));
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
    let servers = Servers::start(Some(&redis)).await;
    let outcome = play_all(
        &servers,
        asked().unwrap_or_else(|| (0..SEEDS_WITH_REDIS).collect()),
    )
    .await;
    if !outcome.failed.is_empty() {
        panic!("{}", report(&servers, outcome).await);
    }
}

/// The rules are the rows of a table in the README, and the rows are rules.
#[test]
fn the_readme_lists_what_is_allowed_to_differ() {
    const TABLE: &str = "**What clients see differently:**";
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once(TABLE).expect("the table");
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .map_while(|line| line.strip_prefix("| ")?.split_once(" | "));
    let rows: Vec<_> = rows.map(|(name, _)| name).collect();
    let known: Vec<_> = RULES.iter().chain(FAULTS).map(|rule| rule.name).collect();
    for row in &rows {
        assert!(known.contains(row), "README: \"{row}\" is no rule");
    }
    for rule in RULES {
        assert!(rows.contains(&rule.name), "README: no \"{}\"", rule.name);
    }
    let distinct: HashSet<_> = known.iter().collect();
    assert_eq!(distinct.len(), known.len(), "{known:?}");
}
