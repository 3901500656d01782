//! A listener for internal routes, health and metrics, apart from the clients'.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixListener,
    },
    path::Path,
    process::Command,
    sync::Arc,
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    PATIENCE,
    command::Shell,
    eventually,
    http::{self, RawConnection},
    jwt,
    process::free_port,
    sockd::{Builder, INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

const NOT_FOUND: &str = r#"{"ok":false,"error":"NOT_FOUND"}"#;

fn folder() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a temporary directory"))
}

/// A server with this listener; a path is relative to its working directory.
fn at(listen: &str) -> Builder {
    Sockd::builder().env("SOCKD_INTERNAL__LISTEN", listen)
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Starts a server that fails with this text, next to what is in the folder.
async fn fails_in(folder: &TempDir, builder: Builder, remedy: &str) {
    let (status, text) = builder.fails_in(folder).await;
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(remedy), "{remedy}\n{text}");
}

#[tokio::test]
async fn callers_and_clients_each_find_only_their_own_routes() {
    for listen in [
        "127.0.0.1:0",
        "[::1]:0",
        "localhost:0",
        "unix:internal.sock",
    ] {
        let sockd = at(listen).start().await;
        let url = sockd.internal_url();
        assert_ne!(url, sockd.url());
        let (user, session) = (jwt::user(), jwt::session());
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        sockd.emit(&user, "profile:update", &json!(1)).await;
        assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
        let ask = async |method: Method, path: &str, header: (&str, &str)| {
            let request = sockd.request(method, path).header(header.0, header.1);
            let answer = request.send().await.expect("the server answers");
            (
                answer.status().as_u16(),
                answer.text().await.expect("a body"),
            )
        };
        let bearer = format!("Bearer {INTERNAL_SECRET}");
        let secret = ("authorization", bearer.as_str());
        let nothing = ("accept", "*/*");
        for (method, path, header, status) in [
            (Method::GET, "/healthz", nothing, 200),
            (Method::GET, "/readyz", nothing, 200),
            (Method::GET, "/metrics", nothing, 401),
            (Method::GET, "/metrics", secret, 200),
            (Method::GET, "/internal/sessions", secret, 200),
            (Method::POST, "/internal/emit", nothing, 401),
            (
                Method::POST,
                "/internal/emit",
                ("sec-fetch-mode", "cors"),
                403,
            ),
            (Method::POST, "/internal/emit", secret, 400),
            (
                Method::GET,
                "/socket.io/?EIO=4&transport=polling",
                secret,
                404,
            ),
            (Method::GET, "/", nothing, 404),
        ] {
            let (answered, body) = ask(method.clone(), path, header).await;
            assert_eq!(answered, status, "{listen} {method} {path} {body}");
        }
        assert!(sockd.metrics().await.contains("\nsockd_sockets 1\n"));
        for (method, path) in [
            (Method::GET, "/healthz"),
            (Method::GET, "/readyz"),
            (Method::GET, "/metrics"),
            (Method::GET, "/internal/sessions"),
            (Method::POST, "/internal/emit"),
            (Method::POST, "/Internal/Emit/"),
            (Method::POST, "/internal/force-logout"),
            (Method::GET, "/internal"),
            (Method::GET, "/"),
        ] {
            for secret in [INTERNAL_SECRET, "x"] {
                let request = http::client()
                    .request(method.clone(), format!("{}{path}", sockd.url()))
                    .bearer_auth(secret)
                    .header("sec-fetch-mode", "cors")
                    .json(&json!({ "userId": user, "event": "profile:update" }));
                let answer = request.send().await.expect("the server answers");
                assert_eq!(answer.status(), 404, "{listen} {method} {path}");
                assert_eq!(answer.text().await.expect("a body"), NOT_FOUND);
            }
        }
    }
}

#[tokio::test]
async fn a_request_over_a_unix_socket_names_one_host_too() {
    let sockd = at("unix:internal.sock").start().await;
    for (hosts, status) in [
        ("", 400),
        ("Host: a\r\nHost: b\r\n", 400),
        ("Host: a\r\n", 200),
    ] {
        let mut connection = RawConnection::open_at(&sockd.internal_url()).await;
        connection
            .send(format!("GET /healthz HTTP/1.1\r\n{hosts}\r\n"))
            .await;
        let answer = connection.read_answer().await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

/// A group that this user may give files to, with its number.
fn group() -> (String, u32) {
    let id = |option: &str| {
        let output = Command::new("id").arg(option).output().expect("id starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.split_whitespace().last().expect("a group").to_owned()
    };
    if id("-u") != "0" {
        return (id("-Gn"), id("-G").parse().expect("a number"));
    }
    let groups = fs::read_to_string("/etc/group").expect("a file");
    let other = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        (id != 0).then(|| (name.to_owned(), id))
    });
    other.expect("another group than that of root")
}

#[tokio::test]
async fn the_socket_has_the_permission_bits_and_the_group_of_the_configuration() {
    let (name, id) = group();
    for (mode, given, expected) in [
        (None, name.clone(), 0o660),
        (Some("0600"), id.to_string(), 0o600),
        (Some("666"), name, 0o666),
    ] {
        let folder = folder();
        let mut builder = at("unix:internal.sock")
            // They apply whatever the umask is.
            .prelude("umask 0002")
            .env("SOCKD_INTERNAL__SOCKET_GROUP", given);
        if let Some(mode) = mode {
            builder = builder.env("SOCKD_INTERNAL__SOCKET_MODE", mode);
        }
        let _sockd = builder.start_in(folder.clone()).await;
        let file = fs::symlink_metadata(folder.path().join("internal.sock")).expect("a file");
        assert_eq!(file.mode() & 0o7777, expected);
        assert_eq!(file.gid(), id);
    }
}

#[tokio::test]
async fn the_file_goes_with_its_process_and_a_leftover_is_replaced() {
    let folder = folder();
    let path = folder.path().join("internal.sock");
    for signal in ["TERM", "INT"] {
        let mut sockd = at("unix:internal.sock").start_in(folder.clone()).await;
        assert!(is_socket(&path));
        sockd.signal(signal);
        assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
        assert!(!path.exists());
        // The next one finds what a killed process leaves.
        let mut sockd = at("unix:internal.sock").start_in(folder.clone()).await;
        sockd.kill().await;
        assert!(is_socket(&path));
    }
    let mut sockd = at("unix:internal.sock")
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h")
        .env("SOCKD_SERVER__DRAIN_WINDOW", "1h")
        .start_in(folder.clone())
        .await;
    assert!(sockd.is_ready_now().await);
    // A client that keeps the drain waiting.
    let _client = WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    sockd.signal("TERM");
    eventually(PATIENCE, "the drain", async || !sockd.is_ready_now().await).await;
    sockd.signal("TERM");
    sockd.ended(PATIENCE).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn what_another_process_listens_on_is_left_to_it() {
    let folder = folder();
    let first = at("unix:internal.sock").start_in(folder.clone()).await;
    let busy = "internal.sock already; end it, or choose another path";
    fails_in(&folder, at("unix:internal.sock"), busy).await;
    assert!(first.is_ready_now().await);
    // A stranger that accepts no connection.
    let path = folder.path().join("stranger.sock");
    let _stranger = UnixListener::bind(&path).expect("a free path");
    fails_in(
        &folder,
        at("unix:stranger.sock"),
        "stranger.sock already; end it",
    )
    .await;
    assert!(is_socket(&path));

    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let _taken = std::net::TcpListener::bind(&listen).expect("a free port");
    let taken = format!("internal.listen: {listen} is taken; stop the program that listens there");
    fails_in(&folder, at(&listen), &taken).await;
    let port = free_port();
    let same = at(&format!("127.0.0.1:{port}")).env("PORT", port.to_string());
    fails_in(
        &folder,
        same,
        "is taken, perhaps by server.port; choose another port",
    )
    .await;
}

#[tokio::test]
async fn what_keeps_it_from_listening_is_reported_with_the_remedy_and_nothing_is_removed() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").expect("a file");
    let long = format!("unix:{}", "x".repeat(200));
    for (listen, remedy) in [
        (
            "unix:file",
            "is not a socket, so sockd leaves it alone; move it away",
        ),
        (
            "unix:none/s",
            "none does not exist; create it (RuntimeDirectory=",
        ),
        (&long, "choose a shorter one"),
        (
            "no.such.host.invalid:1",
            "cannot be listened on; choose an address of this machine",
        ),
        (
            "192.0.2.1:0",
            "cannot be listened on; choose an address of this machine",
        ),
    ] {
        fails_in(&folder, at(listen), remedy).await;
    }
    assert_eq!(fs::read_to_string(&file).expect("a file"), "precious");
    let stranger = at("unix:s").env("SOCKD_INTERNAL__SOCKET_GROUP", "no-such-group");
    let remedy = "internal.socket_group: this machine has no group \"no-such-group\"; create it";
    fails_in(&folder, stranger, remedy).await;
    assert!(!folder.path().join("s").exists());
}

#[tokio::test]
async fn commands_find_it_by_the_configuration_and_by_its_address() {
    for listen in ["127.0.0.1:0", "unix:internal.sock"] {
        let sockd = at(listen).start().await;
        let (user, session) = (jwt::user(), jwt::session());
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        let url = sockd.internal_url();
        let listen = url.strip_prefix("http://").unwrap_or(&url);
        let file = format!("[internal]\nlisten = \"{listen}\"\n");
        let by_file = Shell::new()
            .file("sockd.toml", file)
            .env("INTERNAL_SECRET", INTERNAL_SECRET);
        let by_flag = Shell::new().env("INTERNAL_SECRET", INTERNAL_SECRET);
        let url = url.replace("unix:", "unix://");
        for (shell, flags) in [(&by_file, &[][..]), (&by_flag, &["--url", url.as_str()])] {
            let emit = ["emit", &user, "profile:update", "7"];
            let done = shell.run(&[&emit[..], flags].concat()).await;
            assert_eq!(done.ok(), "sent; the user is online on 1 node\n");
            assert_eq!(socket.packet().await, r#"42["profile:update",7]"#);
            let done = shell
                .run(&[&["sessions", "ls", "--json"], flags].concat())
                .await;
            assert!(done.ok().contains(&session));
        }
        let other = jwt::session();
        let done = by_file.run(&["force-logout", &user, &other]).await;
        assert_eq!(done.ok(), "disconnected 1 socket of other sessions\n");
    }
}

#[tokio::test]
async fn a_command_names_the_socket_that_nobody_listens_on() {
    let shell = Shell::new().env("INTERNAL_SECRET", INTERNAL_SECRET);
    let emit = [
        "emit",
        "64b7f0c2a1d2e3f405162738",
        "profile:update",
        "--url",
    ];
    let stderr = shell
        .run(&[&emit[..], &["unix:nobody.sock"]].concat())
        .await
        .fails(3);
    assert!(
        stderr.contains("no answer from unix:nobody.sock; start sockd there"),
        "{stderr}"
    );
    let stderr = shell.run(&[&emit[..], &["unix:"]].concat()).await.fails(2);
    assert!(stderr.contains("unix:/run/sockd/internal.sock"), "{stderr}");
}

#[tokio::test]
async fn a_drain_leaves_callers_and_probes_their_listener_until_the_end() {
    for listen in ["127.0.0.1:0", "unix:internal.sock"] {
        let folder = folder();
        let mut sockd = at(listen)
            .env("SOCKD_SERVER__DRAIN_WINDOW", "0s")
            // Not a limit for a busy machine.
            .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h")
            .env("SOCKD_SERVER__BODY_TIMEOUT", "1h")
            .start_in(folder.clone())
            .await;
        let (user, session) = (jwt::user(), jwt::session());
        let mut client = WebSocket::join(sockd.address(), &user, &session).await;
        // A request whose body is still to come keeps the process.
        let body = json!({ "userId": user, "event": "profile:update" }).to_string();
        let mut late = RawConnection::open_at(&sockd.internal_url()).await;
        late.send(format!(
            "POST /internal/emit HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        ))
        .await;
        // Its head has been read.
        let interim = late.read_answer().await;
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        sockd.signal("TERM");
        client.closed(PATIENCE).await;
        let address = sockd.address();
        eventually(PATIENCE, "the clients' port is closed", async || {
            tokio::net::TcpStream::connect(address).await.is_err()
        })
        .await;
        for _ in 0..3 {
            let request = sockd.request(Method::GET, "/readyz");
            let answer = request.bearer_auth(INTERNAL_SECRET).send().await;
            let answer = answer.expect("the server answers");
            assert_eq!(answer.status(), 503);
            assert_eq!(answer.headers()["connection"], "close");
            let body: Value = answer.json().await.expect("JSON");
            assert!(body["reason"].is_string(), "{body}");
        }
        late.send(&body).await;
        let answer = late.read_answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
        assert!(!folder.path().join("internal.sock").exists());
    }
}

#[tokio::test]
async fn clients_that_take_all_open_files_do_not_keep_callers_out() {
    for listen in ["127.0.0.1:0", "unix:internal.sock"] {
        let sockd = at(listen)
            .prelude("ulimit -n 128")
            .env("SOCKD_SERVER__HEADER_TIMEOUT", "1h")
            .start()
            .await;
        let mut silent = Vec::new();
        for _ in 0..3 {
            for _ in 0..100 {
                silent.push(RawConnection::open(sockd.address()).await);
            }
            assert!(sockd.is_ready_now().await);
            sockd
                .emit(&jwt::user(), "profile:update", &Value::Null)
                .await;
        }
        let log = sockd.log().text();
        assert!(!log.contains("cannot accept connections"), "{log}");
    }
}

#[tokio::test]
async fn dev_prints_commands_that_call_it() {
    let folder = folder();
    let socket = format!("unix:{}", folder.path().join("it's.sock").display());
    for listen in ["127.0.0.1:0", &socket] {
        let sockd = Sockd::dev_with(&["--internal-listen", listen]).await;
        let text = sockd.log().text();
        let page = http::get(&sockd.url()).await;
        assert_eq!(page.status(), 200);
        let page = page.text().await.expect("a page");
        assert!(!page.contains("SOCKD_URL={origin}"), "{page}");
        let health = http::get(&format!("{}/healthz", sockd.url())).await;
        assert_eq!(health.status(), 404);
        let line = text.lines().find(|line| line.contains(" emit "));
        let line = line.unwrap_or_else(|| panic!("{text}"));
        let done = Shell::new().sh(line.trim()).await;
        assert_eq!(done.ok(), "sent, but the user is offline\n");
    }
}
