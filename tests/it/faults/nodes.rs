//! The nodes themselves die and are restarted.

use super::{ledger::Hit, scene::Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_amid_emits_and_logouts() {
    let mut scene = Scene::start().await;
    scene.hits(&[0], Hit::Gone);
    scene.nodes[0].kill().await;
    scene.lasts(5).await;
    scene.node_returns(0).await;
    scene.heals().await;
    scene.ends("a node killed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_nodes_are_restarted_in_turn() {
    let mut scene = Scene::start().await;
    for node in [0, 1] {
        scene.hits(&[node], Hit::Gone);
        assert_eq!(scene.nodes[node].drain().await, Some(0));
        scene.node_returns(node).await;
        scene.heals().await;
    }
    scene.ends("both nodes restarted in turn").await;
}
