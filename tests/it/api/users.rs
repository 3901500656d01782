//! The internal routes of one user.

use reqwest::{Method, StatusCode};

use crate::support::{
    http, jwt,
    redis::{Redis, key},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::{WebSocket, is_dismissed},
};

async fn call(sockd: &Sockd, method: Method, path: &str) -> (StatusCode, String) {
    let request = http::client().request(method, format!("{}{path}", sockd.url()));
    let request = request.bearer_auth(INTERNAL_SECRET);
    let answer = request.send().await.expect("the server answers");
    (answer.status(), answer.text().await.expect("a body"))
}

async fn remove(sockd: &Sockd, path: &str) -> String {
    let (status, body) = call(sockd, Method::DELETE, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Waits for the audit line about a removal.
async fn is_audited(sockd: &Sockd, user: &str, outcome: &str) {
    let line = format!("audit act=\"remove-session\" user={user} {outcome}");
    sockd.logs(&line).await;
}

const REMOVED: &str = r#"{"ok":true,"removed":true}"#;
const NONE: &str = r#"{"ok":true,"removed":false}"#;

#[tokio::test]
async fn after_a_session_is_removed_its_sockets_stay_until_another_is_adopted() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session, next) = (jwt::user(), jwt::session(), jwt::session());
        let path = format!("/internal/users/{user}/session");
        assert_eq!(remove(&sockd, &path).await, NONE);
        let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
        let refused = WebSocket::try_join(sockd.address(), &user, &next).await;
        assert!(refused.is_err());
        assert_eq!(remove(&sockd, &path).await, REMOVED);
        assert_eq!(remove(&sockd, &path).await, NONE);
        assert_eq!(redis.stored(&user), None);
        sockd.emit(&user, "profile:update", &1.into()).await;
        assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
        let _next = WebSocket::join(sockd.address(), &user, &next).await;
        is_dismissed(&mut socket).await;
        for removed in [false, true] {
            is_audited(&sockd, &user, &format!("removed={removed}")).await;
        }
    }
}

#[tokio::test]
async fn whatever_is_stored_is_removed() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    for spoil in [
        vec!["SET", "no json"],
        vec!["LPUSH", "1"],
        vec!["HSET", "a", "b"],
    ] {
        let user = jwt::user();
        let () = redis::cmd(spoil[0])
            .arg(key(&user))
            .arg(&spoil[1..])
            .query(&mut redis.connection())
            .expect("it is spoilt");
        let path = format!("/internal/users/{user}/session");
        assert_eq!(remove(&sockd, &path).await, REMOVED, "{spoil:?}");
        WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    }
}

#[tokio::test]
async fn the_route_matches_in_any_case_but_an_id_keeps_its_spelling() {
    let redis = Redis::start().await;
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_IDS__USER", "any")
        .env("SOCKD_IDS__ANY_CHARSET", "a-zA-Z/%")
        .start()
        .await;
    for (id, path) in [
        ("aBc", "/internal/users/aBc/session"),
        ("ABC", "/INTERNAL/Users/ABC/SESSION/"),
        ("a/B%", "/Internal/users/a%2FB%25/session?x=Y"),
        ("Session", "/internal/users/Session/session/"),
    ] {
        redis.store(id, "\"s\"", 100);
        redis.store(&id.to_lowercase(), "\"other\"", 100);
        assert_eq!(remove(&sockd, path).await, REMOVED, "{path}");
        assert_eq!(redis.stored(id), None, "{path}");
        if id.to_lowercase() != id {
            assert!(redis.stored(&id.to_lowercase()).is_some(), "{path}");
        }
    }
}

/// As those who call it by a library need it that takes `..` out of a path.
#[tokio::test]
async fn the_id_may_be_in_the_query() {
    let redis = Redis::start().await;
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("SOCKD_IDS__USER", "any")
        .env("SOCKD_IDS__ANY_CHARSET", "a-z A-Z./+")
        .start()
        .await;
    for (id, query) in [
        ("..", "id=.."),
        ("..", "id=%2e%2e"),
        ("aB", "id=x&id=aB"),
        ("+", "id=%2B"),
        (" ", "id=+"),
        ("trace", "id=trace&user=other"),
    ] {
        redis.store(id, "\"s\"", 100);
        let (status, body) = call(&sockd, Method::GET, &format!("/internal/user?{query}")).await;
        assert_eq!(status, 200, "{query}: {body}");
        assert!(
            body.contains(&format!("\"userId\":{id:?},")),
            "{query}: {body}"
        );
        let path = format!("/Internal/User/Session/?{query}");
        assert_eq!(remove(&sockd, &path).await, REMOVED, "{query}");
        assert_eq!(redis.stored(id), None, "{query}");
    }
    for query in ["", "?id", "?id=", "?id=%FF", "?id=a%0A", "?user=a", "?ID=a"] {
        for (method, path) in [
            (Method::GET, "/internal/user"),
            (Method::GET, "/internal/user/trace"),
            (Method::DELETE, "/internal/user/session"),
        ] {
            let (status, body) = call(&sockd, method, &format!("{path}{query}")).await;
            let expected = r#"{"ok":false,"error":"INVALID_USER_ID"}"#;
            assert_eq!(
                (status.as_u16(), body.as_str()),
                (400, expected),
                "{path}{query}"
            );
        }
    }
    for path in [
        "/internal/userx?id=a",
        "/internal/user/x?id=a",
        "/internal/user/sessions?id=a",
    ] {
        let (status, _) = call(&sockd, Method::GET, path).await;
        assert_eq!(status, 404, "{path}");
    }
}

#[tokio::test]
async fn bad_ids_and_other_routes_are_refused() {
    let sockd = Sockd::start().await;
    let user = jwt::user();
    for id in ["nobody", "%FF", "%20", &format!("{user}%20"), ""] {
        let path = format!("/internal/users/{id}/session");
        let (status, body) = call(&sockd, Method::DELETE, &path).await;
        let expected = r#"{"ok":false,"error":"INVALID_USER_ID"}"#;
        assert_eq!((status.as_u16(), body.as_str()), (400, expected), "{path}");
    }
    let of_user = |rest: &str| format!("/internal/users/{user}{rest}");
    for (method, path) in [
        (Method::POST, of_user("/session")),
        (Method::GET, of_user("/session")),
        (Method::DELETE, of_user("")),
        (Method::DELETE, of_user("/sessions")),
        (Method::DELETE, of_user("/session/x")),
        (Method::DELETE, "/internal/users".to_owned()),
    ] {
        let (status, body) = call(&sockd, method.clone(), &path).await;
        let expected = r#"{"ok":false,"error":"NOT_FOUND"}"#;
        let answer = (status.as_u16(), body.as_str());
        assert_eq!(answer, (404, expected), "{method} {path}");
    }
    let url = format!("{}{}", sockd.url(), of_user("/session"));
    let unknown = http::client().delete(&url).send().await;
    assert_eq!(unknown.expect("the server answers").status(), 401);
    let browser = http::client().delete(&url).bearer_auth(INTERNAL_SECRET);
    let browser = browser.header("sec-fetch-mode", "cors").send().await;
    assert_eq!(browser.expect("the server answers").status(), 403);
}

#[tokio::test]
async fn without_redis_no_session_is_removed() {
    let mut redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let user = jwt::user();
    let _socket = WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    redis.kill();
    let path = format!("/internal/users/{user}/session");
    let (status, body) = call(&sockd, Method::DELETE, &path).await;
    let expected = r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#;
    assert_eq!((status.as_u16(), body.as_str()), (503, expected));
    is_audited(&sockd, &user, "error=").await;
}
