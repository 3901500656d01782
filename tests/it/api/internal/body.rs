//! What counts as the body of an internal request.

use reqwest::Method;

use super::{EMIT, LIMIT, LOGOUT, answer, event, failure, post, request};
use crate::support::{
    http::RawConnection,
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

#[tokio::test]
async fn only_json_counts_as_a_body_and_it_must_be_whole() {
    let sockd = Sockd::start().await;
    let good = event(&jwt::user());
    let ask = |content_type: Option<&str>, body: Vec<u8>| {
        let mut asked = request(&sockd, Method::POST, EMIT)
            .bearer_auth(INTERNAL_SECRET)
            .body(body);
        if let Some(content_type) = content_type {
            asked = asked.header("content-type", content_type);
        }
        answer(asked)
    };
    for json in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
        "application/json ; x=y",
    ] {
        assert_eq!(
            ask(Some(json), good.clone().into()).await,
            (200, r#"{"ok":true}"#.to_owned()),
            "{json}"
        );
    }
    for other in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some("text/json"),
    ] {
        assert_eq!(
            ask(other, good.clone().into()).await,
            (400, failure("INVALID_USER_ID")),
            "{other:?}"
        );
    }
    let json = Some("application/json");
    for empty in ["", "[]", " [1,2,{}]", &format!("[{good}]"), "{}", " \n{ } "] {
        assert_eq!(
            ask(json, empty.into()).await,
            (400, failure("INVALID_USER_ID")),
            "{empty:?}"
        );
    }
    let spaced = format!("\r\n\t {good} \n");
    let marked = format!("\u{feff}{good}");
    for whole in [spaced, marked] {
        assert_eq!(
            ask(json, whole.clone().into()).await,
            (200, r#"{"ok":true}"#.to_owned()),
            "{whole:?}"
        );
    }
    let (truncated, trailing) = (&good[..good.len() - 1], format!("{good}x"));
    for broken in [
        "1",
        "\"a\"",
        "null",
        "true",
        " ",
        "{",
        "[1",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        truncated,
        &trailing,
    ] {
        assert_eq!(
            ask(json, broken.into()).await,
            (400, failure("INVALID_JSON")),
            "{broken:?}"
        );
    }
    // A byte that is no UTF-8 is a strange letter, and no reason to refuse what is around it.
    let mut strange = good.replace("1}", "\"?\"}").into_bytes();
    let at = strange
        .iter()
        .position(|byte| *byte == b'?')
        .expect("it is there");
    strange[at] = 0xff;
    assert_eq!(ask(json, strange).await, (200, r#"{"ok":true}"#.to_owned()));
}

#[tokio::test]
async fn a_body_at_the_limit_is_accepted_and_one_byte_more_is_not() {
    let sockd = Sockd::start().await;
    let padded = |length: usize| {
        let body = event(&jwt::user());
        let blanks = length - body.len();
        format!("{body}{}", " ".repeat(blanks))
    };
    for (length, expected) in [
        (LIMIT, (200, r#"{"ok":true}"#.to_owned())),
        (LIMIT + 1, (413, failure("PAYLOAD_TOO_LARGE"))),
        (3 * LIMIT, (413, failure("PAYLOAD_TOO_LARGE"))),
    ] {
        assert_eq!(
            answer(post(&sockd, EMIT, padded(length))).await,
            expected,
            "{length}"
        );
        let chunked = post_in_chunks(&sockd, padded(length)).await;
        assert!(
            chunked.starts_with(&format!("HTTP/1.1 {}", expected.0)),
            "{length}: {chunked}"
        );
        assert!(chunked.ends_with(&expected.1), "{length}: {chunked}");
    }
}

/// A body whose length is not announced.
async fn post_in_chunks(sockd: &Sockd, body: String) -> String {
    let mut connection = RawConnection::open(sockd.address()).await;
    let head = format!(
        "POST /internal/emit HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.send(head).await;
    for chunk in body.as_bytes().chunks(60_000) {
        connection.send(format!("{:x}\r\n", chunk.len())).await;
        connection.send(chunk).await;
        connection.send("\r\n").await;
    }
    connection.send("0\r\n\r\n").await;
    connection.read_answer().await
}

#[tokio::test]
async fn a_number_in_a_body_is_an_id_if_ids_are_integers() {
    let sockd = Sockd::builder()
        .env("SOCKD_IDS__USER", "integer")
        .env("SOCKD_IDS__SESSION", "integer")
        .start()
        .await;
    let emit = async |sockd: &Sockd, user: &str| {
        let body = format!(r#"{{"userId":{user},"event":"profile:update"}}"#);
        answer(post(sockd, EMIT, body)).await
    };
    let logout = async |user: &str, session: &str| {
        let body = format!(r#"{{"userId":{user},"sessionId":{session}}}"#);
        answer(post(&sockd, LOGOUT, body)).await
    };
    let mut socket = WebSocket::join(sockd.address(), "42", "7").await;
    for user in ["42", "42.0", "4.2e1", "420e-1", "\"42\""] {
        assert_eq!(emit(&sockd, user).await.0, 200, "{user}");
        assert_eq!(socket.packet().await, r#"42["profile:update",null]"#);
    }
    for user in ["-42", "42.5", "9007199254740992", "1e400", "[42]", "true"] {
        let refused = (400, failure("INVALID_USER_ID"));
        assert_eq!(emit(&sockd, user).await, refused, "{user}");
        assert_eq!(logout(user, "8").await, refused);
    }
    let refused = (400, failure("INVALID_SESSION_ID"));
    assert_eq!(logout("42", "8.5").await, refused);
    let done = (200, r#"{"ok":true,"disconnected":1}"#.to_owned());
    assert_eq!(logout("42", "8").await, done);

    let other = Sockd::start().await;
    let refused = (400, failure("INVALID_USER_ID"));
    assert_eq!(emit(&other, "42").await, refused);
}
