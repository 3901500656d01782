//! What stock clients do while the server or its Redis is away.

use serde_json::json;

use super::{Client, Crowd, every_client};
use crate::support::{PATIENCE, jwt, redis::Redis, sockd::Sockd};

#[tokio::test]
async fn clients_come_back_by_themselves_after_a_drain() {
    let redis = Redis::start().await;
    let mut sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let (crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    assert_eq!(sockd.drain().await, Some(0));
    come_back(crowd, &clients, &mut sockd, &user).await;
}

#[tokio::test]
async fn clients_come_back_by_themselves_after_a_crash() {
    let redis = Redis::start().await;
    let mut sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let (crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    sockd.kill().await;
    come_back(crowd, &clients, &mut sockd, &user).await;
}

/// The server has gone: everybody sees a lost transport, and is back once it is.
async fn come_back(mut crowd: Crowd, clients: &[Client], sockd: &mut Sockd, user: &str) {
    for client in clients {
        crowd.loses_its_transport(client).await;
    }
    sockd.restart().await;
    for client in clients {
        crowd.rejoined(client).await;
    }
    let payload = json!("after");
    sockd.emit(user, "profile:update", &payload).await;
    for client in clients {
        crowd.hears(client, "profile:update", &payload).await;
    }
}

#[tokio::test]
async fn while_redis_is_away_no_client_gets_in_and_none_is_dropped() {
    let mut redis = Redis::start().await;
    // Version 3 keeps its connection after a refusal, and would reconnect when it ends.
    let sockd = Sockd::builder().env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "5m");
    let sockd = sockd.redis(&redis).start().await;
    sockd.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    redis.kill();
    let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
    let newcomers: Vec<_> = every_client()
        .into_iter()
        .map(|client| Client {
            id: format!("{} later", client.id),
            ..client
        })
        .collect();
    for client in &newcomers {
        crowd.connect(client, &sockd.url(), &options);
    }
    for client in &newcomers {
        let report = crowd.answer(client).await;
        assert_eq!(
            report["message"], "AUTH_UNAVAILABLE",
            "{}: {report}",
            client.id
        );
    }
    sockd.emit(&user, "profile:update", &json!("still")).await;
    for client in &clients {
        crowd.hears(client, "profile:update", &json!("still")).await;
    }
    redis.restart().await;
    sockd.is_ready(PATIENCE).await;
    for client in newcomers.iter().filter(|client| !client.is_python()) {
        crowd.node.order(&client.id, "connect_again", json!({}));
        let report = crowd.answer(client).await;
        assert_eq!(report["on"], "connect", "{}: {report}", client.id);
    }
    for client in &clients {
        let unread = crowd.of(client).unread(&client.id);
        assert!(unread.is_empty(), "{}: {unread:?}", client.id);
    }
}
