//! The host that a request names: one, and with `--dev` this machine.

use crate::support::{http::RawConnection, sockd::Sockd};

/// What asks for a WebSocket.
const UPGRADE: &str = "upgrade: websocket\r\nconnection: upgrade\r\n\
     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";

async fn ask(sockd: &Sockd, request: &str) -> String {
    let mut connection = RawConnection::open(sockd.address()).await;
    connection.send(request).await;
    connection.half_close().await;
    connection.read_answer().await
}

fn get(path: &str, hosts: &[&str], headers: &str) -> String {
    let hosts: String = hosts
        .iter()
        .map(|host| format!("Host: {host}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\n{hosts}{headers}\r\n")
}

#[tokio::test]
async fn a_request_with_two_hosts_or_none_is_400_on_every_route() {
    let sockd = Sockd::start().await;
    for path in [
        "/healthz",
        "/internal/emit",
        "/elsewhere",
        "/socket.io/?EIO=4&transport=polling",
    ] {
        for hosts in [&[][..], &["a", "a"], &["a", "b"], &["a b"], &["u@a"]] {
            let answer = ask(&sockd, &get(path, hosts, "")).await;
            assert!(
                answer.starts_with("HTTP/1.1 400 ")
                    && answer.ends_with(r#"{"ok":false,"error":"INVALID_HOST"}"#),
                "{path} {hosts:?}\n{answer}"
            );
        }
    }
    for hosts in [&["a"][..], &[""], &["[::1]:80"], &["a_b.example:1"]] {
        let answer = ask(&sockd, &get("/healthz", hosts, "")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{hosts:?}\n{answer}");
    }
    let old = ask(&sockd, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

#[tokio::test]
async fn dev_answers_only_requests_to_this_machine() {
    let sockd = Sockd::dev().await;
    for (path, headers, status) in [
        ("/", "", 200),
        ("/healthz", "", 200),
        ("/socket.io/?EIO=4&transport=polling", "", 200),
        ("/socket.io/?EIO=4&transport=websocket", UPGRADE, 101),
        ("/internal/emit", "", 401),
    ] {
        for host in ["localhost:1", "LOCALHOST.", "127.0.0.2", "[::1]:3000"] {
            let mut connection = RawConnection::open(sockd.address()).await;
            connection.send(get(path, &[host], headers)).await;
            let answer = connection.read_answer().await;
            let status = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&status), "{path} {host}\n{answer}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:3000",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "0.0.0.0",
            "",
        ] {
            let answer = ask(&sockd, &get(path, &[host], headers)).await;
            assert!(
                answer.starts_with("HTTP/1.1 403 ")
                    && answer.ends_with(r#"{"ok":false,"error":"LOCAL_ONLY"}"#),
                "{path} {host}\n{answer}"
            );
        }
    }
    for (request, status) in [
        (
            "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            403,
        ),
        (
            "GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            403,
        ),
        (
            "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            200,
        ),
        ("GET / HTTP/1.0\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        let answer = ask(&sockd, request).await;
        let status = format!(" {status} ");
        assert!(answer[8..].starts_with(&status), "{request}\n{answer}");
    }
}

#[tokio::test]
async fn without_dev_any_host_is_served() {
    let sockd = Sockd::start().await;
    let answer = ask(&sockd, &get("/healthz", &["push.example.com"], "")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
