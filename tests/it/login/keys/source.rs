//! Where keys come from, and what happens while they do not.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use super::{
    INVALID, UNAVAILABLE, comes_to, count, is_logged, judge, ready, with_keys, with_lasting_keys,
};
use crate::support::{
    PATIENCE, eventually,
    issuer::{Answer, Issuer, Key, document},
    jwt,
    process::free_port,
    sockd::{Builder, Sockd},
};

/// Why the server is not ready, as operators see it.
async fn reason(sockd: &Sockd) -> String {
    let answer = sockd.get("/readyz").await;
    assert_eq!(answer.status(), 503);
    let body: Value = answer.json().await.expect("JSON");
    body["reason"].as_str().expect("a reason").to_owned()
}

fn raw(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer::Raw(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

#[tokio::test]
async fn without_keys_the_server_listens_is_not_ready_and_recovers_by_itself() {
    let key = Key::es256("a");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let url = format!("http://{address}/jwks.json");
    let sockd = with_lasting_keys(&url).start().await;
    assert_eq!(judge(&sockd, &key.token()).await, UNAVAILABLE);
    eventually(PATIENCE, "the reason", async || {
        reason(&sockd).await.contains("Connection refused")
    })
    .await;
    // Tokens that no key could verify get their own error.
    let (user, session) = (jwt::user(), jwt::session());
    let expired = json!({ "user_id": user, "session_id": session, "exp": 1 });
    for token in [
        key.sign(&json!({}), &expired),
        key.sign(&json!({ "alg": "none" }), &json!({})),
        jwt::token(&user, &session),
        "x".to_owned(),
    ] {
        assert_eq!(judge(&sockd, &token).await, INVALID, "{token}");
    }
    assert_eq!(sockd.figure("sockd_jwks_keys").await, 0.0);
    assert_eq!(sockd.figure("sockd_ready").await, 0.0);
    let _issuer = Issuer::start_at(address, &[key.jwk()]).await;
    sockd.is_ready(PATIENCE).await;
    assert_eq!(judge(&sockd, &key.token()).await, "in");
    is_logged(&sockd, "cannot read the key set for tokens", 1).await;
    is_logged(&sockd, "the key set for tokens can be read again", 1).await;
}

#[tokio::test]
async fn the_last_good_set_stays_whatever_the_source_does() {
    let key = Key::rs256("a");
    let issuer = Issuer::start(&[key.jwk()]).await;
    let sockd = ready(with_keys(&issuer.url())).await;
    assert_eq!(sockd.figure("sockd_jwks_keys").await, 1.0);
    let good = document(&[key.jwk()]);
    let huge = format!("{}{good}", " ".repeat(256 * 1024));
    let elsewhere = format!("location: {}\r\n", issuer.url());
    let failed = || sockd.figure("sockd_jwks_reads_total{result=\"failed\"}");
    for (answer, why) in [
        (
            raw("500 Internal Server Error", "", &good),
            "500 Internal Server Error",
        ),
        (raw("404 Not Found", "", ""), "404 Not Found"),
        (raw("204 No Content", "", ""), "204 No Content"),
        (raw("302 Found", &elsewhere, ""), "302 Found"),
        (Answer::HangUp, "no answer"),
        (Answer::Raw("rubbish\r\n\r\n".to_owned()), "no answer"),
        (
            Answer::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{\"keys\"".to_owned()),
            "the answer is incomplete",
        ),
        (Answer::Body("<html>".to_owned()), "not a JSON Web Key Set"),
        (Answer::Body("{}".to_owned()), "not a JSON Web Key Set"),
        (Answer::Body(document(&[])), "it has no keys"),
        (
            Answer::Body(document(&[json!({ "kty": "oct", "k": "c2VjcmV0" })])),
            "none of its keys can be used: key 1: a shared secret",
        ),
        (Answer::Body(huge.clone()), "more than 262144 bytes"),
        (Answer::Endless, "more than 262144 bytes"),
        (Answer::Drip, "not read within 5s"),
    ] {
        let before = failed().await;
        issuer.answer(answer);
        eventually(2 * PATIENCE, why, async || {
            failed().await > before && sockd.log().text().contains(why)
        })
        .await;
        assert_eq!(judge(&sockd, &key.token()).await, "in", "{why}");
        assert!(sockd.is_ready_now().await, "{why}");
        let unknown = judge(&sockd, &Key::eddsa("b").token()).await;
        assert_eq!(unknown, UNAVAILABLE, "{why}");
    }
    assert_eq!(sockd.figure("sockd_jwks_keys").await, 1.0);
    // It comes back, and keys that were unknown meanwhile are known.
    let new = Key::es256("b");
    issuer.publish(&[new.jwk()]);
    comes_to(&sockd, &new.token(), "in").await;
    comes_to(&sockd, &key.token(), INVALID).await;
}

#[tokio::test]
async fn a_failure_is_logged_once_and_its_length_is_a_metric() {
    let key = Key::eddsa("a");
    let issuer = Issuer::start(&[key.jwk(), json!({ "kty": "oct", "k": "AA", "kid": "o" })]).await;
    let sockd = ready(with_keys(&issuer.url())).await;
    let time = || async {
        let name = "sockd_jwks_last_success_timestamp_seconds";
        sockd.figure(name).await
    };
    assert_eq!(sockd.figure("sockd_jwks_skipped_keys").await, 1.0);
    issuer.has_requests(4).await;
    let reads = sockd.figure("sockd_jwks_reads_total{result=\"ok\"}").await;
    assert!(reads >= 3.0, "{reads}");
    issuer.answer(Answer::HangUp);
    let failed = "sockd_jwks_reads_total{result=\"failed\"}";
    eventually(PATIENCE, "failures", async || {
        sockd.figure(failed).await >= 3.0
    })
    .await;
    let then = time().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("a clock").as_secs_f64() - then;
    assert!((1.0..600.0).contains(&age), "{age}");
    issuer.publish(&[key.jwk()]);
    eventually(PATIENCE, "a success", async || time().await > then).await;
    is_logged(&sockd, "cannot read the key set for tokens", 1).await;
    is_logged(&sockd, "can be read again", 1).await;
    is_logged(&sockd, "some keys of the key set are not used", 1).await;
}

#[tokio::test]
async fn a_file_is_read_again_when_it_has_changed() {
    let (old, new) = (Key::rs256("old"), Key::es256("new"));
    let directory = std::sync::Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let path = directory.path().join("jwks.json");
    let publish = |keys: &[Value]| {
        // As Kubernetes does it: another file replaces it atomically.
        let new = directory.path().join("new.json");
        fs::write(&new, document(keys)).expect("a file");
        fs::rename(new, &path).expect("a file");
    };
    publish(&[old.jwk()]);
    let builder = || -> Builder {
        with_keys("")
            .without("SOCKD_AUTH__JWKS_URL")
            .env("SOCKD_AUTH__JWKS_FILE", "jwks.json")
    };
    let sockd = builder().start_in(directory.clone()).await;
    sockd.is_ready(PATIENCE).await;
    assert_eq!(judge(&sockd, &old.token()).await, "in");
    publish(&[new.jwk()]);
    comes_to(&sockd, &new.token(), "in").await;
    comes_to(&sockd, &old.token(), INVALID).await;
    fs::write(&path, "{").expect("a file");
    eventually(PATIENCE, "a failure", async || {
        count(&sockd, "cannot read the key set") == 1
    })
    .await;
    assert_eq!(judge(&sockd, &new.token()).await, "in");
}

#[tokio::test]
async fn https_trusts_the_configured_authority_and_follows_no_redirect_to_http() {
    let key = Key::rs256("a");
    let issuer = Issuer::with_tls(&[key.jwk()]).await;
    let authority =
        |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let trusting = |url: &str| with_keys(url).env("SOCKD_AUTH__JWKS_CA_FILE", authority("ca.pem"));
    let sockd = ready(trusting(&issuer.url())).await;
    assert_eq!(judge(&sockd, &key.token()).await, "in");

    let stranger = authority("stranger.pem");
    let wary = with_keys(&issuer.url());
    for wary in [wary.clone(), wary.env("SOCKD_AUTH__JWKS_CA_FILE", stranger)] {
        let wary = wary.start().await;
        eventually(PATIENCE, "the reason", async || {
            let reason = reason(&wary).await;
            reason.contains("certificate") && reason.contains("auth.jwks_ca_file")
        })
        .await;
        assert_eq!(judge(&wary, &key.token()).await, UNAVAILABLE);
    }

    // From HTTPS to HTTPS is fine; to HTTP, even on this machine, nothing is sent.
    let plain = Issuer::start(&[key.jwk()]).await;
    let redirect = |to: &str| raw("302 Found", &format!("location: {to}\r\n"), "");
    let other = Issuer::with_tls(&[key.jwk()]).await;
    other.answer(redirect(&issuer.url()));
    let redirected = ready(trusting(&other.url())).await;
    assert_eq!(judge(&redirected, &key.token()).await, "in");
    for (to, why) in [
        (plain.url(), "redirects to a URL that is not allowed"),
        (other.url(), "too many redirects"),
    ] {
        other.answer(redirect(&to));
        let redirected = trusting(&other.url()).start().await;
        eventually(PATIENCE, why, async || {
            reason(&redirected).await.contains(why)
        })
        .await;
    }
    assert_eq!(plain.requests(), 0);
}

#[tokio::test]
async fn a_proxy_is_never_asked_for_keys_of_this_machine() {
    let key = Key::eddsa("a");
    let (issuer, proxy) = (Issuer::start(&[key.jwk()]).await, Issuer::start(&[]).await);
    let builder = with_keys(&issuer.url()).env("http_proxy", proxy.url());
    let sockd = ready(builder).await;
    assert_eq!(judge(&sockd, &key.token()).await, "in");
    assert_eq!(proxy.requests(), 0);
}

#[tokio::test]
async fn a_reading_under_way_does_not_hold_up_the_end() {
    let issuer = Issuer::start(&[]).await;
    issuer.hold(true);
    let mut sockd = with_keys(&issuer.url()).start().await;
    issuer.has_requests(1).await;
    assert_eq!(sockd.drain().await, Some(0));
    // It was abandoned, and not waited for until it failed.
    sockd.log().lacks("cannot read the key set for tokens");
}
