//! `sockd kick`: disconnects every socket of a user.

use super::NOWHERE;
use crate::support::{
    command::Shell,
    jwt,
    sockd::Sockd,
    websocket::{WebSocket, is_told},
};

#[tokio::test]
async fn sockets_are_told_closed_and_counted() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let (user, session) = (jwt::user(), jwt::session());
    let mut first = WebSocket::join(sockd.address(), &user, &session).await;
    let mut second = WebSocket::join(sockd.address(), &user, &session).await;
    let done = shell.run(&["kick", &user]).await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "disconnected 2 sockets\n");
    for socket in [&mut first, &mut second] {
        is_told(socket, r#"42["auth:logout",{"reason":"KICKED"}]"#).await;
    }
    let mut third = WebSocket::join(sockd.address(), &user, &session).await;
    let command = ["kick", &user, "--reason", "BANNED", "--invalidate-session"];
    let done = shell.run(&[&command[..], &["--json"]].concat()).await;
    assert_eq!(done.ok(), "{\"ok\":true,\"disconnected\":1,\"nodes\":1}\n");
    is_told(&mut third, r#"42["auth:logout",{"reason":"BANNED"}]"#).await;
    let mut refused = WebSocket::open(sockd.address()).await;
    refused.packet().await;
    let answer = refused.connect(&jwt::token(&user, &session)).await;
    assert_eq!(answer, r#"44{"message":"SESSION_MISMATCH"}"#);
    assert_eq!(shell.run(&command).await.ok(), "disconnected 0 sockets\n");
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let user = jwt::user();
    for (arguments, code, complaint) in [
        (["nobody", "--reason", "A"], 1, "INVALID_USER_ID"),
        (["", "--reason", "A"], 2, "user id"),
        (
            [&user, "--reason", ""],
            2,
            "1 to 64 printable ASCII characters",
        ),
        ([&user, "--reason", "a\nb"], 2, r#""a\nb""#),
    ] {
        let command = [&["kick"][..], &arguments].concat();
        let stderr = shell.run(&command).await.fails(code);
        assert!(stderr.contains(complaint), "{stderr}");
    }
    shell.run(&["kick"]).await.fails(2);
    let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    away.run(&["kick", &user]).await.fails(3);
    let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
    wrong.run(&["kick", &user]).await.fails(4);
}
