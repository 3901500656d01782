//! A kick: every socket of a user is told, disconnected and closed, whatever its session.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{force_logout::at_each_step_of_an_upgrade, polling_is_dismissed};
use crate::support::{
    PATIENCE, eventually, jwt,
    polling::Polling,
    redis::{Redis, heard_by},
    sockd::Sockd,
    websocket::{Came, TOLD, WebSocket, is_told},
};

const KICK: &str = "/internal/kick";
const KICKED: &str = r#"42["auth:logout",{"reason":"KICKED"}]"#;

/// The number of sockets that a kick has disconnected.
async fn kick(sockd: &Sockd, body: &Value) -> u64 {
    let answer = sockd.post(KICK, body).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.expect("JSON");
    answer["disconnected"].as_u64().expect("a count")
}

async fn refused(sockd: &Sockd, body: &Value) -> (u16, String) {
    let answer = sockd.post(KICK, body).await;
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

async fn is_refused_in(sockd: &Sockd, user: &str, session: &str) {
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let answer = socket.connect(&jwt::token(user, session)).await;
    assert_eq!(answer, r#"44{"message":"SESSION_MISMATCH"}"#);
}

#[tokio::test]
async fn all_sockets_are_told_the_reason_and_may_come_back() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
        let mut polling = Polling::join(sockd.address(), &user, &session).await;
        let other = jwt::user();
        let mut bystander = WebSocket::join(sockd.address(), &other, &session).await;
        let disconnected = kick(&sockd, &json!({ "userId": user })).await;
        assert_eq!(disconnected, 2);
        // First the one whose farewell waits for a second only.
        polling_is_dismissed(&mut polling, KICKED).await;
        is_told(&mut websocket, KICKED).await;

        let mut again = WebSocket::join(sockd.address(), &user, &session).await;
        let body = json!({ "userId": user, "reason": "say \"bye\" \\ go" });
        assert_eq!(kick(&sockd, &body).await, 1);
        let told = r#"42["auth:logout",{"reason":"say \"bye\" \\ go"}]"#;
        is_told(&mut again, told).await;
        let nothing = json!({ "userId": user, "reason": null, "invalidateSession": null });
        assert_eq!(kick(&sockd, &nothing).await, 0);
        sockd.emit(&other, "profile:update", &json!(1)).await;
        assert_eq!(bystander.packet().await, r#"42["profile:update",1]"#);
        assert_eq!(sockd.figure("sockd_kicks_total").await, 3.0);
        sockd.logs(r#"act="kick""#).await;
    }
}

#[tokio::test]
async fn with_the_session_invalidated_no_old_token_gets_in() {
    let redis = Redis::start().await;
    for (sockd, has_redis) in [
        (Sockd::start().await, false),
        (Sockd::with_redis(&redis).await, true),
    ] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        let body = json!({ "userId": user, "invalidateSession": true });
        assert_eq!(kick(&sockd, &body).await, 1);
        is_told(&mut socket, KICKED).await;
        is_refused_in(&sockd, &user, &session).await;
        if has_redis {
            let stored = redis.stored(&user).expect("a session");
            let stored: String = serde_json::from_str(&stored).expect("a JSON string");
            let version = uuid::Uuid::parse_str(&stored)
                .expect("a UUID")
                .get_version_num();
            assert_eq!(version, 4);
            assert_ne!(stored, session);
            assert!(redis.is_renewed(&user));
            assert!(!sockd.log().text().contains(&stored));
        }
        // A user without a session cannot adopt one either, until the next login.
        let offline = jwt::user();
        let body = json!({ "userId": offline, "invalidateSession": true });
        assert_eq!(kick(&sockd, &body).await, 0);
        is_refused_in(&sockd, &offline, &session).await;
        let next = jwt::session();
        sockd.force_logout(&user, &next).await;
        WebSocket::join(sockd.address(), &user, &next).await;
    }
}

#[tokio::test]
async fn a_fresh_session_has_the_configured_format() {
    let redis = Redis::start().await;
    for (format, is_it) in [
        (
            "integer",
            (|text: &str| text.parse::<u64>().is_ok()) as fn(&str) -> bool,
        ),
        ("objectid", |text| {
            text.len() == 24 && u128::from_str_radix(text, 16).is_ok()
        }),
    ] {
        let sockd = Sockd::builder()
            .redis(&redis)
            .env("SOCKD_IDS__SESSION", format)
            .start()
            .await;
        sockd.is_ready(PATIENCE).await;
        let user = jwt::user();
        kick(
            &sockd,
            &json!({ "userId": user, "invalidateSession": true }),
        )
        .await;
        let stored = redis.stored(&user).expect("a session");
        let stored: String = serde_json::from_str(&stored).expect("a JSON string");
        assert!(is_it(&stored), "{format}: {stored}");
    }
}

#[tokio::test]
async fn a_kick_reaches_all_nodes_behind_the_events_that_were_sent_before() {
    let redis = Redis::start().await;
    let nodes = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    for (invalidates, kicking) in [(false, 0), (true, 0), (false, 1)] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut sockets = Vec::new();
        for node in &nodes {
            sockets.push(WebSocket::join(node.address(), &user, &session).await);
            sockets.push(WebSocket::join(node.address(), &user, &session).await);
        }
        nodes[kicking]
            .emit(&user, "profile:update", &json!("bye"))
            .await;
        let body = json!({ "userId": user, "invalidateSession": invalidates });
        assert_eq!(kick(&nodes[kicking], &body).await, 4);
        for node in &nodes {
            node.emit(&user, "profile:update", &json!("secret")).await;
        }
        for socket in &mut sockets {
            assert_eq!(socket.packet().await, r#"42["profile:update","bye"]"#);
            is_told(socket, KICKED).await;
        }
    }
}

#[tokio::test]
async fn a_socket_that_is_upgrading_is_kicked_on_its_new_transport() {
    let sockd = Sockd::start().await;
    at_each_step_of_an_upgrade(&sockd, KICKED, async |user| {
        kick(&sockd, &json!({ "userId": user })).await
    })
    .await;
}

#[tokio::test]
async fn kicks_and_force_logouts_at_once_tell_and_count_a_socket_once() {
    const SOCKETS: usize = 6;
    let redis = Redis::start().await;
    let nodes = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    for _ in 0..10 {
        let (user, session) = (jwt::user(), jwt::session());
        let mut sockets = Vec::new();
        for number in 0..SOCKETS {
            let node = &nodes[number % 2];
            sockets.push(WebSocket::join(node.address(), &user, &session).await);
        }
        let bodies = [false, true, false, true]
            .map(|invalidates| json!({ "userId": user, "invalidateSession": invalidates }));
        let kicks = bodies.iter().zip(nodes.iter().cycle());
        let kicks = join_all(kicks.map(|(body, node)| kick(node, body)));
        let next = jwt::session();
        let (counts, logout) = tokio::join!(kicks, nodes[0].force_logout(&user, &next));
        assert_eq!(counts.iter().sum::<u64>() + logout, SOCKETS as u64);
        for socket in &mut sockets {
            let told = socket.packet().await;
            assert!([KICKED, TOLD].contains(&told.as_str()), "{told}");
            assert_eq!(socket.packet().await, "41");
            socket.closed(PATIENCE).await;
        }
    }
}

/// One that was in when the kick was asked is gone when it is answered; one that came meanwhile may
/// stay.
#[tokio::test]
async fn sockets_that_come_during_a_kick_are_in_or_kicked_and_never_both() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    for _ in 0..10 {
        let mut before = WebSocket::join(sockd.address(), &user, &session).await;
        let joins = (0..8).map(|_| WebSocket::join(sockd.address(), &user, &session));
        let body = json!({ "userId": user });
        let (during, counted) = tokio::join!(join_all(joins), kick(&sockd, &body));
        is_told(&mut before, KICKED).await;
        sockd.emit(&user, "profile:update", &json!("after")).await;
        let mut kicked = 1;
        for mut socket in during {
            match socket.packet().await.as_str() {
                r#"42["profile:update","after"]"# => {}
                KICKED => {
                    assert_eq!(socket.packet().await, "41");
                    socket.closed(PATIENCE).await;
                    kicked += 1;
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(counted, kicked);
        kick(&sockd, &body).await;
    }
}

#[tokio::test]
async fn hundreds_of_sockets_of_one_user_are_kicked() {
    const SOCKETS: usize = 300;
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(WebSocket::join(sockd.address(), &user, &session).await);
    }
    assert_eq!(
        kick(&sockd, &json!({ "userId": user })).await,
        SOCKETS as u64
    );
    for socket in &mut sockets {
        is_told(socket, KICKED).await;
    }
    eventually(PATIENCE, "no sockets", || async {
        sockd.figure("sockd_sockets").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn if_redis_is_away_no_socket_is_touched() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    redis.kill();
    for invalidates in [false, true] {
        let body = json!({ "userId": user, "invalidateSession": invalidates });
        let unavailable = r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#.to_owned();
        assert_eq!(refused(&sockd, &body).await, (503, unavailable));
    }
    sockd
        .emit(&user, "profile:update", &json!("still here"))
        .await;
    let event = r#"42["profile:update","still here"]"#.to_owned();
    assert_eq!(socket.next(PATIENCE).await, Came::Packet(event));
}

#[tokio::test]
async fn a_kick_that_a_node_does_not_confirm_is_not_called_done() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    // A node that receives messages, but is too busy to respond.
    let (stays, goes) = oneshot::channel::<()>();
    let channel = format!("sockd:user:{user}");
    let mut connection = redis.connection();
    let mute = std::thread::spawn(move || {
        let mut subscriber = connection.as_pubsub();
        subscriber.subscribe(channel).expect("SUBSCRIBE works");
        goes.blocking_recv().ok();
    });
    heard_by(&redis, &user, 2).await;
    let incomplete = r#"{"ok":false,"error":"BUS_UNAVAILABLE"}"#.to_owned();
    let body = json!({ "userId": user });
    assert_eq!(refused(&sockd, &body).await, (503, incomplete));
    is_told(&mut socket, KICKED).await;
    // A stored session needs no confirmation: that node will find it.
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let body = json!({ "userId": user, "invalidateSession": true });
    assert_eq!(kick(&sockd, &body).await, 1);
    is_told(&mut socket, KICKED).await;
    drop(stays);
    mute.join().expect("it ends");
}
