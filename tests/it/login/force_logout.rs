//! The end of a replaced session, as its clients see it.

use serde_json::{Value, json};

use super::polling_is_dismissed;
use crate::support::{
    PATIENCE, eventually, jwt,
    polling::Polling,
    redis::{Redis, key},
    sockd::Sockd,
    websocket::{Came, TOLD, WebSocket, is_dismissed, is_told},
};

#[tokio::test]
async fn sockets_of_other_sessions_are_told_disconnected_and_closed() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
        let mut websocket = WebSocket::join(sockd.address(), &user, &old).await;
        let mut polling = Polling::join(sockd.address(), &user, &old).await;
        let other = jwt::user();
        let mut bystander = WebSocket::join(sockd.address(), &other, &old).await;
        assert_eq!(sockd.force_logout(&user, &new).await, 2);
        // First the one whose farewell waits for a second only.
        polling_is_dismissed(&mut polling, TOLD).await;
        is_dismissed(&mut websocket).await;
        assert_eq!(sockd.force_logout(&user, &new).await, 0);

        let mut old_again = WebSocket::open(sockd.address()).await;
        old_again.packet().await;
        assert_eq!(
            old_again.connect(&jwt::token(&user, &old)).await,
            r#"44{"message":"SESSION_MISMATCH"}"#
        );
        let mut fresh = WebSocket::join(sockd.address(), &user, &new).await;
        assert_eq!(
            sockd.force_logout(&user, &new).await,
            0,
            "its own session stays"
        );
        sockd.emit(&user, "profile:update", &json!(1)).await;
        assert_eq!(fresh.packet().await, r#"42["profile:update",1]"#);
        sockd.emit(&other, "profile:update", &json!(2)).await;
        assert_eq!(bystander.packet().await, r#"42["profile:update",2]"#);
        assert_eq!(
            sockd.force_logout(&user, &old).await,
            1,
            "a session may come back"
        );
        is_dismissed(&mut fresh).await;
    }
}

#[tokio::test]
async fn a_socket_that_is_upgrading_is_told_on_its_new_transport() {
    let sockd = Sockd::start().await;
    at_each_step_of_an_upgrade(&sockd, TOLD, async |user| {
        sockd.force_logout(user, &jwt::session()).await
    })
    .await;
}

/// Logs a user out whose socket is at each step of its upgrade: it is told why on its new transport.
pub(super) async fn at_each_step_of_an_upgrade(
    sockd: &Sockd,
    why: &str,
    log_out: impl AsyncFn(&str) -> u64,
) {
    for steps in 0..=2 {
        let user = jwt::user();
        let mut polling = Polling::join(sockd.address(), &user, &jwt::session()).await;
        let sid = format!("&sid={}", polling.sid);
        let mut socket = WebSocket::open_with(sockd.address(), &sid, &[]).await;
        let mut counted = 0;
        for step in 0..=2 {
            if step == steps {
                counted = log_out(&user).await;
            }
            match step {
                0 => {
                    socket.send("2probe").await;
                    assert_eq!(socket.packet().await, "3probe");
                }
                1 => socket.send("5").await,
                _ => {}
            }
        }
        assert_eq!(counted, 1, "{steps}");
        assert!(polling.left_over().is_empty());
        is_told(&mut socket, why).await;
    }
}

#[tokio::test]
async fn the_key_is_set_over_anything_that_was_there() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let mut connection = redis.connection();
    for spoil in [
        vec!["LPUSH", "1"],
        vec!["HSET", "a", "b"],
        vec!["SADD", "x"],
        vec!["SET", "no json"],
        vec!["SET", "{\"a\":1}"],
        vec!["SET", ""],
    ] {
        let (user, session, new) = (jwt::user(), jwt::session(), jwt::session());
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        redis.forget(&user);
        let () = redis::cmd(spoil[0])
            .arg(key(&user))
            .arg(&spoil[1..])
            .query(&mut connection)
            .expect("it is spoilt");
        let mut refused = WebSocket::open(sockd.address()).await;
        refused.packet().await;
        let answer = refused.connect(&jwt::token(&user, &session)).await;
        assert!(answer.starts_with(r#"44{"message":"#), "{spoil:?} {answer}");
        assert_eq!(sockd.force_logout(&user, &new).await, 1, "{spoil:?}");
        is_dismissed(&mut socket).await;
        assert_eq!(redis.stored(&user), Some(format!("\"{new}\"")));
        assert!(redis.is_renewed(&user), "{spoil:?}");
        WebSocket::join(sockd.address(), &user, &new).await;
    }
}

#[tokio::test]
async fn a_session_in_another_spelling_is_another_session() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), "A1b2c3d4-0000-4000-8000-00000000000F");
    let mut socket = WebSocket::join(sockd.address(), &user, session).await;
    assert_eq!(sockd.force_logout(&user, &session.to_lowercase()).await, 1);
    is_dismissed(&mut socket).await;
}

#[tokio::test]
async fn if_redis_fails_no_socket_is_touched() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let body = json!({ "userId": user, "sessionId": jwt::session() });
    redis.kill();
    let answer = sockd.post("/internal/force-logout", &body).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.text().await.expect("a body"),
        r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#
    );
    sockd
        .emit(&user, "profile:update", &json!("still here"))
        .await;
    assert_eq!(
        socket.next(PATIENCE).await,
        Came::Packet(r#"42["profile:update","still here"]"#.to_owned())
    );
}

#[tokio::test]
async fn force_logout_counts_sockets_and_not_handshakes() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let old = jwt::session();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(WebSocket::join(sockd.address(), &user, &old).await);
    }
    let mut opened = WebSocket::open(sockd.address()).await;
    opened.packet().await;
    sockets.remove(0).abandon();
    eventually(PATIENCE, "the end of the abandoned socket", || async {
        let text = sockd.metrics().await;
        text.lines().any(|line| line == "sockd_sockets 19")
    })
    .await;
    let answer = sockd
        .post(
            "/internal/force-logout",
            &json!({ "userId": user, "sessionId": jwt::session() }),
        )
        .await;
    assert_eq!(
        answer.json::<Value>().await.expect("JSON"),
        json!({ "ok": true, "disconnected": 19 })
    );
    for socket in &mut sockets {
        is_dismissed(socket).await;
    }
}

#[tokio::test]
async fn hundreds_of_sockets_of_one_user_receive_all_events_in_order_and_are_logged_out() {
    const SOCKETS: usize = 200;
    const EVENTS: usize = 40;
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, old) = (jwt::user(), jwt::session());
        let mut sockets = Vec::new();
        for _ in 0..SOCKETS {
            sockets.push(WebSocket::join(sockd.address(), &user, &old).await);
        }
        for number in 0..EVENTS {
            sockd.emit(&user, "profile:update", &json!(number)).await;
        }
        for socket in &mut sockets {
            for number in 0..EVENTS {
                let event = format!(r#"42["profile:update",{number}]"#);
                assert_eq!(socket.packet().await, event);
            }
        }
        let expected = [
            format!("\nsockd_sockets {SOCKETS}\n"),
            format!("\nsockd_events_sent_total {}\n", SOCKETS * EVENTS),
        ];
        eventually(PATIENCE, "the count of sockets and events", || async {
            let metrics = sockd.metrics().await;
            expected.iter().all(|line| metrics.contains(line))
        })
        .await;
        let disconnected = sockd.force_logout(&user, &jwt::session()).await;
        assert_eq!(disconnected, SOCKETS as u64);
        sockd.emit(&user, "profile:update", &json!("secret")).await;
        for mut socket in sockets {
            is_dismissed(&mut socket).await;
        }
        let metrics = sockd.metrics().await;
        assert!(metrics.contains("\nsockd_sockets 0\n"), "{metrics}");
    }
}
