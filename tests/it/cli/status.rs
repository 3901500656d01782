//! `sockd status`: how a node is, or all nodes.

use std::{fs, io, thread};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::NOWHERE;
use crate::support::{
    PATIENCE,
    command::{Shell, finished},
    eventually, jwt, process,
    redis::Redis,
    sockd::Sockd,
    websocket::WebSocket,
    within,
};

fn json(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

#[tokio::test]
async fn a_node_is_shown_with_its_rates() {
    let redis = Redis::start().await;
    for (sockd, link) in [
        (Sockd::start().await, "none, sessions are in memory"),
        (Sockd::with_redis(&redis).await, "connected, round trip "),
    ] {
        let shell = Shell::at(&sockd);
        let (user, session) = (jwt::user(), jwt::session());
        let _socket = WebSocket::join(sockd.address(), &user, &session).await;
        let shown = shell.run(&["status"]).await;
        assert_eq!(shown.stderr, "");
        let shown = shown.ok();
        let lines: Vec<_> = shown.lines().collect();
        for (line, begins) in lines.iter().zip([
            "node     ",
            "ready    yes",
            "sockets  1: 1 websocket, 0 polling; 1 connections",
            "rates    per second: 0 connections, 0 handshakes (0 refused), 0 emits",
            &format!("redis    {link}"),
            "limits   none is near",
        ]) {
            assert!(line.starts_with(begins), "{begins:?}\n{shown}");
        }
        assert_eq!(lines.len(), 6, "{shown}");
        let version = format!(", sockd {}, up ", env!("CARGO_PKG_VERSION"));
        assert!(lines[0].contains(&version), "{shown}");

        // What happens while the command watches is in its rates.
        let payload = Value::from(1);
        let mut counted = Box::pin(shell.run(&["status", "--json"]));
        let counted = loop {
            tokio::select! {
                counted = &mut counted => break counted,
                () = sockd.emit(&user, "profile:update", &payload) => {}
            }
        };
        let counted = json(&counted.ok());
        let node = &counted["nodes"][0];
        assert!(node["rates"]["emits"].as_f64() > Some(0.0), "{counted}");
        assert!(
            node["rates"]["eventsSent"].as_f64() > Some(0.0),
            "{counted}"
        );
        assert_eq!(node["status"]["figures"]["sockets"], 1);
        assert!(lines[0].contains(node["node"].as_str().expect("an id")));
    }
}

#[tokio::test]
async fn the_exit_code_tells_readiness() {
    let mut redis = Redis::start().await;
    let [first, second] = [
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    ];
    let shell = Shell::at(&first);
    eventually(PATIENCE, "the other node", || async {
        let all = json(&shell.run(&["status", "--all", "--json"]).await.stdout);
        all["nodes"].as_array().map(Vec::len) == Some(2)
    })
    .await;
    // On a busy machine a node may answer too late.
    eventually(PATIENCE, "two ready nodes", || async {
        let both = shell.run(&["status", "--all"]).await;
        both.code == Some(0) && both.stdout.matches("ready    yes").count() == 2
    })
    .await;

    second.signal("STOP");
    let one = shell.run(&["status", "--all"]).await;
    let alone = shell.run(&["status"]).await;
    second.signal("CONT");
    assert_eq!(one.code, Some(1), "{one:?}");
    assert!(
        one.stdout.ends_with(" does not answer in time\n"),
        "{one:?}"
    );
    assert_eq!(alone.code, Some(0), "{alone:?}");

    redis.kill();
    first.is_not_ready(PATIENCE, &[]).await;
    let away = shell.run(&["status"]).await;
    assert_eq!(away.code, Some(1));
    assert!(away.stdout.contains("\nready    no: "), "{away:?}");
    let all = shell.run(&["status", "--all"]).await;
    assert!(all.stdout.contains("other nodes may be missing"), "{all:?}");

    shell.run(&["status", "--interval", "1s"]).await.fails(2);
    let nowhere = Shell::at(&first).env("SOCKD_URL", NOWHERE);
    nowhere.run(&["status", "--watch"]).await.fails(3);
    let wrong = Shell::at(&first).env("INTERNAL_SECRET", "another");
    wrong.run(&["status"]).await.fails(4);
}

#[tokio::test]
async fn it_is_watched_through_a_restart_until_ctrl_c_or_a_closed_pipe() {
    let mut sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let watch = ["status", "--watch", "--json", "--interval", "100ms"];
    let mut child = shell.spawn(&watch);
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut next = async || {
        let line = within(PATIENCE, "a line", lines.next_line()).await;
        json(&line.expect("UTF-8").expect("it still runs"))
    };
    let first = next().await;
    assert_eq!(first["nodes"][0]["rates"], Value::Null);
    let second = next().await;
    assert!(second["nodes"][0]["rates"].is_object(), "{second}");
    sockd.kill().await;
    while next().await["error"].is_null() {}
    sockd.restart().await;
    let back = loop {
        let line = next().await;
        if line["error"].is_null() {
            break line;
        }
    };
    // Its counters have begun again.
    assert_eq!(back["nodes"][0]["rates"], Value::Null);
    process::signal(child.id().expect("it runs"), "INT");
    let done = finished(child).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));

    let text = shell.run_unread(&watch[..2]).await;
    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn ctrl_c_ends_a_watch_that_nobody_reads() {
    let sockd = Sockd::start().await;
    let (shell, user) = (Shell::at(&sockd), jwt::user());
    for command in [
        &["status", "--watch", "--json"][..],
        &["trace", &user, "--json"],
    ] {
        let (reader, writer) = io::pipe().expect("a pipe");
        let mut filler = writer.try_clone().expect("another end");
        // It is full soon, and stays so until its other end is closed.
        thread::spawn(move || io::copy(&mut io::repeat(b' '), &mut filler));
        let child = shell.spawn_into(command, writer);
        let pid = child.id().expect("it runs");
        eventually(PATIENCE, "the handler of Ctrl-C", async || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
            let mut caught = status
                .lines()
                .filter_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.next().expect("a mask").trim();
            u64::from_str_radix(caught, 16).expect("a number") & (1 << 1) != 0
        })
        .await;
        process::signal(pid, "INT");
        let done = finished(child).await;
        assert_eq!(
            (done.code, done.stderr.as_str()),
            (Some(0), ""),
            "{command:?}"
        );
        drop(reader);
    }
}
