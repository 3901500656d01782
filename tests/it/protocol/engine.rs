//! Engine.IO, byte for byte: how connections open, what is refused, and how they end.

use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::Sockd,
    websocket::{Came, WebSocket},
    within,
};

const POLLING: &str = "EIO=4&transport=polling";
const WEBSOCKET: &str = "EIO=4&transport=websocket";

/// The response to a request whose head is sent unchanged.
async fn ask(sockd: &Sockd, request_line: &str, headers: &[&str]) -> String {
    let mut connection = RawConnection::open(sockd.address()).await;
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let head = format!("{request_line} HTTP/1.1\r\nhost: sockd\r\n{headers}\r\n");
    connection.send(head).await;
    connection.read_answer().await
}

/// The values of a header in a response.
fn header<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}

fn sid_of(open_packet: &str) -> &str {
    let rest = open_packet.strip_prefix(r#"0{"sid":""#);
    let sid = rest.and_then(|rest| rest.split('"').next());
    sid.unwrap_or_else(|| panic!("no open packet: {open_packet}"))
}

fn open_packet(sid: &str, upgrades: &str) -> String {
    format!(
        r#"0{{"sid":"{sid}","upgrades":[{upgrades}],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
    )
}

#[tokio::test]
async fn both_transports_open_with_the_exact_open_packet() {
    let sockd = Sockd::start().await;
    let answer = ask(&sockd, &format!("GET /socket.io/?{POLLING}"), &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(
        header(&answer, "content-type"),
        ["text/plain; charset=UTF-8"]
    );
    assert_eq!(header(&answer, "cache-control"), ["no-store"]);
    assert!(header(&answer, "set-cookie").is_empty(), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert_eq!(body, open_packet(sid_of(body), r#""websocket""#));

    let packet = WebSocket::open(sockd.address()).await.packet().await;
    assert_eq!(packet, open_packet(sid_of(&packet), ""));
}

#[tokio::test]
async fn an_upgrade_is_accepted_without_compression_or_cookie() {
    let sockd = Sockd::start().await;
    let answer = ask(
        &sockd,
        &format!("GET /socket.io/?{WEBSOCKET}"),
        &[
            "connection: Upgrade",
            "upgrade: websocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-extensions: permessage-deflate; client_max_window_bits",
        ],
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let accept = header(&answer, "sec-websocket-accept");
    assert_eq!(accept, ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
    assert!(header(&answer, "sec-websocket-extensions").is_empty());
    assert!(header(&answer, "set-cookie").is_empty());
}

#[tokio::test]
async fn the_endpoint_is_everything_below_its_slash() {
    let sockd = Sockd::start().await;
    for (path, status) in [
        ("/socket.io", 404),
        ("/socket.iox/", 404),
        ("/Socket.io/", 404),
        ("/socket.io/", 200),
        ("/socket.io/more", 200),
    ] {
        let url = format!("{}{path}?{POLLING}", sockd.url());
        assert_eq!(http::get(&url).await.status(), status, "{path}");
    }
}

#[tokio::test]
async fn invalid_requests_are_refused_as_engine_io_refuses_them() {
    const TRANSPORT: &str = r#"{"code":0,"message":"Transport unknown"}"#;
    const SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
    const METHOD: &str = r#"{"code":2,"message":"Bad handshake method"}"#;
    const REQUEST: &str = r#"{"code":3,"message":"Bad request"}"#;
    const PROTOCOL: &str = r#"{"code":5,"message":"Unsupported protocol version"}"#;
    let sockd = Sockd::start().await;
    let sid = Polling::open(sockd.address()).await.sid;
    let unknown = "AAAAAAAAAAAAAAAA";
    for (method, query, body) in [
        ("GET", String::new(), TRANSPORT),
        ("GET", "EIO=4".into(), TRANSPORT),
        ("GET", "EIO=4&transport=".into(), TRANSPORT),
        ("GET", "EIO=4&transport=flashsocket".into(), TRANSPORT),
        ("GET", "EIO=4&transport=Polling".into(), TRANSPORT),
        ("POST", "EIO=4&transport=tcp".into(), TRANSPORT),
        ("GET", format!("{POLLING}&sid={unknown}"), SESSION),
        ("POST", format!("{POLLING}&sid={unknown}"), SESSION),
        ("GET", format!("{POLLING}&sid=%00"), SESSION),
        ("GET", format!("{WEBSOCKET}&sid={unknown}"), SESSION),
        ("POST", POLLING.into(), METHOD),
        ("PUT", POLLING.into(), METHOD),
        ("POST", WEBSOCKET.into(), METHOD),
        ("GET", WEBSOCKET.into(), REQUEST),
        ("GET", format!("{WEBSOCKET}&sid={sid}"), REQUEST),
        ("DELETE", format!("{POLLING}&sid={sid}"), REQUEST),
        ("GET", "EIO=3&transport=polling".into(), PROTOCOL),
        ("GET", "EIO=5&transport=polling".into(), PROTOCOL),
        ("GET", "transport=polling".into(), PROTOCOL),
    ] {
        let request = format!("{method} /socket.io/?{query}");
        let answer = ask(&sockd, &request, &["content-length: 0"]).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        let content_type = header(&answer, "content-type");
        assert_eq!(content_type, ["application/json"], "{request}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_400_and_never_101() {
    let sockd = Sockd::start().await;
    let sid = Polling::open(sockd.address()).await.sid;
    let upgraded = Polling::open(sockd.address()).await.sid;
    let mut websocket =
        WebSocket::open_with(sockd.address(), &format!("&sid={upgraded}"), &[]).await;
    websocket.send("2probe").await;
    assert_eq!(websocket.packet().await, "3probe");
    let good = [
        "connection: Upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let without = |name: &str| -> Vec<&str> {
        let kept = good.iter().filter(|header| !header.starts_with(name));
        kept.copied().collect()
    };
    for (query, headers, code) in [
        (WEBSOCKET.to_owned(), without("sec-websocket-key"), 3),
        (WEBSOCKET.to_owned(), without("sec-websocket-version"), 3),
        (WEBSOCKET.to_owned(), without("connection"), 3),
        (WEBSOCKET.to_owned(), without("upgrade"), 3),
        (POLLING.to_owned(), good.to_vec(), 3),
        ("EIO=4".to_owned(), good.to_vec(), 0),
        ("EIO=3&transport=websocket".to_owned(), good.to_vec(), 5),
        ("transport=websocket".to_owned(), good.to_vec(), 5),
        (format!("{WEBSOCKET}&sid=x"), good.to_vec(), 1),
        (
            format!("{WEBSOCKET}&sid={sid}"),
            without("sec-websocket-key"),
            3,
        ),
        (format!("{WEBSOCKET}&sid={upgraded}"), good.to_vec(), 3),
    ] {
        let answer = ask(&sockd, &format!("GET /socket.io/?{query}"), &headers).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{query}: {answer}");
        assert_eq!(header(&answer, "content-type"), ["application/json"]);
        assert!(
            answer.contains(&format!("\r\n\r\n{{\"code\":{code},")),
            "{query} {headers:?}: {answer}"
        );
    }
    // An upgrade that was refused has not cost the polling connection anything.
    let url = format!("{}/socket.io/?{POLLING}&sid={sid}", sockd.url());
    assert_eq!(http::get(&url).await.status(), 200);
}

#[tokio::test]
async fn packets_of_one_poll_are_separated_by_a_record_separator() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let polling = Polling::join(sockd.address(), &user, &session).await;
    for number in 1..=3 {
        sockd
            .emit(&user, "profile:update", &serde_json::json!(number))
            .await;
    }
    let answer = polling.poll().await;
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(headers["content-type"], "text/plain; charset=UTF-8");
    assert_eq!(headers["cache-control"], "no-store");
    let body = answer.text().await.expect("a body");
    // The first ping comes with the response to the CONNECT, or after it.
    let events: Vec<_> = body
        .split('\u{1e}')
        .filter(|packet| *packet != "2")
        .collect();
    let sent = [1, 2, 3].map(|number| format!(r#"42["profile:update",{number}]"#));
    assert_eq!(events, sent);
    let answer = polling
        .post("3\u{1e}42[\"a\"]\u{1e}42[\"b\"]".to_owned())
        .await;
    let headers = answer.headers();
    assert_eq!(headers["content-type"], "text/plain; charset=UTF-8");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(answer.text().await.expect("a body"), "ok");
}

#[tokio::test]
async fn a_connection_that_never_joins_is_closed_after_a_while() {
    const LIMIT: Duration = Duration::from_secs(45);
    let sockd = Sockd::start().await;
    let start = Instant::now();
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    let refused = async {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        websocket.connect("no token").await;
        closes_within(&mut websocket, LIMIT, "a refused client").await;
        start.elapsed()
    };
    let silent = async {
        closes_within(&mut websocket, LIMIT, "a silent client").await;
        start.elapsed()
    };
    let elsewhere = async {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        websocket.send("40/elsewhere,").await;
        let answer = websocket.packet().await;
        assert_eq!(answer, r#"44/elsewhere,{"message":"Invalid namespace"}"#);
        closes_within(&mut websocket, LIMIT, "a client that is lost").await;
        start.elapsed()
    };
    let polling = async {
        let mut polling = Polling::open(sockd.address()).await;
        while polling.next().await.is_ok() {}
        start.elapsed()
    };
    let lived = tokio::join!(refused, silent, elsewhere, polling);
    for lived in [lived.0, lived.1, lived.2, lived.3] {
        assert!(lived >= Duration::from_secs(10), "{lived:?}");
        assert!(lived <= LIMIT, "{lived:?}");
    }
}

#[tokio::test]
async fn a_malformed_packet_closes_the_connection() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let token = serde_json::json!({ "token": jwt::token(&user, &session) }).to_string();
    let packets = [
        "x",
        "9",
        "4",
        "4x",
        "47",
        "42{}",
        "42[",
        "42[\"a\"",
        "42[\"a\"]]",
        "42[\"a\",nonsense]",
        "42nonsense",
        "45-[\"a\"]",
        "451[\"a\"]",
        "40[]",
        "40\"text\"",
        "40{\"token\":",
    ];
    for packet in packets {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        if !packet.starts_with("40") {
            websocket.send(format!("40{token}")).await;
            assert!(websocket.packet().await.starts_with("40{"));
        }
        websocket.send(packet).await;
        closes(&mut websocket, packet).await;
    }
    // Bytes that no packet has announced.
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    websocket.send_binary(vec![1, 2, 3]).await;
    closes(&mut websocket, "binary").await;

    for packet in packets {
        let mut polling = Polling::open(sockd.address()).await;
        if !packet.starts_with("40") {
            polling.send(&format!("40{token}")).await;
            assert!(polling.packet().await.starts_with("40{"));
        }
        polling.post(packet.to_owned()).await;
        let end = loop {
            match polling.next().await {
                Ok(packet) => assert!(packet.starts_with("44{") || packet == "1", "{packet}"),
                Err(end) => break end,
            }
        };
        assert!(end.contains("Session ID unknown"), "{packet}: {end}");
    }
}

#[tokio::test]
async fn an_event_before_connect_closes_the_connection() {
    let sockd = Sockd::start().await;
    for packet in ["42[\"a\"]", "421[\"a\"]", "431[]"] {
        let mut websocket = WebSocket::open(sockd.address()).await;
        websocket.packet().await;
        websocket.send(packet).await;
        closes(&mut websocket, packet).await;
    }
    let mut polling = Polling::open(sockd.address()).await;
    polling.post("42[\"a\"]".to_owned()).await;
    while let Ok(packet) = polling.next().await {
        assert_eq!(packet, "1");
    }
}

/// The connection ends, with nothing but a refusal or a goodbye before.
async fn closes(websocket: &mut WebSocket, why: &str) {
    closes_within(websocket, PATIENCE, why).await;
}

async fn closes_within(websocket: &mut WebSocket, limit: Duration, why: &str) {
    within(limit, &format!("the end of {why}"), async {
        loop {
            match websocket.next(limit).await {
                Came::Closed(_) => return,
                Came::Packet(packet) if packet == "1" || packet.starts_with("44{") => {}
                other => panic!("{why}: expected the end, got {other:?}"),
            }
        }
    })
    .await;
}
