//! Redis as a Cluster of six.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::{
    COUNTED, PASSWORD, Pair, RECOVERY, a_refused_logout_touches_nobody, emit_and_ask,
    everything_works_for, grant, sessions_ls, tell,
};
use crate::support::{
    PATIENCE, cluster::Cluster, doctor::Doctor, eventually, jwt, redis::key, sockd::Sockd,
    websocket::WebSocket,
};

/// A user whose session is on that master.
fn user_on(cluster: &Cluster, master: usize) -> String {
    let mut users = std::iter::repeat_with(jwt::user);
    let user = users.find(|user| cluster.master_of(&key(user)) == master);
    user.expect("every master has slots")
}

/// A user with two sockets on each of the masters.
async fn pairs(cluster: &Cluster, nodes: [&Sockd; 2]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for master in 0..3 {
        let mut pair = Pair::join_as(user_on(cluster, master), nodes).await;
        pair.hear_in_order(nodes).await;
        pairs.push(pair);
    }
    pairs
}

fn channel(user: &str) -> String {
    format!("sockd:user:{{{}}}", key(user))
}

#[tokio::test]
async fn two_nodes_serve_users_on_every_shard_together() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    for master in 0..3 {
        everything_works_for(user_on(&cluster, master), [&a, &b]).await;
    }

    let pairs = pairs(&cluster, [&a, &b]).await;
    let rows = sessions_ls(&[("SOCKD_REDIS__CLUSTER", &cluster.addresses())]);
    for pair in &pairs {
        let row = rows.iter().find(|row| row["userId"] == pair.user.as_str());
        let row = row.expect("the user is listed");
        assert_eq!(row["sessionId"], pair.session.as_str());
        assert_eq!(row["online"], 2);
    }
    assert_eq!(rows.len(), 6, "{rows:?}");
}

#[tokio::test]
async fn a_refused_logout_touches_nobody_in_a_cluster() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let mut masters: Vec<_> = cluster.nodes[..3]
        .iter()
        .map(|node| node.connection())
        .collect();
    a_refused_logout_touches_nobody([&a, &b], &mut masters).await;
}

#[tokio::test]
async fn sessions_with_a_live_socket_are_renewed_on_every_shard() {
    let cluster = Cluster::start().await;
    let builder = cluster.configure(Sockd::builder());
    let node = builder.env("SOCKD_SESSIONS__TTL", "20s").start().await;
    node.is_ready(PATIENCE).await;
    let mut sockets = Vec::new();
    for master in 0..3 {
        let user = user_on(&cluster, master);
        sockets.push(WebSocket::join(node.address(), &user, &jwt::session()).await);
        let ask = |command: &str, argument: Option<u32>| -> i64 {
            let mut command = redis::cmd(command);
            command.arg(key(&user)).arg(argument);
            let answer = command.query(&mut cluster.nodes[master].connection());
            answer.expect("the master takes it")
        };
        // It would expire soon if it were not renewed every 5 s.
        ask("EXPIRE", Some(10));
        eventually(PATIENCE, "a renewal", async || ask("TTL", None) > 10).await;
    }
}

#[tokio::test]
async fn a_promoted_replica_is_found_after_its_master_was_killed() {
    let mut cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let mut pairs = pairs(&cluster, [&a, &b]).await;
    let newcomer = user_on(&cluster, 0);

    let killed = Instant::now();
    cluster.nodes[0].kill();
    a.is_not_ready(PATIENCE, &[]).await;
    tell("Cluster: unready after a master was killed", killed);
    heals(&cluster, [&a, &b], &mut pairs, newcomer, killed).await;
}

#[tokio::test]
async fn a_frozen_master_is_noticed_and_its_replica_found() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let mut pairs = pairs(&cluster, [&a, &b]).await;
    let newcomer = user_on(&cluster, 0);

    let frozen = Instant::now();
    cluster.nodes[0].freeze();
    // Reported within 5 s; the machine may be busy.
    a.is_not_ready(2 * RECOVERY, &[]).await;
    tell("Cluster: unready after a master froze", frozen);
    heals(&cluster, [&a, &b], &mut pairs, newcomer, frozen).await;

    cluster.nodes[0].thaw();
    eventually(PATIENCE, "its demotion", || async {
        !cluster.nodes[0].is_master()
    })
    .await;
    for pair in &mut pairs {
        pair.hears_again([&a, &b], "after the return").await;
    }
}

/// The first node's replica takes its place, and all is as before.
async fn heals(
    cluster: &Cluster,
    nodes: [&Sockd; 2],
    pairs: &mut [Pair],
    newcomer: String,
    since: Instant,
) {
    eventually(2 * PATIENCE, "a new master", || async {
        cluster.nodes[3].is_master()
    })
    .await;
    tell("Cluster: promotion after that", since);
    let promoted = Instant::now();
    for node in nodes {
        node.is_ready(RECOVERY).await;
    }
    tell("Cluster: ready after the promotion", promoted);
    for pair in pairs {
        pair.hears_again(nodes, "after the failover").await;
    }
    everything_works_for(newcomer, nodes).await;
    tell("Cluster: everything works after the promotion", promoted);
}

#[tokio::test]
async fn a_planned_failover_is_followed_at_once() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let mut pairs = pairs(&cluster, [&a, &b]).await;
    cluster.nodes[3].fail_over().await;
    let promoted = Instant::now();
    is_heard_at(&cluster, 3, &pairs[0].user).await;
    tell(
        "Cluster: channels followed after a planned failover",
        promoted,
    );
    // Redis holds all commands back for the failover, and may do so for longer than sockd waits.
    a.is_ready(RECOVERY).await;
    b.is_ready(RECOVERY).await;
    for pair in &mut pairs {
        // A node may still publish at the old master; it then reports that it does not know the outcome.
        for node in [&a, &b] {
            let counted = async || emit_and_ask(node, &pair.user).await["nodes"] == 2;
            eventually(RECOVERY, "a true count", counted).await;
        }
        pair.hears_again([&a, &b], "after the failover").await;
    }
    for pair in pairs {
        pair.log_out(&b).await;
    }
}

/// Events between the promotion and the new subscriptions are received by nobody.
#[tokio::test]
async fn events_amid_planned_failovers_cost_no_subscriber_connection() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let pairs = pairs(&cluster, [&a, &b]).await;
    for (promoted, pair) in (3..).zip(&pairs) {
        let sending = async {
            loop {
                let events = pairs.iter().map(|pair| emit_and_ask(&a, &pair.user));
                join_all(events).await;
            }
        };
        let promotion = async {
            cluster.nodes[promoted].fail_over().await;
            is_heard_at(&cluster, promoted, &pair.user).await;
        };
        tokio::select! {
            () = promotion => {}
            () = sending => {}
        }
    }
    for node in [&a, &b] {
        node.is_ready(RECOVERY).await;
        let metrics = node.metrics().await;
        let mut lines = metrics.lines();
        let lost = lines
            .find(|line| line.starts_with("sockd_redis_reconnects_total{link=\"subscriber\"}"));
        assert!(lost.is_some_and(|line| line.ends_with(" 0")), "{lost:?}");
    }
}

#[tokio::test]
async fn a_node_without_users_on_a_shard_counts_subscribers_after_its_failover() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let user = user_on(&cluster, 0);
    let mut socket = WebSocket::join(b.address(), &user, &jwt::session()).await;
    cluster.nodes[3].fail_over().await;
    // The old master accepts what is published there as well, but counts only its own subscribers.
    let known = json!({ "ok": true, "online": true, "nodes": 1 });
    let counted = async || emit_and_ask(&a, &user).await == known;
    eventually(RECOVERY, "a true count", counted).await;
    assert_eq!(socket.packet().await, COUNTED);
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_users_with_it() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    let mut pair = Pair::join_as(user_on(&cluster, 0), [&a, &b]).await;
    let (user, session) = (pair.user.clone(), pair.session.clone());
    let moving = cluster.begin_move(&key(&user), 1);
    pair.hears_again([&a, &b], "on the way").await;
    WebSocket::join(a.address(), &user, &session).await;
    moving.move_keys();
    pair.hears_again([&a, &b], "without the channel").await;
    WebSocket::join(b.address(), &user, &session).await;

    let moved = Instant::now();
    moving.finish();
    is_heard_at(&cluster, 1, &user).await;
    tell("Cluster: channels followed after a slot moved", moved);
    assert_eq!(cluster.nodes[0].subscribers(&channel(&user)), 0);
    pair.hears_again([&a, &b], "there").await;
    pair.hear_in_order([&a, &b]).await;
    let newer = pair.log_out(&a).await;
    WebSocket::join(b.address(), &user, &newer).await;
    for node in [&a, &b] {
        node.log().lacks("lost the subscriber connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_join_while_their_slot_moves_back_and_forth_all_receive_events() {
    let cluster = Arc::new(Cluster::start().await);
    // A tag in the keys puts all users into one slot.
    let start = async || {
        let builder = cluster.configure(Sockd::builder());
        let builder = builder.env("SOCKD_SESSIONS__KEY_PREFIX", "{app}:session:");
        let sockd = builder.start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    };
    let nodes = [start().await, start().await];
    let home = cluster.master_of("{app}");
    let moves = tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || {
            for number in 1..=40 {
                let moving = cluster.begin_move("{app}", (home + number) % 3);
                moving.move_keys();
                moving.finish();
            }
        }
    });
    let mut pairs = Vec::new();
    while !moves.is_finished() || pairs.len() < 10 {
        let four = [(); 4].map(|()| Pair::come([&nodes[0], &nodes[1]]));
        pairs.extend(join_all(four).await);
    }
    moves.await.expect("the slot moves");
    // The library's connection may have stalled, which is noticed within seconds.
    let stranger = jwt::user();
    for node in &nodes {
        let is_taken = || async { emit_and_ask(node, &stranger).await["ok"] == true };
        eventually(RECOVERY, "an emit's success", is_taken).await;
        node.is_ready(RECOVERY).await;
    }
    let owner = cluster.master_of("{app}");
    for pair in &pairs {
        let channel = format!("sockd:user:{{app}}:session:{}", pair.user);
        let is_heard = || async { cluster.nodes[owner].subscribers(&channel) == 2 };
        eventually(RECOVERY, "the channel's subscriptions", is_heard).await;
    }
    for pair in &mut pairs {
        pair.hears_again([&nodes[0], &nodes[1]], "at last").await;
    }
    pairs.remove(0).log_out(&nodes[1]).await;
}

#[tokio::test]
async fn a_force_logout_reaches_both_nodes_while_the_slot_is_on_its_way() {
    let cluster = Cluster::start().await;
    let (a, b) = (cluster.sockd().await, cluster.sockd().await);
    for are_keys_moved in [false, true] {
        let pair = Pair::join_as(user_on(&cluster, 0), [&a, &b]).await;
        let user = pair.user.clone();
        let moving = cluster.begin_move(&key(&user), 1);
        if are_keys_moved {
            moving.move_keys();
        }
        // The session may be where the channel is not yet.
        let newer = pair.log_out(&a).await;
        let socket = WebSocket::join(b.address(), &user, &newer).await;
        if !are_keys_moved {
            moving.move_keys();
        }
        moving.finish();
        let is_followed = || async { cluster.nodes[1].subscribers(&channel(&user)) == 1 };
        eventually(RECOVERY, "the channel's subscription", is_followed).await;
        socket.abandon();
    }
}

/// Waits until both nodes are subscribed to the user's channel at that master.
async fn is_heard_at(cluster: &Cluster, master: usize, user: &str) {
    eventually(RECOVERY, "the channel's subscriptions", || async {
        cluster.nodes[master].subscribers(&channel(user)) == 2
    })
    .await;
}

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        grant(&mut node.connection(), "+ssubscribe");
    }
    let start = async || {
        let builder = cluster.configure(Sockd::builder());
        let builder = builder.env("SOCKD_REDIS__USERNAME", "sockd");
        let sockd = builder.env("REDIS_PASS", PASSWORD).start().await;
        sockd.is_ready(PATIENCE).await;
        sockd
    };
    let (a, b) = (start().await, start().await);
    let user = user_on(&cluster, 0);
    everything_works_for(user.clone(), [&a, &b]).await;
    // The rights needed while a slot moves, too.
    let moving = cluster.begin_move(&key(&user), 1);
    moving.move_keys();
    assert_eq!(a.force_logout(&user, &jwt::session()).await, 0);
    moving.finish();
    everything_works_for(user_on(&cluster, 1), [&a, &b]).await;
    let rows = sessions_ls(&[
        ("SOCKD_REDIS__CLUSTER", &cluster.addresses()),
        ("SOCKD_REDIS__USERNAME", "sockd"),
        ("REDIS_PASS", PASSWORD),
    ]);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for node in [&a, &b] {
        let log = node.log().text();
        assert!(
            !log.contains("NOPERM") && !log.contains("permission"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn the_doctor_passes_a_good_cluster_and_names_missing_rights() {
    let cluster = Cluster::start().await;
    let doctor = Doctor::new().env("SOCKD_REDIS__CLUSTER", cluster.addresses());
    let examined = doctor.examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    for check in ["version", "role", "rights", "operator", "canary"] {
        examined.assert(check, "ok", &[]);
    }
    for node in &cluster.nodes {
        let mut server = node.connection();
        grant(&mut server, "+ssubscribe");
        let mut narrow = redis::cmd("ACL");
        narrow.arg("SETUSER").arg("sockd").arg("-expire");
        narrow.arg("-dbsize").arg("-pubsub|shardnumsub");
        narrow.exec(&mut server).expect("Redis takes the rules");
    }
    let doctor = doctor.env("SOCKD_REDIS__USERNAME", "sockd");
    let examined = doctor.env("REDIS_PASS", PASSWORD).examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert("rights", "fail", &["lacks +expire;"]);
    examined.assert("operator", "warn", &["lacks +dbsize +pubsub|shardnumsub,"]);
    examined.assert("canary", "ok", &[]);
}
