//! The network between the nodes and Redis is cut, goes silent, or becomes slow.

use std::time::Duration;

use super::{
    ledger::Hit,
    scene::{BOTH, Scene},
};
use crate::support::proxy::{Direction, Weather, Which};

/// Lets the weather between these nodes and Redis be bad for a while.
async fn weather(fault: &str, nodes: &[usize], weather: Weather) {
    let scene = Scene::start().await;
    scene.hits(nodes, Hit::Deaf);
    scene.turns(nodes, weather);
    scene.lasts(8).await;
    scene.turns(nodes, Weather::Fair);
    scene.heals().await;
    scene.ends(fault).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_cut_off() {
    weather("one node's network cut", &[0], Weather::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_cut_off_makes_up_for_the_logouts_that_it_missed() {
    let scene = Scene::start().await;
    scene.hits(&[0], Hit::Deaf);
    scene.turns(&[0], Weather::Cut);
    scene.lasts(4).await;
    // No later logout may do what the missed ones should have done.
    scene.falls_quiet().await;
    scene.turns(&[0], Weather::Fair);
    scene.heals().await;
    scene.everyone_is_in().await;
    scene.ends("one node's network cut amid logouts").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_are_cut_off() {
    weather("both nodes' network cut", &BOTH, Weather::Cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_of_one_node_are_half_open() {
    let silence = Weather::Blackhole(Which::All, Direction::Both);
    weather("one node's links half-open", &[0], silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_of_both_nodes_are_half_open() {
    let silence = Weather::Blackhole(Which::All, Direction::Both);
    weather("both nodes' links half-open", &BOTH, silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_links_of_one_node_pass_bytes_to_redis_but_none_back() {
    let silence = Weather::Blackhole(Which::All, Direction::FromRedis);
    weather("one node's links half-open, one way", &[0], silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_subscriber_link_of_one_node_is_half_open() {
    let silence = Weather::Blackhole(Which::Subscribers, Direction::Both);
    weather("one node's subscriber link half-open", &[0], silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_command_link_of_one_node_is_half_open() {
    let silence = Weather::Blackhole(Which::Commands, Direction::Both);
    weather("one node's command link half-open", &[0], silence).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_too_slow_to_be_of_use() {
    let slow = Weather::Slow(Duration::from_millis(700));
    weather("network slow by 0.7 s each way", &BOTH, slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_silence_leaves_no_dead_link_behind() {
    let scene = Scene::start().await;
    scene.hits(&[0], Hit::Deaf);
    let silence = Weather::Blackhole(Which::All, Direction::Both);
    scene.turns(&[0], silence);
    scene.lasts(1).await;
    scene.turns(&[0], Weather::Fair);
    scene.heals().await;
    scene.ends("one node's links half-open, for a moment").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_makes_nobody_deaf() {
    let scene = Scene::start().await;
    // No fault: every emit must succeed, and both nodes must be ready all the time.
    scene.turns(&BOTH, Weather::Slow(Duration::from_millis(100)));
    scene.lasts(6).await;
    scene.turns(&BOTH, Weather::Fair);
    scene.heals().await;
    scene.ends("network slow by 0.1 s each way").await;
}
