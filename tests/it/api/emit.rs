//! An event on its way to the sockets of its user, as their clients receive it.

use std::net::SocketAddr;

use serde_json::json;

use crate::support::{
    http, jwt,
    polling::Polling,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// Emits a payload of any text, or none.
async fn emit_text(sockd: &Sockd, user: &str, payload: Option<&str>) {
    let payload = payload.map_or(String::new(), |text| format!(r#","payload":{text}"#));
    let body = format!(r#"{{"userId":"{user}","event":"profile:update"{payload}}}"#);
    let request = http::client().post(format!("{}/internal/emit", sockd.url()));
    let request = request
        .bearer_auth(INTERNAL_SECRET)
        .header("content-type", "application/json");
    let answer = request.body(body).send().await.expect("the server answers");
    assert_eq!(answer.status(), 200);
}

/// The last event, sent to see that nothing else comes before it.
const MARKER: &str = r#"42["account:update","marker"]"#;

async fn emit_marker(sockd: &Sockd, user: &str) {
    sockd.emit(user, "account:update", &json!("marker")).await;
}

/// Opens a WebSocket for a session that polls, and has the server confirm it.
async fn probe(address: SocketAddr, polling: &Polling) -> WebSocket {
    let mut socket = WebSocket::open_with(address, &format!("&sid={}", polling.sid), &[]).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await, "3probe");
    socket
}

#[tokio::test]
async fn a_payload_arrives_as_it_was_sent() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
        let mut polling = Polling::join(sockd.address(), &user, &session).await;
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let deep_object = format!("{}1{}", r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
        let large = format!("\"{}\"", "x".repeat(900 * 1024));
        for payload in [
            "null",
            "true",
            "0",
            "-0.0",
            "9007199254740993",
            "123456789012345678901234567890",
            "1.7976931348623157e308",
            r#""""#,
            r#""grüße 👋 \u00fc \ud83d\u0000 \\ \" \/ \n""#,
            r#"{"b":1,"a":{"b":[1,2,{"x":null}]},"a":2}"#,
            r#"{"_placeholder":true,"num":0}"#,
            "[ 1,\t2 ]",
            &deep,
            &deep_object,
            &large,
        ] {
            emit_text(&sockd, &user, Some(payload)).await;
            let expected = format!(r#"42["profile:update",{payload}]"#);
            for packet in [websocket.packet().await, polling.packet().await] {
                assert!(packet == expected, "{:.80} became {packet:.80}", payload);
            }
        }
    }
}

#[tokio::test]
async fn a_missing_payload_arrives_as_null() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    emit_text(&sockd, &user, None).await;
    assert_eq!(socket.packet().await, r#"42["profile:update",null]"#);
}

#[tokio::test]
async fn every_socket_of_the_user_gets_it_once_and_nobody_else_does() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session, other) = (jwt::user(), jwt::session(), jwt::user());
        let mut websockets = Vec::new();
        for _ in 0..5 {
            websockets.push(WebSocket::join(sockd.address(), &user, &session).await);
        }
        let mut polling = Polling::join(sockd.address(), &user, &session).await;
        let mut stranger = WebSocket::join(sockd.address(), &other, &session).await;
        // Another spelling is another user.
        let spelling = user.to_uppercase();
        let mut namesake = WebSocket::join(sockd.address(), &spelling, &session).await;
        let mut outside = WebSocket::open(sockd.address()).await;
        outside.packet().await;
        sockd.emit(&user, "profile:update", &json!(1)).await;
        for user in [&user, &other, &spelling] {
            emit_marker(&sockd, user).await;
        }
        for socket in &mut websockets {
            assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
            assert_eq!(socket.packet().await, MARKER);
        }
        assert_eq!(polling.packet().await, r#"42["profile:update",1]"#);
        assert_eq!(polling.packet().await, MARKER);
        assert_eq!(stranger.packet().await, MARKER);
        assert_eq!(namesake.packet().await, MARKER);
        assert_eq!(
            outside.connect("rubbish").await,
            r#"44{"message":"TOKEN_INVALID"}"#
        );
    }
}

#[tokio::test]
async fn events_arrive_in_the_order_of_their_calls() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let emitting = async {
        for number in 0..400 {
            sockd.emit(&user, "profile:update", &json!(number)).await;
        }
    };
    let on_websocket = async {
        for number in 0..400 {
            assert_eq!(
                websocket.packet().await,
                format!(r#"42["profile:update",{number}]"#)
            );
        }
    };
    let on_polling = async {
        for number in 0..400 {
            assert_eq!(
                polling.packet().await,
                format!(r#"42["profile:update",{number}]"#)
            );
        }
    };
    tokio::join!(emitting, on_websocket, on_polling);
}

#[tokio::test]
async fn no_event_is_lost_doubled_or_late_during_an_upgrade() {
    let sockd = Sockd::start().await;
    let address = sockd.address();
    for round in 0..10 {
        let user = jwt::user();
        let mut polling = Polling::join(address, &user, &jwt::session()).await;
        let (mut heard, last) = (Vec::new(), 60);
        let emitting = async {
            for number in 0..last {
                sockd.emit(&user, "profile:update", &json!(number)).await;
            }
        };
        let upgrading = async {
            // Some events are sent before the upgrade, some during it and the rest after it.
            while heard.len() < 3 + round {
                heard.push(polling.packet().await);
            }
            let mut socket = probe(address, &polling).await;
            // A client stops polling when its last poll has returned.
            heard.extend(polling.left_over());
            let last_poll = polling.poll().await.text().await.expect("a body");
            let packets = last_poll
                .split('\u{1e}')
                .filter(|packet| packet.starts_with('4'));
            heard.extend(packets.map(str::to_owned));
            socket.send("5").await;
            while heard.len() < last {
                heard.push(socket.packet().await);
            }
            socket
        };
        let ((), mut socket) = tokio::join!(emitting, upgrading);
        let expected: Vec<_> = (0..last)
            .map(|number| format!(r#"42["profile:update",{number}]"#))
            .collect();
        assert_eq!(heard, expected, "round {round}");
        emit_marker(&sockd, &user).await;
        assert_eq!(socket.packet().await, MARKER);
    }
}

#[tokio::test]
async fn an_emitted_logout_event_disconnects_nobody() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    sockd
        .emit(
            &user,
            "auth:logout",
            &json!({ "reason": "SESSION_REPLACED" }),
        )
        .await;
    assert_eq!(
        socket.packet().await,
        r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#
    );
    emit_marker(&sockd, &user).await;
    assert_eq!(socket.packet().await, MARKER);
}

#[tokio::test]
async fn the_supported_events_are_names_and_patterns_of_the_operators_choice() {
    let sockd = Sockd::builder()
        .env("SOCKD_EVENTS__SUPPORTED", "order:*,ping")
        .start()
        .await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    let body = |event: &str| json!({ "userId": user, "event": event });
    for unsupported in ["order", "orders:new", "profile:update", "pin", "pings"] {
        let answer = sockd.post("/internal/emit", &body(unsupported)).await;
        assert_eq!(answer.status(), 400, "{unsupported}");
    }
    for supported in ["order:new", "order:a:b", "ping"] {
        let answer = sockd.post("/internal/emit", &body(supported)).await;
        assert_eq!(answer.status(), 200, "{supported}");
        assert_eq!(socket.packet().await, format!(r#"42["{supported}",null]"#));
    }
}
