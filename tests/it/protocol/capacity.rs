//! The limits of a node: at each limit, one over it, and once there is room again.

use std::{fs, sync::Arc, time::Instant};

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{
    PATIENCE, eventually, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    redis::Redis,
    sockd::Sockd,
    websocket::{Came, WebSocket},
    within,
};

const OVERLOADED: &str = r#"{"ok":false,"error":"OVERLOADED"}"#;
const OPEN: &str =
    "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: sockd\r\norigin: http://a\r\n\r\n";

/// The status of the response to a new client that polls.
async fn status(sockd: &Sockd) -> u16 {
    let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
    http::get(&url).await.status().as_u16()
}

/// New clients are refused on both transports, with a response that browsers may read.
async fn refuses(sockd: &Sockd, limit: &str) {
    let before = refusals(sockd, limit).await;
    let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
    let answer = http::get(&url).await;
    assert_eq!(answer.status(), 503);
    let headers = answer.headers();
    assert_eq!(headers["retry-after"], "5");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(answer.text().await.expect("a body"), OVERLOADED);
    let websocket = WebSocket::try_open(sockd.address(), "", &[]).await;
    assert_eq!(websocket.err(), Some((503, OVERLOADED.to_owned())));
    assert_eq!(refusals(sockd, limit).await, before + 2);
}

async fn lets_in(sockd: &Sockd) {
    eventually(PATIENCE, "room for a client", async || {
        status(sockd).await == 200
    })
    .await;
}

async fn serves_callers(sockd: &Sockd) {
    sockd.emit(&jwt::user(), "profile:update", &json!(1)).await;
    for path in ["healthz", "readyz"] {
        let answer = http::get(&format!("{}/{path}", sockd.url())).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    assert_eq!(sockd.force_logout(&jwt::user(), &jwt::session()).await, 0);
}

async fn refusals(sockd: &Sockd, limit: &str) -> u64 {
    let metrics = sockd.metrics().await;
    let name = format!("sockd_limit_refusals_total{{limit=\"{limit}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// Many refusals are one line of the log.
async fn is_logged_once(sockd: &Sockd, limit: &str) {
    let is_it = |line: &&str| line.contains(" WARN ") && line.contains(&format!("\"{limit}\""));
    let count = || sockd.log().text().lines().filter(is_it).count();
    eventually(PATIENCE, "the line", async || count() > 0).await;
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn by_default_no_limit_refuses_a_client() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..30 {
        sockets.push(WebSocket::join(sockd.address(), &user, &session).await);
    }
    let metrics = sockd.metrics().await;
    let lines = metrics.lines();
    let lines = lines.filter(|line| line.starts_with("sockd_limit_refusals_total{"));
    let counts: Vec<_> = lines.filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(counts, ["0"; 7]);
}

#[tokio::test]
async fn an_address_has_no_more_handshakes_than_its_rate_and_burst() {
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let file = directory.path().join("sockd.toml");
    let limits = |rate: &str| {
        fs::write(
            &file,
            format!("[limits]\n{rate}handshake_burst_per_address = 3\n"),
        )
        .expect("it is written");
    };
    limits("handshake_rate_per_address = 1\n");
    let sockd = Sockd::builder()
        .env("SOCKD_SERVER__TRUSTED_PROXIES", "127.0.0.1")
        .start_in(directory)
        .await;
    let limit = "handshake_rate_per_address";
    let open = async |address: &str| {
        let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
        let request = http::client().get(&url).header("x-forwarded-for", address);
        request.send().await.expect("the server answers")
    };
    // However slow this machine is, one that asks without a pause is refused in the end.
    let is_refused = async |address: &str| {
        let began = Instant::now();
        let mut passed = 0;
        let refusal = loop {
            let answer = open(address).await;
            if answer.status() != 200 {
                break answer;
            }
            passed += 1;
            assert!(began.elapsed() < PATIENCE, "{passed} passed");
        };
        assert!(
            passed >= 3 && passed <= 4 + began.elapsed().as_secs(),
            "{passed}"
        );
        assert_eq!(refusal.status(), 503);
        assert_eq!(refusal.headers()["retry-after"], "5");
        assert_eq!(refusal.headers()["access-control-allow-origin"], "*");
        assert_eq!(refusal.text().await.expect("a body"), OVERLOADED);
    };
    // Others are not refused for what one address does.
    let addresses = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1"];
    for address in addresses {
        is_refused(address).await;
    }
    assert_eq!(refusals(&sockd, limit).await, addresses.len() as u64);
    is_logged_once(&sockd, limit).await;
    assert!(sockd.log().text().contains(" address=192.0.2.1"));
    serves_callers(&sockd).await;
    lets_in(&sockd).await;
    // Without the limit, after a reload.
    limits("");
    let reloaded = sockd.post("/internal/reload", &json!({})).await;
    assert_eq!(reloaded.status(), 200);
    for _ in 0..10 {
        assert_eq!(open("192.0.2.1").await.status(), 200);
    }
    limits("handshake_rate_per_address = 1\n");
    sockd.post("/internal/reload", &json!({})).await;
    is_refused("192.0.2.3").await;
}

#[tokio::test]
async fn a_user_has_no_more_sockets_than_the_limit() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__SOCKETS_PER_USER", "2")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let token = jwt::token(&user, &session);
    let first = Polling::join(sockd.address(), &user, &session).await;
    let mut second = WebSocket::join(sockd.address(), &user, &session).await;
    let refusal = r#"44{"message":"TOO_MANY_SOCKETS"}"#;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    assert_eq!(websocket.connect(&token).await, refusal);
    assert_eq!(websocket.connect(&token).await, refusal);
    let mut polling = Polling::open(sockd.address()).await;
    assert_eq!(polling.connect(&token).await, refusal);
    // A refusal is counted once its client has been told.
    let answer = r#"sockd_handshakes_total{answer="TOO_MANY_SOCKETS"} 3"#;
    eventually(PATIENCE, "the counts", async || {
        refusals(&sockd, "sockets_per_user").await == 3 && sockd.metrics().await.contains(answer)
    })
    .await;
    is_logged_once(&sockd, "sockets_per_user").await;
    serves_callers(&sockd).await;
    WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    // One leaves, so the refused connection may join.
    first.send("41").await;
    assert!(websocket.connect(&token).await.starts_with("40"));
    // Sockets of the previous session do not count against the next one.
    let newer = jwt::session();
    assert_eq!(sockd.force_logout(&user, &newer).await, 2);
    let third = WebSocket::join(sockd.address(), &user, &newer).await;
    let fourth = Polling::join(sockd.address(), &user, &newer).await;
    for socket in [&mut websocket, &mut second] {
        assert!(socket.packet().await.contains("SESSION_REPLACED"));
    }
    assert_eq!(polling.connect(&jwt::token(&user, &newer)).await, refusal);
    drop((third, fourth));
}

#[tokio::test]
async fn a_node_has_no_more_connections_than_the_limit() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__CONNECTIONS", "2")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut websocket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    for _ in 0..3 {
        refuses(&sockd, "connections").await;
    }
    is_logged_once(&sockd, "connections").await;
    serves_callers(&sockd).await;
    // Clients that have joined stay, and may upgrade.
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(polling.packet().await, r#"42["profile:update",1]"#);
    assert_eq!(websocket.packet().await, r#"42["profile:update",1]"#);
    let sid = format!("&sid={}", polling.sid);
    let mut upgraded = WebSocket::open_with(sockd.address(), &sid, &[]).await;
    upgraded.send("2probe").await;
    assert_eq!(upgraded.packet().await, "3probe");
    upgraded.send("5").await;
    sockd.emit(&user, "profile:update", &json!(2)).await;
    assert_eq!(upgraded.packet().await, r#"42["profile:update",2]"#);
    refuses(&sockd, "connections").await;
    // A preflight does not count as a client.
    let url = format!("{}/socket.io/?EIO=4&transport=polling", sockd.url());
    let preflight = http::client().request(reqwest::Method::OPTIONS, url);
    let preflight = preflight.send().await.expect("the server answers");
    assert_eq!(preflight.status(), 204);
    upgraded.abandon();
    lets_in(&sockd).await;
    refuses(&sockd, "connections").await;
}

#[tokio::test]
async fn connections_that_have_not_joined_are_limited_including_bare_ones() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__UNJOINED_CONNECTIONS", "3")
        // On a busy machine the test takes its time.
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1h")
        .env("SOCKD_SOCKETIO__CONNECT_TIMEOUT", "1h")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let bare = RawConnection::open(sockd.address()).await;
    let polling = Polling::open(sockd.address()).await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    refuses(&sockd, "unjoined_connections").await;
    serves_callers(&sockd).await;
    // Joining frees a place, and leaving takes it again.
    let token = jwt::token(&user, &session);
    assert!(websocket.connect(&token).await.starts_with("40"));
    let other = Polling::open(sockd.address()).await;
    refuses(&sockd, "unjoined_connections").await;
    websocket.send("41").await;
    websocket.send("40/a,").await;
    assert!(websocket.packet().await.starts_with("44/a,"));
    other.send("1").await;
    refuses(&sockd, "unjoined_connections").await;
    bare.reset();
    lets_in(&sockd).await;
    refuses(&sockd, "unjoined_connections").await;
    is_logged_once(&sockd, "unjoined_connections").await;
    // A refused CONNECT does not count as a join.
    assert!(websocket.connect("x").await.starts_with("44"));
    refuses(&sockd, "unjoined_connections").await;
    polling.send("1").await;
    lets_in(&sockd).await;
}

#[tokio::test]
async fn while_handshakes_are_stuck_new_clients_are_refused() {
    let redis = Redis::start().await;
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_LIMITS__HANDSHAKES", "1")
        .env("SOCKD_LIMITS__HANDSHAKE_ATTEMPTS", "1000")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let mut websocket = WebSocket::open(sockd.address()).await;
    websocket.packet().await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    redis.freeze();
    within(PATIENCE, "a refusal", async {
        let connect = jwt::connect(&token);
        while status(&sockd).await != 503 {
            websocket.send(&connect).await;
        }
    })
    .await;
    assert!(refusals(&sockd, "handshakes").await > 0);
    is_logged_once(&sockd, "handshakes").await;
    redis.thaw();
    lets_in(&sockd).await;
    sockd.is_ready(PATIENCE).await;
    serves_callers(&sockd).await;
}

#[tokio::test]
async fn new_connections_come_no_faster_than_the_limit() {
    let sockd = Sockd::builder()
        .env("SOCKD_LIMITS__HANDSHAKE_RATE", "1")
        .start()
        .await;
    let start = Instant::now();
    let mut counts = [0, 0];
    for _ in 0..40 {
        match status(&sockd).await {
            200 => counts[0] += 1,
            503 => counts[1] += 1,
            other => panic!("{other}"),
        }
    }
    let [passed, refused] = counts;
    let allowed = 1 + start.elapsed().as_secs();
    assert!((1..=allowed).contains(&passed), "{passed} of {allowed}");
    assert_eq!(refusals(&sockd, "handshake_rate").await, refused);
    is_logged_once(&sockd, "handshake_rate").await;
    serves_callers(&sockd).await;
    lets_in(&sockd).await;
}

#[tokio::test]
async fn clients_leave_open_files_to_callers() {
    let sockd = Sockd::builder()
        .prelude("ulimit -n 128")
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1h")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(RawConnection::open(sockd.address()).await);
    }
    for _ in 0..2 {
        refuses(&sockd, "open_files").await;
        serves_callers(&sockd).await;
    }
    let mut client = RawConnection::open(sockd.address()).await;
    client.send(OPEN.repeat(2)).await;
    let answer = client.read_to_end(PATIENCE).await;
    assert_eq!(answer.matches("HTTP/1.1 503 ").count(), 1, "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: *\r\n"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    // Silent connections cannot keep callers out, however many there are.
    for _ in 0..4 {
        let flood = (0..100).map(|_| RawConnection::open(sockd.address()));
        silent.extend(join_all(flood).await);
        serves_callers(&sockd).await;
    }
    sockd.emit(&user, "profile:update", &json!(1)).await;
    let came = socket.next(PATIENCE).await;
    assert_eq!(came, Came::Packet(r#"42["profile:update",1]"#.to_owned()));
    is_logged_once(&sockd, "open_files").await;
    sockd.log().lacks("cannot accept connections");
    drop(silent);
    // The files of closed connections become free one after the other.
    eventually(PATIENCE, "room for a socket", async || {
        let socket = WebSocket::try_open(sockd.address(), "", &[]).await;
        socket.is_ok()
    })
    .await;
}
