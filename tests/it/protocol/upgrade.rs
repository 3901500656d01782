//! From polling to WebSocket by hand, with events in the middle.

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::support::{
    PATIENCE,
    http::{self, RawConnection},
    jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::WebSocket,
    within,
};

#[tokio::test]
async fn an_upgrade_in_the_middle_of_a_stream_of_events_loses_none_and_keeps_their_order() {
    const EVENTS: u64 = 150;
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let expected = |number: u64| format!(r#"42["profile:update",{number}]"#);
    let emits = async {
        for number in 0..EVENTS {
            sockd
                .emit(&user, "profile:update", &serde_json::json!(number))
                .await;
        }
    };
    let client = async {
        let mut number = 0;
        while number < EVENTS / 3 {
            assert_eq!(polling.packet().await, expected(number));
            number += 1;
        }
        let query = format!("&sid={}", polling.sid);
        let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
        // As with stock clients, polls continue until the server has answered the probe.
        websocket.send("2probe").await;
        assert_eq!(websocket.packet().await, "3probe");
        for packet in polling.left_over() {
            assert_eq!(packet, expected(number));
            number += 1;
        }
        websocket.send("5").await;
        while number < EVENTS {
            assert_eq!(websocket.packet().await, expected(number));
            number += 1;
        }
        websocket
    };
    let ((), mut websocket) = tokio::join!(emits, client);
    // The connection is a WebSocket now, and no other than before.
    let url = &polling.url;
    assert_eq!(http::get(url).await.status(), 400);
    sockd
        .emit(&user, "account:update", &serde_json::json!(null))
        .await;
    assert_eq!(websocket.packet().await, r#"42["account:update",null]"#);
    let replacement = jwt::session();
    assert_eq!(sockd.force_logout(&user, &replacement).await, 1);
    let logout = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
    assert_eq!(websocket.packet().await, logout);
    assert_eq!(websocket.packet().await, "41");
    websocket.closed(PATIENCE).await;
}

#[tokio::test]
async fn a_pending_poll_is_released_by_the_upgrade() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let upgrade = async {
        let query = format!("&sid={}", polling.sid);
        let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
        websocket.send("2probe").await;
        assert_eq!(websocket.packet().await, "3probe");
        websocket
    };
    let poll = async {
        loop {
            let body = polling.poll().await.text().await.expect("a body");
            if body != "2" {
                break body;
            }
        }
    };
    let (released, mut websocket) = tokio::join!(poll, upgrade);
    assert_eq!(released, "6");
    // Emitted between the two transports, it waits for the second.
    let body = serde_json::json!("between");
    sockd.emit(&user, "profile:update", &body).await;
    websocket.send("5").await;
    assert_eq!(
        websocket.packet().await,
        r#"42["profile:update","between"]"#
    );
}

#[tokio::test]
async fn a_failed_upgrade_leaves_polling_as_it_was() {
    let sockd = Sockd::builder()
        // Long enough for the upgrades that are made on a busy machine.
        .env("SOCKD_SOCKETIO__UPGRADE_TIMEOUT", "3s")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let query = format!("&sid={}", polling.sid);
    for first in [None, Some("42[\"a\"]"), Some("2prob"), Some("2"), Some("5")] {
        let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
        if let Some(first) = first {
            websocket.send(first).await;
        }
        // While nothing is decided, events come as they did.
        let body = serde_json::json!(first);
        sockd.emit(&user, "profile:update", &body).await;
        let event = format!(r#"42["profile:update",{body}]"#);
        assert_eq!(polling.packet().await, event);
        assert_eq!(websocket.closed(PATIENCE).await, None, "{first:?}");
        sockd.emit(&user, "account:update", &body).await;
        let event = format!(r#"42["account:update",{body}]"#);
        assert_eq!(polling.packet().await, event);
    }
    WebSocket::open_with(sockd.address(), &query, &[])
        .await
        .abandon();
    // And the one that works is taken, when the one before is seen to be gone.
    let websocket = within(PATIENCE, "an upgrade", async {
        loop {
            match WebSocket::try_open(sockd.address(), &query, &[]).await {
                Ok(websocket) => break websocket,
                Err((status, _)) => assert_eq!(status, 400),
            }
        }
    });
    let mut websocket = websocket.await;
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    websocket.send("5").await;
    let body = serde_json::json!(1);
    sockd.emit(&user, "profile:update", &body).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
}

#[tokio::test]
async fn another_websocket_version_is_refused_with_the_supported_one() {
    let sockd = Sockd::start().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (version, key, is_told) in [
        ("sec-websocket-version: 8", key, true),
        ("sec-websocket-version: 14", key, true),
        ("sec-websocket-version:", key, true),
        ("x: y", key, true),
        ("sec-websocket-version: 13", "short", false),
    ] {
        let mut connection = RawConnection::open(sockd.address()).await;
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: sockd\r\n\
             upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: {key}\r\n{version}\r\n\r\n"
        );
        connection.send(&request).await;
        let answer = connection.read_answer().await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ")
                && answer.ends_with(r#"{"code":3,"message":"Bad request"}"#),
            "{request}{answer}"
        );
        let lower = answer.to_lowercase();
        let found = lower.contains("\r\nsec-websocket-version: 13\r\n");
        assert_eq!(found, is_told, "{request}{answer}");
    }
}

#[tokio::test]
async fn an_upgrade_abandoned_after_its_probe_leaves_polling_as_it_was() {
    let sockd = Sockd::builder()
        // Long enough for the upgrades that are made on a busy machine.
        .env("SOCKD_SOCKETIO__UPGRADE_TIMEOUT", "3s")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let query = format!("&sid={}", polling.sid);
    for (number, last) in [None, Some("1"), Some("42[\"a\"]"), Some("x")]
        .into_iter()
        .enumerate()
    {
        let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
        websocket.send("2probe").await;
        assert_eq!(websocket.packet().await, "3probe");
        // The polling transport has been released, so polls return immediately.
        assert_eq!(polling.poll().await.text().await.expect("a body"), "6");
        match last {
            Some(last) => websocket.send(last).await,
            None => assert_eq!(websocket.closed(PATIENCE).await, None),
        }
        let body = serde_json::json!(number);
        sockd.emit(&user, "profile:update", &body).await;
        let event = format!(r#"42["profile:update",{number}]"#);
        assert_eq!(polling.packet().await, event);
        if last.is_some() {
            assert_eq!(websocket.closed(PATIENCE).await, None, "{last:?}");
        }
    }
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    websocket.send("5").await;
    let body = serde_json::json!("moved");
    sockd.emit(&user, "profile:update", &body).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update","moved"]"#);
}

#[tokio::test]
async fn control_frames_and_fragments_are_allowed_during_an_upgrade() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let query = format!("&sid={}", polling.sid);
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    let (ping, pong) = (
        OpCode::Control(Control::Ping),
        OpCode::Control(Control::Pong),
    );
    let (text, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
    websocket.send_frame(ping, b"there?", true).await;
    websocket.send_frame(pong, b"", true).await;
    websocket.send_frame(text, b"2pr", false).await;
    websocket.send_frame(ping, b"still there?", true).await;
    websocket.send_frame(more, b"", false).await;
    websocket.send_frame(more, b"obe", true).await;
    assert_eq!(websocket.packet().await, "3probe");
    websocket.send_frame(ping, b"", true).await;
    websocket.send_frame(text, b"5", true).await;
    websocket.send_frame(text, b"42[\"a", false).await;
    let body = serde_json::json!(1);
    sockd.emit(&user, "profile:update", &body).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    websocket.send_frame(more, b"\"]", true).await;
    sockd.emit(&user, "profile:update", &body).await;
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
}
