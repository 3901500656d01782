//! The internal routes as backends and the hostile see them, to the byte.

mod body;
mod callers;

use reqwest::{Method, RequestBuilder};

use crate::support::{
    http, jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

const EMIT: &str = "/internal/emit";
const KICK: &str = "/internal/kick";
const LOGOUT: &str = "/internal/force-logout";
const LIMIT: usize = 1_048_576;

fn failure(code: &str) -> String {
    format!(r#"{{"ok":false,"error":"{code}"}}"#)
}

fn request(sockd: &Sockd, method: Method, path: &str) -> RequestBuilder {
    http::client().request(method, format!("{}{path}", sockd.url()))
}

/// A POST of a JSON text with the secret.
fn post(sockd: &Sockd, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = request(sockd, Method::POST, path).bearer_auth(INTERNAL_SECRET);
    request
        .header("content-type", "application/json")
        .body(body)
}

/// The status and the body of a response, after checking what all responses have in common.
async fn answer(request: RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("the server answers");
    let headers = answer.headers().clone();
    let content_type = headers.get("content-type").expect("a content type");
    assert_eq!(content_type, "application/json; charset=utf-8");
    for (name, value) in &headers {
        assert!(!name.as_str().starts_with("access-control-"), "{name}");
        let value = value.to_str().expect("text");
        assert!(!value.contains(INTERNAL_SECRET), "{name}: {value}");
    }
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

fn event(user: &str) -> String {
    format!(r#"{{"userId":"{user}","event":"profile:update","payload":1}}"#)
}

#[tokio::test]
async fn unknown_routes_and_methods_are_not_found() {
    let sockd = Sockd::start().await;
    for (method, path) in [
        (Method::GET, EMIT),
        (Method::PUT, EMIT),
        (Method::DELETE, LOGOUT),
        (Method::GET, KICK),
        (Method::OPTIONS, EMIT),
        (Method::POST, "/internal"),
        (Method::POST, "/internal/"),
        (Method::POST, "/internal/emits"),
        (Method::POST, "/internal/emit/x"),
    ] {
        let known = request(&sockd, method.clone(), path).bearer_auth(INTERNAL_SECRET);
        assert_eq!(
            answer(known).await,
            (404, failure("NOT_FOUND")),
            "{method} {path}"
        );
        let unknown = request(&sockd, method.clone(), path);
        assert_eq!(
            answer(unknown).await,
            (401, failure("UNAUTHORIZED")),
            "{method} {path}"
        );
    }
    for (method, path) in [
        (Method::GET, "/"),
        (Method::POST, "/emit"),
        (Method::GET, "/socket.io"),
        (Method::GET, "/internals"),
        (Method::POST, "/healthz"),
        (Method::GET, "/..%2f..%2fetc/passwd"),
    ] {
        let elsewhere = request(&sockd, method.clone(), path);
        assert_eq!(
            answer(elsewhere).await,
            (404, failure("NOT_FOUND")),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_route_matches_in_any_case_and_with_a_trailing_slash() {
    let sockd = Sockd::start().await;
    for path in [
        "/internal/emit/",
        "/INTERNAL/EMIT",
        "/Internal/Emit/",
        "/internal/emit?x=1",
        "/internal/emit/?x=1",
    ] {
        let posted = answer(post(&sockd, path, event(&jwt::user()))).await;
        assert_eq!(posted, (200, r#"{"ok":true}"#.to_owned()), "{path}");
    }
    let body = format!(
        r#"{{"userId":"{}","sessionId":"{}"}}"#,
        jwt::user(),
        jwt::session()
    );
    let posted = answer(post(&sockd, "/Internal/Force-Logout/", body)).await;
    assert_eq!(posted, (200, r#"{"ok":true,"disconnected":0}"#.to_owned()));
}

#[tokio::test]
async fn errors_of_an_emit_are_reported_in_order() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let upper = user.to_uppercase();
    for (body, expected) in [
        ("{}".to_owned(), "INVALID_USER_ID"),
        (r#"{"userId":1,"event":"x"}"#.to_owned(), "INVALID_USER_ID"),
        (r#"{"userId":null}"#.to_owned(), "INVALID_USER_ID"),
        (
            format!(r#"{{"userId":" {user}","event":"profile:update"}}"#),
            "INVALID_USER_ID",
        ),
        (
            format!(r#"{{"userId":"{user}\n","event":"profile:update"}}"#),
            "INVALID_USER_ID",
        ),
        (
            format!(r#"{{"userId":"{}","event":"profile:update"}}"#, &user[1..]),
            "INVALID_USER_ID",
        ),
        (
            format!(r#"{{"userId":["{user}"],"event":"profile:update"}}"#),
            "INVALID_USER_ID",
        ),
        (
            format!(r#"{{"userId":"{}g","event":"profile:update"}}"#, &user[1..]),
            "INVALID_USER_ID",
        ),
        (format!(r#"{{"userId":"{user}"}}"#), "INVALID_EVENT"),
        (
            format!(r#"{{"userId":"{user}","event":1}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":""}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":"profile:updated"}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":"Profile:Update"}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":" profile:update"}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":"connect"}}"#),
            "INVALID_EVENT",
        ),
        (
            format!(r#"{{"userId":"{user}","event":"__proto__"}}"#),
            "INVALID_EVENT",
        ),
    ] {
        assert_eq!(
            answer(post(&sockd, EMIT, body.clone())).await,
            (400, failure(expected)),
            "{body}"
        );
    }
    for good in [
        format!(r#"{{"userId":"{upper}","event":"account:update"}}"#),
        format!(r#"{{"userId":"{user}","event":"auth:logout","payload":null}}"#),
        // Unknown fields are ignored, and of a key given twice the last counts.
        format!(
            r#"{{"userId":"x","x":{{"y":[1e999]}},"userId":"{user}","event":"profile:update"}}"#
        ),
    ] {
        assert_eq!(
            answer(post(&sockd, EMIT, good.clone())).await,
            (200, r#"{"ok":true}"#.to_owned()),
            "{good}"
        );
    }
}

#[tokio::test]
async fn errors_of_a_kick_are_reported_in_order() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let with = |more: &str| format!(r#"{{"userId":"{user}",{more}}}"#);
    let long = format!(r#""reason":"{}""#, "x".repeat(65));
    for (body, expected) in [
        ("{}".to_owned(), "INVALID_USER_ID"),
        (
            format!(r#"{{"userId":"{user} ","reason":1,"invalidateSession":1}}"#),
            "INVALID_USER_ID",
        ),
        (
            with(r#""reason":1,"invalidateSession":1"#),
            "INVALID_REASON",
        ),
        (with(r#""reason":"""#), "INVALID_REASON"),
        (with(r#""reason":["A"]"#), "INVALID_REASON"),
        (with(r#""reason":true"#), "INVALID_REASON"),
        (with(r#""reason":"a\nb""#), "INVALID_REASON"),
        (with("\"reason\":\"caf\u{e9}\""), "INVALID_REASON"),
        (with(r#""reason":"\ud83d""#), "INVALID_REASON"),
        (with(&long), "INVALID_REASON"),
        (
            with(r#""invalidateSession":1"#),
            "INVALID_INVALIDATE_SESSION",
        ),
        (
            with(r#""invalidateSession":"true""#),
            "INVALID_INVALIDATE_SESSION",
        ),
        (
            with(r#""invalidateSession":{}"#),
            "INVALID_INVALIDATE_SESSION",
        ),
    ] {
        assert_eq!(
            answer(post(&sockd, KICK, body.clone())).await,
            (400, failure(expected)),
            "{body}"
        );
    }
    let longest = format!(r#""reason":"{}""#, "x".repeat(64));
    for good in [
        format!(r#"{{"userId":"{user}"}}"#),
        with(r#""reason":null,"invalidateSession":null"#),
        with(r#""reason":1,"reason":" ~","invalidateSession":false,"more":[]"#),
        with(r#""invalidateSession":true"#),
        with(&longest),
    ] {
        for path in [KICK, "/Internal/KICK/?x=1"] {
            let done = answer(post(&sockd, path, good.clone())).await;
            let expected = r#"{"ok":true,"disconnected":0}"#.to_owned();
            assert_eq!(done, (200, expected), "{good}");
        }
    }
}

#[tokio::test]
async fn errors_of_a_force_logout_are_reported_in_order() {
    let sockd = Sockd::start().await;
    let (user, session) = (jwt::user(), jwt::session());
    let nil = "00000000-0000-0000-0000-000000000000";
    for (body, expected) in [
        ("{}".to_owned(), "INVALID_USER_ID"),
        (
            format!(r#"{{"userId":"{user} ","sessionId":"{session}"}}"#),
            "INVALID_USER_ID",
        ),
        (format!(r#"{{"sessionId":"{session}"}}"#), "INVALID_USER_ID"),
        (format!(r#"{{"userId":"{user}"}}"#), "INVALID_SESSION_ID"),
        (
            format!(r#"{{"userId":"{user}","sessionId":" {session}"}}"#),
            "INVALID_SESSION_ID",
        ),
        (
            format!(r#"{{"userId":"{user}","sessionId":"{nil}"}}"#),
            "INVALID_SESSION_ID",
        ),
        (
            format!(
                r#"{{"userId":"{user}","sessionId":"{}"}}"#,
                session.replace('-', "")
            ),
            "INVALID_SESSION_ID",
        ),
        (
            format!(r#"{{"userId":"{user}","sessionId":{{}}}}"#),
            "INVALID_SESSION_ID",
        ),
    ] {
        assert_eq!(
            answer(post(&sockd, LOGOUT, body.clone())).await,
            (400, failure(expected)),
            "{body}"
        );
    }
    let body = format!(
        r#"{{"userId":"{user}","sessionId":"{}"}}"#,
        session.to_uppercase()
    );
    assert_eq!(
        answer(post(&sockd, LOGOUT, body)).await,
        (200, r#"{"ok":true,"disconnected":0}"#.to_owned())
    );
}

#[tokio::test]
async fn a_richer_answer_is_for_those_who_ask_for_it() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    let asked = |path, body: String| {
        post(&sockd, path, body).header("prefer", "respond-async, return=representation")
    };
    let logout = format!(r#"{{"userId":"{user}","sessionId":"{}"}}"#, jwt::session());
    assert_eq!(
        answer(asked(EMIT, event(&user))).await,
        (200, r#"{"ok":true,"online":false,"nodes":0}"#.to_owned())
    );
    assert_eq!(
        answer(asked(LOGOUT, logout.clone())).await,
        (200, r#"{"ok":true,"disconnected":0,"nodes":0}"#.to_owned())
    );
    let spelled = post(&sockd, EMIT, event(&user))
        .header("prefer", "respond-async; x=\"return=minimal, \"")
        .header("prefer", "Return = \"representation\" ; y");
    assert_eq!(
        answer(spelled).await,
        (200, r#"{"ok":true,"online":false,"nodes":0}"#.to_owned())
    );
    let minimal = post(&sockd, LOGOUT, logout)
        .header("prefer", "return=minimal")
        .header("prefer", "return=representation");
    assert_eq!(
        answer(minimal).await,
        (200, r#"{"ok":true,"disconnected":0}"#.to_owned())
    );
}

#[tokio::test]
async fn every_query_is_answered_in_json() {
    let sockd = Sockd::start().await;
    let sessions = r#"{"ok":true,"sessions":[]}"#.to_owned();
    for query in [
        "",
        "?",
        "?limit=10&limit=x",
        "?%ff=%00&&=&%zz",
        "?limit=10&after=a&more",
        "?user=a%2Bb&user=nobody",
    ] {
        let path = format!("/internal/sessions{query}");
        let asked = request(&sockd, Method::GET, &path).bearer_auth(INTERNAL_SECRET);
        assert_eq!(answer(asked).await, (200, sessions.clone()), "{path}");
    }
    for query in ["?user=", "?user=a&user=%0a", "?after=%00"] {
        let path = format!("/internal/sessions{query}");
        let asked = request(&sockd, Method::GET, &path).bearer_auth(INTERNAL_SECRET);
        assert_eq!(
            answer(asked).await,
            (400, failure("INVALID_USER_ID")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_for_the_page_of_dev_is_answered_in_json() {
    let sockd = Sockd::dev().await;
    let long = request(&sockd, Method::POST, "/dev/emit").body("x".repeat(3 * LIMIT));
    let refused = (413, failure("PAYLOAD_TOO_LARGE"));
    assert_eq!(answer(long).await, refused);
}
