//! Redis dies, freezes, refuses and forgets.

use std::collections::BTreeSet;

use redis::cmd;

use super::{
    ledger::Hit,
    scene::{BOTH, Scene},
};

/// Every write that was confirmed is on the disk.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_with_its_data() {
    let mut scene = Scene::start_with(&DURABLE).await;
    scene.hits(&BOTH, Hit::Deaf);
    scene.redis.kill();
    scene.lasts(8).await;
    scene.redis_returns().await;
    scene.heals().await;
    scene.ends("Redis killed, back with its data").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_comes_back_empty() {
    let mut scene = Scene::start().await;
    scene.hits(&BOTH, Hit::Deaf);
    scene.redis.kill();
    scene.lasts(8).await;
    scene.redis_returns().await;
    scene.heals().await;
    scene.ends("Redis killed, back empty").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_comes_back_and_needs_seconds_to_load_its_data() {
    let mut scene = Scene::start().await;
    let mut fill = redis::pipe();
    (0..1_000).for_each(|number| {
        fill.set(format!("filler:{number}"), number).ignore();
    });
    let () = fill
        .cmd("SAVE")
        .ignore()
        .query(&mut scene.redis.connection())
        .expect("SAVE works");
    scene.hits(&BOTH, Hit::Deaf);
    scene.redis.kill();
    // While it loads, it accepts subscriptions and publishes, but reads no keys.
    let slowly = [
        "--key-load-delay",
        "8000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    scene.redis_begins_to_return(&slowly);
    assert!(scene.redis.is_up().await, "Redis did not load its data");
    scene.heals().await;
    scene.ends("Redis killed, loads its data for seconds").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_frozen_for_15_seconds_under_load() {
    let scene = Scene::start().await;
    scene.hits(&BOTH, Hit::Deaf);
    scene.redis.freeze();
    scene.lasts(15).await;
    scene.redis.thaw();
    scene.heals().await;
    scene.ends("Redis frozen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_frozen_for_60_seconds_while_nobody_sends_anything() {
    let scene = Scene::start().await;
    scene.falls_quiet().await;
    scene.hits(&BOTH, Hit::Deaf);
    scene.redis.freeze();
    scene.lasts(60).await;
    scene.redis.thaw();
    scene.heals().await;
    scene.ends("Redis frozen, nobody sends").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_closes_every_command_connection() {
    let scene = Scene::start().await;
    scene.hits(&BOTH, Hit::Blip);
    kill_clients(&scene, "normal");
    scene.heals().await;
    scene.ends("CLIENT KILL TYPE normal").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_closes_every_subscriber_connection() {
    let scene = Scene::start().await;
    scene.hits(&BOTH, Hit::Blip);
    kill_clients(&scene, "pubsub");
    scene.heals().await;
    scene.ends("CLIENT KILL TYPE pubsub").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_held_up_for_a_moment_and_costs_no_subscription() {
    let scene = Scene::start().await;
    let before = subscribers(&scene);
    scene.hits(&BOTH, Hit::Deaf);
    // Long enough for events to be given up, and then to arrive anyway.
    pause(&scene, "2000");
    scene.lasts(2).await;
    scene.heals().await;
    assert!(subscribers(&scene) == before || scene.is_strained());
    scene.ends("CLIENT PAUSE, for a moment").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_pauses_all_clients() {
    let scene = Scene::start().await;
    scene.hits(&BOTH, Hit::Deaf);
    pause(&scene, "8000");
    scene.lasts(8).await;
    scene.heals().await;
    scene.ends("CLIENT PAUSE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_forgets_everything_under_live_sockets() {
    let scene = Scene::start().await;
    // A pending handshake of a session that is just being replaced could be adopted again.
    scene.falls_quiet().await;
    scene.everyone_is_in().await;
    let () = cmd("FLUSHALL")
        .query(&mut scene.redis.connection())
        .expect("FLUSHALL works");
    scene.gets_loud();
    scene.heals().await;
    scene.ends("FLUSHALL").await;
}

/// Holds up all commands of all clients.
fn pause(scene: &Scene, milliseconds: &str) {
    let () = cmd("CLIENT")
        .arg(&["PAUSE", milliseconds, "ALL"])
        .query(&mut scene.redis.connection())
        .expect("CLIENT PAUSE works");
}

/// The subscriber connections, by the numbers that Redis gives them.
fn subscribers(scene: &Scene) -> BTreeSet<String> {
    let list: String = cmd("CLIENT")
        .arg(&["LIST", "TYPE", "pubsub"])
        .query(&mut scene.redis.connection())
        .expect("CLIENT LIST works");
    let numbers = list.lines().filter_map(|line| line.split(' ').next());
    numbers.map(str::to_owned).collect()
}

fn kill_clients(scene: &Scene, kind: &str) {
    let killed: usize = cmd("CLIENT")
        .arg(&["KILL", "TYPE", kind, "SKIPME", "yes"])
        .query(&mut scene.redis.connection())
        .expect("CLIENT KILL works");
    assert!(killed >= BOTH.len(), "each node has one {kind} connection");
}
