//! Callers of the internal routes that hang up or half-close before the response.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// Requests at a time: so few that a busy machine gets each to Redis within the second after which
/// sockd refuses it.
const AT_ONCE: usize = 20;

/// How a caller leaves once it has sent everything.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Closes,
    Resets,
}

/// How the length of a body is given.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Length,
    Chunked,
}

const WAYS: [(Leaving, Framing); 4] = [
    (Leaving::Closes, Framing::Length),
    (Leaving::Resets, Framing::Length),
    (Leaving::Closes, Framing::Chunked),
    (Leaving::Resets, Framing::Chunked),
];

fn request(path: &str, body: &str, framing: Framing) -> String {
    let (header, body) = match framing {
        Framing::Length => (format!("content-length: {}", body.len()), body.to_owned()),
        Framing::Chunked => {
            let (one, two) = body.split_at(body.len() / 2);
            let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
            let body = format!("{}{}0\r\n\r\n", chunk(one), chunk(two));
            ("transfer-encoding: chunked".to_owned(), body)
        }
    };
    format!(
        "POST {path} HTTP/1.1\r\nhost: sockd\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
         content-type: application/json\r\n{header}\r\n\r\n{body}"
    )
}

fn emit(user: &str, number: usize) -> String {
    json!({ "userId": user, "event": "profile:update", "payload": number }).to_string()
}

async fn send_and_leave(address: SocketAddr, bytes: impl AsRef<[u8]>, leaving: Leaving) {
    let mut connection = RawConnection::open(address).await;
    connection.send(bytes).await;
    match leaving {
        Leaving::Closes => drop(connection),
        Leaving::Resets => connection.reset(),
    }
}

/// The payloads of so many events, in the order of their numbers.
async fn numbers(socket: &mut WebSocket, count: usize) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for _ in 0..count {
        let packet = socket.packet().await;
        let number = packet
            .strip_prefix(r#"42["profile:update","#)
            .and_then(|rest| rest.strip_suffix(']'))
            .and_then(|number| number.parse().ok());
        let number = number.unwrap_or_else(|| panic!("{packet}"));
        assert!(numbers.insert(number), "{number} came twice");
    }
    numbers
}

#[tokio::test]
async fn an_event_reaches_all_nodes_though_its_caller_hangs_up() {
    let redis = Redis::start().await;
    let (one, two) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let (user, session) = (jwt::user(), jwt::session());
    let mut here = WebSocket::join(one.address(), &user, &session).await;
    let mut there = WebSocket::join(two.address(), &user, &session).await;
    for _ in 0..400 / AT_ONCE {
        for number in 0..AT_ONCE {
            let (leaving, framing) = WAYS[number % WAYS.len()];
            let bytes = request("/internal/emit", &emit(&user, number), framing);
            send_and_leave(one.address(), bytes, leaving).await;
        }
        let all: BTreeSet<_> = (0..AT_ONCE).collect();
        assert_eq!(numbers(&mut here, AT_ONCE).await, all);
        assert_eq!(numbers(&mut there, AT_ONCE).await, all);
    }
}

#[tokio::test]
async fn a_large_event_is_delivered_though_its_caller_hangs_up() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    // A reset would discard bytes that the caller's kernel has not sent yet.
    for framing in [Framing::Length, Framing::Chunked] {
        // More than any one read takes.
        let payload = "x".repeat(700_000);
        let body = json!({ "userId": user, "event": "profile:update", "payload": payload });
        let bytes = request("/internal/emit", &body.to_string(), framing);
        send_and_leave(sockd.address(), bytes, Leaving::Closes).await;
        let packet = socket.packet().await;
        assert!(packet.len() > 700_000, "{framing:?}: {packet}");
    }
}

#[tokio::test]
async fn a_force_logout_sets_the_session_though_its_caller_hangs_up() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let users: Vec<_> = (0..100).map(|_| (jwt::user(), jwt::session())).collect();
    for users in users.chunks(AT_ONCE) {
        for (number, (user, session)) in users.iter().enumerate() {
            let (leaving, framing) = WAYS[number % WAYS.len()];
            let body = json!({ "userId": user, "sessionId": session }).to_string();
            let bytes = request("/internal/force-logout", &body, framing);
            send_and_leave(sockd.address(), bytes, leaving).await;
        }
        for (user, session) in users {
            let wanted = Some(format!("\"{session}\""));
            eventually(PATIENCE, "the session", async || {
                redis.stored(user) == wanted
            })
            .await;
        }
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_all_carried_out_though_their_caller_hangs_up() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    for round in 0..10 {
        for (way, (leaving, framing)) in WAYS.into_iter().enumerate() {
            let first = (round * WAYS.len() + way) * 5;
            let bytes: String = (first..first + 5)
                .map(|number| request("/internal/emit", &emit(&user, number), framing))
                .collect();
            send_and_leave(sockd.address(), bytes, leaving).await;
        }
    }
    assert_eq!(numbers(&mut socket, 200).await, (0..200).collect());
}

#[tokio::test]
async fn a_caller_that_half_closes_gets_its_answer_on_every_route() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let logout = json!({ "userId": user, "sessionId": session }).to_string();
    let authorization = format!("authorization: Bearer {INTERNAL_SECRET}");
    let get = |path: &str, header: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: sockd\r\n{header}\r\n\r\n")
    };
    let post = |path: &str, body: &str| request(path, body, Framing::Length);
    for (bytes, status, end) in [
        (
            post("/internal/emit", &emit(&user, 1)),
            200,
            r#"{"ok":true}"#,
        ),
        (
            request("/internal/emit", &emit(&user, 1), Framing::Chunked),
            200,
            r#"{"ok":true}"#,
        ),
        (
            post("/internal/force-logout", &logout),
            200,
            r#"{"ok":true,"disconnected":0}"#,
        ),
        (post("/internal/emit", "{}"), 400, "INVALID_USER_ID\"}"),
        (post("/internal/unknown", "{}"), 404, "NOT_FOUND\"}"),
        (
            get("/internal/sessions", &authorization),
            409,
            "SESSIONS_IN_REDIS\"}",
        ),
        (
            get("/internal/sessions", "accept: */*"),
            401,
            "UNAUTHORIZED\"}",
        ),
        (get("/healthz", "accept: */*"), 200, r#"{"ok":true}"#),
        (get("/elsewhere", "accept: */*"), 404, "NOT_FOUND\"}"),
    ] {
        let mut connection = RawConnection::open(sockd.address()).await;
        connection.send(&bytes).await;
        connection.half_close().await;
        let answer = connection.read_to_end(PATIENCE).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with(end),
            "{bytes}\n{answer}"
        );
    }
    let mut connection = RawConnection::open(sockd.address()).await;
    connection
        .send(post("/internal/emit", "{}").repeat(3))
        .await;
    connection.half_close().await;
    let answers = connection.read_to_end(PATIENCE).await;
    assert_eq!(answers.matches("HTTP/1.1 400").count(), 3, "{answers}");
}

#[tokio::test]
async fn an_incomplete_request_holds_no_slot() {
    let sockd = Sockd::builder()
        .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
        .env("SOCKD_INTERNAL__CONCURRENCY", "1")
        .start()
        .await;
    let user = jwt::user();
    for framing in [Framing::Length, Framing::Chunked] {
        let whole = request("/internal/emit", &emit(&user, 1), framing);
        for cut in [1, 7, 20, 60] {
            let mut connection = RawConnection::open(sockd.address()).await;
            connection.send(&whole[..whole.len() - cut]).await;
            connection.half_close().await;
            // With a limit of an hour, it would hold the only slot for that long.
            connection.read_to_end(PATIENCE).await;
        }
        send_and_leave(sockd.address(), &whole[..whole.len() - 1], Leaving::Resets).await;
        sockd.emit(&user, "profile:update", &json!(1)).await;
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_polls_is_noticed() {
    let sockd = Sockd::start().await;
    let polling = Polling::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    // The first poll may return immediately, with a ping.
    for _ in 0..2 {
        let path = polling.url.split_once("/socket.io").expect("a path").1;
        let mut connection = RawConnection::open(sockd.address()).await;
        let poll = format!("GET /socket.io{path} HTTP/1.1\r\nhost: sockd\r\n\r\n");
        connection.send(poll).await;
        connection.half_close().await;
        // Long before the next ping of 25 s.
        connection.read_to_end(Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn events_reach_the_sockets_while_redis_hangs_though_their_callers_hang_up() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    redis.freeze();
    for number in 0..40 {
        let (leaving, framing) = WAYS[number % WAYS.len()];
        let bytes = request("/internal/emit", &emit(&user, number), framing);
        send_and_leave(sockd.address(), bytes, leaving).await;
    }
    let mut waiting = RawConnection::open(sockd.address()).await;
    waiting
        .send(request("/internal/emit", &emit(&user, 40), Framing::Length))
        .await;
    waiting.half_close().await;
    assert_eq!(numbers(&mut socket, 41).await, (0..41).collect());
    let answer = waiting.read_to_end(PATIENCE).await;
    // No other node could have missed it.
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    redis.thaw();
}

#[tokio::test]
async fn a_drain_carries_out_what_was_sent_before_it() {
    let redis = Redis::start().await;
    let mut going = Sockd::with_redis(&redis).await;
    let staying = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(staying.address(), &user, &session).await;
    for number in 0..AT_ONCE {
        let (leaving, framing) = WAYS[number % WAYS.len()];
        let bytes = request("/internal/emit", &emit(&user, number), framing);
        send_and_leave(going.address(), bytes, leaving).await;
    }
    let mut waiting = RawConnection::open(going.address()).await;
    waiting
        .send(request(
            "/internal/emit",
            &emit(&user, AT_ONCE),
            Framing::Length,
        ))
        .await;
    waiting.half_close().await;
    going.signal("TERM");
    let answer = waiting.read_to_end(PATIENCE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let all: BTreeSet<_> = (0..=AT_ONCE).collect();
    assert_eq!(numbers(&mut socket, AT_ONCE + 1).await, all);
    assert_eq!(going.ended(PATIENCE).await.code(), Some(0));
}

#[tokio::test]
async fn a_drain_waits_for_what_is_under_way_without_a_caller() {
    let redis = Redis::start().await;
    let mut sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_REDIS__COMMAND_TIMEOUT", "8s")
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    redis.freeze();
    let body = json!({ "userId": user, "sessionId": session }).to_string();
    let bytes = request("/internal/force-logout", &body, Framing::Length);
    send_and_leave(sockd.address(), bytes, Leaving::Resets).await;
    // Connections are accepted in their order.
    http::get(&format!("{}/healthz", sockd.url())).await;
    sockd.signal("TERM");
    eventually(PATIENCE, "the drain", async || {
        sockd.log().text().contains("draining")
    })
    .await;
    redis.thaw();
    assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
    assert_eq!(redis.stored(&user), Some(format!("\"{session}\"")));
}

#[tokio::test]
async fn a_request_over_the_concurrency_limit_waits_and_is_carried_out_though_its_caller_hangs_up()
{
    let sockd = Sockd::builder()
        .env("SOCKD_INTERNAL__CONCURRENCY", "1")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let whole = request("/internal/emit", &emit(&user, 0), Framing::Length);
    let (most, rest) = whole.split_at(whole.len() - 1);
    let mut slow = RawConnection::open(sockd.address()).await;
    slow.send(most).await;
    for number in 1..10 {
        let bytes = request("/internal/emit", &emit(&user, number), Framing::Length);
        send_and_leave(sockd.address(), bytes, Leaving::Closes).await;
    }
    // Others are not held up.
    let health = http::get(&format!("{}/healthz", sockd.url())).await;
    assert_eq!(health.status(), 200);
    slow.send(rest).await;
    assert!(slow.read_answer().await.starts_with("HTTP/1.1 200"));
    assert_eq!(numbers(&mut socket, 10).await, (0..10).collect());
}

#[tokio::test]
async fn a_request_that_gets_no_slot_is_answered_with_overloaded() {
    let sockd = Sockd::builder()
        .env("SOCKD_INTERNAL__CONCURRENCY", "1")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
        .start()
        .await;
    let whole = request("/internal/emit", &emit(&jwt::user(), 0), Framing::Length);
    let mut slow = RawConnection::open(sockd.address()).await;
    slow.send(&whole[..whole.len() - 1]).await;
    // Until the slow request has the slot, others get one.
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let answer = sockd.post("/internal/emit", &json!({})).await;
        if answer.status() == 503 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{}", answer.status());
    };
    let body = answer.text().await.expect("a body");
    assert_eq!(body, r#"{"ok":false,"error":"OVERLOADED"}"#);
}
