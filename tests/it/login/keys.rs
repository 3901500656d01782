//! Tokens that are verified with the keys that an issuer publishes.

mod hostile;
mod source;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, eventually,
    issuer::{Issuer, Key},
    jwt,
    sockd::{Builder, Sockd},
    websocket::WebSocket,
};

const INVALID: &str = "TOKEN_INVALID";
const UNAVAILABLE: &str = "AUTH_UNAVAILABLE";

/// A server that knows no secret but reads this key set, so often that no test waits for it.
fn with_keys(url: &str) -> Builder {
    Sockd::builder()
        .without("JWT_SECRET")
        .env("SOCKD_AUTH__JWKS_URL", url)
        .env("SOCKD_AUTH__JWKS_REFRESH_INTERVAL", "1s")
}

/// The same, which reads the set again only when something makes it.
fn with_lasting_keys(url: &str) -> Builder {
    with_keys(url).env("SOCKD_AUTH__JWKS_REFRESH_INTERVAL", "1h")
}

async fn ready(builder: Builder) -> Sockd {
    let sockd = builder.start().await;
    sockd.is_ready(PATIENCE).await;
    sockd
}

/// The response to a client with this token: `in`, or why not.
async fn judge(sockd: &Sockd, token: &str) -> String {
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let answer = socket.connect(token).await;
    if answer.starts_with("40{") {
        return "in".to_owned();
    }
    let refusal = answer.strip_prefix("44").expect("a refusal");
    let refusal: Value = serde_json::from_str(refusal).expect("JSON");
    refusal["message"].as_str().expect("a message").to_owned()
}

async fn comes_to(sockd: &Sockd, token: &str, expected: &str) {
    let what = format!("the answer {expected}");
    eventually(PATIENCE, &what, async || {
        judge(sockd, token).await == expected
    })
    .await;
}

/// The number of log lines that contain the words.
fn count(sockd: &Sockd, words: &str) -> usize {
    let log = sockd.log().text();
    log.lines().filter(|line| line.contains(words)).count()
}

/// Asserts that exactly this many lines with the words come.
async fn is_logged(sockd: &Sockd, words: &str, times: usize) {
    eventually(PATIENCE, words, async || count(sockd, words) >= times).await;
    assert_eq!(count(sockd, words), times, "{words}");
}

#[tokio::test]
async fn keys_of_each_kind_rotate_without_a_restart() {
    for new_key in [Key::rs256, Key::es256, Key::eddsa] {
        let (old, new) = (new_key("old"), new_key("new"));
        let issuer = Issuer::start(&[old.jwk()]).await;
        let sockd = ready(with_keys(&issuer.url())).await;
        assert_eq!(judge(&sockd, &old.token()).await, "in");
        let mut member = WebSocket::open(sockd.address()).await;
        member.packet().await;
        let user = jwt::user();
        let token = old.token_of(&user, &jwt::session());
        assert!(member.connect(&token).await.starts_with("40{"));
        // The new key is published, then used, then the old one is removed.
        issuer.publish(&[old.jwk(), new.jwk()]);
        comes_to(&sockd, &new.token(), "in").await;
        assert_eq!(judge(&sockd, &old.token()).await, "in");
        issuer.publish(&[new.jwk()]);
        comes_to(&sockd, &old.token(), INVALID).await;
        assert_eq!(judge(&sockd, &new.token()).await, "in");
        // Sockets that are in stay in.
        sockd.emit(&user, "profile:update", &json!(1)).await;
        assert_eq!(member.packet().await, r#"42["profile:update",1]"#);
        is_logged(&sockd, "read a new key set for tokens", 3).await;
    }
}

#[tokio::test]
async fn a_key_that_was_not_published_before_its_use_is_looked_up_at_once() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let issuer = Issuer::start(&[old.jwk()]).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    issuer.publish(&[old.jwk(), new.jwk()]);
    issuer.hold(true);
    // All that come meanwhile share one reading, and wait for it.
    let newcomers = (0..20).map(|_| new.token()).collect::<Vec<_>>();
    let answers = newcomers.iter().map(|token| judge(&sockd, token));
    let answers = futures_util::future::join_all(answers);
    let began = Instant::now();
    let release = async {
        issuer.has_requests(2).await;
        // Tokens that need no new key do not wait.
        assert_eq!(judge(&sockd, &old.token()).await, "in");
        issuer.hold(false);
        began.elapsed()
    };
    let (answers, released) = tokio::join!(answers, release);
    // A handshake waits 1.5 s for a key. On a busy machine it may be refused, but not for good.
    let was_late = released > Duration::from_secs(1);
    assert!(
        was_late || answers.iter().any(|answer| answer == "in"),
        "{answers:?}"
    );
    assert!(
        !answers.iter().any(|answer| answer == INVALID),
        "{answers:?}"
    );
    assert_eq!(judge(&sockd, &new.token()).await, "in");
    assert_eq!(issuer.requests(), 2);
}

#[tokio::test]
async fn a_key_set_that_hangs_does_not_hold_up_a_handshake_for_long() {
    let key = Key::eddsa("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let sockd = ready(with_lasting_keys(&issuer.url())).await;
    issuer.hold(true);
    let began = Instant::now();
    let unknown = judge(&sockd, &Key::eddsa("b").token()).await;
    assert_eq!(unknown, UNAVAILABLE);
    // The reading itself is given up only after 5 s.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(judge(&sockd, &key.token()).await, "in");
}

#[tokio::test]
async fn secrets_and_a_key_set_hold_side_by_side_while_an_issuer_moves() {
    let key = Key::rs256("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let builder = with_keys(&issuer.url()).env("JWT_SECRET", jwt::SECRET);
    let sockd = ready(builder).await;
    let hmac = || jwt::token(&jwt::user(), &jwt::session());
    assert_eq!(judge(&sockd, &key.token()).await, "in");
    assert_eq!(judge(&sockd, &hmac()).await, "in");
    let alone = ready(with_keys(&issuer.url())).await;
    assert_eq!(judge(&alone, &hmac()).await, INVALID);
    // Either list of algorithms restricts.
    let restricted = with_keys(&issuer.url()).env("JWT_ALGORITHMS", "ES256");
    let restricted = ready(restricted).await;
    assert_eq!(judge(&restricted, &key.token()).await, INVALID);
}

#[tokio::test]
async fn configurations_that_could_not_verify_are_refused_at_the_start() {
    let public = "tests/fixtures/keys/rsa.pub.pem";
    let public = std::fs::read_to_string(format!("{}/{public}", env!("CARGO_MANIFEST_DIR")));
    let with = || with_keys("https://127.0.0.1:9/jwks.json");
    for (builder, expected) in [
        (
            with().env("JWT_SECRET", public.expect("a key of the tests")),
            "is a PEM key beside a key set",
        ),
        (
            with().env("JWT_ALGORITHMS", "HS256"),
            "\"HS256\" needs auth.secret",
        ),
        (
            with_keys("http://keys.example.com/"),
            "is not the URL of a key set",
        ),
        (
            with().env("SOCKD_AUTH__JWKS_CA_FILE", "none.pem"),
            "\"none.pem\" not found",
        ),
    ] {
        let (status, log) = builder.fails().await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(expected), "{log}");
    }
}

#[tokio::test]
async fn any_listed_issuer_and_audience_is_accepted() {
    let key = Key::es256("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let builder = with_keys(&issuer.url())
        .env("SOCKD_AUTH__ISSUER", "https://a.example,https://b.example")
        .env("SOCKD_AUTH__AUDIENCE", "sockd,gateway");
    let sockd = ready(builder).await;
    for (iss, aud, expected) in [
        (json!("https://a.example"), json!("sockd"), "in"),
        (json!("https://b.example"), json!(["x", "gateway"]), "in"),
        (json!("https://c.example"), json!("sockd"), INVALID),
        (
            json!("https://a.example,https://b.example"),
            json!("sockd"),
            INVALID,
        ),
        (json!("https://a.example"), json!(["x"]), INVALID),
        (json!(null), json!("sockd"), INVALID),
    ] {
        let (user, session) = (jwt::user(), jwt::session());
        let claims = json!({ "user_id": user, "session_id": session, "iss": iss, "aud": aud });
        let token = key.sign(&json!({}), &claims);
        assert_eq!(judge(&sockd, &token).await, expected, "{iss} {aud}");
    }
}
