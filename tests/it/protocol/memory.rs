//! The memory that the worst single client may cost: 40 MB.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{WebSocket, frame, open_raw},
    within,
};

const BOUND_KIB: u64 = 40_000_000 / 1024;
const LARGE: usize = 900_000;
/// How long an attack may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the attack and fails if the server has grown past the bound at any moment of it.
async fn stays_bounded(sockd: &Sockd, what: &str, attack: impl Future<Output = ()>) {
    let before = sockd.resident_kib();
    let mut peak = before;
    let deadline = Instant::now() + LIMIT;
    let mut attack = std::pin::pin!(attack);
    loop {
        tokio::select! {
            () = attack.as_mut() => break,
            () = sleep(Duration::from_millis(10)) => {}
        }
        assert!(Instant::now() < deadline, "{what} takes too long");
        peak = peak.max(sockd.resident_kib());
    }
    peak = peak.max(sockd.resident_kib());
    let grown = peak - before;
    assert!(grown <= BOUND_KIB, "{what}: grown by {grown} KiB");
}

/// A server whose log costs little, warmed up by a client of each transport.
async fn start() -> (Sockd, String, String) {
    let sockd = Sockd::builder()
        .env("SOCKD_LOG__LEVEL", "info")
        // What is measured is memory, and not how fast a loaded machine reads.
        .env("SOCKD_SERVER__BODY_TIMEOUT", "120s")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    websocket.packet().await;
    polling.packet().await;
    websocket.abandon();
    polling.send("1").await;
    is_in(&sockd, 0).await;
    (sockd, jwt::user(), jwt::session())
}

/// A WebSocket of which every byte is the test's own, and which reads nothing.
async fn raw_websocket(sockd: &Sockd, user: &str, session: &str) -> RawConnection {
    let mut connection = open_raw(sockd.address(), "").await;
    let connect = jwt::connect(&jwt::token(user, session));
    connection.send(frame(0x81, connect.as_bytes())).await;
    connection
}

async fn is_in(sockd: &Sockd, sockets: usize) {
    let line = format!("sockd_sockets {sockets}");
    eventually(LIMIT, &line, || async {
        sockd.metrics().await.lines().any(|found| found == line)
    })
    .await;
}

#[tokio::test]
async fn a_websocket_that_does_not_read_its_events_is_disconnected() {
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "80 unread events", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        is_in(&sockd, 1).await;
        let payload = json!("x".repeat(LARGE));
        for _ in 0..80 {
            sockd.emit(&user, "profile:update", &payload).await;
        }
        is_in(&sockd, 0).await;
        websocket.try_send([0]).await;
    })
    .await;
}

#[tokio::test]
async fn a_polling_client_that_does_not_poll_is_disconnected() {
    let (sockd, user, session) = start().await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "80 events that nobody fetches", async {
        let payload = json!("x".repeat(LARGE));
        for _ in 0..80 {
            sockd.emit(&user, "profile:update", &payload).await;
        }
        let refusal = polling.poll().await;
        assert_eq!(refusal.status(), 400);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_polls_on_new_connections_and_reads_nothing_is_disconnected() {
    let (sockd, user, session) = start().await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "80 answers that nobody reads", async {
        let payload = json!("x".repeat(LARGE));
        let path = polling.url.split_once("/socket.io").expect("a path").1;
        let mut connections = Vec::new();
        for _ in 0..80 {
            let mut connection = RawConnection::open(sockd.address()).await;
            let poll = format!("GET /socket.io{path} HTTP/1.1\r\nhost: sockd\r\n\r\n");
            connection.send(poll).await;
            connections.push(connection);
            sockd.emit(&user, "profile:update", &payload).await;
        }
        is_in(&sockd, 0).await;
    })
    .await;
}

#[tokio::test]
async fn fragments_of_one_byte_cost_no_more_than_their_bytes() {
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "200,000 fragments of a byte", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        is_in(&sockd, 1).await;
        let mut bytes = frame(0x01, b"4");
        let piece = frame(0x00, b"2");
        for _ in 0..200_000 {
            bytes.extend_from_slice(&piece);
        }
        websocket.send(bytes).await;
        // An unfinished message does not block the connection: a ping is still answered.
        websocket.send(frame(0x89, b"still there?")).await;
        websocket.expect(b"still there?").await;
    })
    .await;
}

#[tokio::test]
async fn attachments_are_bounded_in_number_and_in_bytes() {
    for (what, head, pieces, size) in [
        ("attachments of a large event", r#"4510-["x"]"#, 10, 950_000),
        (
            "an event of a million attachments",
            r#"451000000-["x"]"#,
            9,
            100_000,
        ),
        ("empty attachments", r#"4510-["x"]"#, 11, 0),
    ] {
        let (sockd, user, session) = start().await;
        stays_bounded(&sockd, what, async {
            let mut websocket = raw_websocket(&sockd, &user, &session).await;
            is_in(&sockd, 1).await;
            websocket.send(frame(0x81, head.as_bytes())).await;
            for _ in 0..pieces {
                websocket.try_send(frame(0x82, &vec![7; size])).await;
            }
            is_in(&sockd, 0).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_flood_of_large_messages_is_cut_off() {
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "a flood of large messages", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        let message = frame(
            0x81,
            format!("42[\"x\",\"{}\"]", "x".repeat(LARGE)).as_bytes(),
        );
        while websocket.try_send(&message).await {}
        is_in(&sockd, 0).await;
    })
    .await;
}

#[tokio::test]
async fn namespace_names_are_not_buffered_for_clients_that_do_not_read() {
    let packet = format!("40/{},", "n".repeat(LARGE));
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "large names on a WebSocket", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        is_in(&sockd, 1).await;
        let message = frame(0x81, packet.as_bytes());
        while websocket.try_send(&message).await {}
        is_in(&sockd, 0).await;
    })
    .await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "large names on polling", async {
        for _ in 0..80 {
            // Refused before it is read, it may also fail.
            let post = http::client().post(&polling.url).body(packet.clone());
            post.send().await.ok();
        }
        is_in(&sockd, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_post_full_of_connects_is_refused() {
    for connect in ["40", "40/a,"] {
        let (sockd, ..) = start().await;
        let polling = Polling::open(sockd.address()).await;
        let what = format!("a post full of {connect}");
        stays_bounded(&sockd, &what, async {
            let count = 999_999 / (connect.len() + 1);
            polling.post(vec![connect; count].join("\u{1e}")).await;
            within(PATIENCE, "the end of the session", async {
                while polling.poll().await.status() == 200 {}
            })
            .await;
        })
        .await;
    }
}

#[tokio::test]
async fn concurrent_bodies_are_not_buffered_for_one_session() {
    let (sockd, user, session) = start().await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "80 unfinished posts", async {
        let path = polling.url.split_once("/socket.io").expect("a path").1;
        let mut connections = Vec::new();
        for _ in 0..80 {
            let mut connection = RawConnection::open(sockd.address()).await;
            let head = format!(
                "POST /socket.io{path} HTTP/1.1\r\nhost: sockd\r\ncontent-length: 1000000\r\n\r\n"
            );
            connection.send(head).await;
            connection.try_send(vec![b'x'; 999_999]).await;
            connections.push(connection);
        }
        is_in(&sockd, 0).await;
    })
    .await;
}

#[tokio::test]
async fn chunks_of_one_byte_cost_no_more_than_their_bytes() {
    let (sockd, user, session) = start().await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "300,000 chunks of a byte", async {
        let path = polling.url.split_once("/socket.io").expect("a path").1;
        let mut connection = RawConnection::open(sockd.address()).await;
        let head = format!(
            "POST /socket.io{path} HTTP/1.1\r\nhost: sockd\r\nconnection: close\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        let chunk = |byte: &str| format!("1\r\n{byte}\r\n");
        let chunks = chunk("4") + &chunk("2") + &chunk("[") + &chunk("1").repeat(300_000);
        connection.send(head + &chunks).await;
        connection.send(chunk("]") + "0\r\n\r\n").await;
        // Not built for release, the server may need a minute on a busy machine.
        let answer = connection.read_to_end(LIMIT).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn packets_that_are_cut_off_in_the_middle_are_kept_once() {
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "a message and a frame without an end", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        is_in(&sockd, 1).await;
        websocket.send(frame(0x01, &[b'4'; 500_000])).await;
        let rest = frame(0x80, &[b'x'; 499_999]);
        websocket.send(&rest[..rest.len() - 1]).await;
        // Its last byte completes a message that cannot be read.
        websocket.send(&rest[rest.len() - 1..]).await;
        is_in(&sockd, 0).await;
    })
    .await;
    stays_bounded(&sockd, "a head without an end", async {
        let mut connection = RawConnection::open(sockd.address()).await;
        connection.send("GET /socket.io/ HTTP/1.1\r\nx: ").await;
        while connection.try_send(vec![b'y'; 100_000]).await {}
    })
    .await;
}

#[tokio::test]
async fn large_tokens_are_not_kept() {
    let packet = format!(r#"40{{"token":"{}"}}"#, "x".repeat(LARGE));
    let (sockd, ..) = start().await;
    stays_bounded(&sockd, "large tokens on a WebSocket", async {
        let mut websocket = open_raw(sockd.address(), "").await;
        let message = frame(0x81, packet.as_bytes());
        while websocket.try_send(&message).await {}
    })
    .await;
    stays_bounded(&sockd, "large tokens on polling", async {
        let polling = Polling::open(sockd.address()).await;
        for _ in 0..80 {
            // Refused before it is read, it may also fail.
            let post = http::client().post(&polling.url).body(packet.clone());
            post.send().await.ok();
        }
    })
    .await;
}

#[tokio::test]
async fn small_packets_in_large_posts_are_not_kept() {
    for packets in [
        vec![r#"42["a"]"#; 120_000],
        [vec![r#"4510-["a"]"#], vec!["b"; 10]]
            .concat()
            .repeat(20_000),
        vec!["3"; 400_000],
    ] {
        let (sockd, user, session) = start().await;
        let polling = Polling::join(sockd.address(), &user, &session).await;
        let what = format!("posts full of {}", packets[0]);
        stays_bounded(&sockd, &what, async {
            let body = packets.join("\u{1e}");
            for _ in 0..30 {
                let post = http::client().post(&polling.url).body(body.clone());
                post.send().await.ok();
            }
            is_in(&sockd, 0).await;
        })
        .await;
    }
}

#[tokio::test]
async fn pings_whose_answers_nobody_reads_are_bounded() {
    let (sockd, user, session) = start().await;
    stays_bounded(&sockd, "pings of a client that does not read", async {
        let mut websocket = raw_websocket(&sockd, &user, &session).await;
        is_in(&sockd, 1).await;
        let pings = frame(0x89, b"").repeat(10_000);
        while websocket.try_send(&pings).await {}
        is_in(&sockd, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_under_way_costs_no_more_than_a_connection() {
    let (sockd, user, session) = start().await;
    let polling = Polling::join(sockd.address(), &user, &session).await;
    stays_bounded(&sockd, "an upgrade beside unread events", async {
        let mut websocket = open_raw(sockd.address(), &polling.sid).await;
        let message = frame(0x81, &[b'2'; 999_999]);
        websocket.send(&message[..900_000]).await;
        let payload = json!("x".repeat(LARGE));
        for _ in 0..80 {
            sockd.emit(&user, "profile:update", &payload).await;
        }
        is_in(&sockd, 0).await;
    })
    .await;
}
