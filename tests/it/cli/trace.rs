//! `sockd trace`: what happens to a user, live.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::NOWHERE;
use crate::support::{
    PATIENCE,
    command::{Shell, finished},
    eventually, jwt, process,
    sockd::Sockd,
    websocket::WebSocket,
    within,
};

#[tokio::test]
async fn lines_are_printed_as_they_come_until_ctrl_c() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    for as_json in [false, true] {
        let (user, session) = (jwt::user(), jwt::session());
        let mut command = vec!["trace", &user, "--payloads"];
        if as_json {
            command.push("--json");
        }
        let mut child = shell.spawn(&command);
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut next = async || {
            let line = within(PATIENCE, "a line", lines.next_line()).await;
            line.expect("UTF-8").expect("it still runs")
        };
        let shows = |line: &str, what: &str, more: &[(&str, &str)]| {
            if as_json {
                let line: Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(line["what"], what, "{line}");
                for (key, value) in more {
                    assert_eq!(line[*key], *value, "{line}");
                }
            } else {
                assert_eq!(line.split_whitespace().nth(2), Some(what), "{line}");
                for (key, value) in more {
                    assert!(line.contains(&format!("  {key}={value}")), "{line}");
                }
            }
        };
        shows(&next().await, "began", &[("user", &user)]);
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        shows(&next().await, "session_adopted", &[]);
        shows(
            &next().await,
            "joined",
            &[("transport", "websocket"), ("session", &session[..8])],
        );
        sockd.emit(&user, "profile:update", &"hello".into()).await;
        socket.packet().await;
        shows(
            &next().await,
            "event",
            &[("event", "profile:update"), ("payload", "hello")],
        );
        process::signal(child.id().expect("it runs"), "INT");
        let done = finished(child).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        eventually(PATIENCE, "the end of the trace", || async {
            sockd.figure("sockd_traces").await == 0.0
        })
        .await;
    }
}

#[tokio::test]
async fn it_ends_by_time_with_its_reader_or_with_an_error() {
    let mut sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let user = jwt::user();
    let timed = shell.run(&["trace", &user, "--timeout", "3s"]).await.ok();
    assert_eq!(timed.lines().count(), 1, "{timed}");
    let unread = shell.run_unread(&["trace", &user]).await;
    assert_eq!((unread.code, unread.stderr.as_str()), (Some(0), ""));
    let stderr = shell.run(&["trace", "nobody"]).await.fails(1);
    assert!(stderr.contains("INVALID_USER_ID"), "{stderr}");
    shell.run(&["trace", ""]).await.fails(2);
    let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    away.run(&["trace", &user]).await.fails(3);
    let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
    wrong.run(&["trace", &user]).await.fails(4);

    let mut child = shell.spawn(&["trace", &user]);
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    within(PATIENCE, "a line", lines.next_line())
        .await
        .expect("UTF-8");
    assert_eq!(sockd.drain().await, Some(0));
    let done = finished(child).await;
    assert_eq!(done.code, Some(1));
    assert!(
        done.stderr.contains("the node has ended the trace"),
        "{done:?}"
    );
}
