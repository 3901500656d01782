//! `log.access`: a line for each socket that ends.

use crate::support::{
    PATIENCE, eventually, jwt, polling::Polling, sockd::Sockd, websocket::WebSocket,
};

const ENDED: &str = "a socket has ended";

/// The line about a socket of this user; it is the only one.
pub(super) async fn line_of(sockd: &Sockd, user: &str) -> String {
    let lines = || {
        let text = sockd.log().text();
        let lines = text
            .lines()
            .filter(|line| line.contains(ENDED) && line.contains(user));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    eventually(PATIENCE, "a line about the socket", async || {
        !lines().is_empty()
    })
    .await;
    let mut lines = lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[tokio::test]
async fn each_socket_that_ends_is_one_line_if_asked_for() {
    let sockd = Sockd::builder()
        .env("SOCKD_LOG__ACCESS", "true")
        .env("SOCKD_LOG__LEVEL", "info");
    let mut sockd = sockd.start().await;
    let says = |line: &str, user: &str, session: &str, transport: &str, why: &str| {
        for part in [
            format!(
                "user={user} session=\"{}\" transport=\"{transport}\" address=127.0.0.1:",
                &session[..8]
            ),
            " duration_ms=".to_owned(),
            format!(" why=\"{why}\""),
        ] {
            assert!(line.contains(&part), "{part}\n{line}");
        }
        assert!(!line.contains(session), "{line}");
    };
    let people: [_; 6] = std::array::from_fn(|_| (jwt::user(), jwt::session()));
    let [lost, left, replaced, polled, upgraded, drained] = &people;

    drop(WebSocket::join(sockd.address(), &lost.0, &lost.1).await);
    says(
        &line_of(&sockd, &lost.0).await,
        &lost.0,
        &lost.1,
        "websocket",
        "connection_lost",
    );

    let mut socket = WebSocket::join(sockd.address(), &left.0, &left.1).await;
    socket.send("41").await;
    says(
        &line_of(&sockd, &left.0).await,
        &left.0,
        &left.1,
        "websocket",
        "client_left",
    );
    // It has ended once, though its connection is still to end.
    drop(socket);

    let _socket = WebSocket::join(sockd.address(), &replaced.0, &replaced.1).await;
    sockd.force_logout(&replaced.0, &jwt::session()).await;
    says(
        &line_of(&sockd, &replaced.0).await,
        &replaced.0,
        &replaced.1,
        "websocket",
        "dismissed",
    );

    let polling = Polling::join(sockd.address(), &polled.0, &polled.1).await;
    polling.send("1").await;
    says(
        &line_of(&sockd, &polled.0).await,
        &polled.0,
        &polled.1,
        "polling",
        "client_closed",
    );

    let polling = Polling::join(sockd.address(), &upgraded.0, &upgraded.1).await;
    let query = format!("&sid={}", polling.sid);
    let mut socket = WebSocket::open_with(sockd.address(), &query, &[]).await;
    socket.send("2probe").await;
    assert_eq!(socket.packet().await, "3probe");
    socket.send("5").await;
    socket.send("1").await;
    says(
        &line_of(&sockd, &upgraded.0).await,
        &upgraded.0,
        &upgraded.1,
        "websocket",
        "client_closed",
    );

    // One that never joined is no socket.
    drop(WebSocket::open(sockd.address()).await);
    let _socket = WebSocket::join(sockd.address(), &drained.0, &drained.1).await;
    assert_eq!(sockd.drain().await, Some(0));
    says(
        &line_of(&sockd, &drained.0).await,
        &drained.0,
        &drained.1,
        "websocket",
        "draining",
    );
    let text = sockd.log().text();
    assert_eq!(text.matches(ENDED).count(), people.len(), "{text}");
}

#[tokio::test]
async fn no_line_is_written_unless_asked_for() {
    let mut sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let _socket = WebSocket::join(sockd.address(), &user, &session).await;
    assert_eq!(sockd.drain().await, Some(0));
    sockd.log().lacks(ENDED);
}
