//! How stock clients get in, and what they see where they do not.

use serde_json::{Value, json};

use super::{Client, Crowd, Library, POLLING, WEBSOCKET, every_client};
use crate::support::{PATIENCE, eventually, jwt, sockd::Sockd};

#[tokio::test]
async fn every_client_joins_over_every_transport() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    assert_eq!(sockd.figure("sockd_sockets").await, clients.len() as f64);
    let payload = json!({ "name": "Ada" });
    sockd.emit(&user, "profile:update", &payload).await;
    for client in &clients {
        crowd.hears(client, "profile:update", &payload).await;
    }
}

#[tokio::test]
async fn version_2_is_refused() {
    let sockd = Sockd::start().await;
    let mut crowd = Crowd::start().await;
    let query = json!({ "query": { "token": jwt::token(&jwt::user(), &jwt::session()) } });
    let refusals = [
        (POLLING, json!("xhr poll error"), json!(400)),
        (WEBSOCKET, json!("websocket error"), Value::Null),
    ];
    for (transports, message, status) in refusals {
        let client = Client {
            id: format!("socket.io-client 2 over {transports:?}"),
            library: Library::SocketIo(2),
            transports,
        };
        crowd.connect(&client, &sockd.url(), &query);
        for _ in 0..3 {
            let report = crowd.next(&client).await;
            if report["on"] == "connect_error" {
                assert_eq!((&report["message"], &report["status"]), (&message, &status));
            } else {
                assert_eq!(report["on"], "reconnect_attempt", "{}", client.id);
            }
        }
    }
    assert_eq!(sockd.figure("sockd_handshakes_total").await, 0.0);
}

#[tokio::test]
async fn a_token_is_taken_from_auth_from_a_header_and_from_the_query() {
    let sockd = Sockd::start().await;
    let mut crowd = Crowd::start().await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    let sources = [
        json!({ "auth": { "token": token } }),
        json!({ "auth": { "token": format!("Bearer {token}") } }),
        json!({ "auth": { "token": " " }, "query": { "token": token } }),
        json!({ "extraHeaders": { "Authorization": format!("Bearer {token}") } }),
        json!({ "extraHeaders": { "authorization": token }, "query": { "token": "bad" } }),
        json!({ "query": { "token": token } }),
        json!({ "query": { "token": format!("bearer {token}") } }),
    ];
    let mut all = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        for mut client in every_client() {
            client.id = format!("{} with source {number}", client.id);
            crowd.connect(&client, &sockd.url(), source);
            all.push(client);
        }
    }
    for client in &all {
        crowd.joined(client).await;
    }
}

#[tokio::test]
async fn a_refusal_is_the_message_of_connect_error_and_final() {
    // Version 3 keeps its connection, and would reconnect when it ends.
    let sockd = Sockd::builder().env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "5m");
    let sockd = sockd.start().await;
    let user = jwt::user();
    let (mut crowd, _) = Crowd::join(&sockd, &user, &jwt::session()).await;
    let refusals = [
        ("TOKEN_MISSING", json!({})),
        ("TOKEN_INVALID", json!({ "auth": { "token": "rubbish" } })),
        (
            "SESSION_MISMATCH",
            json!({ "auth": { "token": jwt::token(&user, &jwt::session()) } }),
        ),
    ];
    let mut all = Vec::new();
    for (message, options) in &refusals {
        for mut client in every_client() {
            client.id = format!("{} with {message}", client.id);
            crowd.connect(&client, &sockd.url(), options);
            all.push((client, *message));
        }
    }
    for (client, message) in &all {
        is_refused(&mut crowd, client, message).await;
    }
    let clients: Vec<_> = all.into_iter().map(|(client, _)| client).collect();
    crowd.all_stay_away(&clients, &sockd).await;
}

#[tokio::test]
async fn a_refused_client_joins_with_a_better_token() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut crowd = Crowd::start().await;
    let clients: Vec<_> = every_client();
    // python-socketio gives up its connection after a refusal.
    let clients: Vec<_> = clients
        .iter()
        .filter(|client| !client.is_python())
        .collect();
    for client in &clients {
        crowd.connect(
            client,
            &sockd.url(),
            &json!({ "auth": { "token": "rubbish" } }),
        );
    }
    let better = json!({ "auth": { "token": jwt::token(&user, &session) } });
    for client in &clients {
        is_refused(&mut crowd, client, "TOKEN_INVALID").await;
        crowd
            .node
            .order(&client.id, "connect_again", better.clone());
        assert_eq!(crowd.answer(client).await["on"], "connect");
    }
    assert_eq!(sockd.figure("sockd_sockets").await, clients.len() as f64);
    // Version 3 keeps its connection after a refusal, version 4 opens another.
    let kept = || {
        let admitted = sids(&sockd, "a socket has joined");
        let refused = sids(&sockd, "refused a handshake");
        refused.iter().filter(|sid| admitted.contains(sid)).count()
    };
    eventually(PATIENCE, "three kept connections", async || kept() == 3).await;
}

async fn is_refused(crowd: &mut Crowd, client: &Client, message: &str) {
    let report = crowd.answer(client).await;
    assert_eq!(report["on"], "connect_error", "{}: {report}", client.id);
    assert_eq!(report["message"], message, "{}", client.id);
    if client.library == Library::SocketIo(4) {
        assert_eq!(report["again"], false, "{}", client.id);
    }
}

/// The connections of which the server has logged this.
fn sids(sockd: &Sockd, message: &str) -> Vec<String> {
    let log = sockd.log().text();
    let lines = log.lines().filter(|line| line.contains(message));
    let sids = lines.filter_map(|line| line.split("sid=").nth(1)?.split(' ').next());
    sids.map(str::to_owned).collect()
}
