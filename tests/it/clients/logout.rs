//! How the server ends a stock client's socket for good.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{Crowd, every_client};
use crate::support::{jwt, sockd::Sockd};

#[tokio::test]
async fn a_replaced_session_is_told_and_stays_away() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let told = sockd.force_logout(&user, &jwt::session()).await;
    assert_eq!(told, clients.len() as u64);
    // Not for those who have been told to go.
    sockd.emit(&user, "profile:update", &json!("secret")).await;
    let reason = json!({ "reason": "SESSION_REPLACED" });
    for client in &clients {
        crowd.hears(client, "auth:logout", &reason).await;
        crowd.is_dismissed(client).await;
    }
    crowd.all_stay_away(&clients, &sockd).await;
}

#[tokio::test]
async fn the_session_that_stays_notices_nothing() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    assert_eq!(sockd.force_logout(&user, &session).await, 0);
    // An event of that name is no more than an event.
    let reason = json!({ "reason": "by emit" });
    sockd.emit(&user, "auth:logout", &reason).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    for client in &clients {
        crowd.hears(client, "auth:logout", &reason).await;
        crowd.hears(client, "profile:update", &json!(1)).await;
    }
}

#[tokio::test]
async fn a_client_whose_token_runs_out_is_told_and_stays_away() {
    let sockd = Sockd::start().await;
    let mut crowd = Crowd::start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the epoch is over").as_secs();
    // Long enough to get in on a loaded machine.
    let token = jwt::sign(&json!({
        "user_id": jwt::user(), "session_id": jwt::session(), "exp": now + 8,
    }));
    let clients = every_client();
    for client in &clients {
        crowd.connect(client, &sockd.url(), &json!({ "auth": { "token": token } }));
    }
    for client in &clients {
        crowd.joined(client).await;
    }
    for client in &clients {
        let report = crowd.next(client).await;
        assert_eq!(
            (&report["on"], &report["name"]),
            (&json!("event"), &json!("auth:expired"))
        );
        crowd.is_dismissed(client).await;
    }
    crowd.all_stay_away(&clients, &sockd).await;
}
