//! How long an HTTP connection may be idle, and how long a request's headers may take.

use std::time::{Duration, Instant};

use crate::support::{
    PATIENCE, http,
    http::RawConnection,
    jwt,
    polling::Polling,
    sockd::{Builder, Sockd},
    within,
};

const HEAD: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(6);
const GET: &str = "GET /healthz HTTP/1.1\r\nhost: sockd\r\n\r\n";

fn builder() -> Builder {
    Sockd::builder()
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1s")
        .env("SOCKD_SERVER__KEEP_ALIVE", "6s")
}

/// Waits for the end of the connection, with nothing before it, and not before the header timeout.
async fn ends(mut connection: RawConnection, since: Instant) {
    assert_eq!(connection.read_to_end(PATIENCE).await, "");
    assert!(since.elapsed() >= HEAD, "{:?}", since.elapsed());
}

/// Lets twice the header timeout pass, during which the connection stays open.
async fn stays_idle(connection: &mut RawConnection) {
    let read = tokio::time::timeout(2 * HEAD, connection.read_answer()).await;
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_but_not_its_keep_alive() {
    let sockd = builder().start().await;
    let mut connection = RawConnection::open(sockd.address()).await;
    for _ in 0..3 {
        connection.send(GET).await;
        let answer = connection.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer = answer.to_lowercase();
        assert!(answer.contains("\r\nkeep-alive: timeout=6\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nconnection: keep-alive\r\n"),
            "{answer}"
        );
        stays_idle(&mut connection).await;
    }
    let start = Instant::now();
    connection.send(GET).await;
    connection.read_answer().await;
    assert_eq!(connection.read_to_end(PATIENCE).await, "");
    assert!(start.elapsed() >= IDLE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_header_timeout() {
    let sockd = builder()
        .env("SOCKD_SERVER__KEEP_ALIVE", "1h")
        .start()
        .await;
    let start = Instant::now();
    let connection = RawConnection::open(sockd.address()).await;
    ends(connection, start).await;
}

#[tokio::test]
async fn the_header_timeout_starts_with_the_first_byte() {
    let sockd = builder()
        .env("SOCKD_SERVER__KEEP_ALIVE", "1h")
        .start()
        .await;
    for begin in ["G", "GET /healthz HTTP/1.1\r\nhost: sockd\r\n", "\r\n"] {
        let start = Instant::now();
        let mut fresh = RawConnection::open(sockd.address()).await;
        fresh.send(begin).await;
        ends(fresh, start).await;

        let mut used = RawConnection::open(sockd.address()).await;
        used.send(GET).await;
        used.read_answer().await;
        stays_idle(&mut used).await;
        let start = Instant::now();
        used.send(begin).await;
        ends(used, start).await;
    }
}

#[tokio::test]
async fn headers_that_trickle_in_do_not_extend_the_timeout() {
    let sockd = builder()
        .env("SOCKD_SERVER__KEEP_ALIVE", "1h")
        .start()
        .await;
    let mut connection = RawConnection::open(sockd.address()).await;
    connection.send(GET).await;
    connection.read_answer().await;
    connection.send("GET /healthz HTTP/1.1\r\nx: ").await;
    within(PATIENCE, "the end", async {
        while connection.try_send("y").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_rest_of_a_body_is_not_a_new_request() {
    let sockd = builder().start().await;
    let mut connection = RawConnection::open(sockd.address()).await;
    let refused = "POST /internal/emit HTTP/1.1\r\nhost: sockd\r\ncontent-length: 4\r\n\r\n";
    connection.send(refused).await;
    let answer = connection.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    connection.send("body").await;
    stays_idle(&mut connection).await;
    connection.send(GET).await;
    let answer = connection.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn waiting_for_an_answer_does_not_count_as_idle() {
    let sockd = builder()
        .env("SOCKD_SERVER__KEEP_ALIVE", "200ms")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut polling = Polling::join(sockd.address(), &user, &session).await;
    let poll = async { polling.packet().await };
    let emit = async {
        tokio::time::sleep(2 * HEAD).await;
        sockd
            .emit(&user, "profile:update", &serde_json::json!(1))
            .await;
    };
    let (packet, ()) = tokio::join!(poll, emit);
    assert_eq!(packet, r#"42["profile:update",1]"#);
}

#[tokio::test]
async fn a_connection_that_is_about_to_close_has_no_keep_alive_header() {
    let sockd = Sockd::start().await;
    for (version, header, kept) in [
        ("1.1", "accept: */*", true),
        ("1.1", "connection: Close", false),
        ("1.1", "connection: x, close", false),
        ("1.0", "accept: */*", false),
        ("1.0", "connection: keep-alive", true),
    ] {
        let mut connection = RawConnection::open(sockd.address()).await;
        let request = format!("GET /healthz HTTP/{version}\r\nhost: sockd\r\n{header}\r\n\r\n");
        connection.send(&request).await;
        let answer = connection.read_answer().await.to_lowercase();
        let told = answer.contains("\r\nkeep-alive: timeout=75\r\n");
        assert_eq!(told, kept, "{request}{answer}");
        if !kept {
            assert_eq!(connection.read_to_end(PATIENCE).await, "");
        }
    }
    let health = http::get(&format!("{}/healthz", sockd.url())).await;
    assert_eq!(health.headers()["keep-alive"], "timeout=75");
}
