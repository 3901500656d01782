//! `sockd serve`: how it starts, and what `--dev` prints to be pasted.

use std::net::TcpListener;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::support::{
    PATIENCE,
    command::{Shell, finished},
    eventually, http, jwt, process,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
    within,
};

fn shell() -> Shell {
    Shell::new()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("PORT", "0")
}

#[tokio::test]
async fn a_failed_start_is_reported_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let stderr = shell()
        .run(&["serve", "--host", "127.0.0.1", "--port", &port])
        .await
        .fails(1);
    assert!(
        stderr.contains(&format!(
            "error: port {port} is taken; stop the program that listens there, or set PORT or --port to another"
        )),
        "{stderr}"
    );
    for (arguments, code, complaint) in [
        (
            &["--host", "no.such.host.invalid"][..],
            1,
            "is not available; check server.host and server.port",
        ),
        (
            &["--host", "192.0.2.1"],
            1,
            "is not available; check server.host and server.port",
        ),
        (&["--port", "70000"], 2, "--port"),
        (
            &["--log-level", "inof"],
            2,
            "flag --log-level: log.level: \"inof\" is not a log filter",
        ),
        (&["--log-format", "xml"], 2, "possible values: text, json"),
        (
            &["--redis-url", "localhost"],
            2,
            "flag --redis-url: redis.url: what is given is not a Redis URL",
        ),
        (
            &["--dev", "--redis-url", "redis://h"],
            2,
            "cannot be used with",
        ),
        (
            &["--dev", "--config", "x"],
            2,
            "--dev reads no configuration; leave out --dev or --config",
        ),
    ] {
        let stderr = shell()
            .run(&[&["serve"], arguments].concat())
            .await
            .fails(code);
        assert!(stderr.contains(complaint), "{stderr}");
    }
    let stderr = shell()
        .run(&["--config", "x", "serve", "--dev"])
        .await
        .fails(2);
    assert!(stderr.contains("leave out --dev or --config"), "{stderr}");
    let key = shell().env(
        "JWT_SECRET",
        "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----",
    );
    key.run(&["serve"]).await.fails(2);
}

#[tokio::test]
async fn memory_mode_is_logged_and_stdout_stays_empty() {
    let shell = shell();
    let mut child = shell.spawn(&["serve"]);
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let mut log = String::new();
    within(PATIENCE, "the start", async {
        while !log.contains("listening address=") {
            log += &stderr.next_line().await.expect("UTF-8").expect("it starts");
        }
    })
    .await;
    assert!(
        log.contains("lost on restart and not shared with other nodes; set redis.url to keep them"),
        "{log}"
    );
    signal(child.id(), "TERM");
    assert_eq!(finished(child).await.ok(), "");
}

#[tokio::test]
async fn a_log_that_is_no_longer_read_does_not_stop_the_server() {
    let shell = shell().env("SOCKD_LOG__LEVEL", "debug");
    let mut child = shell.spawn(&["serve", "--host", "127.0.0.1"]);
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    let address = within(PATIENCE, "the address", async {
        loop {
            line.clear();
            stderr.read_line(&mut line).await.expect("UTF-8");
            if let Some((_, rest)) = line.split_once("listening address=") {
                return rest
                    .split(' ')
                    .next()
                    .map(str::to_owned)
                    .expect("an address");
            }
        }
    })
    .await;
    drop(stderr);
    let emit = http::client().post(format!("http://{address}/internal/emit"));
    for _ in 0..3 {
        let body = serde_json::json!({ "userId": jwt::user(), "event": "profile:update" });
        let emit = emit.try_clone().expect("a request without a body");
        let answer = emit.bearer_auth(INTERNAL_SECRET).json(&body).send().await;
        assert_eq!(answer.expect("the server lives").status(), 200);
    }
    signal(child.id(), "TERM");
    let status = within(PATIENCE, "the end", child.wait())
        .await
        .expect("it can be waited for");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_dev_prints_can_be_pasted() {
    let sockd = Sockd::dev().await;
    let text = sockd.log().text();
    let between = |before: &str, after: &str| {
        let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("{text}"));
        rest.split_once(after).expect("an end").0.to_owned()
    };
    let url = between("Watch it in a browser:\n\n  ", "/\n");
    assert_eq!(url, sockd.url());
    assert_eq!(between("io(\"", "\""), url);
    let token = between("token: \"", "\"");
    let page = http::get(&url).await;
    assert_eq!(page.status(), 200);

    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    assert!(socket.connect(&token).await.starts_with("40{"));
    let pasted = |command: &str| {
        let line = text.lines().find(|line| line.contains(command));
        line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
    };
    // Pasted into another terminal: another folder, and nothing of the server's environment.
    let terminal = Shell::new();
    let done = terminal.sh(&pasted(" emit ")).await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "sent; the user is online on 1 node\n");
    assert_eq!(
        socket.packet().await,
        r#"42["profile:update",{"hello":"world"}]"#
    );
    let listen = format!("{} --timeout 60s --count 1", pasted(" listen "));
    let (listened, ()) = tokio::join!(terminal.sh(&listen), async {
        eventually(PATIENCE, "the listener's socket", async || {
            let metrics = http::client().get(format!("{url}/metrics"));
            let secret = terminal
                .sh(&format!("cat {}", between("--secret-file ", "\n")))
                .await;
            let answer = metrics.bearer_auth(secret.ok()).send().await;
            let metrics = answer.expect("an answer").text().await.expect("text");
            metrics.contains("\nsockd_sockets 2\n")
        })
        .await;
        terminal.sh(&pasted(" emit ")).await.ok();
    });
    assert!(
        listened
            .ok()
            .ends_with("  profile:update  {\"hello\":\"world\"}\n")
    );
    socket.packet().await;
    let done = terminal.sh(&pasted(" force-logout ")).await;
    assert_eq!(done.ok(), "disconnected 1 socket of other sessions\n");
    let told = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
    assert_eq!(socket.packet().await, told);
    assert_eq!(socket.packet().await, "41");
}

#[tokio::test]
async fn dev_listens_only_on_this_machine_reads_no_files_and_leaves_none() {
    let shell = shell()
        .env("SOCKD_AUTH__SECRET", "not read")
        .env("SOCKD_NO__SUCH", "not read")
        .env("TMPDIR", ".")
        .file("sockd.toml", "[[ not even TOML")
        .file(".env", "PORT=not read");
    let mut child = shell.spawn(&["serve", "--dev"]);
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut log = String::new();
    within(PATIENCE, "the address", async {
        while !log.contains("listening address=") {
            assert_ne!(stderr.read_line(&mut log).await.expect("UTF-8"), 0, "{log}");
        }
    })
    .await;
    assert!(log.contains("listening address=127.0.0.1:"), "{log}");
    let folders = || {
        let entries = std::fs::read_dir(shell.path(".")).expect("the folder");
        let names = entries.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        });
        names.filter(|name| name.starts_with("sockd-dev-")).count()
    };
    assert_eq!(folders(), 1);
    signal(child.id(), "INT");
    let mut rest = String::new();
    within(PATIENCE, "the end", stderr.read_to_string(&mut rest))
        .await
        .expect("UTF-8");
    assert_eq!(finished(child).await.ok(), "");
    assert_eq!(folders(), 0);
}

#[tokio::test]
async fn a_log_in_json_is_json() {
    let shell = shell();
    let mut child = shell.spawn(&["serve", "--log-format", "json", "--log-level", "info"]);
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    within(PATIENCE, "the start", async {
        loop {
            let line = stderr.next_line().await.expect("UTF-8").expect("it starts");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "listening" {
                break;
            }
        }
    })
    .await;
    drop(stderr);
    signal(child.id(), "TERM");
    finished(child).await.ok();
}

fn signal(pid: Option<u32>, name: &str) {
    process::signal(pid.expect("it runs"), name);
}
