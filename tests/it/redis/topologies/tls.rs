//! Sentinels and a Cluster over TLS, with a private authority.

use super::{Pair, RECOVERY, emit_and_ask, everything_works, everything_works_for};
use crate::support::{
    PATIENCE, cluster::Cluster, eventually, jwt, redis::key, sentinel::Sentinels,
};

#[tokio::test]
async fn sentinels_and_their_master_are_reached_over_tls() {
    let mut sentinels = Sentinels::with_tls().await;
    let (a, b) = (sentinels.sockd().await, sentinels.sockd().await);
    everything_works([&a, &b]).await;
    let mut pair = Pair::join([&a, &b]).await;
    sentinels.servers[0].kill();
    eventually(2 * PATIENCE, "a new master", || async {
        sentinels.master() == Some(1)
    })
    .await;
    a.is_ready(RECOVERY).await;
    b.is_ready(RECOVERY).await;
    pair.hears_again([&a, &b], "after the failover").await;
    everything_works([&a, &b]).await;
}

#[tokio::test]
async fn a_cluster_is_reached_over_tls() {
    let cluster = Cluster::with_tls().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    for master in 0..3 {
        let mut users = std::iter::repeat_with(jwt::user);
        let is_there = |user: &String| cluster.master_of(&key(user)) == master;
        let user = users.find(is_there).expect("every master has slots");
        everything_works_for(user, [&a, &b]).await;
    }
    let mut pair = Pair::join([&a, &b]).await;
    let master = cluster.master_of(&key(&pair.user));
    cluster.nodes[master + 3].fail_over().await;
    a.is_ready(RECOVERY).await;
    b.is_ready(RECOVERY).await;
    // A node may still publish at the old master; it then reports that it does not know the outcome.
    for node in [&a, &b] {
        let counted = async || emit_and_ask(node, &pair.user).await["nodes"] == 2;
        eventually(RECOVERY, "a true count", counted).await;
    }
    pair.hears_again([&a, &b], "after the failover").await;
    pair.log_out(&b).await;
}
