//! `GET /internal/status`: how a node is, or all nodes.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    PATIENCE, eventually,
    http::RawConnection,
    jwt,
    polling::Polling,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
    within,
};

async fn status(sockd: &Sockd, query: &str) -> Value {
    let answer = sockd.get(&format!("/internal/status{query}")).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

fn limit<'a>(status: &'a Value, name: &str) -> &'a Value {
    let mut limits = status["limits"].as_array().expect("a list").iter();
    let found = limits.find(|limit| limit["limit"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing: {status}"))
}

#[tokio::test]
async fn the_figures_are_those_of_the_metrics() {
    let redis = Redis::start().await;
    let with_limits = || {
        Sockd::builder()
            .env("SOCKD_LIMITS__CONNECTIONS", "4")
            .env("SOCKD_LIMITS__HANDSHAKE_RATE", "1000")
    };
    let nodes = [
        with_limits().start().await,
        with_limits().redis(&redis).start().await,
    ];
    for (sockd, has_redis) in nodes.iter().zip([false, true]) {
        sockd.is_ready(PATIENCE).await;
        let (user, session) = (jwt::user(), jwt::session());
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        let _polling = Polling::join(sockd.address(), &user, &session).await;
        let mut refused = WebSocket::open(sockd.address()).await;
        refused.packet().await;
        refused.connect("no token").await;
        sockd.emit(&user, "profile:update", &json!(1)).await;
        socket.packet().await;
        let _last = WebSocket::open(sockd.address()).await;
        assert!(
            WebSocket::try_join(sockd.address(), &user, &session)
                .await
                .is_err()
        );

        let answer = status(sockd, "").await;
        assert_eq!(
            (&answer["ok"], &answer["complete"]),
            (&json!(true), &json!(true))
        );
        let node = &answer["nodes"][0];
        assert_eq!(node["release"], env!("CARGO_PKG_VERSION"));
        let status = &node["status"];
        assert_eq!(status["ready"], true);
        assert_eq!(status["reasons"], json!([]));
        let figures = &status["figures"];
        for (figure, metric) in [
            (&figures["sockets"], "sockd_sockets"),
            (&figures["connections"], "sockd_connections"),
            (
                &figures["unjoinedConnections"],
                "sockd_unjoined_connections",
            ),
            (
                &figures["totals"]["connectionsOpened"],
                "sockd_connections_opened_total",
            ),
            (&figures["totals"]["handshakes"], "sockd_handshakes_total"),
            (&figures["totals"]["emits"], "sockd_emits_total"),
            (&figures["totals"]["eventsSent"], "sockd_events_sent_total"),
        ] {
            let value = figure.as_f64().expect("a number");
            assert_eq!(sockd.figure(metric).await, value, "{metric}");
            assert!(value > 0.0, "{metric}");
        }
        assert_eq!(
            (&figures["websocket"], &figures["polling"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(figures["totals"]["handshakesRefused"], 1);
        assert!(figures["residentMemoryBytes"].as_u64() > Some(1 << 20));
        assert!(figures["openFiles"].as_u64() > Some(3));
        let connections = json!({ "limit": "connections", "used": 4, "max": 4, "refused": 1 });
        assert_eq!(*limit(status, "connections"), connections);
        let rate = json!({ "limit": "handshake_rate", "max": 1000, "refused": 0 });
        assert_eq!(*limit(status, "handshake_rate"), rate);
        assert_eq!(limit(status, "sockets_per_user")["max"], Value::Null);
        let link = &status["redis"];
        if has_redis {
            assert_eq!(link["commandsConnected"], true);
            assert_eq!(link["subscriberConnected"], true);
            assert!(link["roundTrips"].as_u64() > Some(0), "{link}");
        } else {
            assert_eq!(*link, Value::Null);
        }
    }
}

#[tokio::test]
async fn every_node_is_asked_and_one_that_does_not_answer_is_named() {
    let redis = Redis::start().await;
    let [first, second] = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let (user, session) = (jwt::user(), jwt::session());
    let _socket = WebSocket::join(second.address(), &user, &session).await;
    eventually(PATIENCE, "the other node", || async {
        let all = status(&first, "?all=true").await;
        all["nodes"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    assert_eq!(
        status(&first, "").await["nodes"].as_array().map(Vec::len),
        Some(1)
    );
    for (query, count) in [
        ("?all=true&all=false", 1),
        ("?all=false&all=true", 2),
        ("?all", 2),
        ("?all=false", 1),
    ] {
        let nodes = &status(&first, query).await["nodes"];
        assert_eq!(nodes.as_array().map(Vec::len), Some(count), "{query}");
    }
    // On a busy machine a node may answer too late.
    let all = within(PATIENCE, "the answers of all nodes", async {
        loop {
            let all = status(&first, "?all=true").await;
            if all["complete"] == true {
                return all;
            }
        }
    })
    .await;
    let sockets = |node: usize| all["nodes"][node]["status"]["figures"]["sockets"].clone();
    assert_eq!((sockets(0), sockets(1)), (json!(0), json!(1)));
    let other = status(&second, "").await["nodes"][0]["node"].clone();
    assert_eq!(all["nodes"][1]["node"], other);

    second.signal("STOP");
    let began = Instant::now();
    let all = status(&first, "?all=true").await;
    assert!(began.elapsed() < PATIENCE / 4);
    second.signal("CONT");
    let silent = json!({
        "node": other, "release": env!("CARGO_PKG_VERSION"), "answered": "timed_out",
    });
    assert_eq!(
        (&all["complete"], &all["nodes"][1]),
        (&json!(false), &silent)
    );
    assert_eq!(all["nodes"][0]["status"]["ready"], true);
}

#[tokio::test]
async fn a_node_that_is_not_ready_says_every_reason() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    redis.kill();
    sockd.is_not_ready(PATIENCE, &[]).await;
    eventually(PATIENCE, "both reasons", || async {
        let answer = status(&sockd, "?all=true").await;
        let node = &answer["nodes"][0]["status"];
        assert_eq!(
            (&answer["complete"], &node["ready"]),
            (&json!(false), &json!(false))
        );
        assert!(answer["reason"].is_string(), "{answer}");
        // The bus and the sessions each have one.
        node["reasons"].as_array().map(Vec::len) == Some(2)
            && node["redis"]["commandsConnected"] == false
            && node["redis"]["subscriberConnected"] == false
    })
    .await;
}

#[tokio::test]
async fn open_files_are_measured_against_those_that_clients_may_use() {
    let sockd = Sockd::builder().prelude("ulimit -n 200").start().await;
    let free = status(&sockd, "").await;
    let free = &free["nodes"][0]["status"];
    let (used, max) = (&free["figures"]["openFiles"], 200 - 64);
    let open_files = json!({ "limit": "open_files", "used": used, "max": max, "refused": 0 });
    assert_eq!(*limit(free, "open_files"), open_files);
    assert_eq!(free["figures"]["openFilesLimit"], 200);
    let mut clients = Vec::new();
    let (user, session) = (jwt::user(), jwt::session());
    while let Ok(client) = WebSocket::try_join(sockd.address(), &user, &session).await {
        clients.push(client);
    }
    let full = status(&sockd, "").await;
    let full = limit(&full["nodes"][0]["status"], "open_files");
    assert!(full["used"].as_u64() >= Some(max), "{full}");
    assert!(full["refused"].as_u64() > Some(0), "{full}");
}

#[tokio::test]
async fn running_internal_requests_are_measured_against_their_limit() {
    let sockd = Sockd::builder()
        .env("SOCKD_INTERNAL__CONCURRENCY", "2")
        .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
        .start()
        .await;
    let unfinished = format!(
        "POST /internal/emit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {INTERNAL_SECRET}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{"
    );
    let mut slow = RawConnection::open(sockd.address()).await;
    slow.send(unfinished.as_str()).await;
    eventually(PATIENCE, "the request that runs", async || {
        let answer = status(&sockd, "").await;
        let limit = limit(&answer["nodes"][0]["status"], "internal.concurrency");
        assert_eq!((&limit["max"], &limit["refused"]), (&json!(2), &json!(0)));
        // The one that asks is another.
        limit["used"] == 2
    })
    .await;
    let mut second = RawConnection::open(sockd.address()).await;
    second.send(unfinished.as_str()).await;
    eventually(PATIENCE, "a refusal", async || {
        let answer = sockd.post("/internal/emit", &json!({})).await;
        answer.status() == 503
    })
    .await;
    drop(slow);
    eventually(PATIENCE, "the count of refusals", async || {
        let answer = sockd.get("/internal/status").await;
        if answer.status() != 200 {
            return false;
        }
        let answer: Value = answer.json().await.expect("JSON");
        let limit = limit(&answer["nodes"][0]["status"], "internal.concurrency");
        limit["refused"].as_u64() > Some(0)
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_said_not_to_answer_in_time() {
    let redis = Redis::start().await;
    let sockd = Sockd::builder()
        .redis(&redis)
        // Sooner than the node gives up on a session.
        .env("SOCKD_REDIS__COMMAND_TIMEOUT", "200ms")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    redis.freeze();
    eventually(PATIENCE, "the reason", async || {
        let answer = status(&sockd, "").await;
        let reasons = answer["nodes"][0]["status"]["reasons"].to_string();
        assert!(!reasons.contains("timed out"), "{reasons}");
        reasons.contains("Redis did not answer in time")
    })
    .await;
    redis.thaw();
}
