//! Clients that mean harm, or are gone before they are served.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::json;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::ClientConnection;

use super::{builder, client_config, connect, failures, fixture, folder, server_name, text};
use crate::support::{
    PATIENCE, eventually,
    http::RawConnection,
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

/// The beginning of a ClientHello that is to have 65,520 bytes, in full records.
fn endless_hello(records: usize) -> Vec<u8> {
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[0; 16 << 10]].concat();
    let mut hello = record.repeat(records);
    hello[5..9].copy_from_slice(&[1, 0, 0xff, 0xf0]);
    hello
}

#[tokio::test]
async fn a_flood_of_half_handshakes_keeps_nobody_out_and_costs_little() {
    const CLIENTS: usize = 800;
    let sockd = builder().start_in(folder()).await;
    let authority = text(&fixture("ca.pem"));
    drop(connect(sockd.address(), &authority).await.expect("TLS"));
    for (records, most_kib) in [(4, 8), (1, 40)] {
        let before = sockd.resident_kib();
        let hello = endless_hello(records);
        let mut flood = Vec::new();
        for _ in 0..CLIENTS {
            let mut connection = RawConnection::open(sockd.address()).await;
            connection.try_send(&hello).await;
            flood.push(connection);
        }
        drop(connect(sockd.address(), &authority).await.expect("TLS"));
        sockd.emit(&jwt::user(), "profile:update", &json!(1)).await;
        // What is sent must have been read.
        if records > 1 {
            eventually(PATIENCE, "refusals", async || {
                failures(&sockd, "server", "other").await >= CLIENTS as f64
            })
            .await;
        }
        // How many are read at once depends on the machine; what that took is given back.
        let what = format!("{most_kib} KiB each at most, {records} records");
        eventually(PATIENCE, &what, async || {
            sockd.resident_kib() <= before + most_kib * CLIENTS as u64
        })
        .await;
    }
}

/// Does a handshake, sends the request in one piece with the end of it, and resets the connection.
fn post_and_be_gone(address: SocketAddr, authority: &str, request: &[u8]) {
    let mut session =
        ClientConnection::new(client_config(authority), server_name()).expect("a session");
    let mut tcp = TcpStream::connect(("127.0.0.1", address.port())).expect("it listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    session.write_tls(&mut tcp).expect("sent");
    while session.is_handshaking() {
        let mut bytes = [0; 16 << 10];
        let read = tcp.read(&mut bytes).expect("it answers");
        session.read_tls(&mut &bytes[..read]).expect("room");
        session.process_new_packets().expect("TLS");
    }
    session.writer().write_all(request).expect("room");
    let mut rest = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut rest).expect("a vector");
    }
    tcp.write_all(&rest).expect("sent");
    SockRef::from(&tcp)
        .set_linger(Some(Duration::ZERO))
        .expect("it is a socket");
}

async fn metrics(address: SocketAddr, authority: &str) -> String {
    let mut stream = connect(address, authority).await.expect("TLS");
    let request = format!(
        "GET /metrics HTTP/1.0\r\nhost: a\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("a clean end");
    answer
}

#[tokio::test]
async fn a_request_is_carried_out_although_its_caller_leaves_before_the_handshake_is_finished() {
    const CALLS: usize = 20;
    let sockd = Sockd::builder()
        .env("SOCKD_SERVER__TLS_CERT_FILE", "server.pem")
        .env("SOCKD_SERVER__TLS_KEY_FILE", "server.key.pem")
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .env("SOCKD_INTERNAL__TLS_CERT_FILE", "server.pem")
        .env("SOCKD_INTERNAL__TLS_KEY_FILE", "server.key.pem")
        .start_in(folder())
        .await;
    let authority = text(&fixture("ca.pem"));
    let body = json!({ "userId": jwt::user(), "event": "profile:update" }).to_string();
    let request = format!(
        "POST /internal/emit HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let internal = sockd.internal_url();
    let address = internal.strip_prefix("http://").expect("a port");
    let address: SocketAddr = address.parse().expect("an address");
    for _ in 0..CALLS {
        let (authority, request) = (authority.clone(), request.clone());
        let post = move || post_and_be_gone(address, &authority, request.as_bytes());
        tokio::task::spawn_blocking(post).await.expect("it is sent");
    }
    let expected = format!("sockd_emits_total{{event=\"profile:update\"}} {CALLS}");
    eventually(PATIENCE, "the emits", async || {
        metrics(address, &authority).await.contains(&expected)
    })
    .await;
}

#[tokio::test]
async fn refusals_during_a_drain_are_counted_too() {
    let mut sockd = builder()
        .env("SOCKD_SERVER__PROXY_PROTOCOL", "true")
        .start_in(folder())
        .await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(RawConnection::open(sockd.address()).await);
    }
    // So that all are accepted.
    eventually(PATIENCE, "the connections", async || {
        sockd.figure("sockd_unjoined_connections").await == 3.0
    })
    .await;
    sockd.signal("TERM");
    sockd.logs("draining").await;
    connections[0].send("GET / HTTP/1.1\r\n\r\n").await;
    let header = b"PROXY UNKNOWN\r\n";
    connections[1]
        .send([&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat())
        .await;
    let refused = "sockd_proxy_protocol_refusals_total{listener=\"server\",why=\"missing\"}";
    eventually(PATIENCE, "the counts", async || {
        let not_tls = failures(&sockd, "server", "not_tls").await;
        (sockd.figure(refused).await, not_tls) == (1.0, 1.0)
    })
    .await;
    drop(connections);
    assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
}
