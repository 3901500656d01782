//! The suite of Engine.IO v4.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    protocol::official::cases,
    support::{
        PATIENCE, eventually, http,
        http::RawConnection,
        jwt,
        polling::Polling,
        sockd::Sockd,
        websocket::{Came, WebSocket},
    },
};

cases! {
    "Engine.IO: handshake, polling: successfully opens a session"
        => a_polling_session_opens,
    "Engine.IO: handshake, polling: fails with an invalid EIO parameter"
        => polling_without_the_protocol_version_is_refused,
    "Engine.IO: handshake, polling: fails with an invalid transport parameter"
        => polling_by_an_unknown_transport_is_refused,
    "Engine.IO: handshake, polling: fails with an invalid request method"
        => a_session_opens_by_get_only,
    "Engine.IO: handshake, websocket: successfully opens a session"
        => a_websocket_session_opens,
    "Engine.IO: handshake, websocket: fails with an invalid EIO parameter"
        => a_websocket_without_the_protocol_version_is_refused,
    "Engine.IO: handshake, websocket: fails with an invalid transport parameter"
        => a_websocket_by_an_unknown_transport_is_refused,
    "Engine.IO: message, polling: a payload containing one plain text packet"
        => one_packet_goes_each_way_over_polling,
    "Engine.IO: message, polling: a payload containing several plain text packets"
        => several_packets_go_each_way_in_one_payload,
    "Engine.IO: message, polling: closes the session upon invalid packet format"
        => an_unreadable_post_ends_the_session,
    "Engine.IO: message, polling: closes the session upon duplicate poll requests"
        => two_polls_at_once_end_the_session,
    "Engine.IO: message, polling: closes the session upon cancelled polling request"
        => a_cancelled_poll_ends_the_session,
    "Engine.IO: message, websocket: sends and receives a plain text packet"
        => one_packet_goes_each_way_over_websocket,
    "Engine.IO: message, websocket: closes the session upon invalid packet format"
        => an_unreadable_message_ends_the_session,
    "Engine.IO: heartbeat, polling: sends ping/pong packets"
        => polls_are_answered_by_pings_in_turn,
    "Engine.IO: heartbeat, polling: closes the session upon ping timeout"
        => a_polling_session_that_answers_no_ping_ends,
    "Engine.IO: heartbeat, websocket: sends ping/pong packets"
        => pings_come_over_websocket_in_turn,
    "Engine.IO: heartbeat, websocket: closes the session upon ping timeout"
        => a_websocket_that_answers_no_ping_is_closed,
    "Engine.IO: close, polling: forcefully closes the session"
        => a_close_packet_ends_a_polling_session_and_releases_its_poll,
    "Engine.IO: close, websocket: forcefully closes the session"
        => a_close_packet_ends_a_websocket,
    "Engine.IO: upgrade: successfully upgrades from polling to websocket"
        => polling_upgrades_to_websocket,
    "Engine.IO: upgrade: ignores HTTP requests with the same sid after the upgrade"
        => polls_are_refused_after_the_upgrade,
    "Engine.IO: upgrade: ignores websocket connections with the same sid after the upgrade"
        => a_second_upgrade_is_refused,
}

/// The heartbeat of the suites' server.
const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);

/// A server with the heartbeat of the suites. Cases that are not about it keep the default, since a
/// busy machine may take longer than it allows.
async fn short_lived() -> Sockd {
    beating(PING_TIMEOUT).await
}

/// Pings as often as the suites' server, and waits longer for the answers.
pub async fn beating(timeout: Duration) -> Sockd {
    let milliseconds = |time: Duration| format!("{}ms", time.as_millis());
    Sockd::builder()
        .env("SOCKD_SOCKETIO__PING_INTERVAL", milliseconds(PING_INTERVAL))
        .env("SOCKD_SOCKETIO__PING_TIMEOUT", milliseconds(timeout))
        .start()
        .await
}

/// The status of a plain request to the endpoint.
async fn status(sockd: &Sockd, method: reqwest::Method, query: &str) -> u16 {
    let url = format!("{}/socket.io/?{query}", sockd.url());
    let answer = http::client().request(method, url).send().await;
    answer.expect("the server answers").status().as_u16()
}

fn assert_opens(packet: &str, upgrades: &Value) {
    let open: Value = serde_json::from_str(packet.strip_prefix('0').expect("an open packet"))
        .expect("JSON behind it");
    assert!(open["sid"].is_string(), "{packet}");
    let expected = json!({
        "sid": open["sid"],
        "upgrades": upgrades,
        "pingInterval": PING_INTERVAL.as_millis() as u64,
        "pingTimeout": PING_TIMEOUT.as_millis() as u64,
        "maxPayload": 1_000_000,
    });
    assert_eq!(open, expected);
}

async fn a_polling_session_opens() {
    let sockd = short_lived().await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
    let answer = http::get(&url).await;
    assert_eq!(answer.status(), 200);
    assert_opens(&answer.text().await.expect("a body"), &json!(["websocket"]));
}

async fn polling_without_the_protocol_version_is_refused() {
    let sockd = Sockd::start().await;
    for query in ["transport=polling", "EIO=abc&transport=polling"] {
        assert_eq!(status(&sockd, reqwest::Method::GET, query).await, 400);
    }
}

async fn polling_by_an_unknown_transport_is_refused() {
    let sockd = Sockd::start().await;
    for query in ["EIO=4", "EIO=4&transport=abc"] {
        assert_eq!(status(&sockd, reqwest::Method::GET, query).await, 400);
    }
}

async fn a_session_opens_by_get_only() {
    let sockd = Sockd::start().await;
    for method in [reqwest::Method::POST, reqwest::Method::PUT] {
        let query = "EIO=4&transport=polling";
        assert_eq!(status(&sockd, method, query).await, 400);
    }
}

async fn a_websocket_session_opens() {
    let sockd = short_lived().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    assert_opens(&websocket.packet().await, &json!([]));
}

async fn a_websocket_without_the_protocol_version_is_refused() {
    let sockd = Sockd::start().await;
    for query in ["transport=websocket", "EIO=abc&transport=websocket"] {
        let refusal = WebSocket::try_open_at(sockd.address(), query, &[]).await;
        assert_eq!(refusal.err().map(|(status, _)| status), Some(400));
    }
}

async fn a_websocket_by_an_unknown_transport_is_refused() {
    let sockd = Sockd::start().await;
    for query in ["EIO=4", "EIO=4&transport=abc"] {
        let refusal = WebSocket::try_open_at(sockd.address(), query, &[]).await;
        assert_eq!(refusal.err().map(|(status, _)| status), Some(400));
    }
}

async fn one_packet_goes_each_way_over_polling() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = join(&sockd, &user, &session).await;
    let answer = polling.post(r#"42["hello"]"#.to_owned()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.expect("a body"), "ok");
    sockd.emit(&user, "profile:update", &json!("hello")).await;
    assert_eq!(poll(&polling).await, r#"42["profile:update","hello"]"#);
}

async fn several_packets_go_each_way_in_one_payload() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    let sent = [1, 2, 3].map(|number| format!(r#"42["profile:update",{number}]"#));
    let payload = sent.join("\u{1e}");
    let answer = polling.post(payload.clone()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.expect("a body"), "ok");
    for number in [1, 2, 3] {
        sockd.emit(&user, "profile:update", &json!(number)).await;
    }
    assert_eq!(poll(&polling).await, payload);
}

/// A client that joined by polling; a poll returned the response to its CONNECT and nothing else.
async fn join(sockd: &Sockd, user: &str, session: &str) -> Polling {
    let polling = Polling::open(sockd.address()).await;
    let connect = jwt::connect(&jwt::token(user, session));
    polling.send(&connect).await;
    let answer = poll(&polling).await;
    let separators = answer.matches('\u{1e}').count();
    assert!(answer.starts_with("40{") && separators == 0, "{answer}");
    polling
}

/// The body of one poll.
async fn poll(polling: &Polling) -> String {
    let answer = polling.poll().await;
    assert_eq!(answer.status(), 200);
    answer.text().await.expect("a body")
}

async fn an_unreadable_post_ends_the_session() {
    let sockd = Sockd::start().await;
    let polling = Polling::open(sockd.address()).await;
    assert_eq!(polling.post("abc".to_owned()).await.status(), 400);
    assert_eq!(polling.poll().await.status(), 400);
}

async fn two_polls_at_once_end_the_session() {
    let sockd = Sockd::start().await;
    let polling = Polling::open(sockd.address()).await;
    let answers = tokio::join!(polling.poll(), polling.poll());
    // Whichever came first.
    let (first, second) = match answers {
        (first, second) if first.status() == 200 => (first, second),
        (second, first) => (first, second),
    };
    assert_eq!(first.status(), 200);
    assert_eq!(first.text().await.expect("a body"), "1");
    assert_eq!(second.status(), 400);
    let refusal = polling.poll().await.text().await.expect("a body");
    assert!(refusal.contains("Session ID unknown"), "{refusal}");
}

async fn a_cancelled_poll_ends_the_session() {
    let sockd = Sockd::start().await;
    let polling = Polling::open(sockd.address()).await;
    let mut connection = RawConnection::open(sockd.address()).await;
    let (_, query) = polling.url.split_once('?').expect("a query");
    let head = format!("GET /socket.io/?{query} HTTP/1.1\r\nhost: sockd\r\n\r\n");
    connection.send(head).await;
    drop(connection);
    eventually(PATIENCE, "the end of the session", async || {
        !polling.is_known().await
    })
    .await;
    assert_eq!(polling.poll().await.status(), 400);
}

async fn one_packet_goes_each_way_over_websocket() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.ignore_pings();
    websocket.packet().await;
    let answer = websocket.connect(&jwt::token(&user, &session)).await;
    assert!(answer.starts_with("40{"), "{answer}");
    websocket.send(r#"42["hello"]"#).await;
    sockd.emit(&user, "profile:update", &json!("hello")).await;
    let event = r#"42["profile:update","hello"]"#;
    assert_eq!(websocket.packet().await, event);
}

async fn an_unreadable_message_ends_the_session() {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send("abc").await;
    closes(&mut websocket).await;
}

/// The connection ends, whatever comes before; the suites check nothing else.
pub async fn closes(websocket: &mut WebSocket) {
    while !matches!(websocket.next(PATIENCE).await, Came::Closed(_)) {}
}

async fn polls_are_answered_by_pings_in_turn() {
    let sockd = beating(PATIENCE).await;
    let start = Instant::now();
    let polling = Polling::open(sockd.address()).await;
    for _ in 0..3 {
        assert_eq!(poll(&polling).await, "2");
        assert!(start.elapsed() >= PING_INTERVAL, "a ping too soon");
        assert_eq!(polling.post("3".to_owned()).await.status(), 200);
    }
}

async fn a_polling_session_that_answers_no_ping_ends() {
    let sockd = short_lived().await;
    let start = Instant::now();
    let polling = Polling::open(sockd.address()).await;
    eventually(PATIENCE, "the end of the session", async || {
        !polling.is_known().await
    })
    .await;
    assert!(start.elapsed() >= PING_INTERVAL + PING_TIMEOUT);
    assert_eq!(polling.poll().await.status(), 400);
}

async fn pings_come_over_websocket_in_turn() {
    let sockd = beating(PATIENCE).await;
    let start = Instant::now();
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.ignore_pings();
    websocket.packet().await;
    for _ in 0..3 {
        assert_eq!(websocket.packet().await, "2");
        assert!(start.elapsed() >= PING_INTERVAL, "a ping too soon");
        websocket.send("3").await;
    }
}

async fn a_websocket_that_answers_no_ping_is_closed() {
    let sockd = short_lived().await;
    let start = Instant::now();
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.ignore_pings();
    websocket.packet().await;
    assert_eq!(websocket.packet().await, "2");
    closes(&mut websocket).await;
    assert!(start.elapsed() >= PING_INTERVAL + PING_TIMEOUT);
}

async fn a_close_packet_ends_a_polling_session_and_releases_its_poll() {
    let sockd = Sockd::start().await;
    // The post may overtake the poll, which then finds nothing: another try.
    for _ in 0..50 {
        let polling = Polling::open(sockd.address()).await;
        let close = async {
            http::get(&format!("{}/healthz", sockd.url())).await;
            polling.post("1".to_owned()).await
        };
        let (released, _) = tokio::join!(polling.poll(), close);
        if released.status() == 400 {
            continue;
        }
        assert_eq!(released.text().await.expect("a body"), "6");
        assert_eq!(polling.poll().await.status(), 400);
        return;
    }
    panic!("no poll was in time");
}

async fn a_close_packet_ends_a_websocket() {
    let sockd = Sockd::start().await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    websocket.send("1").await;
    closes(&mut websocket).await;
}

/// A client that joined by polling and has sent the packet that completes the upgrade, with what
/// the poll in between brought.
async fn upgrade(sockd: &Sockd, user: &str) -> (Polling, WebSocket, String) {
    let polling = join(sockd, user, &jwt::session()).await;
    let query = format!("&sid={}", polling.sid);
    let mut websocket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    websocket.ignore_pings();
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    let released = poll(&polling).await;
    websocket.send("5").await;
    (polling, websocket, released)
}

async fn assert_hears(sockd: &Sockd, user: &str, websocket: &mut WebSocket) {
    sockd.emit(user, "profile:update", &json!("hello")).await;
    let event = r#"42["profile:update","hello"]"#;
    assert_eq!(websocket.next(PATIENCE).await, Came::Packet(event.into()));
}

async fn polling_upgrades_to_websocket() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let (_, mut websocket, released) = upgrade(&sockd, &user).await;
    assert_eq!(released, "6");
    assert_hears(&sockd, &user, &mut websocket).await;
}

async fn polls_are_refused_after_the_upgrade() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let (polling, mut websocket, _) = upgrade(&sockd, &user).await;
    // The packet that completes the upgrade may be read after a poll that is sent after it.
    assert_hears(&sockd, &user, &mut websocket).await;
    assert_eq!(polling.poll().await.status(), 400);
    assert_hears(&sockd, &user, &mut websocket).await;
}

async fn a_second_upgrade_is_refused() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let (polling, mut websocket, _) = upgrade(&sockd, &user).await;
    let query = format!("&sid={}", polling.sid);
    let second = WebSocket::try_open(sockd.address(), &query, &[]).await;
    assert_eq!(second.err().map(|(status, _)| status), Some(400));
    assert_hears(&sockd, &user, &mut websocket).await;
}
