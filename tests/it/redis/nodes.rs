//! Several nodes on one Redis, and nodes that are cut off from each other for a while.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, http, jwt,
    proxy::{Direction, Proxy, Weather, Which},
    redis::{Redis, heard_by},
    sockd::Sockd,
    websocket::{Came, WebSocket, is_dismissed},
};

/// A force-logout that a node missed is made up for within 15 s; the rest is for a loaded machine.
const MADE_UP: Duration = Duration::from_secs(25);
/// After this long a silent node is forgotten, so that nobody waits for it.
const FORGOTTEN: Duration = Duration::from_secs(10);
const EVENT: &str = r#"42["profile:update",1]"#;

fn query(redis: &Redis, command: &[&str]) {
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]);
    let _: redis::Value = asked.query(&mut redis.connection()).expect("Redis does it");
}

/// A node that connects to Redis as a user of its own, of which nothing is taken back meanwhile.
async fn node_of_its_own(redis: &Redis) -> Sockd {
    query(
        redis,
        &[
            "ACL",
            "SETUSER",
            "node",
            "on",
            ">password-of-the-node",
            "~*",
            "&*",
            "+@all",
        ],
    );
    let builder = Sockd::builder().redis(redis);
    let sockd = builder
        .env("SOCKD_REDIS__USERNAME", "node")
        .env("REDIS_PASS", "password-of-the-node")
        .env("SOCKD_SESSIONS__SWEEP_INTERVAL", "1h")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    sockd
}

/// Takes the bus from such a node, and leaves it its commands.
async fn deafen(redis: &Redis, node: &Sockd) {
    query(redis, &["ACL", "SETUSER", "node", "-subscribe"]);
    query(redis, &["CLIENT", "KILL", "TYPE", "pubsub", "USER", "node"]);
    node.is_not_ready(PATIENCE, &[]).await;
}

#[tokio::test]
async fn an_event_reaches_the_sockets_of_all_nodes_once() {
    let redis = Redis::start().await;
    let nodes = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for node in &nodes[..2] {
        for _ in 0..2 {
            sockets.push(WebSocket::join(node.address(), &user, &session).await);
        }
    }
    // The third has no socket of the user, and is as good a caller's choice as the others.
    for (number, node) in nodes.iter().enumerate() {
        node.emit(&user, "profile:update", &json!(number)).await;
    }
    for socket in &mut sockets {
        for number in 0..nodes.len() {
            assert_eq!(
                socket.packet().await,
                format!(r#"42["profile:update",{number}]"#)
            );
        }
    }
    assert_eq!(nodes[2].force_logout(&user, &jwt::session()).await, 4);
    for socket in &mut sockets {
        is_dismissed(socket).await;
    }
}

#[tokio::test]
async fn a_richer_answer_counts_the_nodes_that_have_the_user() {
    let redis = Redis::start().await;
    let (here, there) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let (user, session) = (jwt::user(), jwt::session());
    let ask = async || {
        let body = json!({ "userId": user, "event": "profile:update" });
        let request = http::client()
            .post(format!("{}/internal/emit", here.url()))
            .json(&body);
        let request = request
            .bearer_auth(crate::support::sockd::INTERNAL_SECRET)
            .header("prefer", "return=representation");
        request
            .send()
            .await
            .expect("an answer")
            .json::<Value>()
            .await
            .expect("JSON")
    };
    assert_eq!(
        ask().await,
        json!({ "ok": true, "online": false, "nodes": 0 })
    );
    let _there = WebSocket::join(there.address(), &user, &session).await;
    assert_eq!(
        ask().await,
        json!({ "ok": true, "online": true, "nodes": 1 })
    );
    let _here = WebSocket::join(here.address(), &user, &session).await;
    assert_eq!(
        ask().await,
        json!({ "ok": true, "online": true, "nodes": 2 })
    );
}

#[tokio::test]
async fn a_deaf_node_checks_the_session_before_it_delivers_an_event() {
    let redis = Redis::start().await;
    let (hearing, deaf) = (
        Sockd::with_redis(&redis).await,
        node_of_its_own(&redis).await,
    );
    let (user, old, stays) = (jwt::user(), jwt::session(), jwt::user());
    let mut replaced = WebSocket::join(deaf.address(), &user, &old).await;
    let mut unharmed = WebSocket::join(deaf.address(), &stays, &old).await;
    deafen(&redis, &deaf).await;
    assert_eq!(
        hearing.force_logout(&user, &jwt::session()).await,
        0,
        "it could not be asked"
    );
    for user in [&user, &stays] {
        let body = json!({ "userId": user, "event": "profile:update", "payload": 1 });
        let answer = deaf.post("/internal/emit", &body).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(
            answer.text().await.expect("a body"),
            r#"{"ok":false,"error":"BUS_UNAVAILABLE"}"#
        );
    }
    is_dismissed(&mut replaced).await;
    assert_eq!(unharmed.packet().await, EVENT);
}

#[tokio::test]
async fn a_node_that_was_deaf_catches_up_on_logouts_before_it_receives_events() {
    let redis = Redis::start().await;
    let (hearing, deaf) = (
        Sockd::with_redis(&redis).await,
        node_of_its_own(&redis).await,
    );
    let (user, old, stays) = (jwt::user(), jwt::session(), jwt::user());
    let mut replaced = WebSocket::join(deaf.address(), &user, &old).await;
    let mut unharmed = WebSocket::join(deaf.address(), &stays, &old).await;
    deafen(&redis, &deaf).await;
    hearing.force_logout(&user, &jwt::session()).await;
    query(&redis, &["ACL", "SETUSER", "node", "+subscribe"]);
    let emitting = async {
        // At the moment when its subscriptions come back.
        loop {
            hearing.emit(&user, "profile:update", &json!(1)).await;
            if http::get(&format!("{}/readyz", deaf.url())).await.status() == 200 {
                return;
            }
        }
    };
    let ((), ()) = tokio::join!(emitting, is_dismissed(&mut replaced));
    hearing.emit(&stays, "profile:update", &json!(1)).await;
    assert_eq!(unharmed.packet().await, EVENT);
}

#[tokio::test]
async fn a_force_logout_that_was_missed_is_made_up_for() {
    let redis = Redis::start().await;
    let (here, there) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    for _ in 0..5 {
        let (user, old) = (jwt::user(), jwt::session());
        let mut sockets = [
            WebSocket::join(here.address(), &user, &old).await,
            WebSocket::join(there.address(), &user, &old).await,
        ];
        query(&redis, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        here.force_logout(&user, &jwt::session()).await;
        for socket in &mut sockets {
            crate::support::within(MADE_UP, "the end of the old session", is_dismissed(socket))
                .await;
        }
        for node in [&here, &there] {
            node.is_ready(PATIENCE).await;
        }
    }
}

#[tokio::test]
async fn a_session_that_was_set_directly_in_redis_is_found() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &old).await;
    redis.store(&user, &format!("\"{new}\""), 1_000);
    assert_eq!(
        socket.next(MADE_UP).await,
        Came::Packet(crate::support::websocket::TOLD.to_owned())
    );
    assert_eq!(socket.packet().await, "41");
    socket.closed(PATIENCE).await;
    WebSocket::join(sockd.address(), &user, &new).await;
}

#[tokio::test]
async fn a_node_whose_link_died_silently_keeps_no_replaced_session() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(&redis).await;
    let here = Sockd::with_redis(&redis).await;
    let there = Sockd::builder()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", proxy.port().to_string())
        .start()
        .await;
    there.is_ready(PATIENCE).await;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut socket = WebSocket::join(there.address(), &user, &old).await;
    proxy.turn(Weather::Blackhole(Which::All, Direction::Both));
    let started = tokio::time::Instant::now();
    assert_eq!(here.force_logout(&user, &new).await, 0);
    let took = started.elapsed();
    assert!(took < FORGOTTEN, "answered all the same: {took:?}");
    there.is_not_ready(PATIENCE, &[]).await;
    proxy.turn(Weather::Fair);
    crate::support::within(
        MADE_UP,
        "the end of the old session",
        is_dismissed(&mut socket),
    )
    .await;
    there.is_ready(PATIENCE).await;
    let mut fresh = WebSocket::join(there.address(), &user, &new).await;
    here.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(fresh.packet().await, EVENT);
}

#[tokio::test]
async fn events_reach_all_nodes_again_after_redis_was_away() {
    let mut redis = Redis::start().await;
    let nodes = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = [
        WebSocket::join(nodes[0].address(), &user, &session).await,
        WebSocket::join(nodes[1].address(), &user, &session).await,
    ];
    redis.kill();
    for node in &nodes {
        node.is_not_ready(PATIENCE, &[]).await;
    }
    redis.restart().await;
    for node in &nodes {
        node.is_ready(PATIENCE).await;
    }
    heard_by(&redis, &user, 2).await;
    for node in &nodes {
        node.emit(&user, "profile:update", &json!(1)).await;
    }
    for socket in &mut sockets {
        assert_eq!(socket.packet().await, EVENT);
        assert_eq!(socket.packet().await, EVENT);
    }
    // The key is lost with the memory of Redis; the next session takes it, and these go.
    WebSocket::join(nodes[1].address(), &user, &jwt::session()).await;
    for socket in &mut sockets {
        is_dismissed(socket).await;
    }
}

#[tokio::test]
async fn a_session_outlives_its_node_and_events_reach_it_after_a_crash() {
    let redis = Redis::start().await;
    let (staying, mut crashing) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(crashing.address(), &user, &session).await;
    crashing.kill().await;
    socket.closed(PATIENCE).await;
    crashing.restart().await;
    let mut here = WebSocket::join(crashing.address(), &user, &session).await;
    let mut there = WebSocket::join(staying.address(), &user, &session).await;
    staying.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(here.packet().await, EVENT);
    assert_eq!(there.packet().await, EVENT);
    assert_eq!(staying.force_logout(&user, &jwt::session()).await, 2);
    is_dismissed(&mut here).await;
    is_dismissed(&mut there).await;
}
