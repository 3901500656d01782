//! `sockd sessions ls`: who is logged in, and on how many nodes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::NOWHERE;
use crate::support::{
    PATIENCE,
    command::Shell,
    http, jwt,
    redis::{Redis, heard_by, key},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

const LS: [&str; 2] = ["sessions", "ls"];

fn shell(redis: &Redis) -> Shell {
    Shell::new().env("REDIS_PORT", redis.port.to_string())
}

fn rows(ndjson: &str) -> BTreeMap<String, Value> {
    let row = |line| {
        let row: Value = serde_json::from_str(line).expect("JSON");
        (row["userId"].as_str().expect("a user").to_owned(), row)
    };
    ndjson.lines().map(row).collect()
}

#[tokio::test]
async fn a_session_is_shown_with_its_expiry_and_the_nodes_that_have_it() {
    let redis = Redis::start().await;
    let (a, b) = (
        Sockd::with_redis(&redis).await,
        Sockd::with_redis(&redis).await,
    );
    let (user, session, offline) = (jwt::user(), jwt::session(), jwt::user());
    let _on_a = WebSocket::join(a.address(), &user, &session).await;
    let _on_b = WebSocket::join(b.address(), &user, &session).await;
    heard_by(&redis, &user, 2).await;
    redis.store(&offline, &format!("\"{session}\""), 3_719);

    let shell = shell(&redis);
    let done = shell.run(&LS).await;
    assert_eq!(done.stderr, "");
    let table = done.ok();
    let mut lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(lines.remove(0), ["USER", "SESSION", "EXPIRES IN", "ONLINE"]);
    lines.sort_by_key(|row| row[0] != user);
    assert_eq!(lines[0][..2], [user.as_str(), &session]);
    assert!(
        lines[0][2].starts_with("6d 23h") || lines[0][2] == "7d",
        "{table}"
    );
    assert_eq!(lines[0][3], "2");
    assert_eq!(lines[1], [&offline, &session, "1h 1m", "0"]);

    let one = shell
        .run(&[&LS[..], &["--user", &user, "--json"]].concat())
        .await
        .ok();
    let one = rows(&one);
    assert_eq!(one.len(), 1);
    assert_eq!(one[&user]["sessionId"], json!(session));
    assert_eq!(one[&user]["online"], json!(2));
    let none = shell
        .run(&[&LS[..], &["--user", &jwt::user()]].concat())
        .await
        .ok();
    assert_eq!(none, "USER  SESSION  EXPIRES IN  ONLINE\n");
    let none = shell
        .run(&[&LS[..], &["--user", &jwt::user(), "--json"]].concat())
        .await
        .ok();
    assert_eq!(none, "");
}

#[tokio::test]
async fn thousands_of_keys_are_listed_including_malformed_ones() {
    let redis = Redis::start().await;
    let mut connection = redis.connection();
    let mut pipe = redis::pipe();
    for number in 0..5_000 {
        pipe.set_ex(key(&format!("{number:024x}")), "\"s\"", 1_000)
            .ignore();
        pipe.set(format!("another:{number}"), "x").ignore();
    }
    pipe.hset(key("hash"), "a", 1).ignore();
    pipe.set(key("no-json"), "{").ignore();
    pipe.set(key("forever"), "\"s\"").ignore();
    let () = pipe.query(&mut connection).expect("SET works");

    let shell = shell(&redis);
    let all = shell.run(&[&LS[..], &["--json"]].concat()).await.ok();
    assert_eq!(all.lines().count(), 5_003);
    let all = rows(&all);
    assert_eq!(all.len(), 5_003);
    assert_eq!(all["hash"]["sessionId"], Value::Null);
    assert_eq!(all["no-json"]["sessionId"], Value::Null);
    assert_eq!(
        (
            &all["forever"]["sessionId"],
            &all["forever"]["expiresInSeconds"]
        ),
        (&json!("s"), &Value::Null)
    );
    let table = shell.run(&LS).await.ok();
    assert!(
        table
            .lines()
            .any(|line| line.split_whitespace().eq(["hash", "?", "never", "0"])),
        "{table}"
    );

    for limit in [0, 1, 7, 1_500] {
        let done = shell
            .run(&[&LS[..], &["--json", "--limit", &limit.to_string()]].concat())
            .await;
        assert_eq!(done.ok().lines().count(), limit);
    }
    // Never by KEYS, which holds up everybody else.
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut connection)
        .expect("INFO works");
    assert!(
        stats.contains("cmdstat_scan:") && !stats.contains("cmdstat_keys:"),
        "{stats}"
    );
}

#[tokio::test]
async fn keys_and_values_cannot_send_control_sequences_to_the_terminal() {
    let redis = Redis::start().await;
    let mut connection = redis.connection();
    for (user, value) in [
        ("plain", r#""\u001b[2Jsession""#),
        ("\u{1b}]0;user\u{7}", r#""s""#),
        ("two\nlines", r#""s""#),
    ] {
        let set = redis::cmd("SET").arg(key(user)).arg(value).to_owned();
        let () = set.query(&mut connection).expect("SET works");
    }
    let shell = shell(&redis);
    let table = shell.run(&LS).await.ok();
    assert_eq!(table.lines().count(), 4, "{table:?}");
    let is_control = |c: char| c.is_control() && c != '\n';
    assert!(!table.contains(is_control), "{table:?}");
    let json = shell.run(&[&LS[..], &["--json"]].concat()).await.ok();
    assert_eq!(rows(&json)["two\nlines"]["sessionId"], json!("s"));
    assert!(!json.contains(is_control), "{json:?}");
}

#[tokio::test]
async fn sessions_in_memory_are_listed_by_their_node() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let socket = WebSocket::join(sockd.address(), &user, &session).await;
    let other = jwt::user();
    sockd.force_logout(&other, &session).await;
    let shell = Shell::at(&sockd);
    let url = sockd.url();
    let by_url = [&LS[..], &["--json", "--url", &url]].concat();
    let done = shell.run(&by_url).await;
    assert_eq!(done.stderr, "");
    let listed = rows(&done.ok());
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[&user]["sessionId"], &listed[&user]["online"]),
        (&json!(session), &json!(1))
    );
    assert_eq!(listed[&other]["online"], json!(0));

    // Without Redis there is no other place to ask.
    let done = shell
        .run(&[&LS[..], &["--json", "--user", &other]].concat())
        .await;
    assert_eq!(
        done.stderr,
        format!("sessions are in memory; asking {url}\n")
    );
    assert_eq!(rows(&done.ok()).len(), 1);
    let done = shell.run(&[&LS[..], &["--limit", "1"]].concat()).await;
    assert_eq!(done.ok().lines().count(), 2);
    socket.abandon();
}

#[tokio::test]
async fn more_sessions_than_fit_in_one_answer_come_page_by_page() {
    const SESSIONS: usize = 1_010;
    let sockd = Sockd::start().await;
    let expected: Vec<_> = (0..SESSIONS)
        .map(|number| format!("{number:024x}"))
        .collect();
    let client = http::client();
    for user in &expected {
        let body = json!({ "userId": user, "sessionId": jwt::session() });
        let request = client.post(format!("{}/internal/force-logout", sockd.url()));
        let answer = request
            .bearer_auth(INTERNAL_SECRET)
            .json(&body)
            .send()
            .await;
        assert_eq!(answer.expect("the server answers").status(), 200);
    }
    let shell = Shell::at(&sockd);
    let all = shell.run(&[&LS[..], &["--json"]].concat()).await.ok();
    assert_eq!(all.lines().count(), SESSIONS);
    let users: Vec<_> = rows(&all).into_keys().collect();
    assert_eq!(users, expected);
    let limited = [&LS[..], &["--json", "--limit", "700"]].concat();
    assert_eq!(shell.run(&limited).await.ok().lines().count(), 700);
}

#[tokio::test]
async fn a_list_that_fails_says_why() {
    let redis = Redis::start().await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "hunter2"])
        .query(&mut redis.connection())
        .expect("CONFIG works");
    for password in ["", "hunter3"] {
        let shell = shell(&redis).env("REDIS_PASS", password);
        let stderr = shell.run(&LS).await.fails(4);
        assert!(stderr.contains("REDIS_PASS"), "{stderr}");
        assert!(!stderr.contains("hunter3"), "{stderr}");
    }
    let shell = shell(&redis).env("REDIS_PASS", "hunter2");
    shell.run(&LS).await.ok();
    let client = format!("redis://:hunter2@127.0.0.1:{}", redis.port);
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "default", "-scan"])
        .query(
            &mut redis::Client::open(client)
                .expect("a URL")
                .get_connection()
                .expect("Redis"),
        )
        .expect("ACL works");
    let stderr = shell.run(&LS).await.fails(4);
    assert!(
        stderr.contains("`sockd doctor` says what to grant") && !stderr.contains("login"),
        "{stderr}"
    );

    let away = Shell::new().env("SOCKD_REDIS__URL", "redis://:hunter2@127.0.0.1:1");
    let stderr = away.run(&LS).await.fails(3);
    assert!(
        stderr.contains("redis://127.0.0.1:1") && !stderr.contains("hunter2"),
        "{stderr}"
    );
    redis.freeze();
    shell.run(&LS).await.fails(3);
    redis.thaw();

    let sockd = Sockd::builder()
        .redis(&redis)
        .env("REDIS_PASS", "hunter2")
        .start()
        .await;
    let url = sockd.url();
    let shell = Shell::at(&sockd);
    let stderr = shell
        .run(&[&LS[..], &["--url", &url]].concat())
        .await
        .fails(1);
    assert!(
        stderr.contains("SESSIONS_IN_REDIS: its sessions are in Redis; set redis.url"),
        "{stderr}"
    );
    shell
        .run(&[&LS[..], &["--url", NOWHERE]].concat())
        .await
        .fails(3);
    let shell = shell.env("INTERNAL_SECRET", "another");
    shell
        .run(&[&LS[..], &["--url", &url]].concat())
        .await
        .fails(4);
}

#[tokio::test]
async fn a_session_is_removed_through_a_node() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let shell = Shell::at(&sockd);
        let (user, session) = (jwt::user(), jwt::session());
        sockd.force_logout(&user, &session).await;
        let rm = ["sessions", "rm", &user];
        let done = shell.run(&rm).await;
        assert_eq!(done.stderr, "");
        assert_eq!(done.ok(), "removed the session\n");
        assert_eq!(shell.run(&rm).await.ok(), "there was no session\n");
        let as_json = shell.run(&[&rm[..], &["--json"]].concat()).await;
        assert_eq!(as_json.ok(), "{\"ok\":true,\"removed\":false}\n");
        WebSocket::join(sockd.address(), &user, &jwt::session()).await;
        let refused = shell.run(&["sessions", "rm", "no/body"]).await.fails(1);
        assert!(refused.contains("INVALID_USER_ID"), "{refused}");
        shell.run(&["sessions", "rm", ""]).await.fails(2);
        let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
        away.run(&rm).await.fails(3);
        let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
        wrong.run(&rm).await.fails(4);
    }
}

#[tokio::test]
async fn a_user_is_shown_with_session_and_sockets() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let shell = Shell::at(&sockd);
        let (user, session) = (jwt::user(), jwt::session());
        let shown = shell.run(&["sessions", "show", &user]).await;
        assert_eq!(shown.stderr, "");
        assert_eq!(shown.ok(), "session  none\nonline   0 sockets\n");
        let _socket = WebSocket::join(sockd.address(), &user, &session).await;
        let shown = shell.run(&["sessions", "show", &user]).await.ok();
        let lines: Vec<_> = shown.lines().collect();
        let [stored, online, "", header, row] = lines[..] else {
            panic!("{shown}");
        };
        let expected = format!("session  {session}, expires in ");
        assert!(stored.starts_with(&expected), "{shown}");
        assert_eq!(online, "online   1 socket");
        let columns: Vec<_> = header.split_whitespace().collect();
        let expected = ["NODE", "TRANSPORT", "ADDRESS", "SINCE", "SESSION"];
        assert_eq!(columns, expected);
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!((cells[1], cells[4]), ("websocket", session.as_str()));
        assert!(cells[2].starts_with("127.0.0.1:"), "{row}");
        let json = shell.run(&["sessions", "show", &user, "--json"]).await.ok();
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(json["sockets"][0]["address"], cells[2]);
        assert_eq!(json["sockets"][0]["node"], cells[0]);
        assert_eq!(json["complete"], true);

        shell.run(&["sessions", "show", "nobody"]).await.fails(1);
        shell.run(&["sessions", "show", ""]).await.fails(2);
        let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
        away.run(&["sessions", "show", &user]).await.fails(3);
        let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
        wrong.run(&["sessions", "show", &user]).await.fails(4);
    }
}

#[tokio::test]
async fn what_is_missing_about_a_user_is_named_and_fails_the_command() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let _socket = WebSocket::join(sockd.address(), &user, &session).await;
    redis.kill();
    sockd.is_not_ready(PATIENCE, &[]).await;
    let shown = Shell::at(&sockd).run(&["sessions", "show", &user]).await;
    assert_eq!(shown.code, Some(1));
    assert!(
        shown
            .stdout
            .starts_with("session  unknown\nonline   1 socket\n")
    );
    assert!(shown.stderr.contains("the session is unknown"), "{shown:?}");
    assert!(
        shown.stderr.contains("the node is not ready: "),
        "{shown:?}"
    );
}
