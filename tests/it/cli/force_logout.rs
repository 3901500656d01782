//! `sockd force-logout`: one session is left.

use super::NOWHERE;
use crate::support::{command::Shell, jwt, sockd::Sockd, websocket::WebSocket};

#[tokio::test]
async fn sockets_of_other_sessions_are_told_closed_and_counted() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let mut first = WebSocket::join(sockd.address(), &user, &old).await;
    let mut second = WebSocket::join(sockd.address(), &user, &old).await;
    let done = shell.run(&["force-logout", &user, &new]).await;
    assert_eq!(done.stderr, "");
    assert_eq!(done.ok(), "disconnected 2 sockets of other sessions\n");
    for socket in [&mut first, &mut second] {
        let event = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
        assert_eq!(socket.packet().await, event);
        assert_eq!(socket.packet().await, "41");
    }
    let _third = WebSocket::join(sockd.address(), &user, &new).await;
    let done = shell.run(&["force-logout", &user, &old, "--json"]).await;
    assert_eq!(done.ok(), "{\"ok\":true,\"disconnected\":1,\"nodes\":1}\n");
    let again = shell.run(&["force-logout", &user, &old]).await;
    assert_eq!(again.ok(), "disconnected 0 sockets of other sessions\n");
}

#[tokio::test]
async fn a_refusal_names_what_is_wrong() {
    let sockd = Sockd::start().await;
    let shell = Shell::at(&sockd);
    let (user, session) = (jwt::user(), jwt::session());
    for (user, session, code, complaint) in [
        (
            "nobody",
            session.as_str(),
            1,
            "INVALID_USER_ID: the user id does not have the configured format; see ids.user",
        ),
        (
            &user,
            "nothing",
            1,
            "INVALID_SESSION_ID: the session id does not have the configured format; see ids.session",
        ),
        (&user, "", 2, "session id"),
    ] {
        let stderr = shell
            .run(&["force-logout", user, session])
            .await
            .fails(code);
        assert!(stderr.contains(complaint), "{stderr}");
    }
    let command = ["force-logout", &user, &session];
    shell.run(&command[..2]).await.fails(2);
    let away = Shell::at(&sockd).env("SOCKD_URL", NOWHERE);
    away.run(&command).await.fails(3);
    let wrong = Shell::at(&sockd).env("INTERNAL_SECRET", "another");
    wrong.run(&command).await.fails(4);
}
