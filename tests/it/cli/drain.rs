//! `sockd drain`: what it prints and exits with; what it does is tested in `process`.

use super::NOWHERE;
use crate::support::{PATIENCE, command::Shell, jwt, sockd::Sockd, websocket::WebSocket};

#[tokio::test]
async fn a_share_of_the_connections_is_closed_and_its_size_printed() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(WebSocket::join_first(sockd.address(), &user, &session).await);
    }
    let done = shell
        .run(&["drain", "--share", "0.25", "--over", "2m"])
        .await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "closing 1 of 4 connections over 2m\n");
    assert_eq!(sockets[0].closed(PATIENCE).await, Some(1001));
    let done = shell.run(&["drain", "--share", "0", "--json"]).await;
    let expected = r#"{"ok":true,"connections":3,"closing":0}"#;
    assert_eq!(done.ok(), format!("{expected}\n"));
    // By default all, spread over some time.
    let done = shell.run(&["drain"]).await;
    assert_eq!(done.ok(), "closing 3 of 3 connections over 30s\n");
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    for (arguments, complaint) in [
        (["--share", "30"], "choose from 0 to 1"),
        (["--share", "30%"], "choose from 0 to 1"),
        (["--over", "2days"], "a day or less"),
        (["--over", "soon"], "--over"),
    ] {
        let command = [&["drain"][..], &arguments].concat();
        let stderr = shell.run(&command).await.fails(2);
        assert!(stderr.contains(complaint), "{stderr}");
    }
    let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    away.run(&["drain"]).await.fails(3);
    let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
    wrong.run(&["drain"]).await.fails(4);
}
