//! Connections that a running node closes so that their clients reconnect to other nodes.

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{Came, WebSocket},
};

async fn drain(sockd: &Sockd, body: &Value) -> (u16, Value) {
    let answer = sockd.post("/internal/drain", body).await;
    let status = answer.status().as_u16();
    (status, answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn clients_that_joined_first_are_closed_and_the_others_notice_nothing() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(WebSocket::join_first(sockd.address(), &user, &session).await);
    }
    let answer = drain(&sockd, &json!({ "share": 0.3, "overSeconds": 0 })).await;
    let expected = json!({ "ok": true, "connections": 10, "closing": 3 });
    assert_eq!(answer, (200, expected));
    let (first, others) = sockets.split_at_mut(3);
    for socket in first {
        assert_eq!(socket.closed(PATIENCE).await, Some(1001));
    }
    assert!(sockd.is_ready_now().await);
    let mut new = WebSocket::join(sockd.address(), &user, &session).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    for socket in others.iter_mut().chain([&mut new]) {
        assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    }
    sockd
        .logs("audit act=\"drain\" share=0.3 over=0ns connections=10 closing=3")
        .await;
    sockd
        .logs("closed connections for sockd drain closing=3")
        .await;
}

#[tokio::test]
async fn what_is_queued_comes_first_and_a_half_done_upgrade_ends() {
    const EVENTS: usize = 14;
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let (reader, poller) = (jwt::user(), jwt::user());
    let mut websocket = WebSocket::join(sockd.address(), &reader, &session).await;
    let polling = Polling::join(sockd.address(), &poller, &session).await;
    let upgrading = Polling::join(sockd.address(), &user, &session).await;
    let query = format!("&sid={}", upgrading.sid);
    let mut probe = WebSocket::open_with(sockd.address(), &query, &[]).await;
    probe.send("2probe").await;
    assert_eq!(probe.packet().await, "3probe");
    // More than any buffer of the system takes.
    let long = "x".repeat(900_000);
    for number in 0..EVENTS {
        let payload = json!([number, long]);
        sockd.emit(&reader, "profile:update", &payload).await;
        sockd.emit(&poller, "profile:update", &json!(number)).await;
    }
    let (status, _) = drain(&sockd, &json!({ "share": 1, "overSeconds": 0 })).await;
    assert_eq!(status, 200);
    for number in 0..EVENTS {
        let expected = format!(r#"42["profile:update",[{number},"{long}"]]"#);
        assert!(websocket.packet().await == expected, "{number}");
    }
    assert_eq!(websocket.closed(PATIENCE).await, Some(1001));
    let answer = http::get(&polling.url).await.text().await;
    let events = (0..EVENTS).map(|number| format!(r#"42["profile:update",{number}]"#));
    let events: Vec<_> = events.collect();
    assert_eq!(answer.expect("a body"), events.join("\u{1e}"));
    assert!(!polling.is_known().await);
    assert!(matches!(probe.next(PATIENCE).await, Came::Closed(_)));
    assert!(!upgrading.is_known().await);
    // The node takes all of them back.
    for user in [&user, &reader, &poller] {
        WebSocket::join(sockd.address(), user, &session).await;
    }
}

#[tokio::test]
async fn a_second_request_takes_the_place_of_the_first() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(WebSocket::join_first(sockd.address(), &user, &session).await);
    }
    let (status, answer) = drain(&sockd, &json!({ "share": 1, "overSeconds": 86_400 })).await;
    assert_eq!((status, &answer["closing"]), (200, &json!(3)));
    assert_eq!(sockets[0].closed(PATIENCE).await, Some(1001));
    let (status, answer) = drain(&sockd, &json!({ "share": 0.5, "overSeconds": 0 })).await;
    assert_eq!((status, &answer["closing"]), (200, &json!(1)));
    assert_eq!(sockets[1].closed(PATIENCE).await, Some(1001));
    sockd
        .logs("a new sockd drain replaces the previous one")
        .await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(sockets[2].packet().await, r#"42["profile:update",1]"#);
}

#[tokio::test]
async fn an_incomplete_or_nonsensical_request_closes_nothing() {
    let sockd = Sockd::start().await;
    let mut socket = WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    for (body, code) in [
        (json!({}), "INVALID_SHARE"),
        (json!([1]), "INVALID_SHARE"),
        (json!({ "share": 1.5 }), "INVALID_SHARE"),
        (json!({ "share": "1" }), "INVALID_SHARE"),
        (
            json!({ "share": 1, "overSeconds": "30s" }),
            "INVALID_OVER_SECONDS",
        ),
        (
            json!({ "share": 1, "overSeconds": 100_000 }),
            "INVALID_OVER_SECONDS",
        ),
    ] {
        let refused = json!({ "ok": false, "error": code });
        assert_eq!(drain(&sockd, &body).await, (400, refused), "{body}");
    }
    // Of another content type, a body says nothing.
    let request = sockd.request(reqwest::Method::POST, "/internal/drain");
    let request = request.bearer_auth(INTERNAL_SECRET).body(r#"{"share":1}"#);
    assert_eq!(request.send().await.expect("an answer").status(), 400);
    socket.send("40/a,").await;
    assert!(socket.packet().await.starts_with("44/a,"));
}

#[tokio::test]
async fn a_node_that_shuts_down_says_so() {
    let mut sockd = Sockd::start().await;
    let mut late = RawConnection::open(sockd.address()).await;
    let body = r#"{"share":1}"#;
    late.send(format!(
        "POST /internal/drain HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    sockd.signal("TERM");
    eventually(PATIENCE, "the drain", async || {
        sockd.log().text().contains("draining")
    })
    .await;
    late.send(body).await;
    let answer = late.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("DRAINING"), "{answer}");
    sockd.logs("error=\"the node is shutting down\"").await;
    assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
}
