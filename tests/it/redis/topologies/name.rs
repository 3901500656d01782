//! One Redis behind a DNS name, as with a failover by DNS: the name moves to another server, and the old
//! one lives on as its replica.

use std::time::{Duration, Instant};

use redis::cmd;
use serde_json::json;

use super::{Pair, RECOVERY, everything_works};
use crate::support::{
    PATIENCE, eventually, jwt,
    proxy::Proxy,
    redis::{Redis, heard_by},
    sockd::Sockd,
    websocket::WebSocket,
};

const UNAVAILABLE: &str = r#"44{"message":"AUTH_UNAVAILABLE"}"#;

/// A master and what will take its place, and a name for each of two nodes, as one may learn later
/// than the other that the name has moved.
struct Scene {
    old: Redis,
    new: Redis,
    names: [Proxy; 2],
    nodes: [Sockd; 2],
}

impl Scene {
    async fn start() -> Self {
        // A full sync starts without waiting for more replicas.
        let at_once = ["--repl-diskless-sync-delay", "0"];
        let start = || Redis::start_with(&at_once);
        let (old, new) = (start().await, start().await);
        new.follow(&old).await;
        for redis in [&old, &new] {
            let docs = include_str!("../../../../docs/redis.md");
            let user = docs
                .lines()
                .find(|line| line.starts_with("ACL SETUSER sockd reset"));
            let user = user.expect("docs/redis.md has a user for servers");
            redis.run(&user.split_whitespace().collect::<Vec<_>>());
        }
        let names = [Proxy::start(&old).await, Proxy::start(&old).await];
        let node = async |name: &Proxy| {
            let builder = Sockd::builder().env("SOCKD_REDIS__URL", url(name));
            let node = builder.start().await;
            node.is_ready(PATIENCE).await;
            node
        };
        let nodes = [node(&names[0]).await, node(&names[1]).await];
        Self {
            old,
            new,
            names,
            nodes,
        }
    }

    fn nodes(&self) -> [&Sockd; 2] {
        [&self.nodes[0], &self.nodes[1]]
    }

    /// The servers change places. Nobody hangs up on anyone, and the names stay where they are.
    async fn fail_over(&self) {
        let old = &mut self.old.connection();
        // WAIT is for writes of its own connection, and so for all before them.
        cmd("SET").arg("last").arg("").exec(old).expect("SET works");
        let replicas: u32 = cmd("WAIT").arg(1).arg(0).query(old).expect("WAIT works");
        assert_eq!(replicas, 1);
        self.new.lead();
        self.old.follow(&self.new).await;
    }

    /// Both nodes are ready again, both at the new master, and nothing was lost.
    async fn heals(&self, pair: Pair) {
        let mut pair = pair;
        heard_by(&self.new, &pair.user, 2).await;
        for node in self.nodes() {
            node.is_ready(RECOVERY).await;
        }
        pair.hears_again(self.nodes(), "after the failover").await;
        pair.log_out(&self.nodes[1]).await;
        everything_works(self.nodes()).await;
        eventually(
            RECOVERY,
            "the end of all connections to the old",
            async || clients(&self.old) == 0,
        )
        .await;
    }
}

/// With the rights that docs/redis.md asks for, which do not include ROLE.
fn url(name: &Proxy) -> String {
    format!("redis://sockd:PASSWORD@127.0.0.1:{}", name.port())
}

/// How many connections sockd has there.
fn clients(redis: &Redis) -> usize {
    let mut list = cmd("CLIENT");
    let list = list.arg("LIST").query(&mut redis.connection());
    let list: String = list.expect("CLIENT LIST works");
    list.matches("user=sockd").count()
}

async fn emit(node: &Sockd, user: &str, payload: u32) -> u16 {
    let body = json!({ "userId": user, "event": "profile:update", "payload": payload });
    node.post("/internal/emit", &body).await.status().as_u16()
}

async fn handshake(node: &Sockd, user: &str, session: &str) -> String {
    let mut socket = WebSocket::open(node.address()).await;
    socket.packet().await;
    socket.connect(&jwt::token(user, session)).await
}

#[tokio::test]
async fn both_nodes_leave_a_master_that_was_demoted_in_silence() {
    let scene = Scene::start().await;
    let pair = Pair::join(scene.nodes()).await;
    scene.fail_over().await;
    scene.names.iter().for_each(|name| name.lead_to(&scene.new));
    scene.heals(pair).await;
}

#[tokio::test]
async fn both_nodes_leave_a_demoted_master_whichever_connections_it_has_closed() {
    for closed in [&["normal"][..], &["pubsub"], &["normal", "pubsub"]] {
        let scene = Scene::start().await;
        let pair = Pair::join(scene.nodes()).await;
        scene.fail_over().await;
        scene.names.iter().for_each(|name| name.lead_to(&scene.new));
        for kind in closed {
            scene.old.run(&["CLIENT", "KILL", "TYPE", kind]);
        }
        scene.heals(pair).await;
    }
}

#[tokio::test]
async fn both_nodes_leave_a_demoted_master_that_takes_writes() {
    let scene = Scene::start().await;
    scene.old.run(&["CONFIG", "SET", "replica-read-only", "no"]);
    let pair = Pair::join(scene.nodes()).await;
    scene.fail_over().await;
    stays_unavailable(&scene, &pair).await;
    scene.names.iter().for_each(|name| name.lead_to(&scene.new));
    scene.heals(pair).await;
}

#[tokio::test]
async fn a_node_whose_name_has_not_moved_serves_the_active_sessions_and_promises_nothing() {
    let scene = Scene::start().await;
    let pair = Pair::join(scene.nodes()).await;
    scene.fail_over().await;
    stays_unavailable(&scene, &pair).await;
    scene.names.iter().for_each(|name| name.lead_to(&scene.new));
    scene.heals(pair).await;
}

/// While the names lead to a replica: no session changes, and no emit returns 200.
async fn stays_unavailable(scene: &Scene, pair: &Pair) {
    for node in scene.nodes() {
        node.is_not_ready(RECOVERY, &["is a replica"]).await;
        // Long enough for it to have looked several times.
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let stranger = handshake(node, &jwt::user(), &jwt::session()).await;
            assert_eq!(stranger, UNAVAILABLE);
            let body = json!({ "userId": pair.user, "sessionId": jwt::session() });
            let answer = node.post("/internal/force-logout", &body).await;
            assert_eq!(answer.status(), 503);
            assert_eq!(emit(node, &jwt::user(), 0).await, 503);
            assert!(!node.is_ready_now().await);
        }
        let comes_in = async || {
            let answer = handshake(node, &pair.user, &pair.session).await;
            answer.starts_with("40{")
        };
        eventually(RECOVERY, "the active session", comes_in).await;
    }
    let stored = format!("\"{}\"", pair.session);
    assert_eq!(scene.old.stored(&pair.user).as_ref(), Some(&stored));
}

#[tokio::test]
async fn a_node_that_starts_on_a_replica_lets_the_active_session_in_and_finds_the_master() {
    let mut scene = Scene::start().await;
    let mut pair = Pair::join(scene.nodes()).await;
    scene.fail_over().await;
    let node = &mut scene.nodes[0];
    node.kill().await;
    node.restart().await;
    let socket = WebSocket::join(node.address(), &pair.user, &pair.session).await;
    pair.sockets[0] = socket;
    assert!(!node.is_ready_now().await);
    scene.names.iter().for_each(|name| name.lead_to(&scene.new));
    scene.heals(pair).await;
}

#[tokio::test]
async fn every_event_that_a_node_with_the_old_name_answers_200_reaches_the_other() {
    let mut scene = Scene::start().await;
    scene.fail_over().await;
    scene.names[1].lead_to(&scene.new);
    let node = &mut scene.nodes[1];
    node.kill().await;
    node.restart().await;
    node.is_ready(RECOVERY).await;
    let user = jwt::user();
    let mut socket = WebSocket::join(node.address(), &user, &jwt::session()).await;

    let mut promised = Vec::new();
    let since = Instant::now();
    for number in 0.. {
        if number == 50 {
            scene.names[0].lead_to(&scene.new);
        }
        match emit(&scene.nodes[0], &user, number).await {
            200 => promised.push(number),
            status => assert_eq!(status, 503),
        }
        if promised.len() == 5 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "only {promised:?}");
    }
    assert!(promised[0] >= 50, "{promised:?}");
    for number in promised {
        let event = format!(r#"42["profile:update",{number}]"#);
        // An emit that returned 503 may have arrived anyway.
        while socket.packet().await != event {}
    }
}

#[tokio::test]
async fn an_event_published_to_a_replica_without_subscribers_is_not_answered_200() {
    let (old, new) = (Redis::start().await, Redis::start().await);
    let (a, b) = (Sockd::with_redis(&old).await, Sockd::with_redis(&new).await);
    let user = jwt::user();
    WebSocket::join(b.address(), &user, &jwt::session()).await;
    for number in 0..5 {
        let is_taken = async || emit(&a, &user, number).await == 200;
        eventually(RECOVERY, "an event that is taken", is_taken).await;
        // At once, before anything has had the time to notice.
        old.run(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
        assert_eq!(emit(&a, &user, number).await, 503);
        old.lead();
    }
}

#[tokio::test]
async fn a_demoted_master_passes_on_no_events_although_no_node_has_noticed() {
    let scene = Scene::start().await;
    let [a, b] = scene.nodes();
    let user = jwt::user();
    let mut socket = WebSocket::join(b.address(), &user, &jwt::session()).await;
    let is_taken = async |number| emit(a, &user, number).await == 200;
    eventually(RECOVERY, "an event", async || is_taken(1).await).await;
    while socket.packet().await != r#"42["profile:update",1]"# {}
    // For so long docs/redis.md lets a node rely on what the server was.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let new = scene.new.port.to_string();
    scene.old.run(&["REPLICAOF", "127.0.0.1", &new]);
    assert_eq!(emit(a, &user, 2).await, 503);
    scene.old.lead();
    for node in [a, b] {
        node.is_ready(RECOVERY).await;
    }
    eventually(RECOVERY, "a later event", async || is_taken(3).await).await;
    loop {
        let packet = socket.packet().await;
        assert_ne!(packet, r#"42["profile:update",2]"#);
        if packet == r#"42["profile:update",3]"# {
            break;
        }
    }
}
