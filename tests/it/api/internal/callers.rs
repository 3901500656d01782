//! Who may call the internal routes.

use reqwest::{Method, RequestBuilder};

use super::{EMIT, LIMIT, answer, event, failure, request};
use crate::support::{
    http::RawConnection,
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

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
async fn the_secret_must_follow_bearer_in_any_case() {
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
async fn a_caller_without_the_secret_is_refused_before_its_body_is_read() {
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
async fn a_refused_caller_with_a_large_body_reads_why() {
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
