//! Redis under three Sentinels.

use std::time::Instant;

use super::{
    PASSWORD, Pair, RECOVERY, a_refused_logout_touches_nobody, everything_works, grant,
    sessions_ls, tell,
};
use crate::support::{PATIENCE, eventually, sentinel::Sentinels, sockd::Sockd};

#[tokio::test]
async fn two_nodes_find_the_master_and_serve_a_user_together() {
    let sentinels = Sentinels::start().await;
    let (a, b) = (sentinels.sockd().await, sentinels.sockd().await);
    everything_works([&a, &b]).await;

    let pair = Pair::join([&a, &b]).await;
    let rows = sessions_ls(&[
        ("SOCKD_REDIS__SENTINELS", &sentinels.addresses()),
        ("SOCKD_REDIS__SENTINEL_MASTER", "mymaster"),
    ]);
    let row = rows.iter().find(|row| row["userId"] == pair.user.as_str());
    let row = row.expect("the user is listed");
    assert_eq!(row["sessionId"], pair.session.as_str());
    assert_eq!(row["online"], 2);
}

#[tokio::test]
async fn a_refused_logout_touches_nobody_under_sentinels() {
    let sentinels = Sentinels::start().await;
    let (a, b) = (sentinels.sockd().await, sentinels.sockd().await);
    let mut master = [sentinels.servers[0].connection()];
    a_refused_logout_touches_nobody([&a, &b], &mut master).await;
}

#[tokio::test]
async fn a_promoted_replica_is_found_after_the_master_was_killed() {
    let mut sentinels = Sentinels::start().await;
    let (a, b) = (sentinels.sockd().await, sentinels.sockd().await);
    let mut pair = Pair::join([&a, &b]).await;
    pair.hear_in_order([&a, &b]).await;

    let killed = Instant::now();
    sentinels.servers[0].kill();
    a.is_not_ready(PATIENCE, &[]).await;
    tell("Sentinel: unready after the master was killed", killed);
    eventually(2 * PATIENCE, "a new master", || async {
        sentinels.master() == Some(1)
    })
    .await;
    tell("Sentinel: promotion after the master was killed", killed);

    let promoted = Instant::now();
    a.is_ready(RECOVERY).await;
    b.is_ready(RECOVERY).await;
    tell("Sentinel: ready after the promotion", promoted);
    pair.hears_again([&a, &b], "after the failover").await;
    everything_works([&a, &b]).await;
    tell("Sentinel: everything works after the promotion", promoted);

    // The old master comes back as a master, and is made a replica; no node follows it.
    sentinels.servers[0].restart().await;
    // On a busy machine Sentinels fall into TILT, and do nothing for 30 s.
    eventually(4 * PATIENCE, "its demotion", || async {
        sentinels.servers[0].role().as_deref() == Some("slave")
    })
    .await;
    pair.hears_again([&a, &b], "after the return").await;
    pair.log_out(&b).await;
}

#[tokio::test]
async fn a_demoted_master_is_left_although_its_connections_stay_open() {
    let sentinels = Sentinels::start().await;
    let (a, b) = (sentinels.sockd().await, sentinels.sockd().await);
    let mut pair = Pair::join([&a, &b]).await;

    // By hand, so that no connection is closed as a Sentinel would do: only the role shows it.
    let demoted = Instant::now();
    let old = &sentinels.servers[0];
    old.replicaof("127.0.0.1", &sentinels.servers[1].port.to_string());
    a.is_not_ready(RECOVERY, &[]).await;
    b.is_not_ready(RECOVERY, &[]).await;
    tell("Sentinel: unready after a silent demotion", demoted);
    old.replicaof("NO", "ONE");
    let promoted = Instant::now();
    a.is_ready(RECOVERY).await;
    b.is_ready(RECOVERY).await;
    tell("Sentinel: ready after it is the master again", promoted);
    pair.hears_again([&a, &b], "after the demotion").await;
    everything_works([&a, &b]).await;
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let sentinels = Sentinels::start().await;
    for server in &sentinels.servers {
        grant(&mut server.connection(), "+subscribe");
    }
    for sentinel in &sentinels.sentinels {
        grant(&mut sentinel.connection(), "+sentinel|");
    }
    let start = async || {
        let builder = sentinels.configure(Sockd::builder());
        let builder = builder.env("SOCKD_REDIS__USERNAME", "sockd");
        let builder = builder.env("REDIS_PASS", PASSWORD);
        let builder = builder.env("SOCKD_REDIS__SENTINEL_USERNAME", "sockd");
        let builder = builder.env("SOCKD_REDIS__SENTINEL_PASSWORD", PASSWORD);
        let sockd = builder.start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    };
    let (a, b) = (start().await, start().await);
    everything_works([&a, &b]).await;
    let rows = sessions_ls(&[
        ("SOCKD_REDIS__SENTINELS", &sentinels.addresses()),
        ("SOCKD_REDIS__SENTINEL_MASTER", "mymaster"),
        ("SOCKD_REDIS__SENTINEL_USERNAME", "sockd"),
        ("SOCKD_REDIS__SENTINEL_PASSWORD", PASSWORD),
        ("SOCKD_REDIS__USERNAME", "sockd"),
        ("REDIS_PASS", PASSWORD),
    ]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    for node in [&a, &b] {
        let log = node.log().text();
        assert!(
            !log.contains("NOPERM") && !log.contains("permission"),
            "{log}"
        );
    }
}
