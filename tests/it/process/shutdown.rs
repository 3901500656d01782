//! The end of the process: what its clients and callers see of it, and that it comes in time.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    PATIENCE, eventually,
    http::{self, RawConnection},
    jwt,
    polling::Polling,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// The process ends within 10 s; twice that is for a busy machine.
const ENDED: Duration = Duration::from_secs(20);

async fn is_draining(sockd: &Sockd) {
    eventually(PATIENCE, "the drain", || async {
        sockd.log().text().contains("draining")
    })
    .await;
}

/// The head of a POST, whose body of so many bytes is still to come.
fn head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn clients_lose_their_transport_and_are_not_told_to_stay_away() {
    for signal in ["TERM", "INT"] {
        let mut sockd = Sockd::start().await;
        let (user, session) = (jwt::user(), jwt::session());
        let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
        let polling = Polling::join(sockd.address(), &user, &session).await;
        let poll = tokio::spawn(http::client().get(&polling.url).send());
        sockd.signal(signal);
        // No packet, above all no `41`: after that a client does not reconnect by itself.
        websocket.closed(PATIENCE).await;
        if let Ok(answer) = poll.await.expect("it does not panic") {
            let packets = answer.text().await.unwrap_or_default();
            assert!(
                !packets
                    .split('\u{1e}')
                    .any(|packet| packet.starts_with("41")),
                "{packets}"
            );
        }
        assert_eq!(sockd.ended(ENDED).await.code(), Some(0), "SIG{signal}");
    }
}

#[tokio::test]
async fn clients_that_never_answer_do_not_hold_up_the_end() {
    let mut sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut silent = Vec::new();
    for _ in 0..60 {
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        socket.ignore_pings();
        silent.push(socket);
    }
    // More than any buffer of the system takes, to clients that do not read.
    for _ in 0..8 {
        sockd
            .emit(&user, "profile:update", &json!("x".repeat(900_000)))
            .await;
    }
    let mut idle = RawConnection::open(sockd.address()).await;
    let mut half_head = RawConnection::open(sockd.address()).await;
    half_head
        .send("POST /internal/emit HTTP/1.1\r\nhost: x\r\n")
        .await;
    let mut half_body = RawConnection::open(sockd.address()).await;
    half_body.send(head("/internal/emit", 1_000)).await;
    half_body.send("{").await;
    let mut half_upgrade = RawConnection::open(sockd.address()).await;
    half_upgrade
        .send("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nupgrade: websocket\r\n")
        .await;
    sockd.signal("TERM");
    assert_eq!(sockd.ended(ENDED).await.code(), Some(0));
    idle.read_to_end(PATIENCE).await;
}

#[tokio::test]
async fn what_is_queued_for_a_client_is_sent_before_its_connection_ends() {
    const EVENTS: usize = 14;
    let mut sockd = Sockd::start().await;
    let (reader, poller) = (jwt::user(), jwt::user());
    let mut websocket = WebSocket::join(sockd.address(), &reader, &jwt::session()).await;
    let polling = Polling::join(sockd.address(), &poller, &jwt::session()).await;
    // More than any buffer of the system takes.
    let long = "x".repeat(900_000);
    for number in 0..EVENTS {
        let payload = json!([number, long]);
        sockd.emit(&reader, "profile:update", &payload).await;
        sockd.emit(&poller, "profile:update", &json!(number)).await;
    }
    sockd.signal("TERM");
    is_draining(&sockd).await;
    let expected = |number| format!(r#"42["profile:update",[{number},"{long}"]]"#);
    let read_websocket = async {
        for number in 0..EVENTS {
            assert!(websocket.packet().await == expected(number), "{number}");
        }
        assert_eq!(websocket.closed(PATIENCE).await, Some(1001));
    };
    let poll = async {
        // On a connection of its own, as the drain closes idle ones.
        let answer = http::get(&polling.url).await.text().await;
        let events = (0..EVENTS).map(|number| format!(r#"42["profile:update",{number}]"#));
        let events: Vec<_> = events.collect();
        assert_eq!(answer.expect("a body"), events.join("\u{1e}"));
    };
    // The poll first: the port is closed when the drain is over.
    tokio::join!(poll, read_websocket);
    assert_eq!(sockd.ended(ENDED).await.code(), Some(0));
}

#[tokio::test]
async fn a_request_in_progress_is_answered_and_carried_out() {
    let redis = Redis::start().await;
    let mut ending = Sockd::builder()
        .redis(&redis)
        // Not a limit for a busy machine.
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
        .start()
        .await;
    ending.is_ready(PATIENCE).await;
    let staying = Sockd::with_redis(&redis).await;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut socket = WebSocket::join(staying.address(), &user, &old).await;
    let emit = json!({ "userId": user, "event": "profile:update", "payload": 1 }).to_string();
    let logout = json!({ "userId": user, "sessionId": new }).to_string();
    let mut emitting = RawConnection::open(ending.address()).await;
    emitting.send(head("/internal/emit", emit.len())).await;
    let mut replacing = RawConnection::open(ending.address()).await;
    replacing
        .send(head("/internal/force-logout", logout.len()))
        .await;
    ending.signal("TERM");
    is_draining(&ending).await;
    // Long after its own clients have gone, the node still serves these.
    refuses_connections(&ending).await;
    emitting.send(&emit).await;
    let answer = emitting.read_answer().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"ok":true}"#),
        "{answer}"
    );
    assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    replacing.send(&logout).await;
    let answer = replacing.read_answer().await;
    assert!(
        answer.ends_with(r#"{"ok":true,"disconnected":1}"#),
        "{answer}"
    );
    crate::support::websocket::is_dismissed(&mut socket).await;
    assert_eq!(ending.ended(ENDED).await.code(), Some(0));
}

async fn refuses_connections(sockd: &Sockd) {
    let address = sockd.address();
    eventually(PATIENCE, "a closed port", || async move {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn new_clients_during_a_drain_are_refused() {
    let mut sockd = Sockd::start().await;
    let mut requests = Vec::new();
    for (request, upgrade) in [
        ("GET /socket.io/?EIO=4&transport=polling", ""),
        (
            "GET /socket.io/?EIO=4&transport=websocket",
            "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        ("GET /readyz", ""),
    ] {
        let mut connection = RawConnection::open(sockd.address()).await;
        connection
            .send(format!(
                "{request} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n{upgrade}"
            ))
            .await;
        requests.push(connection);
    }
    sockd.signal("TERM");
    is_draining(&sockd).await;
    for connection in &mut requests {
        connection.send("\r\n").await;
        let answer = connection.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.to_lowercase().contains("draining"), "{answer}");
    }
    assert_eq!(sockd.ended(ENDED).await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut sockd = Sockd::builder()
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
        .start()
        .await;
    let mut half = RawConnection::open(sockd.address()).await;
    half.send(head("/internal/emit", 1_000)).await;
    sockd.signal("TERM");
    is_draining(&sockd).await;
    sockd.signal("INT");
    sockd.ended(PATIENCE).await;
}

#[tokio::test]
async fn connections_without_a_request_do_not_delay_the_exit() {
    let builder = Sockd::builder()
        .env("SOCKD_SERVER__DRAIN_WINDOW", "200ms")
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1h")
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h");
    let mut sockd = builder.start().await;
    let mut silent = RawConnection::open(sockd.address()).await;
    let mut half = RawConnection::open(sockd.address()).await;
    half.send("POST /internal/emit HTTP/1.1\r\nhost: x\r\n")
        .await;
    // They are accepted in the order in which they came.
    http::get(&format!("{}/healthz", sockd.url())).await;
    assert_eq!(sockd.drain().await, Some(0));
    assert_eq!(silent.read_to_end(PATIENCE).await, "");
    assert_eq!(half.read_to_end(PATIENCE).await, "");
}
