//! `sockd emit`: one event to one user.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{NOWHERE, nothing_came};
use crate::support::{
    command::Shell,
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

#[tokio::test]
async fn a_payload_from_every_source_arrives_as_it_is() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let shell = Shell::at(&sockd)
        .file("payload.json", "\n{\"n\": 9007199254740993}\n")
        .file("bom.json", "\u{feff}[1.0]");
    let cases: [(&[&str], &str, &str); 6] = [
        (&[], "", "null"),
        (&[r#"{"a":"ü"}"#], "", r#"{"a":"ü"}"#),
        (&["-7"], "", "-7"),
        (&["@payload.json"], "", r#"{"n": 9007199254740993}"#),
        (&["@bom.json"], "", "[1.0]"),
        (&["-"], "\"from stdin\"\n", r#""from stdin""#),
    ];
    for (payload, stdin, arrives) in cases {
        let arguments = [&["emit", &user, "profile:update"], payload].concat();
        let done = shell.run_with(&arguments, stdin).await;
        assert_eq!(done.stderr, "");
        assert_eq!(done.ok(), "sent; the user is online on 1 node\n");
        let expected = format!(r#"42["profile:update",{arrives}]"#);
        assert_eq!(socket.packet().await, expected);
    }
    let json = shell
        .run(&["emit", &user, "profile:update", "1", "--json"])
        .await;
    assert_eq!(json.ok(), "{\"ok\":true,\"online\":true,\"nodes\":1}\n");
}

#[tokio::test]
async fn an_offline_user_is_a_failure_only_under_require_online() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let user = jwt::user();
    let emit = ["emit", &user, "profile:update"];
    assert_eq!(
        shell.run(&emit).await.ok(),
        "sent, but the user is offline\n"
    );
    let done = shell
        .run(&[&emit[..], &["--require-online"]].concat())
        .await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert!(done.stderr.contains("has no socket"), "{done:?}");
    let done = shell
        .run(&[&emit[..], &["--require-online", "--json"]].concat())
        .await;
    assert_eq!(done.code, Some(5), "{done:?}");
    assert_eq!(done.stdout, "{\"ok\":true,\"online\":false,\"nodes\":0}\n");

    let _socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    shell
        .run(&[&emit[..], &["--require-online"]].concat())
        .await
        .ok();
}

#[tokio::test]
async fn an_event_that_cannot_be_sent_is_reported_with_its_remedy() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let shell = Shell::at(&sockd)
        .file("bad.json", "{\n\n  \"a\": x\n}")
        .file("latin1.json", [b'"', 0xe4, b'"'])
        .file("empty", "\n")
        .file("two-lines", "a\nb");
    let good = [user.as_str(), "profile:update", "1"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    let cases: [(Vec<&str>, i32, &str); 15] = [
        (vec![&user, "profile:update", "{bad"], 2, "line 1 column 2"),
        (vec![&user, "profile:update", "hello"], 2, r#"'"hello"'"#),
        (vec![&user, "profile:update", ""], 2, "PAYLOAD is not JSON"),
        (
            vec![&user, "profile:update", "@bad.json"],
            2,
            "line 3 column 8",
        ),
        (
            vec![&user, "profile:update", "@nope"],
            2,
            "nope cannot be read",
        ),
        (vec![&user, "profile:update", "@latin1.json"], 2, "UTF-8"),
        (vec![&user], 2, "<EVENT>"),
        (
            vec!["nobody", "profile:update"],
            1,
            "INVALID_USER_ID: the user id does not have the configured format; see ids.user",
        ),
        (
            vec![&user, "no:event"],
            1,
            "INVALID_EVENT: the event is not supported there; see events.supported",
        ),
        (
            with(&["--url", NOWHERE]),
            3,
            "no answer from http://127.0.0.1:1; start sockd there",
        ),
        (with(&["--url", "localhost:3000"]), 2, "--url or SOCKD_URL"),
        (with(&["--secret-file", "nope"]), 2, "nope cannot be read"),
        (
            with(&["--secret-file", "empty"]),
            2,
            "empty holds no secret",
        ),
        (with(&["--secret-file", "two-lines"]), 2, "has a line break"),
        (vec!["--batch", "x", &user], 2, "cannot be used with"),
    ];
    for (arguments, code, complaint) in cases {
        let stderr = shell
            .run(&[&["emit"], &arguments[..]].concat())
            .await
            .fails(code);
        assert!(stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
    let stderr = shell
        .run(&["emit", &user, "profile:update", "-", "--secret-file", "-"])
        .await
        .fails(2);
    assert!(
        stderr.contains("both the secret and the payload"),
        "{stderr}"
    );
    nothing_came(&sockd, &mut socket, &user).await;
}

#[tokio::test]
async fn a_url_is_taken_from_the_flag_then_the_variable_then_the_configuration() {
    let sockd = Sockd::start().await;
    let port = sockd.address().port().to_string();
    let user = jwt::user();
    let emit = ["emit", &user, "profile:update"];
    let shell = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    let url = sockd.url();
    shell
        .run(&[&emit[..], &["--url", &url]].concat())
        .await
        .ok();
    let stderr = shell.run(&emit).await.fails(3);
    assert!(stderr.contains(NOWHERE), "{stderr}");
    // The server listens on its port, whatever the host.
    for host in ["", "::", "0.0.0.0", "127.0.0.1"] {
        let toml = format!("[server]\nport = {port}\nhost = \"{host}\"");
        let shell = Shell::at(&sockd)
            .without("SOCKD_URL")
            .file("sockd.toml", toml);
        shell.run(&emit).await.ok();
        let shell = shell.env("SOCKD_URL", NOWHERE);
        shell.run(&emit).await.fails(3);
    }
    let shell = Shell::at(&sockd)
        .without("SOCKD_URL")
        .file(".env", format!("SOCKD_URL={url}"));
    shell.run(&emit).await.ok();
    let shell = shell.without("SOCKD_URL").file(".env", "PORT=0");
    let stderr = shell.run(&emit).await.fails(2);
    assert!(stderr.contains("--url or SOCKD_URL"), "{stderr}");
}

#[tokio::test]
async fn a_secret_is_taken_from_everywhere_but_a_flag() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let emit = ["emit", &user, "profile:update"];
    let bare = || Shell::at(&sockd).without("INTERNAL_SECRET");
    let line = format!("{INTERNAL_SECRET}\n");
    for name in [
        "INTERNAL_SECRET",
        "AUTH_TOKEN",
        "SECRET_KEY",
        "SOCKD_INTERNAL__SECRET",
    ] {
        bare().env(name, INTERNAL_SECRET).run(&emit).await.ok();
        let dotenv = format!("{name}='{INTERNAL_SECRET}'\n");
        bare().file(".env", dotenv).run(&emit).await.ok();
        let by_file = bare()
            .file("secret", &line)
            .env(&format!("{name}_FILE"), "secret");
        by_file.run(&emit).await.ok();
    }
    let toml = format!("[internal]\nsecret = \"{INTERNAL_SECRET}\"");
    let in_file = bare().file("sockd.toml", toml);
    in_file.run(&emit).await.ok();

    // The flag wins over all of them, and stdin will do.
    let wrong = bare()
        .env("INTERNAL_SECRET", "another")
        .file("secret", &line);
    let stderr = wrong.run(&emit).await.fails(4);
    assert!(
        stderr.contains("does not accept the secret; give the one it runs with"),
        "{stderr}"
    );
    assert!(!stderr.contains("another\n"), "{stderr}");
    wrong
        .run(&[&emit[..], &["--secret-file", "secret"]].concat())
        .await
        .ok();
    wrong
        .run_with(&[&emit[..], &["--secret-file", "-"]].concat(), &line)
        .await
        .ok();

    let stderr = bare().run(&emit).await.fails(2);
    assert!(
        stderr.contains("set INTERNAL_SECRET, or name a file"),
        "{stderr}"
    );
}

#[tokio::test]
async fn other_servers_are_told_apart_from_a_node() {
    let json = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    for (answer, code, complaint) in [
        (
            json("200 OK", "<html>"),
            1,
            "returned 200, but is not sockd; check that --url names a node",
        ),
        (
            json("502 Bad Gateway", "{}"),
            1,
            "returned 502, but is not sockd",
        ),
        // A redirect is never followed, since the secret would go along.
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                .to_owned(),
            1,
            "returned 302, but",
        ),
        (
            json("401 Unauthorized", ""),
            4,
            "does not accept the secret",
        ),
        (
            json("400 Bad Request", r#"{"error":"\u001b[31mOTHER\n"}"#),
            1,
            "refuses with 400 [31mOTHER; its log says more\n",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(),
            3,
            "it may have been carried out",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let stranger = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            // Read whole, since unread bytes would reset the connection before the response is read.
            while !request.ends_with(b"}") {
                stream.read_buf(&mut request).await.expect("a request");
            }
            stream.write_all(answer.as_bytes()).await.expect("it reads");
        });
        let shell = Shell::new()
            .env("SOCKD_URL", url)
            .env("INTERNAL_SECRET", INTERNAL_SECRET);
        let stderr = shell.run(&["emit", "u", "e"]).await.fails(code);
        assert!(stderr.contains(complaint), "{stderr:?}");
        stranger.await.expect("it was asked");
    }
}
