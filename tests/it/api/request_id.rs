//! `X-Request-Id`, and what the log says of a request.

use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually, http, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

/// A server that logs as it does in production.
async fn start() -> Sockd {
    let sockd = Sockd::builder().env("SOCKD_LOG__LEVEL", "info");
    sockd.start().await
}

async fn post(sockd: &Sockd, path: &str, body: &Value, id: Option<&str>) -> Response {
    let mut request = http::client()
        .post(format!("{}{path}", sockd.url()))
        .bearer_auth(INTERNAL_SECRET)
        .json(body);
    if let Some(id) = id {
        request = request.header("x-request-id", id);
    }
    request.send().await.expect("the server answers")
}

fn id(answer: &Response) -> Option<&str> {
    let id = answer.headers().get("x-request-id")?;
    Some(id.to_str().expect("text"))
}

#[tokio::test]
async fn an_id_is_taken_returned_and_in_the_log() {
    let sockd = start().await;
    let (user, old, new) = (jwt::user(), jwt::session(), jwt::session());
    let _socket = WebSocket::join(sockd.address(), &user, &old).await;
    let event = json!({ "userId": user, "event": "profile:update" });
    let answer = post(&sockd, "/internal/emit", &event, Some("backend-7.1:x")).await;
    assert_eq!(
        (id(&answer), answer.status().as_u16()),
        (Some("backend-7.1:x"), 200)
    );
    assert_eq!(answer.text().await.expect("a body"), r#"{"ok":true}"#);

    let logout = json!({ "userId": user, "sessionId": new });
    let answer = post(&sockd, "/internal/force-logout", &logout, Some("logout-1")).await;
    assert_eq!(
        (id(&answer), answer.status().as_u16()),
        (Some("logout-1"), 200)
    );
    let line =
        format!(r#"request{{id="logout-1"}}: audit act="force-logout" user={user} disconnected=1"#);
    eventually(PATIENCE, "the audit line", async || {
        sockd.log().text().contains(&line)
    })
    .await;
    let reason = r#"BANNED disconnected=9 act="emit"#;
    let kick = json!({ "userId": user, "reason": reason });
    post(&sockd, "/internal/kick", &kick, Some("kick-1")).await;
    let line = format!(
        r#"request{{id="kick-1"}}: audit act="kick" user={user} reason={reason:?} invalidates_session=false disconnected=0"#
    );
    eventually(PATIENCE, "the audit line", async || {
        sockd.log().text().contains(&line)
    })
    .await;
    for session in [&old, &new] {
        assert!(
            !sockd.log().text().contains(session.as_str()),
            "{}",
            sockd.log().text()
        );
    }
}

#[tokio::test]
async fn an_id_is_made_where_a_line_needs_one_or_the_given_one_is_odd() {
    let sockd = start().await;
    let event = json!({ "userId": jwt::user(), "event": "profile:update" });
    let is_made = |answer: &Response| {
        let made = id(answer).map(uuid::Uuid::parse_str);
        assert!(matches!(made, Some(Ok(_))), "{answer:?}");
    };
    // No line mentions an event that succeeds.
    assert_eq!(
        id(&post(&sockd, "/internal/emit", &event, None).await),
        None
    );
    let long = "x".repeat(129);
    for odd in ["", "a b", "a\"b", &long] {
        is_made(&post(&sockd, "/internal/emit", &event, Some(odd)).await);
    }
    let logout = json!({ "userId": jwt::user(), "sessionId": jwt::session() });
    let answer = post(&sockd, "/internal/force-logout", &logout, None).await;
    is_made(&answer);
    let line = format!(r#"request{{id="{}"}}: audit"#, id(&answer).expect("an id"));
    eventually(PATIENCE, "the audit line", async || {
        sockd.log().text().contains(&line)
    })
    .await;
    is_made(&post(&sockd, "/internal/nothing", &event, None).await);
    // A stranger gets nothing back.
    let stranger = http::client().post(format!("{}/internal/emit", sockd.url()));
    let answer = stranger
        .header("x-request-id", "mine")
        .send()
        .await
        .expect("an answer");
    assert_eq!((id(&answer), answer.status().as_u16()), (None, 401));

    let sockd = Sockd::start().await;
    is_made(&post(&sockd, "/internal/emit", &event, None).await);
}
