//! Where clients are, behind proxies that say so: the PROXY protocol, `X-Forwarded-For` and
//! `Forwarded`.

use std::time::Duration;

use tokio::net::TcpStream;

use super::access::line_of;
use crate::support::{
    PATIENCE, eventually,
    http::RawConnection,
    jwt,
    sockd::{Builder, Sockd},
    websocket::{frame, upgrade},
};

/// `198.51.100.1:4711` in version 2, with 3 bytes of something else behind it.
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f\xc6\x33\x64\x01\x0a\0\0\x01\x12\x67\x01\xbbTLV";
/// A health check of the proxy's own.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const OPEN: &str = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: sockd\r\n\r\n";

fn builder() -> Builder {
    Sockd::builder().env("SOCKD_LOG__ACCESS", "true")
}

fn with_proxy_protocol() -> Builder {
    builder().env("SOCKD_SERVER__PROXY_PROTOCOL", "true")
}

/// Where a socket is, according to the access log, that has begun with these bytes and headers.
async fn address(sockd: &Sockd, preamble: &[u8], headers: &str) -> String {
    let (user, session) = (jwt::user(), jwt::session());
    let mut connection = RawConnection::open(sockd.address()).await;
    let request = upgrade("").replace("host:", &format!("{headers}host:"));
    connection
        .send([preamble, request.as_bytes()].concat())
        .await;
    let answer = connection.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let connect = format!("40{{\"token\":\"{}\"}}", jwt::token(&user, &session));
    connection.send(frame(0x81, connect.as_bytes())).await;
    connection.expect(b"40{\"sid\":\"").await;
    drop(connection);
    let line = line_of(sockd, &user).await;
    let address = line.split(" address=").nth(1).unwrap_or_default();
    address.split(' ').next().unwrap_or_default().to_owned()
}

/// A connection that begins like this is closed without a response, and counted.
async fn is_refused(sockd: &Sockd, preamble: &[u8], listener: &str, why: &str) {
    let name =
        format!("sockd_proxy_protocol_refusals_total{{listener=\"{listener}\",why=\"{why}\"}}");
    let before = sockd.figure(&name).await;
    let url = match listener {
        "internal" => sockd.internal_url(),
        _ => sockd.url(),
    };
    let mut connection = RawConnection::open_at(&url).await;
    connection.try_send(preamble).await;
    assert_eq!(connection.read_to_end(PATIENCE).await, "");
    eventually(PATIENCE, "the count", async || {
        sockd.figure(&name).await == before + 1.0
    })
    .await;
}

#[tokio::test]
async fn a_client_has_the_address_that_the_proxy_protocol_names() {
    let sockd = with_proxy_protocol()
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .start()
        .await;
    for (header, expected) in [
        (
            &b"PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\n"[..],
            "198.51.100.1:4711",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n",
            "[2001:db8::1]:4711",
        ),
        (
            b"PROXY TCP6 ::ffff:198.51.100.1 ::1 4711 443\r\n",
            "198.51.100.1:4711",
        ),
        (VERSION_2, "198.51.100.1:4711"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1:"),
        (LOCAL, "127.0.0.1:"),
    ] {
        // Nobody is trusted, so the header of a request changes nothing.
        let found = address(&sockd, header, "x-forwarded-for: 9.9.9.9\r\n").await;
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
}

#[tokio::test]
async fn a_connection_without_the_header_is_closed_and_counted() {
    let sockd = with_proxy_protocol()
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        // Long enough for the bytes of a test that a busy machine holds up.
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "3s")
        .start()
        .await;
    // A balancer that only looks whether the port is open is not counted.
    drop(RawConnection::open(sockd.address()).await);
    for (preamble, why) in [
        (OPEN.as_bytes(), "missing"),
        (b"\x16\x03\x01\x02\0", "missing"),
        (b"PROXY TCP4 198.51.100.1\r\n", "malformed"),
        (&[VERSION_2, LOCAL].concat()[..13], "late"),
        (b"PROXY ", "late"),
        (b"", "late"),
    ] {
        is_refused(&sockd, preamble, "server", why).await;
    }
    let mut connection = RawConnection::open(sockd.address()).await;
    connection.send(&VERSION_2[..20]).await;
    connection.half_close().await;
    assert_eq!(connection.read_to_end(PATIENCE).await, "");
    let counts: [f64; 3] = {
        let figure = async |why: &str| {
            let name =
                format!("sockd_proxy_protocol_refusals_total{{listener=\"server\",why=\"{why}\"}}");
            sockd.figure(&name).await
        };
        eventually(PATIENCE, "the count", async || {
            figure("malformed").await == 2.0
        })
        .await;
        [
            figure("missing").await,
            figure("malformed").await,
            figure("late").await,
        ]
    };
    assert_eq!(counts, [2.0, 2.0, 3.0]);
    // Many are one line of the log.
    let text = sockd.log().text();
    let lines = text.matches("closing connections without a PROXY protocol header");
    assert_eq!(lines.count(), 1, "{text}");
    assert!(text.contains("setting=server.proxy_protocol"), "{text}");
}

#[tokio::test]
async fn a_slow_header_does_not_get_the_time_of_each_byte() {
    let sockd = with_proxy_protocol()
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1s")
        .start()
        .await;
    let began = std::time::Instant::now();
    let mut connection = RawConnection::open(sockd.address()).await;
    for byte in VERSION_2.iter().cycle() {
        if !connection.try_send([*byte]).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(began.elapsed() < PATIENCE, "it is still open");
    }
    let late = r#"sockd_proxy_protocol_refusals_total{listener="server",why="late"}"#;
    eventually(PATIENCE, "the count", async || {
        sockd.figure(late).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn each_listener_has_a_setting_of_its_own() {
    for listen in ["127.0.0.1:0", "unix:internal.sock"] {
        let sockd = builder()
            .env("SOCKD_INTERNAL__LISTEN", listen)
            .env("SOCKD_INTERNAL__PROXY_PROTOCOL", "true")
            .start()
            .await;
        // Clients send no header.
        assert!(address(&sockd, b"", "").await.starts_with("127.0.0.1:"));
        let request = "GET /healthz HTTP/1.1\r\nhost: sockd\r\n\r\n";
        for header in [VERSION_2, LOCAL, b"PROXY UNKNOWN\r\n"] {
            let mut connection = RawConnection::open_at(&sockd.internal_url()).await;
            connection.send([header, request.as_bytes()].concat()).await;
            let answer = connection.read_answer().await;
            assert!(answer.ends_with("{\"ok\":true}"), "{answer}");
            // Once per connection.
            connection.send(request).await;
            assert!(connection.read_answer().await.ends_with("{\"ok\":true}"));
        }
        let mut connection = RawConnection::open_at(&sockd.internal_url()).await;
        connection.try_send(request).await;
        assert_eq!(connection.read_to_end(PATIENCE).await, "");
    }
}

#[tokio::test]
async fn half_a_header_does_not_hold_up_a_drain() {
    let mut sockd = with_proxy_protocol().start().await;
    let silent = TcpStream::connect(sockd.address())
        .await
        .expect("it listens");
    let mut half = RawConnection::open(sockd.address()).await;
    half.send(&VERSION_2[..14]).await;
    assert_eq!(sockd.drain().await, Some(0));
    assert_eq!(half.read_to_end(PATIENCE).await, "");
    silent.readable().await.expect("the server has hung up");
}

#[tokio::test]
async fn only_trusted_proxies_say_where_a_client_is() {
    let sockd = builder().start().await;
    let headers = "x-forwarded-for: 198.51.100.1\r\nforwarded: for=198.51.100.2\r\n";
    assert!(
        address(&sockd, b"", headers)
            .await
            .starts_with("127.0.0.1:")
    );

    let sockd = builder()
        .env("SOCKD_SERVER__TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8")
        .start()
        .await;
    for (headers, expected) in [
        (headers, "198.51.100.1"),
        ("forwarded: for=198.51.100.2\r\n", "127.0.0.1:"),
        ("x-forwarded-for: 9.9.9.9, 198.51.100.1\r\n", "198.51.100.1"),
        (
            "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 198.51.100.1, 10.0.0.7\r\n",
            "198.51.100.1",
        ),
        ("x-forwarded-for: 9.9.9.9, unknown\r\n", "127.0.0.1:"),
        ("x-forwarded-for: 2001:db8::1\r\n", "2001:db8::1"),
    ] {
        let found = address(&sockd, b"", headers).await;
        assert!(found.starts_with(expected), "{headers:?}: {found}");
    }

    let sockd = builder()
        .env("SOCKD_SERVER__TRUSTED_PROXIES", "127.0.0.0/8")
        .env("SOCKD_SERVER__FORWARDED_HEADER", "forwarded")
        .start()
        .await;
    for (headers, expected) in [
        (headers, "198.51.100.2"),
        ("x-forwarded-for: 198.51.100.1\r\n", "127.0.0.1:"),
        (
            "forwarded: for=9.9.9.9, for=\"[2001:db8::1]:4711\";proto=https\r\n",
            "[2001:db8::1]:4711",
        ),
    ] {
        let found = address(&sockd, b"", headers).await;
        assert!(found.starts_with(expected), "{headers:?}: {found}");
    }
}

#[tokio::test]
async fn a_proxy_of_the_proxy_protocol_is_trusted_like_any_other() {
    let sockd = with_proxy_protocol()
        .env("SOCKD_SERVER__TRUSTED_PROXIES", "198.51.100.0/24")
        .start()
        .await;
    let headers = "x-forwarded-for: 9.9.9.9, 203.0.113.5\r\n";
    assert_eq!(address(&sockd, VERSION_2, headers).await, "203.0.113.5");
    let found = address(&sockd, LOCAL, headers).await;
    assert!(found.starts_with("127.0.0.1:"), "{found}");
}
