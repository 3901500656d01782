//! Stock clients of one user on two nodes that share a Redis.

use serde_json::json;

use super::{Client, Crowd, every_client};
use crate::support::{jwt, redis::Redis, sockd::Sockd};

#[tokio::test]
async fn an_event_and_a_logout_reach_the_clients_of_both_nodes() {
    let redis = Redis::start().await;
    let nodes = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let mut crowd = Crowd::start().await;
    let mut clients = Vec::new();
    let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
    for (number, node) in nodes.iter().enumerate() {
        for client in every_client() {
            let id = format!("{} on node {number}", client.id);
            let client = Client { id, ..client };
            crowd.connect(&client, &node.url(), &options);
            clients.push(client);
        }
    }
    for client in &clients {
        crowd.joined(client).await;
    }
    for (number, node) in nodes.iter().enumerate() {
        node.emit(&user, "profile:update", &json!(number)).await;
    }
    for client in &clients {
        for number in 0..nodes.len() {
            crowd.hears(client, "profile:update", &json!(number)).await;
        }
    }
    let told = nodes[1].force_logout(&user, &jwt::session()).await;
    assert_eq!(told, clients.len() as u64);
    let reason = json!({ "reason": "SESSION_REPLACED" });
    for client in &clients {
        crowd.hears(client, "auth:logout", &reason).await;
        crowd.is_dismissed(client).await;
    }
    crowd.all_stay_away(&clients, &nodes[0]).await;
}
