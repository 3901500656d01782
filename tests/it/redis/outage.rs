//! What still works while Redis is away, hangs, is full or read-only, and after it is back.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    PATIENCE, eventually, jwt,
    redis::Redis,
    sockd::Sockd,
    websocket::{Came, WebSocket, is_dismissed},
};

/// Requests that need Redis return within 3 s; twice that is for a busy machine.
const ANSWERED: Duration = Duration::from_secs(6);
/// All works again within seconds after an outage; more is for a busy machine.
const RECOVERED: Duration = Duration::from_secs(15);
const UNAVAILABLE: &str = r#"44{"message":"AUTH_UNAVAILABLE"}"#;
const EVENT: &str = r#"42["profile:update",1]"#;

async fn handshake(sockd: &Sockd, user: &str, session: &str) -> String {
    let mut socket = WebSocket::open(sockd.address()).await;
    assert!(socket.packet().await.starts_with('0'));
    socket.connect(&jwt::token(user, session)).await
}

async fn emit(sockd: &Sockd, user: &str) -> (u16, String) {
    let body = json!({ "userId": user, "event": "profile:update", "payload": 1 });
    let answer = sockd.post("/internal/emit", &body).await;
    (
        answer.status().as_u16(),
        answer.text().await.expect("a body"),
    )
}

async fn force_logout(sockd: &Sockd, user: &str) -> (u16, String) {
    let body = json!({ "userId": user, "sessionId": jwt::session() });
    let answer = sockd.post("/internal/force-logout", &body).await;
    (
        answer.status().as_u16(),
        answer.text().await.expect("a body"),
    )
}

/// Handshakes and force-logouts are refused in time, whatever happens to Redis.
async fn what_needs_redis_is_refused_in_time(sockd: &Sockd, user: &str, session: &str) {
    let started = Instant::now();
    let (handshake, logout) =
        tokio::join!(handshake(sockd, user, session), force_logout(sockd, user));
    assert!(started.elapsed() < ANSWERED, "{:?}", started.elapsed());
    assert_eq!(handshake, UNAVAILABLE);
    assert_eq!(
        logout,
        (
            503,
            r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#.to_owned()
        )
    );
}

#[tokio::test]
async fn sockets_stay_and_hear_events_while_redis_is_down() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    for _ in 0..2 {
        redis.kill();
        // At once, and when it has been down for a while.
        for _ in 0..3 {
            what_needs_redis_is_refused_in_time(&sockd, &user, &session).await;
            let started = Instant::now();
            assert_eq!(
                emit(&sockd, &user).await,
                (200, r#"{"ok":true}"#.to_owned()),
                "this node is alone"
            );
            assert!(started.elapsed() < ANSWERED, "{:?}", started.elapsed());
            assert_eq!(socket.packet().await, EVENT);
        }
        assert_eq!(
            handshake(&sockd, &user, "no session").await,
            r#"44{"message":"TOKEN_INVALID"}"#
        );
        redis.restart().await;
        sockd.is_ready(RECOVERED).await;
        assert!(handshake(&sockd, &user, &session).await.starts_with("40{"));
        assert_eq!(emit(&sockd, &user).await.0, 200);
        assert_eq!(socket.packet().await, EVENT);
    }
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 1);
    is_dismissed(&mut socket).await;
}

#[tokio::test]
async fn sockets_stay_and_hear_events_while_redis_hangs() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    redis.freeze();
    for _ in 0..4 {
        let started = Instant::now();
        assert_eq!(emit(&sockd, &user).await.0, 200, "this node is alone");
        assert!(started.elapsed() < ANSWERED, "{:?}", started.elapsed());
        assert_eq!(socket.packet().await, EVENT);
        // Another user's, so that what Redis finds when it thaws is not about this one.
        what_needs_redis_is_refused_in_time(&sockd, &jwt::user(), &session).await;
    }
    redis.thaw();
    sockd.is_ready(RECOVERED).await;
    assert!(handshake(&sockd, &user, &session).await.starts_with("40{"));
    assert_eq!(emit(&sockd, &user).await.0, 200);
    // Nothing that was delivered during the outage comes a second time.
    assert_eq!(socket.packet().await, EVENT);
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 1);
    is_dismissed(&mut socket).await;
}

#[tokio::test]
async fn an_emit_without_redis_says_whether_others_may_have_missed_it() {
    let mut redis = Redis::start().await;
    let here = Sockd::with_redis(&redis).await;
    let mut there = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(here.address(), &user, &session).await;
    let incomplete = (503, r#"{"ok":false,"error":"BUS_UNAVAILABLE"}"#.to_owned());
    redis.kill();
    here.is_not_ready(PATIENCE, &[]).await;
    for _ in 0..3 {
        assert_eq!(emit(&here, &user).await, incomplete);
        assert_eq!(socket.packet().await, EVENT);
    }
    redis.restart().await;
    here.is_ready(PATIENCE).await;
    there.is_ready(PATIENCE).await;
    // A peer that left in good order is no peer.
    assert_eq!(there.drain().await, Some(0));
    eventually(PATIENCE, "the news that the peer has gone", || async {
        here.log().text().contains("another node has left")
    })
    .await;
    emit(&here, &user).await;
    assert_eq!(socket.packet().await, EVENT);
    says_hello(&redis).await;
    redis.kill();
    here.is_not_ready(PATIENCE, &[]).await;
    assert_eq!(emit(&here, &user).await, (200, r#"{"ok":true}"#.to_owned()));
    assert_eq!(socket.packet().await, EVENT);
}

/// Waits until the node has sent another hello, and has counted who received it.
async fn says_hello(redis: &Redis) {
    let published = || {
        let statistics: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut redis.connection())
            .expect("INFO works");
        let line = statistics
            .lines()
            .find(|line| line.starts_with("cmdstat_publish:"));
        let calls = line
            .and_then(|line| line.split_once("calls="))
            .map(|(_, rest)| rest);
        let calls = calls.and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().expect("a number"))
    };
    // The first may be under way already; the second is sent after the first has come back.
    let enough = published() + 2;
    eventually(PATIENCE, "a hello", || async { published() >= enough }).await;
}

#[tokio::test]
async fn a_node_that_starts_on_a_full_redis_lets_the_active_session_in() {
    let redis = Redis::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 1_000);
    configure(
        &redis,
        &["maxmemory-policy", "noeviction", "maxmemory", "1"],
    );
    // Ready it will not be before it can store sessions.
    let sockd = Sockd::builder().redis(&redis).start().await;
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    only_the_active_session_gets_in(&sockd, &mut socket, &user, &session).await;
}

fn configure(redis: &Redis, settings: &[&str]) {
    let mut command = redis::cmd("CONFIG");
    let () = command
        .arg("SET")
        .arg(settings)
        .query(&mut redis.connection())
        .expect("CONFIG works");
}

/// What a Redis that can be read but not written allows, and what not.
async fn only_the_active_session_gets_in(
    sockd: &Sockd,
    socket: &mut WebSocket,
    user: &str,
    session: &str,
) {
    let mut second = WebSocket::join(sockd.address(), user, session).await;
    assert_eq!(
        handshake(sockd, user, &jwt::session()).await,
        r#"44{"message":"SESSION_MISMATCH"}"#
    );
    assert_eq!(
        handshake(sockd, &jwt::user(), session).await,
        UNAVAILABLE,
        "nobody can be adopted"
    );
    assert_eq!(
        force_logout(sockd, user).await,
        (
            503,
            r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#.to_owned()
        )
    );
    assert_eq!(emit(sockd, user).await.0, 200);
    for socket in [socket, &mut second] {
        assert_eq!(socket.next(PATIENCE).await, Came::Packet(EVENT.to_owned()));
    }
}
