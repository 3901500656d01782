//! `sockd emit --batch`: nothing is lost, and nothing comes twice unsaid.

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::Child,
};

use super::nothing_came;
use crate::support::{
    PATIENCE,
    command::{Shell, finished},
    jwt, process,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
    within,
};

const BATCH: [&str; 3] = ["emit", "--batch", "events.ndjson"];
const FAILED: &str = "events.ndjson.failed.ndjson";

fn line(user: &str, payload: impl Into<Value>) -> String {
    let payload = payload.into();
    format!(r#"{{"userId":"{user}","event":"profile:update","payload":{payload}}}"#)
}

fn lines(user: &str, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| line(user, number) + "\n").collect()
}

/// The next events are these numbers, in this order.
async fn expect_numbers(socket: &mut WebSocket, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let expected = format!(r#"42["profile:update",{number}]"#);
        assert_eq!(socket.packet().await, expected);
    }
}

#[tokio::test]
async fn a_users_events_arrive_in_the_order_of_their_lines() {
    let sockd = Sockd::start().await;
    let (ada, bob) = (jwt::user(), jwt::user());
    let mut at_ada = WebSocket::join(sockd.address(), &ada, &jwt::session()).await;
    let mut at_bob = WebSocket::join(sockd.address(), &bob, &jwt::session()).await;
    let events: String = (0..100)
        .map(|number| {
            let offline = line(&jwt::user(), number);
            let (ada, bob) = (line(&ada, number), line(&bob, number));
            // With what editors on every system leave between lines.
            format!("{ada}\r\n\n{bob}\n  \n{offline}\n")
        })
        .collect();
    let shell = Shell::at(&sockd).file("events.ndjson", format!("\u{feff}{events}"));
    let done = shell.run(&BATCH).await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "sent 300, failed 0, offline 100\n");
    expect_numbers(&mut at_ada, 0..100).await;
    expect_numbers(&mut at_bob, 0..100).await;
    assert!(!shell.path(FAILED).exists());

    let from_stdin = ["emit", "--batch", "-", "--json"];
    let done = shell.run_with(&from_stdin, &lines(&ada, 0..50)).await;
    let expected =
        r#"{"sent":50,"offline":0,"failed":0,"uncertain":0,"skipped":0,"failedFile":null}"#;
    assert_eq!(done.ok(), format!("{expected}\n"));
    expect_numbers(&mut at_ada, 0..50).await;
}

#[tokio::test]
async fn an_empty_batch_is_a_success() {
    let sockd = Sockd::start().await;
    for content in ["", "\n \r\n\n"] {
        let shell = Shell::at(&sockd).file("events.ndjson", content);
        assert_eq!(
            shell.run(&BATCH).await.ok(),
            "sent 0, failed 0, offline 0\n"
        );
        assert!(!shell.path(FAILED).exists());
    }
}

#[tokio::test]
async fn lines_that_fail_are_listed_and_kept_to_be_sent_again() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    let good = line(&user, 1);
    let bad = [
        (3, "not JSON".to_owned(), "expected"),
        (
            4,
            r#"{"userId":"u","event":"profile:update","paylod":1}"#.to_owned(),
            "unknown field `paylod`",
        ),
        (5, line("nobody", 1), "INVALID_USER_ID"),
        (
            6,
            good.replace("profile:update", "no:event"),
            "INVALID_EVENT",
        ),
        (7, line(&user, "x".repeat(1 << 20)), "PAYLOAD_TOO_LARGE"),
    ];
    let kept: Vec<_> = bad.iter().map(|(_, line, _)| line.as_str()).collect();
    let events = format!("{good}\n\n{}\n{good}", kept.join("\r\n"));
    let shell = Shell::at(&sockd).file("events.ndjson", events);
    let done = shell.run(&BATCH).await;
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert_eq!(done.stdout, "sent 2, failed 5, offline 0\n");
    for (number, _, complaint) in &bad {
        let told = done
            .stderr
            .lines()
            .find(|told| told.starts_with(&format!("line {number}: ")));
        assert!(
            told.is_some_and(|told| told.contains(complaint)),
            "{}",
            done.stderr
        );
    }
    let end = format!(
        "error: 5 lines failed; the lines that failed are in {FAILED}, send them again with --batch {FAILED}\n"
    );
    assert!(done.stderr.ends_with(&end), "{}", done.stderr);
    let again = shell.read(FAILED);
    let mut again: Vec<_> = again.lines().collect();
    let mut kept = kept;
    again.sort_unstable();
    kept.sort_unstable();
    assert_eq!(again, kept);
    expect_numbers(&mut socket, 1..2).await;
    expect_numbers(&mut socket, 1..2).await;

    // A file of failed lines is never written over, and can itself be a batch.
    let done = shell.run(&BATCH).await;
    assert!(
        done.stderr.contains("events.ndjson.failed.2.ndjson"),
        "{}",
        done.stderr
    );
    let done = shell.run(&["emit", "--batch", FAILED]).await;
    assert_eq!(done.stdout, "sent 0, failed 5, offline 0\n");
}

#[tokio::test]
async fn offline_users_fail_only_under_require_online() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let events = lines(&user, 0..3);
    let shell = Shell::at(&sockd).file("events.ndjson", &events);
    let done = shell
        .run(&[&BATCH[..], &["--require-online"]].concat())
        .await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert_eq!(done.stdout, "sent 0, failed 3, offline 3\n");
    assert_eq!(shell.read(FAILED), events);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_costs_no_event_and_doubles_none() {
    let mut sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let shell = Shell::at(&sockd);
    let mut child = shell.spawn(&["emit", "--batch", "-", "--failed", "left"]);
    write(&mut child, &lines(&user, 0..100)).await;
    expect_numbers(&mut socket, 0..99).await;
    // The response to the last of them may be on its way; the next request follows it.
    expect_numbers(&mut socket, 99..100).await;
    sockd.kill().await;
    write(&mut child, &lines(&user, 100..300)).await;
    drop(child.stdin.take());
    let done = finished(child).await;
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stderr.contains("error: stopped, "), "{}", done.stderr);
    assert!(done.stderr.contains("no answer from"), "{}", done.stderr);

    let left = shell.read("left");
    let was_uncertain = done.stderr.contains("line 100: ");
    let first = if was_uncertain { 99 } else { 100 };
    assert_eq!(left, lines(&user, first..300), "{}", done.stderr);
    if was_uncertain {
        assert!(
            done.stderr
                .contains("1 of them may have been delivered already"),
            "{}",
            done.stderr
        );
    }

    sockd.restart().await;
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    shell.run(&["emit", "--batch", "left"]).await.ok();
    expect_numbers(&mut socket, first..300).await;
    nothing_came(&sockd, &mut socket, &user).await;
}

#[tokio::test]
async fn a_wrong_secret_stops_the_batch_and_keeps_all_of_it() {
    let sockd = Sockd::start().await;
    let events = lines(&jwt::user(), 0..200);
    let shell = Shell::at(&sockd)
        .env("INTERNAL_SECRET", "another")
        .file("events.ndjson", &events);
    let done = shell.run(&BATCH).await;
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.stderr.contains("200 lines were not tried"), "{done:?}");
    assert_eq!(shell.read(FAILED), events);
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_is_reported_as_uncertain() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = tokio::spawn(async move {
        // Takes a request whole, and hangs up: as a server does that is killed just then.
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 64 * 1024];
        let length = stream.read(&mut request).await.expect("a request");
        assert!(request[..length].starts_with(b"POST /internal/emit"));
        drop(stream);
        drop(listener);
    });
    let user = jwt::user();
    let events = lines(&user, 0..1);
    let shell = Shell::new()
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("SOCKD_URL", &url)
        .file("events.ndjson", &events);
    let done = shell.run(&BATCH).await;
    requests.await.expect("the request came");
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("line 1: ")
            && done
                .stderr
                .contains("received the request but did not answer"),
        "{done:?}"
    );
    assert!(
        done.stderr
            .contains("1 of them may have been delivered already"),
        "{done:?}"
    );
    assert_eq!(shell.read(FAILED), events);
}

#[tokio::test]
async fn an_interrupted_batch_keeps_every_line_that_was_not_sent() {
    // So few that a pipe holds them while nothing is sent.
    const LINES: u64 = 400;
    for (signal, source) in [("INT", "stdin"), ("TERM", "file")] {
        let sockd = Sockd::start().await;
        let user = jwt::user();
        let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
        let events = lines(&user, 1..LINES);
        let shell =
            Shell::at(&sockd).file("events.ndjson", format!("{}{events}", lines(&user, 0..1)));
        let batch = if source == "file" {
            "events.ndjson"
        } else {
            "-"
        };
        let mut child = shell.spawn(&["emit", "--batch", batch, "--failed", "left"]);
        if source == "stdin" {
            write(&mut child, &lines(&user, 0..1)).await;
        }
        expect_numbers(&mut socket, 0..1).await;
        // Whatever is under way stays so until the signal was seen.
        sockd.signal("STOP");
        if source == "stdin" {
            write(&mut child, &events).await;
        }
        interrupt(&child, signal);
        let mut told = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut first = String::new();
        within(
            PATIENCE,
            "a word on the interruption",
            told.read_line(&mut first),
        )
        .await
        .expect("stderr is open");
        assert!(first.starts_with("interrupted by SIG"), "{first}");
        sockd.signal("CONT");
        // Stdin stays open: the command must not wait for its end.
        let mut rest = String::new();
        within(PATIENCE, "the end", told.read_to_string(&mut rest))
            .await
            .expect("UTF-8");
        let stdin = child.stdin.take();
        let done = finished(child).await;
        drop(stdin);
        assert_eq!(done.code, Some(1), "{rest}");
        assert!(rest.contains("error: stopped, "), "{rest}");

        let left = shell.read("left");
        let sent = LINES - left.lines().count() as u64;
        assert!(sent < LINES, "{rest}");
        assert_eq!(left, lines(&user, sent..LINES));
        expect_numbers(&mut socket, 1..sent).await;
        nothing_came(&sockd, &mut socket, &user).await;
    }
}

#[tokio::test]
async fn nothing_is_sent_if_failed_lines_cannot_be_kept() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    let shell = Shell::at(&sockd).file("events.ndjson", lines(&user, 0..3));
    let stderr = shell
        .run(&[&BATCH[..], &["--failed", "no/such/folder"]].concat())
        .await
        .fails(2);
    assert!(
        stderr.contains("name another file for failed lines with --failed"),
        "{stderr}"
    );
    for input in ["nope", "."] {
        let stderr = shell.run(&["emit", "--batch", input]).await.fails(2);
        let expected = format!("{input} cannot be read; give a file of NDJSON");
        assert!(stderr.contains(&expected), "{stderr}");
    }
    let both = ["emit", "--batch", "-", "--secret-file", "-"];
    let stderr = shell.run(&both).await.fails(2);
    assert!(stderr.contains("both the secret and the batch"), "{stderr}");
    nothing_came(&sockd, &mut socket, &user).await;
}

#[tokio::test]
async fn lines_that_do_not_fit_on_the_disk_are_listed_by_number() {
    let sockd = Sockd::start().await;
    let events = lines("nobody", 0..100);
    let shell = Shell::at(&sockd).file("events.ndjson", &events);
    // Files of this shell may have one block; the signal that tells so is ignored.
    let done = shell
        .sh("trap '' XFSZ; ulimit -f 1; sockd emit --batch events.ndjson")
        .await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert_eq!(done.stdout, "sent 0, failed 100, offline 0\n");
    assert!(
        done.stderr
            .contains("cannot be written, so nothing more is sent; make room"),
        "{done:?}"
    );
    let kept = shell.read(FAILED);
    assert!(kept.ends_with('\n') && events.starts_with(&kept), "{kept}");
    let first_lost = kept.lines().count() + 1;
    assert!(first_lost > 1, "{done:?}");
    let lost = format!("; not kept in any file: line {first_lost}-100\n");
    assert!(done.stderr.contains(&lost), "{done:?}");
}

#[tokio::test]
async fn a_batch_of_tens_of_thousands_of_lines_is_sent_whole() {
    const LINES: u64 = 20_000;
    let sockd = Sockd::builder()
        .env("SOCKD_LOG__LEVEL", "info")
        .start()
        .await;
    let user = jwt::user();
    let mut socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    let others: Vec<_> = (0..50).map(|_| jwt::user()).collect();
    let events: String = (0..LINES)
        .map(|number| {
            let offline = &others[number as usize % others.len()];
            line(if number % 100 == 0 { &user } else { offline }, number) + "\n"
        })
        .collect();
    let shell = Shell::at(&sockd).file("events.ndjson", events);
    let batch = shell.spawn(&BATCH);
    for number in (0..LINES).step_by(100) {
        let expected = format!(r#"42["profile:update",{number}]"#);
        assert_eq!(socket.packet().await, expected);
    }
    let done = finished(batch).await;
    assert_eq!(done.ok(), "sent 20000, failed 0, offline 19800\n");
}

async fn write(child: &mut Child, text: &str) {
    let stdin = child.stdin.as_mut().expect("stdin is piped");
    within(PATIENCE, "room on stdin", stdin.write_all(text.as_bytes()))
        .await
        .expect("the command reads");
    stdin.flush().await.expect("the command reads");
}

fn interrupt(child: &Child, signal: &str) {
    process::signal(child.id().expect("it runs"), signal);
}
