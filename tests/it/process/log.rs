//! A log that is not read or cannot be written: the server keeps working, ends in time, and says how
//! many lines are missing once it can.
mod fields;
mod server;

use std::{fs::OpenOptions, net::SocketAddr, process::Stdio};

use serde_json::Value;
use tokio::time::Instant;

use self::server::{
    Log, Server, dropped, ended, goes_on, is_closed, listens, lives, make_log, spawn, terminate,
};
use crate::support::{
    PATIENCE, eventually, http,
    process::free_port,
    sockd::{INTERNAL_SECRET, Sockd},
    within,
};

/// How the line that replaces dropped lines begins.
const NOTICE: &str = "dropped log lines";

/// Sums up the dropped lines that the log mentions.
fn told(log: &str) -> u64 {
    let lines = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once(NOTICE)?;
        let (_, lines) = rest.split_once("lines=")?;
        lines.trim().parse::<u64>().ok()
    });
    lines.sum()
}

/// stdout is the same file, as under a supervisor that collects both.
async fn serves_and_ends_in_time(log: Log) {
    let builder = Sockd::builder()
        .env("NO_COLOR", "1")
        .env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "3s");
    let mut server = Server::start(&builder, log).await;
    server.stop_reading();
    server.overflow().await;
    goes_on(server.address).await;
    let asked = Instant::now();
    terminate(&server.child);
    assert_eq!(ended(&mut server.child).await, Some(0));
    let took = asked.elapsed();
    assert!(took < PATIENCE / 2, "{took:?}");
}

#[tokio::test]
async fn an_unread_pipe_does_not_stop_the_server() {
    serves_and_ends_in_time(Log::pipe()).await;
}

#[tokio::test]
async fn an_unread_socket_does_not_stop_the_server() {
    serves_and_ends_in_time(Log::socket()).await;
}

#[tokio::test]
async fn an_unread_non_blocking_socket_does_not_stop_the_server() {
    serves_and_ends_in_time(Log::non_blocking_socket()).await;
}

#[tokio::test]
async fn a_stopped_terminal_does_not_stop_the_server() {
    serves_and_ends_in_time(Log::terminal()).await;
}

#[tokio::test]
async fn the_log_says_how_many_lines_are_missing() {
    let mut server = Server::start(&Sockd::builder(), Log::pipe()).await;
    server.overflow().await;
    let log = server.read_on();
    let client = http::client();
    // Once a line has been queued again, there is room for those that follow.
    let counted = within(PATIENCE, "a line that is not dropped", async {
        loop {
            let before = server.dropped().await;
            make_log(&client, server.url()).await;
            let counted = server.dropped().await;
            if counted == before {
                return counted;
            }
        }
    })
    .await;
    terminate(&server.child);
    assert_eq!(ended(&mut server.child).await, Some(0));
    let log = within(PATIENCE, "the rest of the log", log)
        .await
        .expect("UTF-8");
    assert_eq!(told(&log), counted);
    let last = log.lines().last().expect("a last line");
    assert!(last.ends_with("drained"), "{last}");
}

#[tokio::test]
async fn a_notice_in_json_is_json_and_no_line_is_torn() {
    let builder = Sockd::builder().env("SOCKD_LOG__FORMAT", "json");
    let mut server = Server::start(&builder, Log::non_blocking_socket()).await;
    server.overflow().await;
    let log = server.read_on();
    make_log(&http::client(), server.url()).await;
    terminate(&server.child);
    assert_eq!(ended(&mut server.child).await, Some(0));
    let log = within(PATIENCE, "the rest of the log", log)
        .await
        .expect("UTF-8");
    let lines = log.lines().map(|line| {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        line["message"].as_str().expect("a message").to_owned()
    });
    let messages: Vec<String> = lines.collect();
    assert!(messages.iter().any(|message| message.starts_with(NOTICE)));
    assert_eq!(messages.last().map(String::as_str), Some("drained"));
}

#[tokio::test]
async fn the_last_lines_wait_for_a_reader_that_returns_in_time() {
    let mut server = Server::start(&Sockd::builder(), Log::pipe()).await;
    server.overflow().await;
    terminate(&server.child);
    is_closed(server.address).await;
    let log = server.read_on();
    assert_eq!(ended(&mut server.child).await, Some(0));
    let log = within(PATIENCE, "the rest of the log", log)
        .await
        .expect("UTF-8");
    assert!(log.contains("draining"), "{log}");
    let last = log.lines().last().expect("a last line");
    assert!(last.ends_with("drained"), "{last}");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_the_log() {
    let builder = Sockd::builder().env("SOCKD_SERVER__SHUTDOWN_TIMEOUT", "1h");
    let mut server = Server::start(&builder, Log::pipe()).await;
    server.overflow().await;
    terminate(&server.child);
    is_closed(server.address).await;
    terminate(&server.child);
    assert_eq!(ended(&mut server.child).await, Some(0));
}

/// A file at its size limit fails writes as a full disk does.
#[tokio::test]
async fn a_full_disk_does_not_stop_the_server_and_the_log_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path);
    let file = open().expect("a file");
    let builder = Sockd::builder().prelude("ulimit -c 0; ulimit -f 64");
    let port = free_port();
    let builder = builder.env("PORT", port.to_string());
    let (mut child, _directory) = spawn(&builder, Stdio::null(), Stdio::from(file));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    listens(address).await;
    let (client, url) = (http::client(), format!("http://{address}"));
    eventually(PATIENCE, "a line that is dropped", || async {
        make_log(&client, url.clone()).await;
        dropped(&url).await > 0
    })
    .await;
    goes_on(address).await;
    let log = || std::fs::read_to_string(&path).expect("the log");
    assert_eq!(told(&log()), 0, "the disk is still full");
    // What logrotate's `copytruncate` does.
    let file = OpenOptions::new().write(true).open(&path);
    file.and_then(|file| file.set_len(0)).expect("room");
    let mut request = client.get(format!("{url}/internal/after"));
    request = request.bearer_auth(INTERNAL_SECRET);
    request.send().await.expect("the server answers");
    eventually(PATIENCE, "the notice", || async {
        told(&log()) == dropped(&url).await
    })
    .await;
    // The torn line does not merge with the next.
    eventually(PATIENCE, "a whole line behind the notice", || async {
        log()
            .lines()
            .any(|line| line.contains("DEBUG") && line.contains("/internal/after"))
    })
    .await;
    terminate(&child);
    assert_eq!(ended(&mut child).await, Some(0));
    assert!(log().trim_end().ends_with("drained"), "{}", log());
}

#[tokio::test]
async fn a_closed_or_full_log_does_not_stop_the_server() {
    for redirection in ["2>&-", "2>/dev/full", "2>&- >&- <&-"] {
        let builder = Sockd::builder().prelude(&format!("exec {redirection}"));
        let port = free_port();
        let builder = builder.env("PORT", port.to_string());
        let (mut child, _directory) = spawn(&builder, Stdio::null(), Stdio::null());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        listens(address).await;
        goes_on(address).await;
        terminate(&child);
        assert_eq!(ended(&mut child).await, Some(0), "{redirection}");
    }
}

#[tokio::test]
async fn a_stuck_log_does_not_prevent_the_start() {
    for arguments in [&[][..], &["--dev"]] {
        let log = Log::full_pipe();
        let port = free_port();
        let mut builder = Sockd::builder().env("PORT", port.to_string());
        for argument in arguments {
            builder = builder.argument(argument);
        }
        let (mut child, _directory) = spawn(&builder, log.end(), log.end());
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        listens(address).await;
        lives(address).await;
        terminate(&child);
        assert_eq!(ended(&mut child).await, Some(0));
    }
}

#[tokio::test]
async fn a_failed_start_exits_even_if_its_log_is_not_read() {
    let taken = std::net::TcpListener::bind("[::]:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let log = Log::full_pipe();
    let builder = Sockd::builder().env("PORT", port.to_string());
    let (mut child, _directory) = spawn(&builder, log.end(), log.end());
    assert_eq!(ended(&mut child).await, Some(1));
}
