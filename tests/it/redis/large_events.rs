//! A Redis whose output buffer is too small for the largest events.

use redis::cmd;
use serde_json::json;

use crate::support::{
    PATIENCE, doctor::Doctor, eventually, jwt, redis::Redis, sockd::Sockd, websocket::WebSocket,
};

/// Sets the `pubsub` output buffer limits: hard, soft and soft seconds.
fn limit(redis: &Redis, limit: &str) {
    cmd("CONFIG")
        .arg("SET")
        .arg("client-output-buffer-limit")
        .arg(format!("pubsub {limit}"))
        .exec(&mut redis.connection())
        .expect("CONFIG SET works");
}

#[tokio::test]
async fn a_redis_that_hangs_up_over_large_events_is_found_by_the_doctor() {
    let redis = Redis::start().await;
    let examine = async |max_body: &str| {
        Doctor::of(&redis)
            .env("SOCKD_INTERNAL__MAX_BODY", max_body)
            .examine()
            .await
    };
    let both = [
        "CONFIG SET client-output-buffer-limit \"pubsub ",
        "internal.max_body",
    ];
    examine("1MiB")
        .await
        .assert("largest", "ok", &["1048576 bytes came back"]);
    limit(&redis, "512kb 0 0");
    let examined = examine("1MiB").await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert("largest", "fail", &["no node receives such an event"]);
    examined.assert("largest", "fail", &both);
    let examined = examine("128KiB").await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("largest", "ok", &["131072 bytes came back"]);
    for (tight, risk) in [
        ("2mb 0 0", "anything else is queued with it"),
        ("0 512kb 60", "reads slowly"),
    ] {
        limit(&redis, tight);
        let examined = examine("1MiB").await;
        assert_eq!(examined.code, Some(0), "{}", examined.stdout);
        examined.assert("largest", "warn", &[risk]);
        examined.assert("largest", "warn", &both);
    }
    limit(&redis, "0 0 0");
    examine("16MiB")
        .await
        .assert("largest", "ok", &["16777216 bytes came back"]);
    // The remedy helps.
    limit(&redis, "512kb 0 0");
    let (_, text) = examine("16MiB").await.check("largest");
    let set = text.split('"').nth(1).expect("a limit in quotes");
    limit(&redis, set.trim_start_matches("pubsub "));
    examine("16MiB").await.assert("largest", "ok", &[]);
}

#[tokio::test]
async fn the_doctor_tries_a_large_event_if_the_acl_forbids_config_get() {
    let redis = Redis::start().await;
    let acl = "ACL SETUSER narrow on >pw ~* &* +@all -config";
    let mut create = cmd("ACL");
    create.arg(acl.split(' ').skip(1).collect::<Vec<_>>());
    create.exec(&mut redis.connection()).expect("ACL SETUSER");
    let url = format!("redis://narrow:pw@127.0.0.1:{}", redis.port);
    let doctor = Doctor::new().env("SOCKD_REDIS__URL", url);
    doctor
        .examine()
        .await
        .assert("largest", "ok", &["came back"]);
    limit(&redis, "512kb 0 0");
    let examined = doctor.examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    let words = [
        "is not received",
        "ended the subscription",
        "client-output-buffer-limit",
        "internal.max_body",
    ];
    examined.assert("largest", "fail", &words);
}

#[tokio::test]
async fn the_server_warns_of_a_redis_that_hangs_up_over_large_events() {
    let redis = Redis::start().await;
    limit(&redis, "512kb 0 0");
    let sockd = Sockd::with_redis(&redis).await;
    sockd.is_ready(PATIENCE).await;
    let is_told = async || {
        let log = sockd.log().text();
        log.contains("Redis may drop large events") && log.contains("internal.max_body")
    };
    eventually(PATIENCE, "the warning", is_told).await;

    limit(&redis, "32mb 8mb 60");
    let mut sockd = Sockd::with_redis(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    sockd
        .emit(&user, "profile:update", &json!("x".repeat(900_000)))
        .await;
    assert!(socket.packet().await.len() > 900_000);
    assert_eq!(sockd.drain().await, Some(0));
    sockd.log().lacks("large events");
}
