//! The internal routes as backends and the hostile see them, to the byte.

mod body;

use reqwest::{Method, RequestBuilder};

use crate::support::{
    http::{self, RawConnection},
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

const EMIT: &str = "/internal/emit";
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

/// The status and the body of an answer, after a look at what all of them have in common.
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
async fn a_browser_is_refused_with_and_without_the_secret() {
    let sockd = Sockd::start().await;
    for path in [
        "/internal/emit",
        "/internal/force-logout",
        "/internal/x",
        "/internal",
        "/INTERNAL/Emit/",
    ] {
        for header in ["Sec-Fetch-Mode", "sec-fetch-site", "Sec-CH-UA"] {
            for secret in [true, false] {
                let mut request = request(&sockd, Method::POST, path).header(header, "x");
                if secret {
                    request = request.bearer_auth(INTERNAL_SECRET);
                }
                assert_eq!(
                    answer(request).await,
                    (403, failure("FORBIDDEN")),
                    "{path} {header} {secret}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_browser_header_without_a_value_does_not_count() {
    let sockd = Sockd::start().await;
    let mut connection = RawConnection::open(sockd.address()).await;
    let body = event(&jwt::user());
    let head = |fetch: &str| {
        format!(
            "POST /internal/emit HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{fetch}\r\n{body}",
            body.len()
        )
    };
    connection
        .send(head("sec-fetch-mode:\r\nsec-ch-ua:  \r\n"))
        .await;
    assert!(connection.read_answer().await.starts_with("HTTP/1.1 200"));
    // A second line of the same name has one.
    connection
        .send(head("sec-fetch-mode:\r\nsec-fetch-mode: cors\r\n"))
        .await;
    assert!(connection.read_answer().await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn the_secret_is_taken_behind_any_spelling_of_bearer_and_nothing_else() {
    let sockd = Sockd::start().await;
    let ask = |authorization: String| {
        let request = request(&sockd, Method::POST, EMIT).header("authorization", authorization);
        request
            .header("content-type", "application/json")
            .body(event(&jwt::user()))
    };
    let secret = INTERNAL_SECRET;
    for good in [
        format!("Bearer {secret}"),
        format!("bearer {secret}"),
        format!("BEARER \t  {secret}"),
        format!("bEaReR\t{secret}"),
    ] {
        assert_eq!(
            answer(ask(good.clone())).await,
            (200, r#"{"ok":true}"#.to_owned()),
            "{good:?}"
        );
    }
    for bad in [
        secret.to_owned(),
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer{secret}"),
        format!("Basic {secret}"),
        format!("Bearer x{secret}"),
        format!("Bearer {secret}x"),
        format!("Bearer {}", secret.to_uppercase()),
        format!("Bearer {secret} {secret}"),
        format!("Bearer {}", &secret[..secret.len() - 1]),
        format!("Bearer {}", jwt::SECRET),
    ] {
        assert_eq!(
            answer(ask(bad.clone())).await,
            (401, failure("UNAUTHORIZED")),
            "{bad:?}"
        );
    }
    let none = request(&sockd, Method::POST, EMIT);
    assert_eq!(answer(none).await, (401, failure("UNAUTHORIZED")));
}

#[tokio::test]
async fn a_caller_without_the_secret_is_told_before_its_body_is_read() {
    let sockd = Sockd::start().await;
    for length in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut connection = RawConnection::open(sockd.address()).await;
        let head = format!(
            "POST /internal/emit HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        connection.send(head).await;
        let answer = connection.read_answer().await;
        assert!(
            answer.starts_with("HTTP/1.1 401") && answer.ends_with(&failure("UNAUTHORIZED")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_refused_caller_with_a_great_body_reads_why() {
    let sockd = Sockd::start().await;
    for _ in 0..30 {
        let request =
            request(&sockd, Method::POST, EMIT).header("content-type", "application/json");
        assert_eq!(
            answer(request.body(vec![b' '; LIMIT])).await,
            (401, failure("UNAUTHORIZED"))
        );
        let other = request_of_another_type(&sockd, vec![b' '; LIMIT]);
        assert_eq!(answer(other).await, (400, failure("INVALID_USER_ID")));
    }
}

fn request_of_another_type(sockd: &Sockd, body: Vec<u8>) -> RequestBuilder {
    let request = request(sockd, Method::POST, EMIT).bearer_auth(INTERNAL_SECRET);
    request
        .header("content-type", "application/octet-stream")
        .body(body)
}

#[tokio::test]
async fn unknown_routes_and_methods_are_not_found() {
    let sockd = Sockd::start().await;
    for (method, path) in [
        (Method::GET, EMIT),
        (Method::PUT, EMIT),
        (Method::DELETE, LOGOUT),
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
async fn a_route_is_taken_in_any_case_and_with_a_slash_behind() {
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
async fn what_is_wrong_with_an_emit_is_told_in_order() {
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
async fn what_is_wrong_with_a_force_logout_is_told_in_order() {
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
