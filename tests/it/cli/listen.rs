//! `sockd listen`: a user's events, printed as they come.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::NOWHERE;
use crate::support::{
    PATIENCE,
    command::{Done, Shell, finished},
    eventually, jwt, process,
    redis::{Redis, heard_by},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{TOLD, WebSocket},
    within,
};

fn shell(sockd: &Sockd) -> Shell {
    Shell::at(sockd).env("JWT_SECRET", jwt::SECRET)
}

/// A listener that has joined.
struct Listening {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Listening {
    async fn start(shell: &Shell, arguments: &[&str]) -> Self {
        let mut child = shell.spawn(&[&["listen"], arguments].concat());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let mut listening = Self {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr: BufReader::new(stderr).lines(),
        };
        listening.says("listening as").await;
        listening
    }

    /// Waits for a note that contains the words.
    async fn says(&mut self, words: &str) -> String {
        within(PATIENCE, words, async {
            loop {
                let line = self.stderr.next_line().await.expect("UTF-8");
                let line = line.expect("it still runs");
                if line.contains(words) {
                    return line;
                }
            }
        })
        .await
    }

    async fn line(&mut self) -> String {
        let line = within(PATIENCE, "an event", self.stdout.next_line()).await;
        line.expect("UTF-8").expect("it still runs")
    }

    async fn event(&mut self) -> Value {
        serde_json::from_str(&self.line().await).expect("JSON")
    }

    fn signal(&self, name: &str) {
        process::signal(self.child.id().expect("it runs"), name);
    }

    /// Waits for its end; the rest of its output.
    async fn ends(mut self) -> Done {
        let mut done = Done {
            code: None,
            stdout: String::new(),
            stderr: String::new(),
        };
        within(PATIENCE, "the end of the listener", async {
            while let Some(line) = self.stdout.next_line().await.expect("UTF-8") {
                done.stdout += &format!("{line}\n");
            }
            while let Some(line) = self.stderr.next_line().await.expect("UTF-8") {
                done.stderr += &format!("{line}\n");
            }
            done.code = self.child.wait().await.expect("it ends").code();
        })
        .await;
        done
    }
}

#[tokio::test]
async fn events_are_printed_as_they_come_beside_the_users_own_socket() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut own = WebSocket::join(sockd.address(), &user, &session).await;
    let shell = shell(&sockd);
    let mut listening = Listening::start(&shell, &[&user, "--json"]).await;
    let mut people = Listening::start(&shell, &[&user]).await;

    // As the TypeScript server's callers write it: the payload is passed on to the byte.
    let payload = "{\"n\": 9007199254740993,\n\t\"text\": \"a\\nb\"}";
    let shell_emit = shell.run(&["emit", &user, "profile:update", payload]).await;
    shell_emit.ok();
    let line = listening.line().await;
    let tail = r#""event":"profile:update","payload":{"n": 9007199254740993,"text": "a\nb"}}"#;
    assert!(line.ends_with(tail), "{line}");
    let at = serde_json::from_str::<Value>(&line).expect("JSON")["at"].clone();
    assert!(at.as_str().is_some_and(|at| at.ends_with('Z')), "{at}");
    let line = people.line().await;
    let tail = r#"Z  profile:update  {"n": 9007199254740993,"text": "a\nb"}"#;
    assert!(line.ends_with(tail), "{line}");
    assert!(own.packet().await.starts_with(r#"42["profile:update""#));

    // The listener is one more socket of the active session: it ends with it, and is counted.
    assert_eq!(sockd.force_logout(&user, &jwt::session()).await, 3);
    assert_eq!(own.packet().await, TOLD);
    let event = listening.event().await;
    assert_eq!(event["event"], "auth:logout");
    assert_eq!(event["payload"], json!({ "reason": "SESSION_REPLACED" }));
    let done = listening.ends().await;
    let stderr = done.fails(1);
    assert!(
        stderr.contains("the server has disconnected the socket"),
        "{stderr}"
    );
    assert_eq!(people.ends().await.code, Some(1));
}

#[tokio::test]
async fn the_active_session_is_found_in_redis_and_events_of_all_nodes_come() {
    let redis = Redis::start().await;
    let (a, b) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let (user, session) = (jwt::user(), jwt::session());
    redis.store(&user, &format!("\"{session}\""), 60);
    // Without the internal secret: the session comes from Redis, and the token is made here.
    let shell = shell(&a)
        .without("INTERNAL_SECRET")
        .env("REDIS_PORT", redis.port.to_string());
    let listening = Listening::start(&shell, &[&user, "--json", "--count", "2"]).await;
    heard_by(&redis, &user, 1).await;
    assert!(redis.ttl(&user) > 60, "a listener renews the session");
    for (node, number) in [(&a, 1), (&b, 2)] {
        node.emit(&user, "account:update", &json!(number)).await;
    }
    let done = listening.ends().await;
    assert_eq!(done.stderr, "");
    let events = done.ok();
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!([&events[0]["payload"], &events[1]["payload"]], [1, 2]);
    eventually(PATIENCE, "an end of the socket", async || {
        a.figure("sockd_sockets").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_user_without_a_session_gets_one_only_when_asked_for() {
    let sockd = Sockd::start().await;
    let shell = shell(&sockd);
    let user = jwt::user();
    let stderr = shell.run(&["listen", &user]).await.fails(1);
    for words in ["has no active session", "--new-session", "--session"] {
        assert!(stderr.contains(words), "{stderr}");
    }
    let mut listening = Listening::start(&shell, &[&user, "--new-session"]).await;
    listening
        .says("this session is now the user's active one")
        .await;
    // The next one joins as that session.
    let second = Listening::start(&shell, &[&user, "--count", "1"]).await;
    for other in [&["--new-session"][..], &["--session", &jwt::session()]] {
        let stderr = shell
            .run(&[&["listen", &user], other].concat())
            .await
            .fails(4);
        assert!(
            stderr.contains("refuses the socket with SESSION_MISMATCH: another session"),
            "{stderr}"
        );
    }
    sockd.emit(&user, "profile:update", &Value::Null).await;
    assert!(
        second
            .ends()
            .await
            .ok()
            .ends_with("  profile:update  null\n")
    );
    listening.signal("INT");
    assert!(
        listening
            .ends()
            .await
            .ok()
            .ends_with("  profile:update  null\n")
    );
}

#[tokio::test]
async fn clients_are_found_beside_a_listener_for_internal_routes() {
    let sockd = Sockd::builder().env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:0");
    let sockd = sockd.start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let _own = WebSocket::join(sockd.address(), &user, &session).await;
    let shell = Shell::new()
        .env("JWT_SECRET", jwt::SECRET)
        .env("INTERNAL_SECRET", INTERNAL_SECRET)
        .env("PORT", sockd.address().port().to_string())
        .env("SOCKD_INTERNAL__LISTEN", "127.0.0.1:1")
        .env("SOCKD_URL", sockd.internal_url());
    let listening = Listening::start(&shell, &[&user, "--count", "1"]).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    let printed = listening.ends().await.ok();
    assert!(printed.ends_with("  profile:update  1\n"), "{printed}");
}

#[tokio::test]
async fn a_token_comes_from_a_file_or_stdin() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let token = jwt::token(&user, &session);
    let shell = Shell::new().file("token", format!("{token}\n"));
    let url = sockd.url();
    let to = ["--url", &url, "--token-file"];
    let listening = Listening::start(&shell, &[&to[..], &["token", "--count", "1"]].concat()).await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert!(
        listening
            .ends()
            .await
            .ok()
            .ends_with("  profile:update  1\n")
    );
    let from_stdin = [&["listen"], &to[..], &["-"]].concat();
    let done = shell.run_with(&from_stdin, "not.a.token").await;
    let stderr = done.fails(4);
    assert!(
        stderr.contains("TOKEN_INVALID: the server has another secret"),
        "{stderr}"
    );
    let forms: [&[&str]; 4] = [
        &["--token-file", "token", &user],
        &["--token-file", "token", "--session", &session],
        &["--token-file", "missing"],
        &[],
    ];
    for form in forms {
        shell
            .run(&[&["listen", "--url", &url], form].concat())
            .await
            .fails(2);
    }
}

#[tokio::test]
async fn a_listener_comes_back_after_a_lost_connection_unless_told_not_to() {
    let mut sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let shell = shell(&sockd);
    let user_at_session = [user.as_str(), "--session", &session];
    let mut listening = Listening::start(&shell, &user_at_session).await;
    let once = Listening::start(&shell, &[&user_at_session[..], &["--once"]].concat()).await;
    sockd.kill().await;
    once.ends().await.fails(3);
    listening.says("trying again in").await;
    sockd.restart().await;
    listening.says("listening as").await;
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert!(listening.line().await.ends_with("  profile:update  1"));
    // A drain closes transports, and clients reconnect.
    assert_eq!(sockd.drain().await, Some(0));
    listening.says("trying again in").await;
    sockd.restart().await;
    listening.says("listening as").await;
    listening.signal("TERM");
    assert_eq!(listening.ends().await.code, Some(0));
}

#[tokio::test]
async fn the_exit_code_tells_how_it_ended() {
    let sockd = Sockd::start().await;
    let shell = shell(&sockd);
    let (user, session) = (jwt::user(), jwt::session());
    let join = ["listen", &user, "--session", &session];
    let run = async |more: &[&str]| shell.run(&[&join, more].concat()).await;
    let _own = WebSocket::join(sockd.address(), &user, &session).await;
    // Time to join on a busy machine.
    assert_eq!(run(&["--timeout", "5s"]).await.ok(), "");
    let stderr = run(&["--timeout", "5s", "--count", "2"]).await.fails(1);
    assert!(stderr.contains("received only 0 of 2 events"), "{stderr}");
    let stderr = run(&["--url", NOWHERE, "--once"]).await.fails(3);
    assert!(
        stderr.contains(&format!("no answer from {NOWHERE}; start sockd there")),
        "{stderr}"
    );
    let stderr = run(&["--url", NOWHERE, "--timeout", "5s"]).await.fails(3);
    assert!(stderr.contains("trying again in"), "{stderr}");
    let elsewhere = format!("{}/elsewhere", sockd.url());
    let stderr = run(&["--url", &elsewhere]).await.fails(1);
    assert!(
        stderr.contains("answers 404, but not as Socket.IO does"),
        "{stderr}"
    );
    for wrong in [
        &["--url", "ws://h"][..],
        &["--timeout", "soon"],
        &["--count", "0"],
    ] {
        run(wrong).await.fails(2);
    }
    let other_secret = shell_with_another_secret(&sockd);
    let stderr = other_secret.run(&join).await.fails(4);
    assert!(stderr.contains("TOKEN_INVALID"), "{stderr}");
    let public = include_str!("../../fixtures/keys/rsa.pub.pem");
    let cannot_sign = Shell::at(&sockd)
        .env("JWT_SECRET", public)
        .env("JWT_ALGORITHMS", "RS256");
    let stderr = cannot_sign.run(&join).await.fails(2);
    assert!(stderr.contains("give one with --token-file"), "{stderr}");
}

fn shell_with_another_secret(sockd: &Sockd) -> Shell {
    Shell::at(sockd).env("JWT_SECRET", "another secret of more than 32 bytes")
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_it_with_the_next_event() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let shell = shell(&sockd);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_sockd"))
        .args([
            "listen",
            &user,
            "--session",
            &session,
            "--url",
            &sockd.url(),
        ])
        .env_clear()
        .env("JWT_SECRET", jwt::SECRET)
        .current_dir(shell.path("."))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the built binary starts");
    eventually(PATIENCE, "the listener's socket", async || {
        sockd.figure("sockd_sockets").await == 1.0
    })
    .await;
    sockd.emit(&user, "profile:update", &Value::Null).await;
    finished(child).await.ok();
}
