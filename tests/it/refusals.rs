//! Redis answers and says no: what still works then, and what sockd says of it.

use std::{path::Path, time::Duration};

use redis::{Connection, cmd};
use serde_json::{Value, json};

use crate::{
    doctor::Doctor,
    support::{
        PATIENCE, eventually, http, jwt, redis::Redis, sockd::Sockd, websocket::WebSocket, within,
    },
};

const UNAVAILABLE: &str = r#"44{"message":"AUTH_UNAVAILABLE"}"#;
const MISMATCH: &str = r#"44{"message":"SESSION_MISMATCH"}"#;
/// Within 3 s everything is answered while Redis is away; a little more on a loaded machine.
const ANSWERED: Duration = Duration::from_secs(5);
/// Within 5 s `/readyz` has to tell; a little more on a loaded machine.
const NOTICED: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_full_redis_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    still_lets_the_active_session_in(
        &redis,
        async || fill(&redis),
        async || set(&redis, "maxmemory", "0"),
        ["OOM", "raise its maxmemory"],
        "writes",
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
            follow(&master, &redis).await;
            run(&master, &["REPLICAOF", "NO", "ONE"]);
            follow(&redis, &master).await;
        },
        async || run(&redis, &["REPLICAOF", "NO", "ONE"]),
        ["READONLY", "point redis.url to its master"],
        "writes",
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
            run(&redis, &["BGSAVE"]);
            eventually(PATIENCE, "a save that fails", async || {
                info(&redis, "persistence").contains("rdb_last_bgsave_status:err")
            })
            .await;
        },
        async || set(&redis, "save", ""),
        ["MISCONF", "cannot save to its disk"],
        "writes",
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
    )
    .await;
}

#[tokio::test]
async fn an_acl_that_lets_read_alone_still_lets_the_active_session_in() {
    let redis = Redis::start().await;
    let change = |rules: &str| {
        let user = "ACL SETUSER default".split(' ');
        run(&redis, &user.chain(rules.split(' ')).collect::<Vec<_>>());
    };
    still_lets_the_active_session_in(
        &redis,
        async || change("-set -expire -evalsha"),
        async || change("+@all"),
        ["NOPERM", "ACL SETUSER default +set"],
        "rights",
    )
    .await;
}

/// Breaks Redis and mends it again; between the two reading has to be enough where it can be.
async fn still_lets_the_active_session_in(
    redis: &Redis,
    damage: impl AsyncFnOnce(),
    mend: impl AsyncFnOnce(),
    [said, remedy]: [&str; 2],
    check: &str,
) {
    let sockd = Sockd::with_redis(redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(sockd.address(), &user, &session).await;
    damage().await;
    assert_not_ready(&sockd, NOTICED, &[said, remedy]).await;

    WebSocket::join(sockd.address(), &user, &session).await;
    assert_eq!(refused(&sockd, &user, &jwt::session()).await, MISMATCH);
    for _ in 0..5 {
        let refusal = refused(&sockd, &jwt::user(), &jwt::session()).await;
        assert_eq!(refusal, UNAVAILABLE);
    }
    assert_unavailable(&sockd, &user).await;
    let text = sockd.log().text();
    let told = text.lines().filter(|line| {
        line.contains("WARN") && line.contains("cannot check a session") && line.contains(said)
    });
    assert_eq!(told.count(), 1, "told once, and not per handshake");

    // No socket was touched: an event is the next thing that comes.
    sockd.emit(&user, "profile:update", &json!(1)).await;
    assert_eq!(socket.packet().await, r#"42["profile:update",1]"#);
    let examined = Doctor::of(redis).examine();
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
        assert_not_ready(&sockd, PATIENCE, &words).await;
        let (user, session) = (jwt::user(), jwt::session());
        let handshake = refused(&sockd, &user, &session);
        assert_eq!(within(ANSWERED, "a refusal", handshake).await, UNAVAILABLE);
        assert_unavailable(&sockd, &jwt::user()).await;
        let text = sockd.log().text();
        let told = text
            .lines()
            .filter(|line| line.contains("cannot connect to Redis"));
        assert_eq!(told.count(), 1, "told once, and not per attempt: {text}");
        assert!(!text.contains("wrong-one"));

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
    // Each key takes 50 ms to load, and Redis looks at its connections after each.
    let slow =
        "--key-load-delay 50000 --loading-process-events-interval-bytes 1024 --rdbcompression no";
    let mut redis = Redis::start_with(&slow.split(' ').collect::<Vec<_>>()).await;
    let (user, session) = (jwt::user(), jwt::session());
    for number in 0..300 {
        run(
            &redis,
            &["SET", &format!("other:{number}"), &"x".repeat(2_048)],
        );
    }
    // No sweep does what the way back from an outage has to do.
    let builder = Sockd::builder().redis(&redis);
    let sockd = builder
        .env("SOCKD_SESSIONS__SWEEP_INTERVAL", "1h")
        .start()
        .await;
    sockd.is_ready(PATIENCE).await;
    let mut replaced = WebSocket::join(sockd.address(), &user, &session).await;
    // Nobody tells the node that the session was replaced.
    let session = jwt::session();
    redis.store(&user, &format!("\"{session}\""), 1_000);
    run(&redis, &["SAVE"]);
    redis.kill();
    let client = redis::Client::open(redis.url()).expect("a Redis URL");
    let loading = async {
        assert_not_ready(
            &sockd,
            PATIENCE,
            &["LOADING", "wait until it has read its data"],
        )
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

/// Rules of the README's user, each with whether a running server must miss it by itself.
const RULES: [(&str, bool); 11] = [
    ("+ping", false),
    ("+get", true),
    ("+set", true),
    ("+expire", true),
    ("+evalsha", true),
    ("+script|load", true),
    ("+publish", true),
    ("+subscribe", true),
    ("+unsubscribe", false),
    ("~socket:active_session:*", true),
    ("&sockd:*", true),
];

#[tokio::test]
async fn each_right_that_the_acl_lacks_is_named_by_the_server_and_by_the_doctor() {
    let redis = Redis::start().await;
    for (missing, server_says) in RULES {
        let granted = RULES
            .map(|(rule, _)| rule)
            .into_iter()
            .filter(|rule| *rule != missing);
        let mut user = cmd("ACL");
        user.arg("SETUSER")
            .arg("narrow")
            .arg("reset")
            .arg("resetchannels")
            .arg("on")
            .arg(">pw");
        user.arg(granted.collect::<Vec<_>>())
            .arg("+info")
            .arg("+time");
        user.exec(&mut redis.connection())
            .expect("ACL SETUSER works");
        // What is in the cache already need not be loaded.
        run(&redis, &["SCRIPT", "FLUSH"]);

        let examined = Doctor::new()
            .env("SOCKD_REDIS__URL", narrow(&redis))
            .examine();
        assert_eq!(examined.code, Some(1), "{missing}: {}", examined.stdout);
        let exactly = format!("user narrow lacks {missing}; ACL SETUSER narrow {missing}");
        assert_eq!(examined.check("rights"), ("fail".to_owned(), exactly));

        if server_says {
            let sockd = Sockd::builder()
                .env("SOCKD_REDIS__URL", narrow(&redis))
                .start()
                .await;
            let remedy = format!("grant it: ACL SETUSER narrow {missing}");
            assert_not_ready(&sockd, PATIENCE, &["permissions", &remedy]).await;
            assert!(sockd.log().text().contains(&remedy), "{missing}");
        }
    }
}

#[tokio::test]
async fn the_user_of_the_readme_is_all_that_sockd_needs() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let commands: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER sockd "))
        .collect();
    let [server, operator] = commands[..] else {
        panic!("the README has two ACL users: {commands:?}")
    };
    let redis = Redis::start().await;
    let create = |command: &str| {
        run(&redis, &command.split_whitespace().collect::<Vec<_>>());
        format!("redis://sockd:PASSWORD@127.0.0.1:{}", redis.port)
    };
    let url = create(server);
    let sockd = || Sockd::builder().env("SOCKD_REDIS__URL", &url).start();
    let (one, two) = (sockd().await, sockd().await);
    one.is_ready(PATIENCE).await;
    two.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut socket = WebSocket::join(one.address(), &user, &session).await;
    WebSocket::join(two.address(), &user, &session)
        .await
        .abandon();
    two.emit(&user, "profile:update", &json!("to the other node"))
        .await;
    assert_eq!(
        socket.packet().await,
        r#"42["profile:update","to the other node"]"#
    );
    two.force_logout(&user, &jwt::session()).await;
    assert_eq!(
        socket.packet().await,
        r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#
    );
    let denied: Vec<redis::Value> = cmd("ACL")
        .arg("LOG")
        .query(&mut redis.connection())
        .expect("ACL LOG works");
    let denied = format!("{denied:?}");
    for command in RULES.iter().filter_map(|(rule, _)| rule.strip_prefix('+')) {
        assert!(
            !denied.contains(&format!("\"{command}\"")),
            "{command}: {denied}"
        );
    }

    let doctor = Doctor::new().env("SOCKD_REDIS__URL", &url);
    let examined = doctor.examine();
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("rights", "ok", &["user sockd"]);
    examined.assert("operator", "warn", &["+scan"]);
    create(operator);
    let examined = doctor.examine();
    for check in ["eviction", "rights", "operator", "clock"] {
        examined.assert(check, "ok", &[]);
    }
}

fn narrow(redis: &Redis) -> String {
    format!("redis://narrow:pw@127.0.0.1:{}", redis.port)
}

/// Waits until `/readyz` is 503 and its reason has all of the words.
async fn assert_not_ready(sockd: &Sockd, limit: Duration, words: &[&str]) {
    let url = format!("{}/readyz", sockd.url());
    let what = format!("a reason with {words:?}");
    eventually(limit, &what, async || {
        let answer = http::get(&url).await;
        if answer.status() != 503 {
            return false;
        }
        let answer: Value = answer.json().await.expect("JSON");
        let reason = answer["reason"].as_str().unwrap_or_default();
        words.iter().all(|word| reason.contains(word))
    })
    .await;
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

/// Writes until Redis takes no more, then leaves it no room to breathe.
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

/// Waits until the one has all that the other has.
async fn follow(replica: &Redis, master: &Redis) {
    run(
        replica,
        &["REPLICAOF", "127.0.0.1", &master.port.to_string()],
    );
    eventually(PATIENCE, "the replication link", async || {
        let state = info(replica, "replication");
        state.contains("master_link_status:up") && state.contains("master_sync_in_progress:0")
    })
    .await;
}

fn info(redis: &Redis, section: &str) -> String {
    cmd("INFO")
        .arg(section)
        .query(&mut redis.connection())
        .expect("INFO works")
}

fn set(redis: &Redis, name: &str, value: &str) {
    run(redis, &["CONFIG", "SET", name, value]);
}

fn run(redis: &Redis, command: &[&str]) {
    let mut connection = redis.connection();
    let answer = cmd(command[0])
        .arg(&command[1..])
        .query::<redis::Value>(&mut connection);
    answer.unwrap_or_else(|error| panic!("{command:?}: {error}"));
}
