//! TLS on sockd's own listeners: stock clients, certificates that are renewed, client certificates, and
//! what goes wrong.

mod certificates;
mod hostile;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::support::{
    PATIENCE,
    driver::Driver,
    eventually,
    http::RawConnection,
    jwt,
    sockd::{Builder, Sockd},
    websocket::{frame, upgrade},
    within,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/tls")
        .join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

fn path(file: &Path) -> &str {
    file.to_str().expect("UTF-8")
}

/// A folder with `server.pem` and `server.key.pem`.
fn folder() -> Arc<TempDir> {
    let folder = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    for name in ["server.pem", "server.key.pem"] {
        fs::copy(fixture(name), folder.path().join(name)).expect("a copy");
    }
    folder
}

/// A server with TLS for clients, and internal routes apart without it.
fn builder() -> Builder {
    Sockd::builder()
        .env("SOCKD_SERVER__TLS_CERT_FILE", "server.pem")
        .env("SOCKD_SERVER__TLS_KEY_FILE", "server.key.pem")
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
}

/// A client that trusts what is in the PEM.
fn client_config(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots
            .add(certificate.expect("a PEM"))
            .expect("an authority");
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A TLS connection that trusts what is in the PEM.
async fn connect(address: SocketAddr, authority: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(("127.0.0.1", address.port())).await?;
    let connector = TlsConnector::from(client_config(authority));
    within(
        PATIENCE,
        "a TLS handshake",
        connector.connect(server_name(), tcp),
    )
    .await
}

async fn failures(sockd: &Sockd, listener: &str, why: &str) -> f64 {
    let labels = format!("listener=\"{listener}\",why=\"{why}\"");
    sockd
        .figure(&format!("sockd_tls_handshake_failures_total{{{labels}}}"))
        .await
}

#[tokio::test]
async fn stock_clients_are_served_over_tls() {
    let mut sockd = builder().start_in(folder()).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut driver = Driver::node().await;
    let clients = [
        ("4 by default", 4, json!(["polling", "websocket"])),
        ("4 over websocket", 4, json!(["websocket"])),
        ("4 over polling", 4, json!(["polling"])),
        ("3 by default", 3, json!(["polling", "websocket"])),
    ];
    let url = format!("https://localhost:{}", sockd.address().port());
    for (id, version, transports) in &clients {
        let options = json!({
            "transports": transports,
            "auth": { "token": jwt::token(&user, &session) },
            "ca": text(&fixture("ca.pem")),
            "reconnection": false,
        });
        driver.connect(id, *version, &url, &options);
    }
    eventually(PATIENCE, "the sockets", async || {
        sockd.figure("sockd_sockets").await == 4.0
    })
    .await;
    // More than a record, and more than the system takes at once.
    for payload in [json!(1), json!("x".repeat(900_000)), json!(2)] {
        sockd.emit(&user, "profile:update", &payload).await;
        for (id, ..) in &clients {
            assert_eq!(driver.event(id).await, json!([payload]), "{id}");
        }
    }
    // A client sends more than a record.
    for (id, ..) in &clients {
        let more = json!({ "event": "profile:update", "args": ["y".repeat(100_000)] });
        driver.order(id, "emit", more);
    }
    sockd.emit(&user, "profile:update", &json!(3)).await;
    for (id, ..) in &clients {
        assert_eq!(driver.event(id).await, json!([3]), "{id}");
    }
    let (other, session) = (jwt::user(), jwt::session());
    let options = json!({
        "auth": { "token": jwt::token(&other, &session) },
        "ca": text(&fixture("ca.pem")),
        "reconnection": false,
    });
    driver.connect("last", 4, &url, &options);
    eventually(PATIENCE, "the socket", async || {
        sockd.figure("sockd_sockets").await == 5.0
    })
    .await;
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 4);
    for (id, ..) in &clients {
        assert_eq!(
            driver.event(id).await,
            json!([{ "reason": "SESSION_REPLACED" }])
        );
        let report = driver.next(id).await;
        assert_eq!(report["reason"], "io server disconnect", "{id}: {report}");
    }
    assert_eq!(sockd.drain().await, Some(0));
}

#[tokio::test]
async fn a_handshake_that_gets_stuck_is_closed_and_counted() {
    let sockd = builder()
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1s")
        .start_in(folder())
        .await;
    let mut stuck = RawConnection::open(sockd.address()).await;
    stuck.send(&[0x16, 3, 1, 2]).await;
    assert_eq!(stuck.read_to_end(PATIENCE).await, "");
    eventually(PATIENCE, "the count", async || {
        failures(&sockd, "server", "late").await == 1.0
    })
    .await;
}

#[tokio::test]
async fn what_is_not_tls_or_fails_is_closed_and_counted() {
    let sockd = builder()
        // A handshake takes seconds without optimisation on a busy machine.
        .env("SOCKD_SERVER__HEADER_TIMEOUT", "1h")
        .start_in(folder())
        .await;
    let mut plain = RawConnection::open(sockd.address()).await;
    plain.send("GET / HTTP/1.1\r\nhost: sockd\r\n\r\n").await;
    let answer = plain.read_to_end(PATIENCE).await;
    assert!(!answer.contains("HTTP"), "{answer}");
    // A balancer that only looks whether the port is open is not counted.
    drop(RawConnection::open(sockd.address()).await);
    // Clients that hang up, and one that trusts another authority.
    let mut gone = RawConnection::open(sockd.address()).await;
    gone.send(&[0x16, 3, 1, 2]).await;
    gone.half_close().await;
    assert_eq!(gone.read_to_end(PATIENCE).await, "");
    let mut reset = RawConnection::open(sockd.address()).await;
    reset.send(&[0x16, 3, 1, 2]).await;
    reset.reset();
    let stranger = text(&fixture("stranger.pem"));
    assert!(connect(sockd.address(), &stranger).await.is_err());
    for (why, count) in [
        ("not_tls", 1.0),
        ("late", 0.0),
        ("closed", 2.0),
        ("alert", 1.0),
        ("other", 0.0),
    ] {
        eventually(PATIENCE, why, async || {
            failures(&sockd, "server", why).await == count
        })
        .await;
    }
}

#[tokio::test]
async fn half_handshakes_do_not_hold_up_a_drain() {
    let mut sockd = builder().start_in(folder()).await;
    let mut connections = Vec::new();
    for sent in [&b""[..], &[0x16], &[0x16, 3, 1, 2, 0, 1]] {
        let mut connection = RawConnection::open(sockd.address()).await;
        connection.send(sent).await;
        connections.push(connection);
    }
    let authority = text(&fixture("ca.pem"));
    let _silent = connect(sockd.address(), &authority).await.expect("TLS");
    assert_eq!(sockd.drain().await, Some(0));
    sockd.log().lacks("the shutdown limit has passed");
}

#[tokio::test]
async fn a_proxy_protocol_header_comes_before_the_handshake() {
    let sockd = builder()
        .env("SOCKD_SERVER__PROXY_PROTOCOL", "true")
        .env("SOCKD_LOG__ACCESS", "true")
        .start_in(folder())
        .await;
    let mut tcp = TcpStream::connect(("127.0.0.1", sockd.address().port()))
        .await
        .expect("it listens");
    tcp.write_all(b"PROXY TCP4 198.51.100.1 10.0.0.1 4711 443\r\n")
        .await
        .expect("sent");
    let connector = TlsConnector::from(client_config(&text(&fixture("ca.pem"))));
    let mut stream = connector.connect(server_name(), tcp).await.expect("TLS");
    let (user, session) = (jwt::user(), jwt::session());
    let connect = format!("40{{\"token\":\"{}\"}}", jwt::token(&user, &session));
    stream
        .write_all(upgrade("").as_bytes())
        .await
        .expect("sent");
    stream
        .write_all(&frame(0x81, connect.as_bytes()))
        .await
        .expect("sent");
    eventually(PATIENCE, "the socket", async || {
        sockd.figure("sockd_sockets").await == 1.0
    })
    .await;
    drop(stream);
    let line = super::access::line_of(&sockd, &user).await;
    assert!(line.contains(" address=198.51.100.1:4711 "), "{line}");
}
