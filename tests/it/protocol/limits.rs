//! How long a message, a head and a body may be, to the byte, and how long they may take.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{Came, WebSocket},
};

const LIMIT: usize = 1_000_000;

/// An event of so many bytes as an Engine.IO packet.
fn event(bytes: usize) -> String {
    let event = |filling: &str| format!(r#"42["filling","{filling}"]"#);
    event(&"x".repeat(bytes - event("").len()))
}

#[tokio::test]
async fn a_websocket_message_at_the_limit_is_accepted_and_a_byte_more_is_closed_with_1009() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.send(event(LIMIT)).await;
    websocket
        .send(r#"451-["bytes",{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.send_binary(vec![0; LIMIT]).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    websocket.try_send(event(LIMIT + 1)).await;
    assert_eq!(websocket.closed(PATIENCE).await, Some(1009));

    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket
        .send(r#"451-["bytes",{"_placeholder":true,"num":0}]"#)
        .await;
    websocket.try_send_binary(vec![0; LIMIT + 1]).await;
    assert_eq!(websocket.closed(PATIENCE).await, Some(1009));

    // Longer than what any buffer between here and there can hold.
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.try_send(event(4 * LIMIT)).await;
    assert_eq!(websocket.closed(PATIENCE).await, Some(1009));
}

#[tokio::test]
async fn a_post_at_the_limit_is_accepted_and_a_byte_more_is_413() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    polling.send(&event(LIMIT)).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(polling.packet().await, r#"42["profile:update",1]"#);
    for bytes in [LIMIT + 1, 3 * LIMIT] {
        let polling = Polling::join(sockd.address(), &user, &session).await;
        let answer = polling.post(event(bytes)).await;
        assert_eq!(answer.status(), 413, "{bytes}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let body = answer.text().await.expect("a body");
        assert_eq!(body, r#"{"ok":false,"error":"PAYLOAD_TOO_LARGE"}"#);
        // The session continues.
        polling.send(&event(100)).await;
    }
}

#[tokio::test]
async fn a_large_post_of_unknown_length_is_413_as_well() {
    let sockd = Sockd::start().await;
    let polling = Polling::open(sockd.address()).await;
    let path = polling.url.split_once("/socket.io").expect("a path").1;
    let mut connection = RawConnection::open(sockd.address()).await;
    let head = format!(
        "POST /socket.io{path} HTTP/1.1\r\nhost: sockd\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let event = event(LIMIT + 1);
    connection
        .send(format!("{head}{:x}\r\n{event}\r\n0\r\n\r\n", event.len()))
        .await;
    let answer = connection.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn the_limit_is_configurable() {
    let sockd = Sockd::builder()
        .env("SOCKD_SOCKETIO__MAX_PAYLOAD", "500B")
        .start()
        .await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    let open = websocket.packet().await;
    assert!(open.ends_with(r#""maxPayload":500}"#), "{open}");
    websocket.send("40").await;
    assert!(websocket.packet().await.starts_with("44"));
    websocket.send("4".repeat(501)).await;
    assert_eq!(websocket.closed(PATIENCE).await, Some(1009));
}

#[tokio::test]
async fn unfinished_requests_are_cut_off() {
    let sockd = Sockd::builder()
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "700ms")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "700ms")
        .start()
        .await;
    let polling = Polling::open(sockd.address()).await;
    let path = polling.url.split_once("/socket.io").expect("a path").1;
    let post = format!("POST /socket.io{path} HTTP/1.1\r\nhost: sockd\r\n");
    for (what, bytes, status) in [
        ("nothing at all", String::new(), ""),
        (
            "half a head",
            "GET /socket.io/?EIO=4 HTTP/1.1\r\nhos".into(),
            "",
        ),
        (
            "half a body",
            format!("{post}content-length: 100\r\n\r\n42["),
            "HTTP/1.1 408 ",
        ),
        (
            "half a chunk",
            format!("{post}transfer-encoding: chunked\r\n\r\n64\r\n42["),
            "HTTP/1.1 408 ",
        ),
    ] {
        let start = Instant::now();
        let mut connection = RawConnection::open(sockd.address()).await;
        connection.send(&bytes).await;
        let answer = connection.read_to_end(PATIENCE).await;
        let taken = start.elapsed();
        assert!(answer.starts_with(status), "{what}: {answer}");
        assert!(taken >= Duration::from_millis(600), "{what}: {taken:?}");
    }
}

#[tokio::test]
async fn headers_may_be_as_long_as_on_the_old_server_and_no_longer() {
    let sockd = Sockd::start().await;
    for (bytes, status) in [(14_000, 200), (17_000, 431)] {
        let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
        let request = http::client().get(&url).header("x-long", "x".repeat(bytes));
        let answer = request.send().await.expect("the server answers");
        assert_eq!(answer.status(), status, "{bytes}");
    }
}

#[tokio::test]
async fn a_client_that_sends_more_than_its_budget_is_closed() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__INBOUND_BURST", "64KiB")
        .env("SOCKD_LIMITS__INBOUND_RATE", "1KiB")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.send(event(60_000)).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    while websocket.try_send(event(60_000)).await {}
    assert!(matches!(websocket.next(PATIENCE).await, Came::Closed(_)));
}

/// Far fewer bytes than it may send: each packet costs a second's worth of packets.
#[tokio::test]
async fn a_client_that_sends_more_packets_than_its_budget_is_closed_on_either_transport() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__INBOUND_BURST", "64KiB")
        .env("SOCKD_LIMITS__INBOUND_RATE", "1KiB")
        .env("SOCKD_LIMITS__INBOUND_PACKETS", "1")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let events = [r#"42["a"]"#; 60];
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    polling.send(&events.join("\u{1e}")).await;
    for event in events {
        websocket.send(event).await;
    }
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    let answer = polling.post(events.join("\u{1e}")).await;
    assert_eq!(answer.status(), 400);
    for event in events {
        websocket.try_send(event).await;
    }
    assert!(matches!(websocket.next(PATIENCE).await, Came::Closed(_)));
    let ended = r#"sockd_connections_ended_total{why="flooding"} 2"#;
    eventually(PATIENCE, "the count", async || {
        sockd.metrics().await.contains(ended)
    })
    .await;
}

#[tokio::test]
async fn each_connect_counts_whatever_its_answer_and_one_too_many_closes_the_connection() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__HANDSHAKE_ATTEMPTS", "3")
        .start()
        .await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    let good = jwt::connect(&token);
    for connects in [
        ["40", "40", "40"],
        ["40/a,", "40", "40/b,"],
        [&good, "40", "40/a,"],
    ] {
        let mut websocket = WebSocket::open(sockd.address()).await;
        let mut polling = Polling::open(sockd.address()).await;
        websocket.packet().await;
        for connect in connects {
            websocket.send(connect).await;
            polling.send(connect).await;
            // A second one on a connection that has joined is ignored.
            if connect != "40" || connects[0] != good {
                assert!(websocket.packet().await.starts_with('4'));
                assert!(polling.packet().await.starts_with('4'));
            }
        }
        websocket.send("40").await;
        assert_eq!(websocket.closed(PATIENCE).await, None, "{connects:?}");
        assert_eq!(polling.post("40".to_owned()).await.status(), 400);
    }
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    for _ in 0..3 {
        assert!(websocket.connect(&token).await.starts_with("40"));
        websocket.send("41").await;
    }
    websocket.send(good).await;
    assert_eq!(websocket.closed(PATIENCE).await, None);
    let ended = r#"sockd_connections_ended_total{why="too_many_connects"} 7"#;
    eventually(PATIENCE, "the count", async || {
        sockd.metrics().await.contains(ended)
    })
    .await;
}

#[tokio::test]
async fn running_out_of_file_descriptors_is_logged_when_it_begins_and_when_it_ends() {
    let sockd = Sockd::start().await;
    let open = std::fs::read_dir(format!("/proc/{}/fd", sockd.pid())).expect("it lives");
    let limit = format!("--nofile={0}:{0}", open.count() + 5);
    let limited = Command::new("prlimit")
        .args(["--pid", &sockd.pid().to_string(), &limit])
        .status();
    assert!(
        limited.is_ok_and(|status| status.success()),
        "prlimit works"
    );
    let count = |text: &str| sockd.log().text().matches(text).count();
    let mut connections = Vec::new();
    for _ in 0..20 {
        connections.push(RawConnection::open(sockd.address()).await);
    }
    eventually(PATIENCE, "the warning", async || {
        count("cannot accept connections") == 1
    })
    .await;
    // It is tried ten times a second; each connection that ends makes room for one that waits.
    for _ in 0..10 {
        let mut first = connections.remove(0);
        let read = tokio::time::timeout(Duration::from_millis(150), first.read_answer()).await;
        assert!(read.is_err(), "{read:?}");
    }
    assert_eq!(count("connections are accepted again"), 0);
    drop(connections);
    let health = format!("{}/healthz", sockd.url());
    eventually(PATIENCE, "the end of it", async || {
        http::get(&health).await;
        count("connections are accepted again") == 1
    })
    .await;
    assert_eq!(count("cannot accept connections"), 1);
}
