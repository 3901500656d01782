//! Stock clients with tokens of an issuer that publishes its keys.

use serde_json::json;

use super::{Client, Crowd, every_client};
use crate::support::{
    PATIENCE,
    issuer::{Issuer, Key},
    jwt,
    sockd::Sockd,
};

#[tokio::test]
async fn stock_clients_get_in_by_published_keys_and_again_after_the_source_was_away() {
    let key = Key::rs256("a");
    let issuer = Issuer::start(&[]).await;
    // Version 3 keeps its connection after a refusal, and would reconnect when it ends.
    let builder = Sockd::builder()
        .without("JWT_SECRET")
        .env("SOCKD_AUTH__JWKS_URL", issuer.url())
        .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "5m");
    let sockd = builder.start().await;
    let mut crowd = Crowd::start().await;
    let clients: Vec<Client> = every_client();
    let (user, session) = (jwt::user(), jwt::session());
    let claims = json!({ "user_id": user, "session_id": session });
    let options = json!({ "auth": { "token": key.sign(&json!({}), &claims) } });
    for client in &clients {
        crowd.connect(client, &sockd.url(), &options);
    }
    for client in &clients {
        let report = crowd.answer(client).await;
        assert_eq!(
            report["message"], "AUTH_UNAVAILABLE",
            "{}: {report}",
            client.id
        );
    }
    issuer.publish(&[key.jwk()]);
    sockd.is_ready(PATIENCE).await;
    for client in clients.iter().filter(|client| !client.is_python()) {
        crowd.node.order(&client.id, "connect_again", json!({}));
        let report = crowd.answer(client).await;
        assert_eq!(report["on"], "connect", "{}: {report}", client.id);
    }
    let payload = json!({ "by": "key set" });
    sockd.emit(&user, "profile:update", &payload).await;
    for client in clients.iter().filter(|client| !client.is_python()) {
        let report = crowd.answer(client).await;
        assert_eq!(report["name"], "profile:update", "{}: {report}", client.id);
    }
}
