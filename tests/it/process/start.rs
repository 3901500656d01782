//! How the server starts, and how it says why it cannot.

use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use crate::support::{
    PATIENCE, http, jwt,
    process::free_port,
    redis::Redis,
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
};

async fn emit_status(sockd: &Sockd, secret: &str) -> u16 {
    let request = http::client().post(format!("{}/internal/emit", sockd.url()));
    let body = format!(r#"{{"userId":"{}","event":"profile:update"}}"#, jwt::user());
    let request = request
        .bearer_auth(secret)
        .header("content-type", "application/json");
    request
        .body(body)
        .send()
        .await
        .expect("the server answers")
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_missing_secret_is_named_with_its_remedy() {
    for (missing, remedy) in [
        ("JWT_SECRET", "JWT_SECRET"),
        ("INTERNAL_SECRET", "INTERNAL_SECRET"),
    ] {
        for builder in [
            Sockd::builder().without(missing),
            Sockd::builder().env(missing, ""),
        ] {
            let (status, text) = builder.fails().await;
            assert!(
                status.code().is_some_and(|code| code != 0),
                "{missing}: {status}"
            );
            assert!(
                text.contains(remedy) && text.contains("openssl rand -hex 32"),
                "{missing}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn all_missing_settings_are_reported_at_once() {
    let builder = Sockd::builder()
        .without("JWT_SECRET")
        .without("INTERNAL_SECRET")
        .env("PORT", "http");
    let (status, text) = builder.fails().await;
    assert_ne!(status.code(), Some(0));
    for name in ["JWT_SECRET", "INTERNAL_SECRET", "PORT"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

#[tokio::test]
async fn an_unusable_key_is_reported_with_its_remedy() {
    for (key, algorithm, complaint) in [
        (
            "es512.pub.pem",
            "ES512",
            "P-521, and so ES512, is not supported",
        ),
        (
            "secp256k1.pub.pem",
            "ES256",
            "use RSA of 2048 to 8192 bits, ECDSA on P-256",
        ),
        ("rsa1024.pub.pem", "RS256", "the RSA key has 1024 bits"),
        (
            "rsa.encrypted.pem",
            "RS256",
            "decrypt it with: openssl pkey",
        ),
        (
            "rsa.by-ed25519.crt.pem",
            "RS256",
            "openssl x509 -in CERT -noout -pubkey",
        ),
    ] {
        let path = format!("{}/tests/fixtures/keys/{key}", env!("CARGO_MANIFEST_DIR"));
        let builder = Sockd::builder()
            .without("JWT_SECRET")
            .env("JWT_SECRET_FILE", path)
            .env("JWT_ALGORITHMS", algorithm);
        let (status, text) = builder.fails().await;
        assert!(status.code().is_some_and(|code| code != 0), "{status}");
        assert!(
            text.contains("JWT secret 1 of 1 cannot be used") && text.contains(complaint),
            "{key}: {text}"
        );
    }
}

#[tokio::test]
async fn a_taken_port_is_reported_with_its_remedy() {
    let taken = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let (status, text) = Sockd::builder().env("PORT", port.to_string()).fails().await;
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(
        text.contains(&format!("port {port} is taken")) && text.contains("set PORT"),
        "{text}"
    );
}

#[tokio::test]
async fn the_internal_secret_is_the_first_of_three_that_is_not_empty() {
    let secrets = [
        "first-secret-of-the-internal-routes",
        "second-secret-of-the-internal-routes",
        "third-secret-of-the-internal-routes",
    ];
    let names = ["INTERNAL_SECRET", "AUTH_TOKEN", "SECRET_KEY"];
    for first in 0..names.len() {
        let mut builder = Sockd::builder();
        for (at, name) in names.iter().enumerate() {
            builder = builder.env(name, if at < first { "" } else { secrets[at] });
        }
        let sockd = builder.start().await;
        for (at, secret) in secrets.iter().enumerate() {
            let expected = if at == first { 200 } else { 401 };
            assert_eq!(
                emit_status(&sockd, secret).await,
                expected,
                "{} of {}",
                secret,
                names[first]
            );
        }
    }
}

#[tokio::test]
async fn a_dotenv_file_is_read_and_the_environment_overrides_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let from_file = "the-internal-secret-of-the-dotenv-file";
    let text = format!(
        "# comment\nINTERNAL_SECRET='{from_file}'\nexport JWT_SECRET=\"not this one, the environment's\"\nPORT=1\n"
    );
    std::fs::write(directory.path().join(".env"), text).expect("it is written");
    let builder = Sockd::builder().without("INTERNAL_SECRET");
    let sockd = builder.start_in(Arc::new(directory)).await;
    assert_eq!(emit_status(&sockd, from_file).await, 200);
    assert_eq!(emit_status(&sockd, INTERNAL_SECRET).await, 401);
    WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
}

#[tokio::test]
async fn port_3000_is_the_default() {
    let (status, text) = Sockd::builder()
        .without("PORT")
        .env("SOCKD_SERVER__HOST", "192.0.2.1")
        .fails()
        .await;
    assert_ne!(status.code(), Some(0));
    assert!(text.contains("192.0.2.1:3000"), "{text}");
}

#[tokio::test]
async fn ipv4_and_ipv6_are_both_listened_on() {
    let sockd = Sockd::start().await;
    for host in ["127.0.0.1", "[::1]"] {
        let address: SocketAddr = format!("{host}:{}", sockd.address().port())
            .parse()
            .expect("an address");
        WebSocket::join(address, &jwt::user(), &jwt::session()).await;
    }
}

#[tokio::test]
async fn without_redis_at_the_start_the_server_listens_and_says_that_it_is_not_ready() {
    let sockd = Sockd::builder()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", free_port().to_string())
        .start()
        .await;
    assert_eq!(
        http::get(&format!("{}/healthz", sockd.url()))
            .await
            .status(),
        200
    );
    assert_eq!(
        http::get(&format!("{}/readyz", sockd.url())).await.status(),
        503
    );
    // The reason why a token is refused is still logged.
    for (token, refusal) in [
        ("rubbish".to_owned(), "TOKEN_INVALID"),
        (String::new(), "TOKEN_MISSING"),
        (
            jwt::token(&jwt::user(), &jwt::session()),
            "AUTH_UNAVAILABLE",
        ),
    ] {
        let mut socket = WebSocket::open(sockd.address()).await;
        socket.packet().await;
        let answer = socket.connect(&token).await;
        assert_eq!(answer, format!(r#"44{{"message":"{refusal}"}}"#));
    }
}

#[tokio::test]
async fn a_redis_that_starts_later_is_found() {
    let mut redis = Redis::start().await;
    redis.kill();
    let sockd = Sockd::builder().redis(&redis).start().await;
    redis.restart().await;
    sockd.is_ready(PATIENCE).await;
    let user = jwt::user();
    WebSocket::join(sockd.address(), &user, &jwt::session()).await;
    assert!(redis.stored(&user).is_some());
}

#[tokio::test]
async fn a_handshake_right_after_the_start_waits_for_the_first_connection() {
    let redis = Redis::start().await;
    for _ in 0..5 {
        let sockd = Sockd::builder().redis(&redis).start().await;
        WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    }
    // Redis sends nothing before the client does.
    redis.freeze();
    let sockd = Sockd::builder().redis(&redis).start().await;
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    let token = jwt::token(&jwt::user(), &jwt::session());
    let (answer, ()) = tokio::join!(socket.connect(&token), async {
        tokio::task::yield_now().await;
        redis.thaw();
    });
    assert!(answer.starts_with(r#"40{"sid":""#), "{answer}");
}

#[tokio::test]
async fn redis_host_by_itself_selects_redis() {
    let url_of_default = Sockd::builder()
        .env("REDIS_HOST", "127.0.0.1")
        .start()
        .await;
    let url = r#"sessions="redis://127.0.0.1:6379""#;
    url_of_default.logs(url).await;
    let redis = Redis::start().await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "hunter2"])
        .query(&mut redis.connection())
        .expect("CONFIG works");
    let sockd = Sockd::builder()
        .redis(&redis)
        .env("REDIS_PASS", "hunter2")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    assert!(!sockd.log().text().contains("hunter2"));
}

/// Whoever opens one waits for a writer.
#[tokio::test]
async fn a_pipe_is_refused_wherever_a_file_is_expected() {
    for name in [
        "SOCKD_CONFIG",
        "SOCKD_AUTH__SECRET_FILE",
        "SOCKD_AUTH__PREVIOUS_SECRET_FILES",
        "SOCKD_AUTH__JWKS_FILE",
        "SOCKD_SERVER__TLS_CERT_FILE",
        "SOCKD_SERVER__TLS_KEY_FILE",
        "SOCKD_INTERNAL__SECRET_FILE",
        "SOCKD_INTERNAL__TLS_CLIENT_CA_FILE",
        "SOCKD_METRICS__SECRET_FILE",
        "SOCKD_REDIS__PASSWORD_FILE",
        "SOCKD_REDIS__TLS_CA_FILE",
    ] {
        let builder = match name {
            "SOCKD_AUTH__SECRET_FILE" | "SOCKD_AUTH__JWKS_FILE" => {
                Sockd::builder().without("JWT_SECRET")
            }
            "SOCKD_INTERNAL__SECRET_FILE" => Sockd::builder().without("INTERNAL_SECRET"),
            _ => Sockd::builder(),
        };
        let builder = builder.prelude("mkfifo pipe").env(name, "pipe");
        let path = std::env::var("PATH").unwrap_or_default();
        let (status, text) = builder.env("PATH", path).fails().await;
        assert!(!status.success(), "{name}: {text}");
        let expected = "cannot be read: it is a pipe, not a regular file";
        assert!(text.contains(expected), "{name}: {text}");
    }
}
