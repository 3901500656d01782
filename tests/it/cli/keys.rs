//! The commands where tokens are verified with a key set.

use serde_json::json;

use crate::support::{
    command::Shell,
    doctor::Doctor,
    issuer::{Answer, Issuer, Key, document},
    jwt,
    process::free_port,
};

const URL: &str = "SOCKD_AUTH__JWKS_URL";

fn doctor(url: &str) -> Doctor {
    Doctor::new().without("JWT_SECRET").env(URL, url)
}

/// The doctor waits for its process, so the issuer needs another thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_reads_the_set_and_says_what_is_in_it() {
    let (key, other) = (Key::es256("a"), Key::rs256("b"));
    let issuer = Issuer::start(&[key.jwk(), other.jwk()]).await;
    let examined = doctor(&issuer.url()).examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    let words = ["2 from http://", "\"a\" (ES256), \"b\" (RS256)"];
    examined.assert("keys", "ok", &words);
    examined.assert("keys_clock", "ok", &["between this machine and"]);

    issuer.publish(&[key.jwk(), json!({ "kty": "oct", "kid": "o", "k": "AA" })]);
    let examined = doctor(&issuer.url()).examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    let words = ["1 from http://", "not used: \"o\": a shared secret"];
    examined.assert("keys", "warn", &words);

    let restricted = doctor(&issuer.url()).env("JWT_ALGORITHMS", "RS256,EdDSA");
    let examined = restricted.examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    let words = ["none of them verifies RS256, EdDSA", "JWT_ALGORITHMS"];
    examined.assert("keys", "fail", &words);

    let late = document(&[key.jwk()]);
    issuer.answer(Answer::Raw(format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2015 00:00:00 GMT\r\ncontent-length: {}\r\n\r\n{late}",
        late.len()
    )));
    let examined = doctor(&issuer.url()).examine().await;
    examined.assert("keys", "ok", &[]);
    examined.assert("keys_clock", "fail", &["NTP"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_says_why_there_is_no_set() {
    let issuer = Issuer::start(&[]).await;
    for (answer, words) in [
        (Answer::HangUp, ["no answer", "see that the issuer runs"]),
        (
            Answer::Raw("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_owned()),
            ["the answer is 403 Forbidden, not 200", "see auth.jwks_url"],
        ),
        (
            Answer::Body("<html>".to_owned()),
            ["not a JSON Web Key Set", "leads to a key set"],
        ),
        (
            Answer::Body(document(&[json!({ "kty": "oct", "k": "AA" })])),
            ["none of its keys can be used", "Ed25519"],
        ),
    ] {
        issuer.answer(answer);
        let examined = doctor(&issuer.url()).examine().await;
        assert_eq!(examined.code, Some(1), "{}", examined.stdout);
        examined.assert("keys", "fail", &words);
    }
}

#[tokio::test]
async fn token_check_gives_the_verdict_of_a_server_with_the_set() {
    let (key, stranger) = (Key::rs256("a"), Key::rs256("b"));
    let issuer = Issuer::start(&[key.jwk()]).await;
    let shell = Shell::new().env(URL, issuer.url());
    let (user, session) = (jwt::user(), jwt::session());
    let claims = json!({ "user_id": user, "session_id": session });
    let check = async |token: String| shell.run(&["token", "check", &token]).await;
    let good = check(key.sign(&json!({}), &claims)).await.ok();
    let expected = format!("valid: user {user}, session {session}, never expires\n");
    assert_eq!(good, expected);
    for (token, why) in [
        (
            stranger.token(),
            "invalid: the token's key \"b\" is not in the key set",
        ),
        (
            stranger.sign(&json!({ "kid": "a" }), &claims),
            "invalid: the signature is not from the key \"a\" of the key set",
        ),
        (
            jwt::token(&user, &session),
            "invalid: the token is signed with \"HS256\", but only these are allowed: RS256",
        ),
    ] {
        let done = check(token).await;
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(done.stdout.starts_with(why), "{done:?}");
    }
    issuer.answer(Answer::HangUp);
    let done = check(key.token()).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("the key set cannot be read from http://"),
        "{done:?}"
    );
}

#[tokio::test]
async fn token_mint_needs_the_private_key_where_only_a_set_is_configured() {
    let key = format!(
        "{}/tests/fixtures/keys/es256.pem",
        env!("CARGO_MANIFEST_DIR")
    );
    let issuer = Issuer::start(&[Key::es256("a").jwk()]).await;
    let shell = Shell::new().env(URL, issuer.url());
    let done = shell.run(&["token", "mint"]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("a key set only verifies"), "{done:?}");
    assert!(done.stderr.contains("--key"), "{done:?}");
    let key = format!("@{key}");
    let minted = shell.run(&["token", "mint", "--key", &key]).await.ok();
    assert_eq!(minted.split('.').count(), 3, "{minted}");
    assert_eq!(issuer.requests(), 0);
}

#[tokio::test]
async fn a_set_that_cannot_be_read_is_reported_once_with_its_cause() {
    let url = format!("http://127.0.0.1:{}/jwks.json", free_port());
    let shell = Shell::new().env(URL, &url);
    let stderr = shell.run(&["token", "check", "x"]).await.fails(1);
    assert!(
        stderr.contains(&url) && stderr.contains("see that the issuer runs"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("Connection refused").count(), 1, "{stderr}");
}
