//! What sockd does exactly as Socket.IO's own server does it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    driver::Driver,
    eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{TOLD, WebSocket},
};

fn connect(user: &str, session: &str) -> String {
    jwt::connect(&jwt::token(user, session))
}

fn sid_of(packet: &str, head: &str) -> String {
    let packet = packet.strip_prefix(head).expect("a packet with a sid");
    let packet: Value = serde_json::from_str(packet).expect("JSON");
    packet["sid"].as_str().expect("a sid").to_owned()
}

/// The connection ends on either transport, with only an event before.
async fn ends(sockd: &Sockd, packets: &str) {
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.send(packets).await;
    assert_eq!(websocket.closed(PATIENCE).await, None, "{packets}");
    let polling = Polling::join(sockd.address(), &user, &session).await;
    assert_eq!(
        polling.post(packets.to_owned()).await.status(),
        400,
        "{packets}"
    );
    let refusal = polling.poll().await.text().await.expect("a body");
    assert!(
        refusal.contains("Session ID unknown"),
        "{packets}: {refusal}"
    );
}

#[tokio::test]
async fn socket_and_transport_have_ids_of_their_own() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open(sockd.address()).await;
    let transport = sid_of(&websocket.packet().await, "0");
    websocket.send(connect(&user, &session)).await;
    let socket = sid_of(&websocket.packet().await, "40");
    let polling = Polling::open(sockd.address()).await.sid;
    for sid in [&transport, &socket, &polling] {
        assert_eq!(sid.len(), 20, "{sid}");
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(sid.chars().all(is_safe), "{sid}");
        // It names the node.
        assert_eq!(sid[..4], transport[..4]);
    }
    assert_ne!(transport, socket);
}

#[tokio::test]
async fn names_that_no_client_may_send_end_its_connection_and_others_are_ignored() {
    let sockd = Sockd::start().await;
    for packet in [
        r#"42["connect"]"#,
        r#"42["disconnecting",1]"#,
        r#"421["newListener"]"#,
        r#"42["dis\u0063onnect"]"#,
        "42[true]",
        "42[[\"a\"]]",
        r#"451-["connect_error",{"_placeholder":true,"num":0}]"#,
        "42/elsewhere,[\"a\"]",
        "41/elsewhere,",
        r#"44{"message":"x"}"#,
        "2",
        "2probe",
    ] {
        ends(&sockd, packet).await;
    }
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    for packet in [
        "42[1]",
        r#"42["with \"escapes\" \u00e4 \ud83d"]"#,
        r#"42["a",1e400,{"\ud83d":"\ud83d"}]"#,
        "42",
        "43",
        "43[]",
        "4317",
        "4312345678901234567890[]",
        "0",
        "5",
        "6",
        "3",
    ] {
        websocket.send(packet).await;
        polling.send(packet).await;
    }
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    assert_eq!(polling.packet().await, r#"42["profile:update",1]"#);
}

#[tokio::test]
async fn other_members_beside_the_token_do_not_matter() {
    let sockd = Sockd::start().await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    let deep = format!(r#""deep":{}{}"#, "[".repeat(50_000), "]".repeat(50_000));
    for beside in [
        r#""name":"Ann\ud83d""#,
        r#""\ud83d":"half a pair as a key""#,
        r#""n":1e400"#,
        r#""token":"of a key given twice the last counts""#,
        &deep,
    ] {
        let packet = format!(r#"40{{{beside},"token":"{token}"}}"#);
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        websocket.send(&packet).await;
        let answer = websocket.packet().await;
        assert!(answer.starts_with("40{"), "{beside:.40}: {answer}");
        let mut polling = Polling::open(sockd.address()).await;
        polling.send(&packet).await;
        let answer = polling.packet().await;
        assert!(answer.starts_with("40{"), "{beside:.40}: {answer}");
    }
}

#[tokio::test]
async fn connects_sent_at_once_are_answered_until_one_is_let_in() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let packets = [
        r#"40{"token":"bad"}"#.to_owned(),
        "40".to_owned(),
        connect(&user, &session),
        connect(&user, &session),
    ];
    let answers = [
        r#"44{"message":"TOKEN_INVALID"}"#,
        r#"44{"message":"TOKEN_MISSING"}"#,
    ];
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    for packet in &packets {
        websocket.send(packet).await;
    }
    let mut polling = Polling::open(sockd.address()).await;
    polling.send(&packets.join("\u{1e}")).await;
    for answer in answers {
        assert_eq!(websocket.packet().await, answer);
        assert_eq!(polling.packet().await, answer);
    }
    assert!(websocket.packet().await.starts_with("40{"));
    assert!(polling.packet().await.starts_with("40{"));
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 2);
    // First the one whose farewell waits for a second only.
    assert_eq!(polling.packet().await, TOLD);
    assert_eq!(websocket.packet().await, TOLD);
}

#[tokio::test]
async fn connects_are_bounded_whatever_their_answers() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    for (packet, answered) in [
        (connect(&user, &session), "40{"),
        (r#"40{"token":"bad"}"#.to_owned(), "44{"),
        ("40/elsewhere,".to_owned(), "44/elsewhere"),
    ] {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        for _ in 0..10 {
            websocket.send(packet.clone()).await;
            let answer = websocket.packet().await;
            assert!(answer.starts_with(answered), "{answer}");
            if answered == "40{" {
                websocket.send("41").await;
            }
        }
        websocket.send(packet.clone()).await;
        assert_eq!(websocket.closed(PATIENCE).await, None, "{packet}");
    }
    eventually(PATIENCE, "the end of the sockets", || async {
        sockd.figure("sockd_sockets").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_closes_its_session_releases_its_poll() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let close = async {
        // One CONNECT too many gets no response: the poll only gives it time to arrive.
        polling.send(&connect(&user, &session)).await;
        polling.send("1").await;
    };
    let (poll, ()) = tokio::join!(polling.poll(), close);
    if poll.status() == 200 {
        assert_eq!(poll.text().await.expect("a body"), "6");
    }
    assert_eq!(polling.poll().await.status(), 400);
    eventually(PATIENCE, "the end of the socket", || async {
        sockd.figure("sockd_sockets").await == 0.0
    })
    .await;
}

/// The response to an upgrade whose head has these additional lines.
async fn upgrade(sockd: &Sockd, lines: &[&str]) -> String {
    let mut connection = RawConnection::open(sockd.address()).await;
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: sockd\r\n{lines}\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    connection.send(head).await;
    connection.read_answer().await
}

#[tokio::test]
async fn the_lines_of_a_list_header_are_one_list() {
    let sockd = Sockd::start().await;
    let lines = ["connection: keep-alive", "connection: Upgrade"];
    let answer = upgrade(&sockd, &lines).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn the_first_subprotocol_that_is_offered_is_answered() {
    let sockd = Sockd::start().await;
    let lines = ["connection: Upgrade", "sec-websocket-protocol: v2, v1"];
    let answer = upgrade(&sockd, &lines).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(lower.contains("sec-websocket-protocol: v2\r\n"), "{answer}");
    let mut node = Driver::node().await;
    let options = json!({
        "transports": ["websocket"],
        "protocols": ["v1"],
        "auth": { "token": jwt::token(&jwt::user(), &jwt::session()) },
    });
    node.connect("with a subprotocol", 4, &sockd.url(), &options);
    assert_eq!(node.next("with a subprotocol").await["on"], "connect");
}

#[tokio::test]
async fn a_request_may_have_many_headers() {
    let sockd = Sockd::start().await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
    for (count, status) in [(101, 200), (240, 200), (300, 431)] {
        let mut request = http::client().get(&url);
        for number in 0..count {
            request = request.header(format!("x-{number}"), "1");
        }
        let answer = request.send().await.expect("the server answers");
        assert_eq!(answer.status(), status, "{count}");
    }
}

#[tokio::test]
async fn polling_has_the_budget_that_websocket_has() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__INBOUND_RATE", "1KiB")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let packets = vec![r#"42["a"]"#; 120_000].join("\u{1e}");
    let mut taken = 0;
    while polling.post(packets.clone()).await.status() == 200 {
        taken += 1;
    }
    // Of 8 MiB; that there are many packets in it counts as well.
    assert_eq!(taken, 2);
}

#[tokio::test]
async fn a_dismissed_client_is_gone_at_once_and_one_that_stalls_soon_after() {
    let sockd = Sockd::start().await;
    let idle = sockets_of(&sockd);
    let (user, session) = (jwt::user(), jwt::session());
    let mut quick = WebSocket::join(sockd.address(), &user, &session).await;
    let stalled = WebSocket::join(sockd.address(), &user, &session).await;
    // More than any buffer of the system takes, but less than what may wait.
    let large = json!("x".repeat(900_000));
    for _ in 0..14 {
        sockd.emit(&user, "profile:update", &large).await;
        quick.packet().await;
    }
    let start = Instant::now();
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 2);
    assert_eq!(quick.packet().await, TOLD);
    assert_eq!(quick.packet().await, "41");
    assert_eq!(quick.closed(PATIENCE).await, None);
    drop(quick);
    eventually(PATIENCE, "the end of both", || async {
        sockets_of(&sockd) <= idle
    })
    .await;
    // The limit for a write that makes no progress is 15 s.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    stalled.abandon();
}

/// Open sockets of the process.
fn sockets_of(sockd: &Sockd) -> usize {
    let folder = format!("/proc/{}/fd", sockd.pid());
    let files = std::fs::read_dir(folder).expect("it lives").flatten();
    let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

#[tokio::test]
async fn a_connect_without_a_token_uses_that_of_the_request_each_time() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let good = jwt::token(&user, &session);
    let mut websocket =
        WebSocket::open_with(sockd.address(), "", &[("authorization", &*good)]).await;
    websocket.packet().await;
    for _ in 0..2 {
        websocket.send("40").await;
        assert!(websocket.packet().await.starts_with("40{"));
        websocket.send("41").await;
    }
    eventually(PATIENCE, "the socket's end", async || {
        sockd.metrics().await.contains("\nsockd_sockets 0\n")
    })
    .await;
    // By now it is another session's turn.
    sockd.force_logout(&user, &jwt::session()).await;
    websocket.send("40").await;
    let mismatch = r#"44{"message":"SESSION_MISMATCH"}"#;
    assert_eq!(websocket.packet().await, mismatch);

    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open_with(sockd.address(), "&token=bad", &[]).await;
    websocket.packet().await;
    for _ in 0..2 {
        websocket.send(connect(&user, &session)).await;
        assert!(websocket.packet().await.starts_with("40{"));
        websocket.send("41").await;
        websocket.send("40").await;
        let invalid = r#"44{"message":"TOKEN_INVALID"}"#;
        assert_eq!(websocket.packet().await, invalid);
    }
}
