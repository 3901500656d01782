//! An ACL that is too small: each missing right is named, and none that docs/redis.md grants is.

use std::path::Path;

use redis::cmd;
use serde_json::json;

use crate::support::{
    PATIENCE, doctor::Doctor, eventually, jwt, redis::Redis, sockd::Sockd, websocket::WebSocket,
};

/// Rules of the documented user, each with whether a running server must miss it by itself.
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
        redis.run(&["SCRIPT", "FLUSH"]);

        let examined = Doctor::new()
            .env("SOCKD_REDIS__URL", narrow(&redis))
            .examine()
            .await;
        assert_eq!(examined.code, Some(1), "{missing}: {}", examined.stdout);
        let exactly = format!("user narrow lacks {missing}; ACL SETUSER narrow {missing}");
        assert_eq!(examined.check("rights"), ("fail".to_owned(), exactly));

        if server_says {
            let sockd = Sockd::builder()
                .env("SOCKD_REDIS__URL", narrow(&redis))
                .start()
                .await;
            let remedy = format!("grant it: ACL SETUSER narrow {missing}");
            sockd
                .is_not_ready(PATIENCE, &["permissions", &remedy])
                .await;
            let is_told = async || sockd.log().text().contains(&remedy);
            eventually(PATIENCE, &remedy, is_told).await;
        }
    }
}

#[tokio::test]
async fn the_documented_user_is_all_that_sockd_needs() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/redis.md");
    let docs = std::fs::read_to_string(docs).expect("docs/redis.md");
    let commands: Vec<&str> = docs
        .lines()
        .filter(|line| line.starts_with("ACL SETUSER sockd "))
        .collect();
    let [server, operator] = commands[..] else {
        panic!("docs/redis.md has two ACL users: {commands:?}")
    };
    let redis = Redis::start().await;
    let create = |command: &str| {
        redis.run(&command.split_whitespace().collect::<Vec<_>>());
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
    let examined = doctor.examine().await;
    assert_eq!(examined.code, Some(0), "{}", examined.stdout);
    examined.assert("rights", "ok", &["user sockd"]);
    examined.assert("operator", "warn", &["+scan"]);
    create(operator);
    let examined = doctor.examine().await;
    for check in ["eviction", "rights", "operator", "clock"] {
        examined.assert(check, "ok", &[]);
    }
}

fn narrow(redis: &Redis) -> String {
    format!("redis://narrow:pw@127.0.0.1:{}", redis.port)
}
