//! Stock clients that are moved: they lose their transport and reconnect by themselves.

use std::{fs, sync::Arc};

use serde_json::json;

use super::Crowd;
use crate::support::{PATIENCE, eventually, jwt, sockd::Sockd};

/// A sample of `/metrics`.
async fn ended(sockd: &Sockd, why: &str) -> f64 {
    let sample = format!("sockd_connections_ended_total{{why=\"{why}\"}} ");
    let text = sockd.metrics().await;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(&sample));
    values.next().expect("a sample").parse().expect("a number")
}

#[tokio::test]
async fn all_clients_of_a_node_come_back_and_hear_what_follows() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    let body = json!({ "share": 1, "overSeconds": 1 });
    let answer = sockd.post("/internal/drain", &body).await;
    assert_eq!(answer.status(), 200);
    let count = clients.len();
    let expected = json!({ "ok": true, "connections": count, "closing": count });
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(answer, expected);
    for client in &clients {
        crowd.loses_its_transport(client).await;
    }
    assert!(sockd.is_ready_now().await);
    for client in &clients {
        crowd.rejoined(client).await;
    }
    sockd.emit(&user, "profile:update", &json!("after")).await;
    for client in &clients {
        crowd.hears(client, "profile:update", &json!("after")).await;
    }
    eventually(PATIENCE, "the count", async || {
        ended(&sockd, "moved").await == count as f64
    })
    .await;
}

#[tokio::test]
async fn clients_are_moved_once_they_are_old_enough() {
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let file = directory.path().join("sockd.toml");
    fs::write(&file, "server.max_connection_age = \"10s\"\n").expect("a file");
    let sockd = Sockd::builder().start_in(directory).await;
    let (user, session) = (jwt::user(), jwt::session());
    let (mut crowd, clients) = Crowd::join(&sockd, &user, &session).await;
    for client in &clients {
        crowd.loses_its_transport(client).await;
    }
    eventually(PATIENCE, "the count", async || {
        ended(&sockd, "too_old").await >= clients.len() as f64
    })
    .await;
    // Else some may be old enough again.
    fs::write(&file, "").expect("a file");
    sockd.signal("HUP");
    sockd
        .logs("reloaded the configuration by=\"SIGHUP\" changed=\"server.max_connection_age\"")
        .await;
    eventually(PATIENCE, "the return of all", async || {
        sockd.figure("sockd_sockets").await == clients.len() as f64
    })
    .await;
    sockd.emit(&user, "profile:update", &json!("after")).await;
    for client in &clients {
        let heard = loop {
            let report = crowd.next(client).await;
            if report["on"] == "event" {
                break report;
            }
        };
        assert_eq!(heard["args"], "[\"after\"]", "{}", client.id);
    }
}
