//! How the server ends a stock client's socket for good.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Client, Crowd, UPGRADE, every_client};
use crate::support::{
    PATIENCE, eventually, http, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    within,
};

#[tokio::test]
async fn a_replaced_session_is_told_and_stays_away() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let told = sockd.force_logout(&user, &jwt::session()).await;
    assert_eq!(told, clients.len() as u64);
    // Not for sockets that have been dismissed.
    sockd.emit(&user, "profile:update", &json!("secret")).await;
    let reason = json!({ "reason": "SESSION_REPLACED" });
    for client in &clients {
        crowd.hears(client, "auth:logout", &reason).await;
        crowd.is_dismissed(client).await;
    }
    crowd.all_stay_away(&clients, &sockd).await;
}

#[tokio::test]
async fn a_kicked_user_is_told_and_stays_away() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let body = json!({ "userId": user, "reason": "BANNED" });
    let answer = sockd.post("/internal/kick", &body).await;
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["disconnected"], clients.len());
    for client in &clients {
        crowd
            .hears(client, "auth:logout", &json!({ "reason": "BANNED" }))
            .await;
        crowd.is_dismissed(client).await;
    }
    crowd.all_stay_away(&clients, &sockd).await;
}

#[tokio::test]
async fn a_logout_during_upgrades_misses_no_client() {
    let sockd = Sockd::start().await;
    let mut crowd = Crowd::start().await;
    // With a connection that is open already, the logout arrives sooner.
    let backend = http::client();
    let health = backend.get(format!("{}/healthz", sockd.url()));
    health.send().await.expect("the server answers");
    for round in 0..8 {
        let (user, session) = (jwt::user(), jwt::session());
        let options = json!({ "auth": { "token": jwt::token(&user, &session) } });
        let mut clients: Vec<_> = (0..10).flat_map(|_| every_client()).collect();
        clients.retain(|client| client.transports == UPGRADE && !client.is_python());
        for (number, client) in clients.iter_mut().enumerate() {
            client.id = format!("{} in round {round}, {number}", client.id);
            crowd.connect(client, &sockd.url(), &options);
        }
        // Some are in, some upgrade, some are still to come.
        within(PATIENCE, "the first sockets", async {
            while sockd.log().text().matches(&user).count() <= round {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let body = json!({ "userId": user, "sessionId": jwt::session() });
        let logout = backend.post(format!("{}/internal/force-logout", sockd.url()));
        let logout = logout.bearer_auth(INTERNAL_SECRET).json(&body);
        let answer = logout.send().await.expect("the server answers");
        let answer: Value = answer.json().await.expect("JSON");
        let counted = answer["disconnected"].as_u64().expect("a count");
        let mut told = 0;
        for client in &clients {
            told += u64::from(is_told(&mut crowd, client).await);
        }
        // A socket in its handshake is told too, but not counted.
        assert!(counted > 0 && counted <= told, "{counted} of {told}");
        eventually(PATIENCE, "the end of all sockets", || async {
            sockd.figure("sockd_sockets").await == 0.0
        })
        .await;
    }
}

/// The client is told why it is dismissed, or else refused.
async fn is_told(crowd: &mut Crowd, client: &Client) -> bool {
    let mut was_told = false;
    loop {
        let report = crowd.next(client).await;
        match report["on"].as_str() {
            Some("connect" | "upgrade") => {}
            Some("event") => {
                assert_eq!(report["args"], r#"[{"reason":"SESSION_REPLACED"}]"#);
                was_told = true;
            }
            Some("connect_error") => {
                assert_eq!(report["message"], "SESSION_MISMATCH", "{}", client.id);
                return false;
            }
            _ => {
                assert_eq!(report["reason"], "io server disconnect", "{}", client.id);
                assert!(was_told, "{}", client.id);
                return true;
            }
        }
    }
}

#[tokio::test]
async fn the_session_that_stays_notices_nothing() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    assert_eq!(sockd.force_logout(&user, &session).await, 0);
    // An event of that name is only an event.
    let reason = json!({ "reason": "by emit" });
    sockd.emit(&user, "auth:logout", &reason).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    for client in &clients {
        crowd.hears(client, "auth:logout", &reason).await;
        crowd.hears(client, "profile:update", &json!(1)).await;
    }
}

#[tokio::test]
async fn a_client_whose_token_expires_is_told_and_stays_away() {
    let sockd = Sockd::start().await;
    let mut crowd = Crowd::start().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("the epoch is over").as_secs();
    // Long enough to get in on a loaded machine.
    let token = jwt::sign(&json!({
        "user_id": jwt::user(), "session_id": jwt::session(), "exp": now + 10,
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

#[tokio::test]
async fn a_client_whose_handler_takes_its_time_stays_away_as_well() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut crowd = Crowd::start().await;
    let mut clients = every_client();
    clients.retain(Client::is_python);
    let token = jwt::token(&user, &session);
    let options = json!({ "auth": { "token": token }, "handlerDelay": 50 });
    for client in &clients {
        crowd.connect(client, &sockd.url(), &options);
    }
    for client in &clients {
        crowd.joined(client).await;
    }
    let told = sockd.force_logout(&user, &jwt::session()).await;
    assert_eq!(told, clients.len() as u64);
    for client in &clients {
        let mut reports = [crowd.next(client).await, crowd.next(client).await];
        reports.sort_by_key(|report| report["on"].as_str().map(str::to_owned));
        assert_eq!(reports[0]["reason"], "server disconnect", "{}", client.id);
        assert_eq!(reports[1]["name"], "auth:logout", "{}", client.id);
    }
    crowd.all_stay_away(&clients, &sockd).await;
}
