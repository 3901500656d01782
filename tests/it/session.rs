//! Which session of a user may come in, with its key in Redis.

use crate::support::{jwt, polling::Polling, redis::Redis, sockd::Sockd, websocket::WebSocket};

const WEEK: i64 = 604_800;

#[tokio::test]
async fn the_first_session_is_adopted_and_stored_as_json() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    WebSocket::join(sockd.address(), &user, &session).await;
    assert_eq!(redis.stored(&user), Some(format!("\"{session}\"")));
    assert!(
        (WEEK - 5..=WEEK).contains(&redis.ttl(&user)),
        "{}",
        redis.ttl(&user)
    );
}

#[tokio::test]
async fn the_active_session_gets_in_again_and_its_ttl_is_renewed() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 100);
    Polling::join(sockd.address(), &user, &session).await;
    assert!(redis.ttl(&user) > WEEK - 5);
}

#[tokio::test]
async fn another_session_is_refused_and_leaves_no_trace() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 100);
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let answer = socket.connect(&jwt::token(&user, &jwt::session())).await;
    assert_eq!(answer, r#"44{"message":"SESSION_MISMATCH"}"#);
    assert_eq!(redis.stored(&user), Some(format!("\"{session}\"")));
    assert!(redis.ttl(&user) <= 100);
}
