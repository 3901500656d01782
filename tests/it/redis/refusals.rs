//! Redis returns errors: what still works, and what sockd reports.

mod acl;
mod changes;

use std::time::Duration;

use redis::{Connection, cmd};
use serde_json::json;

use crate::support::{
    PATIENCE, doctor::Doctor, eventually, jwt, redis::Redis, sockd::Sockd, websocket::WebSocket,
    within,
};

const UNAVAILABLE: &str = r#"44{"message":"AUTH_UNAVAILABLE"}"#;
const MISMATCH: &str = r#"44{"message":"SESSION_MISMATCH"}"#;
/// While Redis is away, every request returns within 3 s; twice that is for a busy machine.
const ANSWERED: Duration = Duration::from_secs(6);
/// `/readyz` must change within 5 s; twice that is for a busy machine.
const NOTICED: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_full_redis_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    still_lets_the_active_session_in(
        &redis,
        async || fill(&redis),
        async || set(&redis, "maxmemory", "0"),
        ["OOM", "raise its maxmemory"],
        "writes",
        200,
    )
    .await;
}

#[tokio::test]
async fn a_read_only_redis_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    let master = Redis::start().await;
    still_lets_the_active_session_in(
        &redis,
        async || {
            // As in a failover: the other one follows until it has all, and then leads.
            master.follow(&redis).await;
            master.lead();
            redis.follow(&master).await;
        },
        async || redis.lead(),
        ["is a replica", "point redis.url to its master"],
        "writes",
        // Other nodes may be at the master already, and get none of it.
        503,
    )
    .await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_still_lets_the_active_session_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("UTF-8").to_owned();
    let redis = Redis::start_with(&["--dir", &path]).await;
    still_lets_the_active_session_in(
        &redis,
        async || {
            directory.close().expect("the folder can be deleted");
            set(&redis, "save", "3600 1");
            redis.run(&["BGSAVE"]);
            eventually(PATIENCE, "a save that fails", async || {
                redis
                    .info("persistence")
                    .contains("rdb_last_bgsave_status:err")
            })
            .await;
        },
        async || set(&redis, "save", ""),
        ["MISCONF", "cannot save to its disk"],
        "writes",
        200,
    )
    .await;
}

#[tokio::test]
async fn a_redis_without_its_replicas_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    still_lets_the_active_session_in(
        &redis,
        async || set(&redis, "min-replicas-to-write", "1"),
        async || set(&redis, "min-replicas-to-write", "0"),
        ["NOREPLICAS", "min-replicas-to-write"],
        "writes",
        200,
    )
    .await;
}

#[tokio::test]
async fn an_acl_that_allows_only_reads_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    let change = |rules: &str| {
        let user = "ACL SETUSER default".split(' ');
        redis.run(&user.chain(rules.split(' ')).collect::<Vec<_>>());
    };
    still_lets_the_active_session_in(
        &redis,
        async || change("-set -expire -evalsha"),
        async || change("+@all"),
        ["NOPERM", "ACL SETUSER default +set"],
        "rights",
        200,
    )
    .await;
}

/// Breaks Redis and repairs it; in between, whatever only reads must work.
async fn still_lets_the_active_session_in(
    redis: &Redis,
    damage: impl AsyncFnOnce(),
    mend: impl AsyncFnOnce(),
    [said, remedy]: [&str; 2],
    check: &str,
    emits_are: u16,
) {
    let sockd = Sockd::with_redis(redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    let lost = jwt::user();
    let mut of_lost = WebSocket::join(sockd.address(), &lost, &session).await;
    redis.forget(&lost);
    damage().await;
    sockd.is_not_ready(NOTICED, &[said, remedy]).await;

    WebSocket::join(sockd.address(), &user, &session).await;
    assert_eq!(refused(&sockd, &user, &jwt::session()).await, MISMATCH);
    for _ in 0..5 {
        let refusal = refused(&sockd, &jwt::user(), &jwt::session()).await;
        assert_eq!(refusal, UNAVAILABLE);
    }
    // Where there is no key, nothing that is read speaks for the live socket.
    assert_eq!(refused(&sockd, &lost, &jwt::session()).await, UNAVAILABLE);
    for user in [&user, &lost] {
        assert_unavailable(&sockd, user).await;
    }
    assert_eq!(redis.stored(&lost), None);
    let told = || {
        let text = sockd.log().text();
        let lines = text.lines().filter(|line| line.contains("WARN"));
        let lines = lines.filter(|line| line.contains("cannot check a session"));
        lines.filter(|line| line.contains(said)).count()
    };
    eventually(PATIENCE, "the reason in the log", async || told() > 0).await;
    assert_eq!(told(), 1, "told once, and not per handshake");

    // No socket was touched: an event is the next thing that comes.
    for (user, socket) in [(&user, &mut socket), (&lost, &mut of_lost)] {
        let body = json!({ "userId": user, "event": "profile:update", "payload": 1 });
        let answer = sockd.post("/internal/emit", &body).await;
        assert_eq!(answer.status(), emits_are);
        assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    }
    let examined = Doctor::of(redis).examine().await;
    assert_eq!(examined.code, Some(1), "{}", examined.stdout);
    examined.assert(check, "fail", &[remedy]);

    mend().await;
    sockd.is_ready(PATIENCE).await;
    WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
    let other = jwt::session();
    assert_eq!(sockd.force_logout(&user, &other).await, 1);
    let logout = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
    assert_eq!(socket.packet().await, logout);
}

#[tokio::test]
async fn a_wrong_password_is_named_and_sockd_goes_on_once_it_is_right() {
    let redis = Redis::start().await;
    let admin = &mut redis.connection();
    cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("right")
        .exec(admin)
        .expect("CONFIG SET");
    for (password, words) in [
        (Some("wrong-one"), ["WRONGPASS", "REDIS_PASS"]),
        (None, ["NOAUTH", "REDIS_PASS"]),
    ] {
        let mut builder = Sockd::builder().redis(&redis);
        if let Some(password) = password {
            builder = builder.env("REDIS_PASS", password);
        }
        let sockd = builder.start().await;
        sockd.is_not_ready(PATIENCE, &words).await;
        let (user, session) = (jwt::user(), jwt::session());
        let handshake = refused(&sockd, &user, &session);
        assert_eq!(within(ANSWERED, "a refusal", handshake).await, UNAVAILABLE);
        assert_unavailable(&sockd, &jwt::user()).await;
        let told = || {
            let text = sockd.log().text();
            text.matches("cannot connect to Redis").count()
        };
        eventually(PATIENCE, "the reason in the log", async || told() > 0).await;
        assert_eq!(told(), 1, "told once, and not per attempt");
        assert!(!sockd.log().text().contains("wrong-one"));

        let right = password.unwrap_or_default();
        cmd("CONFIG")
            .arg("SET")
            .arg("requirepass")
            .arg(right)
            .exec(admin)
            .expect("CONFIG SET");
        sockd.is_ready(PATIENCE).await;
        cmd("CONFIG")
            .arg("SET")
            .arg("requirepass")
            .arg("right")
            .exec(admin)
            .expect("CONFIG SET");
    }
}

#[tokio::test]
async fn a_redis_that_is_loading_is_not_taken_for_one_without_sessions() {
    // Each key takes 100 ms to load, half a minute in all, and Redis serves its connections after each.
    let slow =
        "--key-load-delay 100000 --loading-process-events-interval-bytes 1024 --rdbcompression no";
    let mut redis = Redis::start_with(&slow.split(' ').collect::<Vec<_>>()).await;
    let (user, session) = (jwt::user(), jwt::session());
    for number in 0..300 {
        redis.run(&["SET", &format!("other:{number}"), &"x".repeat(2_048)]);
    }
    // No sweep may do the work of the recovery.
    let builder = Sockd::builder().redis(&redis);
    let sockd = builder
        .env("SOCKD_SESSIONS__SWEEP_INTERVAL", "1h")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let mut replaced = WebSocket::join(sockd.address(), &user, &session).await;
    // The node is not told that the session was replaced.
    let session = jwt::session();
    redis.store(&user, &format!("\"{session}\""), 1_000);
    redis.run(&["SAVE"]);
    redis.kill();
    let client = redis::Client::open(redis.url()).expect("a Redis URL");
    let loading = async {
        sockd
            .is_not_ready(PATIENCE, &["LOADING", "wait until it has loaded its data"])
            .await;
        assert_eq!(refused(&sockd, &user, &session).await, UNAVAILABLE);
        assert_unavailable(&sockd, &user).await;
        let mut connection = client.get_connection().expect("a connection");
        let hurry = cmd("CONFIG")
            .arg("SET")
            .arg("key-load-delay")
            .arg("0")
            .exec(&mut connection);
        hurry.expect("CONFIG SET works while it loads");
    };
    tokio::join!(redis.restart(), loading);
    sockd.is_ready(PATIENCE).await;
    let logout = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
    assert_eq!(replaced.packet().await, logout);
    WebSocket::join(sockd.address(), &user, &session).await;
}

/// How a handshake with the token of that session is refused.
async fn refused(sockd: &Sockd, user: &str, session: &str) -> String {
    let mut socket = WebSocket::open(sockd.address()).await;
    socket.packet().await;
    socket.connect(&jwt::token(user, session)).await
}

async fn assert_unavailable(sockd: &Sockd, user: &str) {
    let body = json!({ "userId": user, "sessionId": jwt::session() });
    let answer = sockd.post("/internal/force-logout", &body);
    let answer = within(ANSWERED, "an answer", answer).await;
    assert_eq!(answer.status(), 503);
    let body = answer.text().await.expect("a body");
    assert_eq!(body, r#"{"ok":false,"error":"REDIS_UNAVAILABLE"}"#);
}

/// Writes until Redis is full, then lowers its limit below what it uses.
fn fill(redis: &Redis) {
    let mut connection = redis.connection();
    set(redis, "maxmemory", "5mb");
    let chunk = "x".repeat(64 * 1024);
    let write = |number: u32, connection: &mut Connection| {
        cmd("SET")
            .arg(format!("other:{number}"))
            .arg(&chunk)
            .exec(connection)
    };
    let refusal = (0..1_000).find_map(|number| write(number, &mut connection).err());
    assert_eq!(refusal.expect("Redis gets full").code(), Some("OOM"));
    set(redis, "maxmemory", "4mb");
}

fn set(redis: &Redis, name: &str, value: &str) {
    redis.run(&["CONFIG", "SET", name, value]);
}
