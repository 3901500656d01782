//! `GET /internal/users/ID/trace`: what happens to a user, live, on all nodes.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpSocket, time::Instant};

use crate::support::{
    PATIENCE, eventually,
    http::RawConnection,
    jwt,
    polling::Polling,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{WebSocket, is_dismissed},
    within,
};

/// A trace, as its caller reads it.
struct Trace {
    response: reqwest::Response,
    text: String,
    seen: usize,
}

impl Trace {
    async fn begin(sockd: &Sockd, user: &str, query: &str) -> Self {
        let response = sockd
            .get(&format!("/internal/users/{user}/trace{query}"))
            .await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut trace = Self {
            response,
            text: String::new(),
            seen: 0,
        };
        let began = trace.next().await.expect("a line");
        assert_eq!(
            (&began["what"], &began["user"]),
            (&json!("began"), &json!(user))
        );
        trace
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        within(PATIENCE, "a line of the trace", async {
            loop {
                if let Some((line, _)) = self.text[self.seen..].split_once('\n') {
                    self.seen += line.len() + 1;
                    if line.is_empty() {
                        continue;
                    }
                    let line: Value = serde_json::from_str(line).expect("JSON");
                    assert!(line["at"].is_string() && line["node"].is_string(), "{line}");
                    return Some(line);
                }
                let chunk = self.response.chunk().await.expect("the node goes on")?;
                self.text
                    .push_str(std::str::from_utf8(&chunk).expect("whole characters"));
            }
        })
        .await
    }

    /// Waits for so many lines, the empty ones included.
    async fn has_lines(&mut self, count: usize) {
        within(PATIENCE, "more lines", async {
            while self.text.lines().count() < count {
                let chunk = self.response.chunk().await.expect("the node goes on");
                let chunk = chunk.expect("the trace goes on");
                self.text
                    .push_str(std::str::from_utf8(&chunk).expect("whole characters"));
            }
        })
        .await;
    }

    /// The next line that says this; others before it are passed over.
    async fn until(&mut self, what: &str) -> Value {
        loop {
            let line = self.next().await.expect("the trace goes on");
            if line["what"] == what {
                return line;
            }
        }
    }

    /// Waits until another node takes part; returns its id.
    async fn has_peer(&mut self) -> Value {
        // On a busy machine it may first answer too late.
        loop {
            let mut peer = self.until("peer").await;
            if peer["traced"] == "yes" {
                return peer["peer"].take();
            }
        }
    }

    /// Asserts that the next lines say this, in this order.
    async fn says(&mut self, expected: &[&str]) -> Vec<Value> {
        let mut lines = Vec::new();
        for what in expected {
            let line = self.next().await.expect("the trace goes on");
            assert_eq!(line["what"], *what, "{line}");
            lines.push(line);
        }
        lines
    }
}

async fn runs(sockd: &Sockd, traces: f64) {
    let what = format!("{traces} traces");
    eventually(PATIENCE, &what, || async {
        sockd.figure("sockd_traces").await == traces
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_the_user_is_reported_in_order_and_nothing_about_others() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut trace = Trace::begin(&sockd, &user, "").await;
        let other = jwt::user();
        let mut bystander = WebSocket::join(sockd.address(), &other, &session).await;
        sockd.emit(&other, "profile:update", &json!("other")).await;
        bystander.packet().await;

        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        let lines = trace.says(&["session_adopted", "joined"]).await;
        assert_eq!(lines[1]["transport"], "websocket");
        assert_eq!(lines[1]["session"], session[..8]);
        assert!(
            lines[1]["address"]
                .as_str()
                .expect("text")
                .starts_with("127.0.0.1:")
        );

        let payload = json!("secret-payload");
        sockd.emit(&user, "profile:update", &payload).await;
        socket.packet().await;
        let mut lines = [trace.next().await, trace.next().await].map(|line| line.expect("a line"));
        lines.sort_by_key(|line| line["what"].to_string());
        assert_eq!(
            (&lines[0]["what"], &lines[1]["what"]),
            (&json!("emitted"), &json!("event"))
        );
        assert_eq!(
            (&lines[0]["event"], &lines[0]["nodes"]),
            (&json!("profile:update"), &json!(1))
        );
        assert_eq!(
            (&lines[1]["sockets"], &lines[1]["bytes"]),
            (&json!(1), &json!(16))
        );

        // Refusals: another session, a token that has expired, and one with a wrong signature.
        assert!(
            WebSocket::try_join(sockd.address(), &user, &jwt::session())
                .await
                .is_err()
        );
        let refused = trace.says(&["refused"]).await.remove(0);
        assert_eq!(refused["reason"], "SESSION_MISMATCH");
        let expired = json!({ "user_id": user, "session_id": session, "exp": 7 });
        let mut refused = WebSocket::open(sockd.address()).await;
        refused.packet().await;
        let forged = jwt::token(&user, &session) + "x";
        for token in [&forged, &jwt::sign(&expired)] {
            let answer = refused.connect(token).await;
            assert_eq!(answer, r#"44{"message":"TOKEN_INVALID"}"#);
        }
        let refused = trace.says(&["refused"]).await.remove(0);
        assert_eq!(refused["reason"], "TOKEN_INVALID");
        let why = refused["why"]
            .as_str()
            .expect("more than the client is told");
        assert!(why.contains("expired"), "{why}");

        // A client that polls, upgrades and leaves.
        let polling = Polling::join(sockd.address(), &user, &session).await;
        let sid = format!("&sid={}", polling.sid);
        let mut upgraded = WebSocket::open_with(sockd.address(), &sid, &[]).await;
        upgraded.send("2probe").await;
        assert_eq!(upgraded.packet().await, "3probe");
        upgraded.send("5").await;
        let lines = trace.says(&["joined", "upgraded"]).await;
        assert_eq!(lines[0]["transport"], "polling");
        upgraded.send("41").await;
        trace.says(&["left"]).await;

        sockd
            .post(
                "/internal/kick",
                &json!({ "userId": user, "reason": "BANNED" }),
            )
            .await;
        let told = trace.says(&["dismissed", "ended", "logged_out"]).await;
        assert_eq!(
            (&told[0]["event"], &told[0]["reason"]),
            (&json!("auth:logout"), &json!("BANNED"))
        );
        assert_eq!(
            (&told[1]["why"], &told[1]["transport"]),
            (&json!("dismissed"), &json!("websocket"))
        );
        assert_eq!(
            (&told[2]["act"], &told[2]["disconnected"]),
            (&json!("kick"), &json!(1))
        );

        drop(WebSocket::join(sockd.address(), &user, &session).await);
        let lines = trace.says(&["joined", "ended"]).await;
        assert_eq!(lines[1]["why"], "connection_lost");
        // An event that no socket gets is traced too.
        loop {
            sockd.emit(&user, "profile:update", &payload).await;
            if trace.until("emitted").await["nodes"] == 0 {
                break;
            }
        }

        let never = [
            "secret-payload",
            &session,
            &other,
            jwt::SECRET,
            INTERNAL_SECRET,
            "eyJ",
        ];
        for secret in never {
            assert!(!trace.text.contains(secret), "{secret}: {}", trace.text);
        }
        drop(trace);
        runs(&sockd, 0.0).await;
        let log = sockd.log().text();
        assert!(
            log.contains("a trace begins") && log.contains(r#"act="trace""#),
            "{log}"
        );
        eventually(PATIENCE, "the line about its end", || async {
            sockd.log().text().contains("a trace has ended")
        })
        .await;
    }
}

#[tokio::test]
async fn all_nodes_take_part_and_stop_with_the_caller_or_its_node() {
    let redis = Redis::start().await;
    let mut first = Sockd::with_redis(&redis).await;
    let second = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut trace = Trace::begin(&first, &user, "?payloads=true").await;
    let peer = trace.has_peer().await;

    let mut socket = WebSocket::join(second.address(), &user, &session).await;
    let joined = trace.until("joined").await;
    assert_eq!(joined["node"], peer);
    first
        .emit(&user, "profile:update", &json!({ "n": 1 }))
        .await;
    assert_eq!(socket.packet().await, r#"42["profile:update",{"n":1}]"#);
    let event = trace.until("event").await;
    assert_eq!(
        (&event["node"], &event["payload"]),
        (&peer, &json!({ "n": 1 }))
    );
    first.force_logout(&user, &jwt::session()).await;
    is_dismissed(&mut socket).await;
    trace.until("dismissed").await;
    runs(&second, 1.0).await;

    // A node that comes later takes part.
    let third = Sockd::with_redis(&redis).await;
    trace.has_peer().await;
    runs(&third, 1.0).await;

    let hung_up = Instant::now();
    drop(trace);
    for sockd in [&first, &second, &third] {
        runs(sockd, 0.0).await;
    }
    assert!(hung_up.elapsed() < PATIENCE / 2);

    let _trace = Trace::begin(&first, &user, "").await;
    runs(&second, 1.0).await;
    first.kill().await;
    for sockd in [&second, &third] {
        runs(sockd, 0.0).await;
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_and_the_trace_goes_on() {
    let redis = Redis::start().await;
    let [first, second] = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let mut trace = Trace::begin(&first, &user, "").await;
    trace.has_peer().await;
    second.signal("STOP");
    assert_eq!(trace.until("peer").await["traced"], "timed_out");
    let _socket = WebSocket::join(first.address(), &user, &session).await;
    trace.until("joined").await;
    second.signal("CONT");
    trace.has_peer().await;
}

#[tokio::test]
async fn a_node_with_too_many_traces_is_named_as_such_until_one_has_ended() {
    let redis = Redis::start().await;
    let [first, second] = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let mut trace = Trace::begin(&first, &user, "").await;
    let peer = trace.has_peer().await;
    drop(trace);
    runs(&second, 0.0).await;
    // Callers of a node that is there only for a moment.
    let channel = format!("sockd:@node:{}", peer.as_str().expect("an id"));
    let connection = &mut redis.connection();
    for number in 0..64 {
        let lease = json!({
            "number": number, "user": user, "payloads": false, "lease_ms": 8_000,
        });
        let question = json!({
            "v": 1, "kind": "ask_trace", "from": "other", "seq": number, "lease": lease,
        });
        let publish = &mut redis::cmd("PUBLISH");
        let publish = publish.arg(&channel).arg(question.to_string());
        let heard: usize = publish.query(connection).expect("PUBLISH works");
        assert_eq!(heard, 1);
    }
    runs(&second, 64.0).await;
    let mut trace = Trace::begin(&first, &user, "").await;
    let refused = trace.until("peer").await;
    assert_eq!(
        (&refused["peer"], &refused["traced"]),
        (&peer, &json!("too_many_traces"))
    );
    trace.has_peer().await;
    let _socket = WebSocket::join(second.address(), &user, &session).await;
    assert_eq!(trace.until("joined").await["node"], peer);
}

#[tokio::test]
async fn without_redis_it_says_why_nobody_gets_in() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let user = jwt::user();
    let mut trace = Trace::begin(&sockd, &user, "").await;
    redis.kill();
    sockd.is_not_ready(PATIENCE, &[]).await;
    assert_eq!(trace.until("bus").await["ready"], false);
    assert!(
        WebSocket::try_join(sockd.address(), &user, &jwt::session())
            .await
            .is_err()
    );
    let lines = trace.says(&["session_unknown", "refused"]).await;
    let why = lines[0]["why"].as_str().expect("text");
    assert!(why.contains("Redis"), "{why}");
    assert_eq!(lines[1]["reason"], "AUTH_UNAVAILABLE");
}

#[tokio::test]
async fn a_slow_reader_loses_lines_which_are_counted_and_holds_nobody_up() {
    const LARGE: usize = 900_000;
    let sockd = Sockd::builder()
        // It reads nothing for as long as a busy machine takes.
        .env("SOCKD_SERVER__TCP_USER_TIMEOUT", "1h")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut slow = RawConnection::open(sockd.address()).await;
    let request = format!(
        "GET /internal/users/{user}/trace?payloads=true HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {INTERNAL_SECRET}\r\n\r\n"
    );
    slow.send(request).await;
    runs(&sockd, 1.0).await;
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let payload = json!("x".repeat(LARGE));
    let before = sockd.resident_kib();
    for _ in 0..40 {
        sockd.emit(&user, "profile:update", &payload).await;
        assert!(socket.packet().await.len() > LARGE);
    }
    let grown = sockd.resident_kib().saturating_sub(before);
    assert!(grown < 40 * 1_024, "{grown} KiB");
    slow.read_past(br#""what":"dropped","lines":"#).await;
    drop(slow);
    runs(&sockd, 0.0).await;
}

#[tokio::test]
async fn a_drain_ends_it_and_does_not_wait_for_its_caller() {
    let mut sockd = Sockd::start().await;
    let mut trace = Trace::begin(&sockd, &jwt::user(), "").await;
    assert_eq!(sockd.drain().await, Some(0));
    sockd.log().lacks("the shutdown limit has passed");
    assert_eq!(trace.until("over").await["why"], "draining");
    assert_eq!(trace.next().await, None);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_caller_that_reads_nothing() {
    let mut sockd = Sockd::start().await;
    let user = jwt::user();
    let request = format!(
        "GET /internal/users/{user}/trace?payloads=true HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {INTERNAL_SECRET}\r\n\r\n"
    );
    let socket = TcpSocket::new_v4().expect("a socket");
    // So that the system takes little.
    socket.set_recv_buffer_size(2_048).expect("a size");
    let deaf = socket.connect(sockd.address()).await;
    let mut deaf = deaf.expect("the server accepts");
    deaf.write_all(request.as_bytes()).await.expect("sent");
    runs(&sockd, 1.0).await;
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    let payload = json!("x".repeat(900_000));
    for _ in 0..12 {
        sockd.emit(&user, "profile:update", &payload).await;
        socket.packet().await;
    }
    assert_eq!(sockd.drain().await, Some(0));
    sockd.log().lacks("the shutdown limit has passed");
}

#[tokio::test]
async fn traces_are_bounded_and_bad_ids_refused() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let mut traces = Vec::new();
    for _ in 0..8 {
        traces.push(Trace::begin(&sockd, &user, "").await);
    }
    let path = format!("/internal/users/{user}/trace");
    let refused = sockd.get(&path).await;
    assert_eq!(refused.status(), 503);
    let body = refused.text().await.expect("a body");
    assert_eq!(body, r#"{"ok":false,"error":"TOO_MANY_TRACES"}"#);
    // All of them see the same.
    let _socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    for trace in &mut traces {
        trace.until("joined").await;
    }
    traces.pop();
    runs(&sockd, 7.0).await;
    traces.push(Trace::begin(&sockd, &user, "").await);
    let bad = sockd.get("/internal/users/nobody/trace").await;
    assert_eq!(bad.status(), 400);
}

#[tokio::test]
async fn a_trace_outlasts_the_time_that_an_idle_connection_has() {
    let sockd = Sockd::builder()
        .env("SOCKD_SERVER__KEEP_ALIVE", "1s")
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1s")
        .start()
        .await;
    let user = jwt::user();
    let mut trace = Trace::begin(&sockd, &user, "").await;
    // An empty one comes each second.
    trace.has_lines(5).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    trace.until("emitted").await;
}

#[tokio::test]
async fn a_trace_ends_with_its_caller_whatever_else_the_caller_has_sent() {
    let sockd = Sockd::start().await;
    let request = format!(
        "GET /internal/users/{}/trace HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\r\n",
        jwt::user()
    );
    for behind in ["", "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n", "x"] {
        let mut connection = RawConnection::open(sockd.address()).await;
        connection.send(format!("{request}{behind}")).await;
        runs(&sockd, 1.0).await;
        drop(connection);
        runs(&sockd, 0.0).await;
    }
}
