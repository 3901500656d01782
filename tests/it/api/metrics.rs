//! Who may read `/metrics` and `/readyz`, and which series there are.

use std::{collections::BTreeSet, fs, sync::Arc};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually, http, jwt,
    process::free_port,
    sockd::{Builder, INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

const METRICS_SECRET: &str = "what-scrapers-send-and-nobody-else";

async fn ask(sockd: &Sockd, path: &str, secret: Option<&str>) -> (u16, String) {
    let mut request = http::client().get(format!("{}{path}", sockd.url()));
    if let Some(secret) = secret {
        request = request.bearer_auth(secret);
    }
    let answer = request.send().await.expect("the server answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

/// A server that is not ready because its Redis is not running.
fn unready() -> Builder {
    Sockd::builder()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", free_port().to_string())
}

async fn is_told_nothing(sockd: &Sockd, secret: Option<&str>) {
    assert_eq!(
        ask(sockd, "/readyz", secret).await,
        (503, r#"{"ok":false,"error":"NOT_READY"}"#.to_owned())
    );
}

async fn is_told_the_reason(sockd: &Sockd, secret: &str) {
    let (status, body) = ask(sockd, "/readyz", Some(secret)).await;
    assert_eq!(status, 503);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert!(!body["reason"].as_str().expect("a reason").is_empty());
}

async fn is_refused_metrics(sockd: &Sockd, secret: Option<&str>) {
    for path in ["/metrics", "/Metrics/"] {
        assert_eq!(
            ask(sockd, path, secret).await,
            (401, r#"{"ok":false,"error":"UNAUTHORIZED"}"#.to_owned())
        );
    }
}

async fn is_shown_metrics(sockd: &Sockd, secret: Option<&str>) {
    let (status, body) = ask(sockd, "/metrics", secret).await;
    assert_eq!(status, 200);
    assert!(body.contains("\nsockd_sockets 0\n"), "{body}");
}

#[tokio::test]
async fn metrics_and_reasons_need_a_secret() {
    let sockd = unready()
        .env("SOCKD_METRICS__SECRET", METRICS_SECRET)
        .env("SOCKD_INTERNAL__PREVIOUS_SECRETS", "the-one-before")
        .start()
        .await;
    for secret in [
        None,
        Some(""),
        Some("x"),
        Some(&METRICS_SECRET[1..]),
        Some(jwt::SECRET),
    ] {
        is_told_nothing(&sockd, secret).await;
        is_refused_metrics(&sockd, secret).await;
    }
    for secret in [METRICS_SECRET, INTERNAL_SECRET, "the-one-before"] {
        is_told_the_reason(&sockd, secret).await;
        is_shown_metrics(&sockd, Some(secret)).await;
    }
}

#[tokio::test]
async fn without_a_metrics_secret_the_internal_secret_reads_metrics() {
    let sockd = unready().start().await;
    is_refused_metrics(&sockd, None).await;
    is_refused_metrics(&sockd, Some("")).await;
    let refusal = "refused a request for /metrics, let scrapers send metrics.secret";
    eventually(PATIENCE, refusal, async || {
        sockd.log().text().matches(refusal).count() == 1
    })
    .await;
    is_shown_metrics(&sockd, Some(INTERNAL_SECRET)).await;
}

#[tokio::test]
async fn public_metrics_need_no_secret_but_reasons_do() {
    let sockd = unready().env("SOCKD_METRICS__PUBLIC", "true").start().await;
    is_shown_metrics(&sockd, None).await;
    is_shown_metrics(&sockd, Some("x")).await;
    is_told_nothing(&sockd, None).await;
    is_told_the_reason(&sockd, INTERNAL_SECRET).await;
}

#[tokio::test]
async fn the_metrics_secret_opens_no_internal_route() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("metrics.secret");
    fs::write(&file, format!("{METRICS_SECRET}\n")).expect("a file");
    fs::write(
        directory.path().join("sockd.toml"),
        "[metrics]\nsecret_file = \"metrics.secret\"\npublic = false\n",
    )
    .expect("a file");
    let sockd = Sockd::builder().start_in(Arc::new(directory)).await;
    is_shown_metrics(&sockd, Some(METRICS_SECRET)).await;
    for path in ["emit", "force-logout", "sessions"] {
        let request = http::client().post(format!("{}/internal/{path}", sockd.url()));
        let answer = request.bearer_auth(METRICS_SECRET).json(&json!({})).send();
        assert_eq!(answer.await.expect("the server answers").status(), 401);
    }
}

/// A page that does not know the secret cannot send it, so browsers are not refused.
#[tokio::test]
async fn browsers_may_read_metrics_with_the_secret() {
    let sockd = Sockd::start().await;
    for (secret, status) in [(INTERNAL_SECRET, 200), ("x", 401)] {
        let request = http::client().get(format!("{}/metrics", sockd.url()));
        let request = request.header("sec-fetch-mode", "navigate");
        let answer = request.bearer_auth(secret).send().await;
        assert_eq!(answer.expect("the server answers").status(), status);
    }
}

#[tokio::test]
async fn callers_and_clients_cannot_create_series() {
    let sockd = Sockd::builder()
        .env("SOCKD_EVENTS__SUPPORTED", "order:*,order:paid,auth:logout")
        .start()
        .await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    sockd.emit(&user, "auth:logout", &Value::Null).await;
    sockd.emit(&user, "order:chosen-0", &Value::Null).await;
    let before = series(&sockd).await;
    for number in 1..20 {
        sockd
            .emit(&user, &format!("order:chosen-{number}"), &Value::Null)
            .await;
        let body = json!({ "userId": user, "event": format!("chosen-{number}") });
        assert_eq!(sockd.post("/internal/emit", &body).await.status(), 400);
        let path = format!("/internal/chosen-{number}");
        assert_eq!(sockd.post(&path, &body).await.status(), 404);
        socket.send(&format!(r#"42["chosen-{number}"]"#)).await;
    }
    assert_eq!(series(&sockd).await, before);
    let text = sockd.metrics().await;
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).map(str::to_owned)
    };
    let pattern = figure("sockd_emits_total{event=\"order:*\"}");
    assert_eq!(pattern.as_deref(), Some("20"), "{text}");
    let name = figure("sockd_emits_total{event=\"auth:logout\"}");
    assert_eq!(name.as_deref(), Some("1"), "{text}");
    for chosen in ["chosen", user.as_str(), session.as_str()] {
        assert!(!text.contains(chosen), "{text}");
    }
}

/// The names of all series, with their labels.
async fn series(sockd: &Sockd) -> BTreeSet<String> {
    let text = sockd.metrics().await;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}
