//! Which signals end the server and which do not.

use serde_json::json;

use crate::support::{
    PATIENCE, eventually,
    http::{self, RawConnection},
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// Sends the signal and waits until the log says that it was ignored.
async fn is_ignored(sockd: &Sockd, name: &str) {
    sockd.signal(name);
    is_said(sockd, name).await;
    let health = format!("{}/healthz", sockd.url());
    assert_eq!(http::get(&health).await.status(), 200);
}

async fn is_said(sockd: &Sockd, name: &str) {
    let signal = format!("signal=\"SIG{name}\"");
    eventually(PATIENCE, &signal, async || {
        let text = sockd.log().text();
        let mut lines = text.lines();
        lines.any(|line| line.contains("ignored a signal") && line.contains(&signal))
    })
    .await;
}

#[tokio::test]
async fn signals_without_a_meaning_are_ignored() {
    let mut sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    for name in ["USR1", "USR2", "USR1"] {
        is_ignored(&sockd, name).await;
    }
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    assert_eq!(sockd.drain().await, Some(0));
}

#[tokio::test]
async fn a_start_under_nohup_changes_nothing() {
    let builder = Sockd::builder().prelude("trap '' HUP INT QUIT");
    let mut sockd = builder.start().await;
    sockd.signal("HUP");
    let reloaded = "reloaded the configuration by=\"SIGHUP\"";
    eventually(PATIENCE, reloaded, async || {
        sockd.log().text().contains(reloaded)
    })
    .await;
    assert_eq!(sockd.drain().await, Some(0));
}

#[tokio::test]
async fn ignored_signals_do_not_end_a_drain_early() {
    let mut sockd = Sockd::start().await;
    let body = json!({ "userId": jwt::user(), "event": "profile:update" }).to_string();
    let mut request = RawConnection::open(sockd.address()).await;
    request
        .send(format!(
            "POST /internal/emit HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    sockd.signal("TERM");
    for name in ["USR1", "USR2"] {
        sockd.signal(name);
        is_said(&sockd, name).await;
    }
    request.send(body).await;
    let answer = request.read_answer().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(sockd.ended(PATIENCE).await.code(), Some(0));
}

/// SIGQUIT keeps its default, which is how a core dump of a hung process is made.
#[tokio::test]
async fn sigquit_ends_the_process_at_once_with_a_failure() {
    // A shell ignores SIGQUIT for its background jobs, the tests too, and they would pass that on.
    let prelude = r#"ulimit -c 0; exec env --default-signal=QUIT "$0" serve "$@""#;
    let mut sockd = Sockd::builder().prelude(prelude).start().await;
    sockd.signal("QUIT");
    assert_eq!(sockd.ended(PATIENCE).await.code(), None);
}
