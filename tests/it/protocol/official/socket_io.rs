//! The suite of Socket.IO v5.

use serde_json::{Value, json};

use super::engine_io::{beating, closes};
use crate::{
    protocol::official::cases,
    support::{PATIENCE, jwt, polling::Polling, sockd::Sockd, websocket::WebSocket},
};

/// Cases that ask of a server what those of Engine.IO ask, of requests that are the same here: each
/// is tested there.
pub const REPEATED: [&str; 13] = [
    "Socket.IO: handshake, polling: should successfully open a session",
    "Socket.IO: handshake, polling: should fail with an invalid EIO parameter",
    "Socket.IO: handshake, polling: should fail with an invalid transport parameter",
    "Socket.IO: handshake, polling: should fail with an invalid request method",
    "Socket.IO: handshake, websocket: should successfully open a session",
    "Socket.IO: handshake, websocket: should fail with an invalid EIO parameter",
    "Socket.IO: handshake, websocket: should fail with an invalid transport parameter",
    "Socket.IO: heartbeat, polling: should send ping/pong packets",
    "Socket.IO: heartbeat, polling: should close the session upon ping timeout",
    "Socket.IO: heartbeat, websocket: should send ping/pong packets",
    "Socket.IO: heartbeat, websocket: should close the session upon ping timeout",
    "Socket.IO: close, polling: should forcefully close the session",
    "Socket.IO: close, websocket: should forcefully close the session",
];

cases! {
    "Socket.IO: upgrade: should successfully upgrade from polling to websocket"
        => a_probe_is_answered,
    "Socket.IO: upgrade: should ignore HTTP requests with the same sid after the upgrade"
        => polls_are_refused_after_an_upgrade_in_one_breath,
    "Socket.IO: upgrade: should ignore websocket connections with the same sid after the upgrade"
        => a_second_upgrade_is_refused_after_one_in_one_breath,
    "Socket.IO: connect: to the main namespace"
        => a_client_joins_the_main_namespace,
    "Socket.IO: connect: to the main namespace with a payload"
        => a_client_joins_with_a_payload,
    "Socket.IO: connect: to an unknown namespace"
        => an_unknown_namespace_is_refused,
    "Socket.IO: connect: with an invalid handshake"
        => a_packet_of_an_unknown_type_before_connect_ends_the_connection,
    "Socket.IO: connect: no handshake is received"
        => a_client_that_joins_nothing_is_closed,
    "Socket.IO: disconnect: from the main namespace"
        => the_connection_outlives_the_socket,
    "Socket.IO: message: a plain-text packet"
        => an_event_goes_each_way,
    "Socket.IO: message: invalid format (unknown packet type)"
        => a_packet_of_an_unknown_type_ends_the_connection,
    "Socket.IO: message: invalid format (invalid payload format)"
        => an_event_that_is_not_an_array_ends_the_connection,
    "Socket.IO: message: invalid format (invalid ack id)"
        => an_acknowledgement_that_is_no_number_ends_the_connection,
}

async fn a_probe_is_answered() {
    let sockd = Sockd::start().await;
    let polling = Polling::open(sockd.address()).await;
    let query = format!("&sid={}", polling.sid);
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    websocket.send("5").await;
}

/// A client that has sent all packets of an upgrade without waiting for an answer, once the server
/// has read them.
async fn upgrade_in_one_breath(sockd: &Sockd) -> (Polling, WebSocket) {
    let polling = Polling::open(sockd.address()).await;
    let query = format!("&sid={}", polling.sid);
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.send("2probe").await;
    websocket.send("5").await;
    websocket.send("40/marker").await;
    assert_eq!(websocket.packet().await, "3probe");
    let marker = r#"44/marker,{"message":"Invalid namespace"}"#;
    assert_eq!(websocket.packet().await, marker);
    (polling, websocket)
}

async fn polls_are_refused_after_an_upgrade_in_one_breath() {
    let sockd = Sockd::start().await;
    let (polling, _websocket) = upgrade_in_one_breath(&sockd).await;
    assert_eq!(polling.poll().await.status(), 400);
}

async fn a_second_upgrade_is_refused_after_one_in_one_breath() {
    let sockd = Sockd::start().await;
    let (polling, _websocket) = upgrade_in_one_breath(&sockd).await;
    let query = format!("&sid={}", polling.sid);
    let second = WebSocket::try_open(sockd.address(), &query, &[]).await;
    assert_eq!(second.err().map(|(status, _)| status), Some(400));
}

fn assert_is_welcome(answer: &str) {
    let welcome: Value = serde_json::from_str(answer.strip_prefix("40").expect("a CONNECT"))
        .unwrap_or_else(|error| panic!("{answer}: {error}"));
    assert!(welcome["sid"].is_string(), "{answer}");
    assert_eq!(welcome, json!({ "sid": welcome["sid"] }));
}

async fn a_client_joins_the_main_namespace() {
    let sockd = Sockd::start().await;
    let query = format!("&token={}", jwt::token(&jwt::user(), &jwt::session()));
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.packet().await;
    websocket.send("40").await;
    assert_is_welcome(&websocket.packet().await);
}

async fn a_client_joins_with_a_payload() {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    assert_is_welcome(&websocket.connect(&token).await);
}

async fn an_unknown_namespace_is_refused() {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send("40/random").await;
    let refusal = r#"44/random,{"message":"Invalid namespace"}"#;
    assert_eq!(websocket.packet().await, refusal);
}

async fn a_packet_of_an_unknown_type_before_connect_ends_the_connection() {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send("4abc").await;
    closes(&mut websocket).await;
}

async fn a_client_that_joins_nothing_is_closed() {
    let sockd = Sockd::builder()
        .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "1s")
        .start()
        .await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    closes(&mut websocket).await;
}

async fn the_connection_outlives_the_socket() {
    let sockd = beating(PATIENCE).await;
    let mut websocket = WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    websocket.ignore_pings();
    websocket.send("41").await;
    assert_eq!(websocket.packet().await, "2");
    websocket.send("3").await;
    assert_eq!(websocket.packet().await, "2");
}

async fn an_event_goes_each_way() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let mut websocket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    websocket.send(r#"42["message",1,"2",{"3":[true]}]"#).await;
    let payload = json!([1, "2", { "3": [true] }]);
    sockd.emit(&user, "profile:update", &payload).await;
    let event = r#"42["profile:update",[1,"2",{"3":[true]}]]"#;
    assert_eq!(websocket.packet().await, event);
}

async fn ends(packet: &str) {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    websocket.send(packet).await;
    closes(&mut websocket).await;
}

async fn a_packet_of_an_unknown_type_ends_the_connection() {
    ends("4abc").await;
}

async fn an_event_that_is_not_an_array_ends_the_connection() {
    ends("42{}").await;
}

async fn an_acknowledgement_that_is_no_number_ends_the_connection() {
    ends(r#"42abc["message-with-ack",1,"2",{"3":[false]}]"#).await;
}
