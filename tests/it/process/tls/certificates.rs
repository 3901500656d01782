//! The certificates of listeners and of callers: renewed, demanded, faulty, expired.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{builder, connect, fixture, folder, path, text};
use crate::support::{
    PATIENCE,
    command::Shell,
    eventually, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{frame, upgrade},
    within,
};

/// A new certificate for the same names, which is its own authority.
fn renew(folder: &Path) {
    let [certificate, key] = ["server.pem", "server.key.pem"].map(|name| folder.join(name));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
        .args([
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=renewed",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", path(&key), "-out", path(&certificate)])
        .output()
        .expect("openssl runs; install it with apt-get install openssl");
    assert!(made.status.success(), "{made:?}");
}

/// The certificate that new connections are shown.
async fn shown(sockd: &Sockd, authorities: &str) -> Option<Vec<u8>> {
    let stream = connect(sockd.address(), authorities).await.ok()?;
    let (_, session) = stream.get_ref();
    Some(session.peer_certificates()?.first()?.to_vec())
}

fn client(authority: &Path, identity: Option<&str>) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(text(authority).as_bytes()).expect("a PEM");
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([authority]);
    if let Some(name) = identity {
        let pem = format!(
            "{}{}",
            text(&fixture(&format!("{name}.pem"))),
            text(&fixture(&format!("{name}.key.pem")))
        );
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("a PEM"));
    }
    builder.build().expect("a client")
}

#[tokio::test]
async fn a_renewed_certificate_is_picked_up_under_open_connections() {
    let folder = folder();
    let authority = text(&fixture("ca.pem"));
    let sockd = builder().start_in(folder.clone()).await;
    let first = shown(&sockd, &authority).await.expect("a certificate");
    let (user, session) = (jwt::user(), jwt::session());
    let mut open = connect(sockd.address(), &authority).await.expect("TLS");
    open.write_all(upgrade("").as_bytes()).await.expect("sent");
    let connect = format!("40{{\"token\":\"{}\"}}", jwt::token(&user, &session));
    open.write_all(&frame(0x81, connect.as_bytes()))
        .await
        .expect("sent");
    eventually(PATIENCE, "the socket", async || {
        sockd.figure("sockd_sockets").await == 1.0
    })
    .await;

    // By itself, within seconds.
    renew(folder.path());
    let renewed = text(&folder.path().join("server.pem"));
    eventually(3 * PATIENCE, "the new certificate", async || {
        shown(&sockd, &renewed).await.is_some()
    })
    .await;
    assert_ne!(shown(&sockd, &renewed).await, Some(first.clone()));
    let expiry = r#"sockd_tls_certificate_expiry_timestamp_seconds{listener="server"}"#;
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .expect("a time")
        .as_secs_f64();
    let days = (sockd.figure(expiry).await - now) / 86_400.0;
    assert!((8.5..9.5).contains(&days), "{days}");
    sockd.logs("the certificate expires soon").await;

    // A mistake changes nothing, and is reported: by the reload, and by the node's own look.
    let failed = r#"sockd_tls_certificate_reads_total{listener="server",result="failed"}"#;
    // A look between the two files of the renewal may have failed.
    let before = sockd.figure(failed).await;
    fs::copy(
        fixture("client.key.pem"),
        folder.path().join("server.key.pem"),
    )
    .expect("a copy");
    let reload = sockd.post("/internal/reload", &json!({})).await;
    assert_eq!(reload.status(), 422);
    sockd.logs("does not belong to the first certificate").await;
    eventually(3 * PATIENCE, "both counts", async || {
        sockd.figure(failed).await == before + 2.0
    })
    .await;
    sockd
        .logs("a certificate cannot be used, keeping the old one")
        .await;
    assert!(shown(&sockd, &renewed).await.is_some());

    // So does a pipe, for whose writer nobody waits.
    let key = folder.path().join("server.key.pem");
    fs::remove_file(&key).expect("it is there");
    let made = Command::new("mkfifo").arg(&key).status();
    assert!(made.expect("mkfifo runs").success());
    eventually(3 * PATIENCE, "the next complaint", async || {
        sockd
            .log()
            .text()
            .contains("it is a pipe, not a regular file")
    })
    .await;
    fs::remove_file(&key).expect("it is there");

    // At once, by a reload.
    fs::copy(
        fixture("server.key.pem"),
        folder.path().join("server.key.pem"),
    )
    .expect("a copy");
    fs::copy(fixture("server.pem"), folder.path().join("server.pem")).expect("a copy");
    let reload = sockd.post("/internal/reload", &json!({})).await;
    assert_eq!(reload.status(), 200);
    assert_eq!(shown(&sockd, &authority).await, Some(first));

    // Who was there from the beginning is still there.
    sockd.emit(&user, "profile:update", &json!("hello")).await;
    let mut received = Vec::new();
    within(PATIENCE, "the event", async {
        while !String::from_utf8_lossy(&received).contains(r#"42["profile:update","hello"]"#) {
            let mut buffer = [0; 1_000];
            let read = open.read(&mut buffer).await.expect("it is open");
            assert!(read > 0);
            received.extend_from_slice(&buffer[..read]);
        }
    })
    .await;
}

#[tokio::test]
async fn callers_must_show_a_certificate_where_one_is_required() {
    let folder = folder();
    let sockd = Sockd::builder()
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0")
        .env("SOCKD_INTERNAL__TLS_CERT_FILE", "server.pem")
        .env("SOCKD_INTERNAL__TLS_KEY_FILE", "server.key.pem")
        .env(
            "SOCKD_INTERNAL__TLS_CLIENT_CA_FILE",
            path(&fixture("ca.pem")),
        )
        .env("SOCKD_METRICS__PUBLIC", "true")
        .start_in(folder)
        .await;
    let internal = sockd.internal_url();
    let (_, port) = internal.rsplit_once(':').expect("a port");
    let url = format!("https://localhost:{port}");
    let known = client(&fixture("ca.pem"), Some("client"));
    let get = async |client: &reqwest::Client, path: &str| {
        let answer = client.get(format!("{url}{path}")).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.expect("a body")))
    };
    assert_eq!(get(&known, "/healthz").await.expect("an answer").0, 200);
    assert_eq!(
        get(&known, "/internal/sessions")
            .await
            .expect("an answer")
            .0,
        401
    );
    assert_eq!(
        get(&client(&fixture("ca.pem"), None), "/healthz").await,
        None
    );
    // One that is for servers.
    assert_eq!(
        get(&client(&fixture("ca.pem"), Some("server")), "/healthz").await,
        None
    );
    let counted =
        r#"sockd_tls_handshake_failures_total{listener="internal",why="client_certificate"} 2"#;
    eventually(PATIENCE, "the counts", async || {
        let (_, metrics) = get(&known, "/metrics").await.expect("an answer");
        metrics.contains(counted)
    })
    .await;

    let (user, payload) = (jwt::user(), "1");
    let command = [
        "emit",
        user.as_str(),
        "profile:update",
        payload,
        "--url",
        &url,
    ];
    let shell = || {
        Shell::new()
            .env("INTERNAL_SECRET", INTERNAL_SECRET)
            .env("SOCKD_INTERNAL__COMMAND_CA_FILE", path(&fixture("ca.pem")))
    };
    let done = shell()
        .env(
            "SOCKD_INTERNAL__COMMAND_CERT_FILE",
            path(&fixture("client.pem")),
        )
        .env(
            "SOCKD_INTERNAL__COMMAND_KEY_FILE",
            path(&fixture("client.key.pem")),
        )
        .run(&command)
        .await;
    assert_eq!(done.code, Some(0), "{done:?}");
    // Without what it needs, the command says what that is.
    for shell in [
        shell(),
        Shell::new().env("INTERNAL_SECRET", INTERNAL_SECRET),
    ] {
        let done = shell.run(&command).await;
        assert_eq!(done.code, Some(3), "{done:?}");
        assert!(done.stderr.contains("internal.command_ca_file"), "{done:?}");
    }
}

#[tokio::test]
async fn a_listener_that_does_not_trust_the_server_is_told_the_remedy() {
    let sockd = builder().start_in(folder()).await;
    let url = format!("https://localhost:{}", sockd.address().port());
    let plain = Sockd::start().await;
    let not_tls = format!("https://localhost:{}", plain.address().port());
    for url in [url, not_tls] {
        let command = [
            "listen",
            &jwt::user(),
            "--new-session",
            "--once",
            "--url",
            &url,
        ];
        let shell = Shell::at(&sockd).env("JWT_SECRET", jwt::SECRET);
        let done = shell.run(&command).await;
        assert_eq!(done.code, Some(3), "{done:?}");
        let expected = format!("no TLS connection with {url}; name its authority in");
        assert!(done.stderr.contains(&expected), "{done:?}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_remedy() {
    let key = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let certificate = "SOCKD_SERVER__TLS_CERT_FILE";
    for (variable, content, expected) in [
        (certificate, None, "create it or leave the key out"),
        (
            certificate,
            Some(""),
            "has no certificate in PEM; name the file",
        ),
        (
            certificate,
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "cannot be used",
        ),
        (
            "SOCKD_SERVER__TLS_KEY_FILE",
            Some(key),
            "has no private key in PEM that is not encrypted",
        ),
        (
            "SOCKD_SERVER__TLS_KEY_FILE",
            Some(&*text(&fixture("client.key.pem"))),
            "does not belong to the first certificate",
        ),
        (
            "SOCKD_INTERNAL__TLS_CERT_FILE",
            Some(&*text(&fixture("client.pem"))),
            "internal.tls_key_file is missing",
        ),
        (
            "SOCKD_INTERNAL__TLS_CLIENT_CA_FILE",
            Some(&*text(&fixture("ca.pem"))),
            "set internal.tls_cert_file",
        ),
    ] {
        let folder = folder();
        let file = folder.path().join("other.pem");
        if let Some(content) = content {
            fs::write(&file, content).expect("it is written");
        }
        let builder = builder().env(variable, path(&file));
        let mut command = tokio::process::Command::from(builder.command(&folder));
        let output = command.kill_on_drop(true).output();
        let output = within(PATIENCE, "the end", output)
            .await
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        assert!(
            text.contains(expected) && text.contains("tls_"),
            "{expected}: {text}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_served_with_a_warning() {
    let folder = folder();
    let file = folder.path().join("server.pem");
    let certificate = pem::parse(text(&file)).expect("a PEM");
    let mut bytes = certificate.contents().to_vec();
    // A GeneralizedTime, as the fixtures are good for a hundred years.
    let end = bytes.windows(3).position(|part| part == b"\x18\x0f2");
    let end = end.expect("the end") + 2;
    bytes[end..end + 4].copy_from_slice(b"2020");
    fs::write(&file, pem::encode(&pem::Pem::new("CERTIFICATE", bytes))).expect("it is written");
    let sockd = builder().start_in(folder.clone()).await;
    eventually(PATIENCE, "the warning", async || {
        sockd.log().text().contains("the certificate has expired")
    })
    .await;
    let done = Shell::new()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("SOCKD_SERVER__TLS_CERT_FILE", path(&file))
        .env(
            "SOCKD_SERVER__TLS_KEY_FILE",
            path(&fixture("server.key.pem")),
        )
        .run(&["doctor"])
        .await;
    assert!(done.stdout.contains("has expired"), "{done:?}");
}
