//! `sockd token`: what is minted is admitted, and a verdict is the server's own.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::support::{command::Shell, jwt, sockd::Sockd, websocket::WebSocket};

fn key(name: &str) -> String {
    format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn shell() -> Shell {
    Shell::new().env("JWT_SECRET", jwt::SECRET)
}

/// The claims that a token carries.
fn claims(token: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("three parts");
    let json = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

/// The response to a client that joins with this token.
async fn handshake(sockd: &Sockd, token: &str) -> String {
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    socket.connect(token).await
}

#[tokio::test]
async fn stdout_has_only_the_token_and_stderr_the_generated_ids() {
    let shell = shell();
    let done = shell.run(&["token", "mint"]).await;
    let claims_of = claims(done.stdout.trim_end());
    let (user, session) = (&claims_of["user_id"], &claims_of["session_id"]);
    let expected = format!(
        "user     {}\nsession  {}\n",
        user.as_str().expect("a user"),
        session.as_str().expect("a session")
    );
    assert_eq!(done.stderr, expected);
    let token = done.ok();
    assert_eq!(token, format!("{}\n", token.trim()));
    assert_eq!(token.split('.').count(), 3);
    assert_eq!(
        claims_of["exp"].as_u64(),
        claims_of["iat"].as_u64().map(|now| now + 3_600)
    );

    let (user, session) = (jwt::user(), jwt::session());
    let given = ["token", "mint", "--user", &user, "--session", &session];
    let done = shell.run(&given).await;
    assert_eq!(done.stderr, "");
    let claims_of = claims(&done.ok());
    assert_eq!(claims_of["user_id"], json!(user));
    assert_eq!(claims_of["session_id"], json!(session));

    let more = [
        "--ttl",
        "7d",
        "--claim",
        "role=admin",
        "--claim",
        "n=[1]",
        "--claim",
        "iat=1",
        "--json",
    ];
    let done = shell.run(&[&given[..], &more].concat()).await;
    let minted: Value = serde_json::from_str(&done.ok()).expect("JSON");
    assert_eq!(
        (&minted["user_id"], &minted["session_id"]),
        (&json!(user), &json!(session))
    );
    let claims_of = claims(minted["token"].as_str().expect("a token"));
    assert_eq!(
        (&claims_of["role"], &claims_of["n"], &claims_of["iat"]),
        (&json!("admin"), &json!([1]), &json!(1))
    );
    let done = shell.run(&[&given[..], &["--ttl", "none"]].concat()).await;
    assert_eq!(claims(&done.ok()).get("exp"), None);
}

#[tokio::test]
async fn a_server_with_the_public_key_admits_tokens_of_every_algorithm() {
    let secret = jwt::SECRET;
    for (algorithms, private, public) in [
        (&["HS256", "HS384", "HS512"][..], None, None),
        (
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            Some("rsa.pem"),
            Some("rsa.pub.pem"),
        ),
        (&["RS256"], Some("rsa.pkcs1.pem"), Some("rsa.pub.pkcs1.pem")),
        (&["ES256"], Some("es256.pem"), Some("es256.pub.pem")),
        (&["ES256"], Some("es256.sec1.pem"), Some("es256.pub.pem")),
        (&["ES384"], Some("es384.pem"), Some("es384.pub.pem")),
        (&["ES256"], Some("es256.pem"), Some("es256.crt.pem")),
        (&["RS256"], Some("rsa.p12.pem"), Some("rsa.p12.pem")),
        (&["EdDSA"], Some("ed25519.pem"), Some("ed25519.pub.pem")),
    ] {
        let listed = algorithms.join(",");
        let mut builder = Sockd::builder().env("JWT_ALGORITHMS", &listed);
        let mut shell = Shell::new().env("JWT_ALGORITHMS", &listed);
        if let Some(public) = public {
            builder = builder
                .without("JWT_SECRET")
                .env("JWT_SECRET_FILE", key(public));
            shell = shell.env("JWT_SECRET_FILE", key(public));
        } else {
            shell = shell.env("JWT_SECRET", secret);
        }
        let sockd = builder.start().await;
        let file = private.map(|private| format!("@{}", key(private)));
        for algorithm in algorithms {
            let mut mint = vec!["token", "mint", "--alg", algorithm];
            mint.extend(file.iter().flat_map(|file| ["--key", file]));
            let done = shell.run(&mint).await;
            assert!(!done.stderr.contains("warning"), "{done:?}");
            let token = done.ok();
            let answer = handshake(&sockd, token.trim()).await;
            assert!(answer.starts_with("40{"), "{algorithm}: {answer}");
            // The same configuration judges it in the same way.
            let verdict = shell.run(&["token", "check", token.trim()]).await.ok();
            assert!(verdict.starts_with("valid: user "), "{verdict}");
        }
    }
}

#[tokio::test]
async fn many_tokens_are_ndjson_with_a_new_user_each() {
    let shell = shell();
    let done = shell.run(&["token", "mint", "--count", "500"]).await;
    assert_eq!(done.stderr, "");
    let users: std::collections::HashSet<String> = done
        .ok()
        .lines()
        .map(|line| {
            let minted: Value = serde_json::from_str(line).expect("JSON");
            let claims = claims(minted["token"].as_str().expect("a token"));
            assert_eq!(claims["user_id"], minted["user_id"]);
            minted["user_id"].to_string()
        })
        .collect();
    assert_eq!(users.len(), 500);
}

#[tokio::test]
async fn a_token_that_cannot_be_minted_says_why() {
    let shell = shell().file("empty", "");
    for (arguments, complaint) in [
        (
            &["--user", "x"][..],
            "--user: user id \"x\" is not an ObjectId of 24 hexadecimal digits; see ids.user",
        ),
        (&["--session", "x"], "see ids.session"),
        (&["--alg", "none"], "possible values: HS256"),
        (&["--alg", "ES512"], "possible values: HS256"),
        (&["--alg", "RS256"], "the key cannot sign RS256"),
        (
            &["--key", &format!("@{}", key("es512.pem"))],
            "P-521, and so ES512, is not supported",
        ),
        (&["--key", "hunter2"], "write @FILE"),
        (&["--key", "@nope"], "nope cannot be read"),
        (&["--key", "@empty"], "empty holds no secret"),
        (
            &["--key", &format!("@{}", key("rsa.pub.pem"))],
            "give the private key that belongs to it",
        ),
        (
            &["--key", &format!("@{}", key("rsa.encrypted.pem"))],
            "decrypt it with: openssl pkey",
        ),
        (
            &["--alg", "HS256", "--key", &format!("@{}", key("rsa.pem"))],
            "the key cannot sign HS256",
        ),
        (&["--ttl", "5"], "write 30s, 1h, 7d or none"),
        (&["--claim", "x"], "write NAME=VALUE"),
        (&["--count", "0"], "--count"),
    ] {
        let stderr = shell
            .run(&[&["token", "mint"], arguments].concat())
            .await
            .fails(2);
        assert!(stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
    let stderr = Shell::new().run(&["token", "mint"]).await.fails(2);
    assert!(
        stderr.contains("auth.secret: not set; set JWT_SECRET"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_token_that_the_configured_server_would_refuse_is_minted_with_a_warning() {
    let shell = shell();
    let private = format!("@{}", key("es256.pem"));
    let done = shell.run(&["token", "mint", "--key", &private]).await;
    let warning = "warning: the configured server accepts only HS256 and refuses ES256; list it in JWT_ALGORITHMS\n";
    assert!(done.stderr.contains(warning), "{done:?}");
    let token = done.ok();
    let done = shell.run(&["token", "check", token.trim()]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stdout
            .contains("only these are allowed: HS256; see JWT_ALGORITHMS"),
        "{done:?}"
    );
}

#[tokio::test]
async fn token_check_agrees_with_the_server_and_gives_the_reason() {
    let sockd = Sockd::start().await;
    let shell = shell();
    let (user, session) = (jwt::user(), jwt::session());
    let with = |more: Value| {
        let mut payload = json!({ "user_id": user, "session_id": session });
        payload
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        payload
    };
    let good = jwt::token(&user, &session);
    let (message, _) = good.rsplit_once('.').expect("three parts");
    let header = json!({ "alg": "HS512" });
    let signed = |payload: Value| jwt::sign(&payload);
    let cases = [
        ("abc".to_owned(), "not three base64url parts"),
        (format!("{message}."), "the token is not signed"),
        (
            good[..good.len() - 4].to_owned() + "AAAA",
            "the signature is not from a configured key; see JWT_SECRET",
        ),
        (
            jwt::sign_with(&header, &with(json!({})), hmac::HMAC_SHA512, jwt::SECRET),
            "HS512",
        ),
        (signed(with(json!({ "exp": 1 }))), "expired"),
        (signed(with(json!({ "nbf": 9_000_000_000_u64 }))), "\"nbf\""),
        (
            signed(with(json!({ "exp": "soon" }))),
            "claim \"exp\" is not a number",
        ),
        (
            signed(json!({ "session_id": session })),
            "claim \"user_id\" is missing",
        ),
        (
            signed(json!({ "user_id": user })),
            "claim \"session_id\" is missing",
        ),
        (
            signed(with(json!({ "user_id": 7 }))),
            "claim \"user_id\" is not a string",
        ),
        (
            signed(with(json!({ "user_id": "x" }))),
            "is not an ObjectId of 24 hexadecimal digits",
        ),
        (signed(json!([])), "payload is not a JSON object"),
    ];
    for (token, reason) in &cases {
        let done = shell.run(&["token", "check", token]).await;
        assert_eq!((done.code, done.stderr.as_str()), (Some(1), ""), "{done:?}");
        assert!(
            done.stdout.starts_with("invalid: ") && done.stdout.contains(reason),
            "{reason}: {done:?}"
        );
        let answer = handshake(&sockd, token).await;
        assert_eq!(answer, r#"44{"message":"TOKEN_INVALID"}"#, "{reason}");
    }
    let done = shell.run(&["token", "check", "  "]).await;
    assert_eq!(done.stdout, "invalid: the token is empty (TOKEN_MISSING)\n");
    assert_eq!(
        handshake(&sockd, "  ").await,
        r#"44{"message":"TOKEN_MISSING"}"#
    );
    assert_eq!(
        handshake(&sockd, "Bearer").await,
        r#"44{"message":"TOKEN_INVALID"}"#
    );
    assert_eq!(shell.run(&["token", "check", "Bearer"]).await.code, Some(1));

    let expected = format!("valid: user {user}, session {session}, never expires\n");
    assert_eq!(shell.run(&["token", "check", &good]).await.ok(), expected);
    let piped = format!(" Bearer  {good}\n");
    assert_eq!(
        shell.run_with(&["token", "check", "-"], &piped).await.ok(),
        expected
    );
    assert!(handshake(&sockd, &piped).await.starts_with("40{"));
    let far = signed(with(json!({ "exp": 9_000_000_000_000_000_u64 })));
    let json = shell.run(&["token", "check", "--json", &far]).await.ok();
    let verdict: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(verdict["valid"], json!(true));
    assert_eq!(verdict["user_id"], json!(user));
    assert_eq!(verdict["expires_at"], json!(9_000_000_000_000_000_u64));
    let done = shell.run(&["token", "check", "--json", "abc"]).await;
    assert_eq!(done.code, Some(1));
    let verdict: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(verdict["valid"], json!(false));
}
