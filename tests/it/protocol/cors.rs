//! Which pages of other origins may read the responses of the Socket.IO endpoint.

use reqwest::{Method, Response, header::HeaderMap};

use crate::support::{http, polling::Polling, sockd::Sockd};

const A: &str = "https://a.example";
const B: &str = "https://b.example";
const POLLING: &str = "?EIO=4&transport=polling";

async fn ask(sockd: &Sockd, method: Method, query: &str, headers: &[(&str, &str)]) -> Response {
    let url = format!("{}/socket.io/{query}", sockd.url());
    // A CONNECT, so that the next poll returns immediately.
    let body = if method == Method::POST { "40" } else { "" };
    let mut request = http::client().request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the server answers")
}

/// All of a header's values, as if they were one.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().expect("text"))
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

async fn with_origin(setting: Option<&str>) -> Sockd {
    let builder = Sockd::builder();
    match setting {
        Some(setting) => builder.env("CORS_ORIGIN", setting),
        None => builder,
    }
    .start()
    .await
}

#[tokio::test]
async fn every_answer_of_the_endpoint_names_who_may_read_it() {
    let list = format!("{A}, {B}");
    for (setting, asking, allowed, vary) in [
        (None, Some(A), Some("*"), None),
        (Some("*"), Some(A), Some("*"), None),
        (Some("*"), None, Some("*"), None),
        (Some(""), Some(A), Some("*"), None),
        (Some("  "), Some(A), Some("*"), None),
        (Some(A), Some(A), Some(A), Some("Origin")),
        (Some(A), Some(B), Some(A), Some("Origin")),
        (Some(A), None, Some(A), Some("Origin")),
        (Some(&*list), Some(A), Some(A), Some("Origin")),
        (Some(&*list), Some(B), Some(B), Some("Origin")),
        (
            Some(&*list),
            Some("https://c.example"),
            None,
            Some("Origin"),
        ),
        (
            Some(&*list),
            Some("HTTPS://A.example"),
            None,
            Some("Origin"),
        ),
        (
            Some(&*list),
            Some("https://a.example.evil"),
            None,
            Some("Origin"),
        ),
        (
            Some(&*list),
            Some("https://a.example:443"),
            None,
            Some("Origin"),
        ),
        (Some(&*list), Some("null"), None, Some("Origin")),
        (Some(&*list), None, None, Some("Origin")),
    ] {
        let sockd = with_origin(setting).await;
        let sid = Polling::open(sockd.address()).await.sid;
        let session = format!("{POLLING}&sid={sid}");
        let upgrade = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
        ];
        for (method, query, more, status) in [
            (Method::GET, POLLING, &[][..], 200),
            (Method::POST, &*session, &[], 200),
            (Method::GET, &*session, &[], 200),
            (Method::GET, "", &[], 400),
            (Method::POST, POLLING, &[], 400),
            (Method::GET, "?EIO=3&transport=polling", &[], 400),
            (Method::GET, "?EIO=4&transport=websocket", &upgrade, 400),
            (Method::OPTIONS, POLLING, &[], 204),
        ] {
            let mut headers = more.to_vec();
            headers.extend(asking.map(|asking| ("origin", asking)));
            let answer = ask(&sockd, method.clone(), query, &headers).await;
            let what = format!("{method} {query} under {setting:?} from {asking:?}");
            assert_eq!(answer.status(), status, "{what}");
            let headers = answer.headers();
            let origin = joined(headers, "access-control-allow-origin");
            assert_eq!(origin.as_deref(), allowed, "{what}");
            let varies = match (method, vary) {
                (Method::OPTIONS, Some(vary)) => {
                    Some(format!("{vary}, Access-Control-Request-Headers"))
                }
                (Method::OPTIONS, None) => Some("Access-Control-Request-Headers".to_owned()),
                (_, vary) => vary.map(str::to_owned),
            };
            assert_eq!(joined(headers, "vary"), varies, "{what}");
            let credentials = joined(headers, "access-control-allow-credentials");
            assert_eq!(credentials, None, "{what}");
        }
    }
}

#[tokio::test]
async fn a_preflight_allows_what_was_asked_for() {
    let sockd = Sockd::start().await;
    for (query, asked) in [
        (POLLING, Some("authorization,x-custom")),
        ("", Some("content-type")),
        ("?EIO=4&transport=polling&sid=unknown", None),
    ] {
        let mut headers = vec![("origin", A), ("access-control-request-method", "POST")];
        headers.extend(asked.map(|asked| ("access-control-request-headers", asked)));
        let answer = ask(&sockd, Method::OPTIONS, query, &headers).await;
        assert_eq!(answer.status(), 204);
        let headers = answer.headers().clone();
        assert_eq!(answer.text().await.expect("a body"), "");
        let field = |name: &str| joined(&headers, name);
        assert_eq!(field("access-control-allow-origin").as_deref(), Some("*"));
        assert_eq!(
            field("access-control-allow-methods").as_deref(),
            Some("GET,HEAD,PUT,PATCH,POST,DELETE")
        );
        assert_eq!(field("access-control-allow-headers").as_deref(), asked);
        assert_eq!(
            field("vary").as_deref(),
            Some("Access-Control-Request-Headers")
        );
        assert_eq!(field("access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn only_the_endpoint_has_cors_headers() {
    let sockd = Sockd::start().await;
    for path in ["/socket.io", "/healthz", "/internal/emit", "/"] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let request = http::client().request(method, format!("{}{path}", sockd.url()));
            let answer = request.header("origin", A).send().await.expect("an answer");
            let origin = joined(answer.headers(), "access-control-allow-origin");
            assert_eq!(origin, None, "{path}");
        }
    }
}
