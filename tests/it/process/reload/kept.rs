//! What a reload does not change: anything if there is a mistake, and what needs a restart.

use std::fs;

use serde_json::{Value, json};

use super::{INVALID, NEW_INTERNAL, NEW_SECRET, Node, plain, settings};
use crate::support::{
    PATIENCE, http::RawConnection, jwt, sockd::INTERNAL_SECRET, websocket::WebSocket,
};

#[tokio::test]
async fn a_mistake_keeps_all_of_the_old_and_every_mistake_is_named() {
    let node = Node::start(&plain("events.supported = [\"a\"]\n")).await;
    let wrong = settings(
        NEW_SECRET,
        NEW_INTERNAL,
        "events.supported = [\"b\"]\nserver.port = \"x\"\nlimits.handshakess = 1\n\
         redis.tls_ca_file = \"nope.pem\"\n",
    );
    node.write(&wrong);
    let mistakes = [
        "sockd.toml:4:8: server.port: \"x\" is not a whole number; choose from 0 to 65535",
        "sockd.toml:5:8: unknown key limits.handshakess; did you mean limits.handshakes?",
        "sockd.toml:6:7: redis.tls_ca_file: \"nope.pem\" not found; create it or leave the key out",
    ];
    let stderr = node.command(&["reload"]).await.fails(2);
    let done = node.command(&["reload", "--json"]).await;
    assert_eq!((done.code, done.stderr.as_str()), (Some(2), ""), "{done:?}");
    let told: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(told["ok"], json!(false));
    node.hang_up("failed").await;
    for mistake in mistakes {
        assert!(stderr.contains(mistake), "{stderr}");
        assert!(
            told["problems"]
                .to_string()
                .contains(&mistake.replace('"', "\\\"")),
            "{told}"
        );
        node.logs(mistake, 3).await;
    }
    let kept = "the new configuration has mistakes, keeping the old one by=\"SIGHUP\"";
    node.logs(kept, 1).await;
    // A caller without a preference learns only that it failed, and no paths.
    let answer = node
        .post("/internal/reload", INTERNAL_SECRET, &json!({}))
        .await;
    assert_eq!(
        answer,
        (
            422,
            json!({ "ok": false, "error": "INVALID_CONFIGURATION" })
        )
    );

    for broken in ["auth.secret = \"", "# nothing"] {
        node.write(broken);
        node.hang_up("failed").await;
    }
    fs::remove_file(node.directory.path().join("sockd.toml")).expect("it is there");
    let stderr = node.command(&["reload"]).await.fails(2);
    assert!(
        stderr.contains("auth.secret: not set") && stderr.contains("internal.secret: not set"),
        "{stderr}"
    );

    assert!(node.connect(jwt::SECRET).await.1.starts_with("40{"));
    assert_eq!(node.connect(NEW_SECRET).await.1, INVALID);
    let body = |event: &str| json!({ "userId": jwt::user(), "event": event });
    assert_eq!(
        node.post("/internal/emit", INTERNAL_SECRET, &body("a"))
            .await
            .0,
        200
    );
    assert_eq!(
        node.post("/internal/emit", NEW_INTERNAL, &body("b"))
            .await
            .0,
        401
    );
    // Mended, it is as if nothing had been.
    node.write(&plain("events.supported = [\"b\"]\n"));
    let told = node.command(&["reload"]).await.ok();
    assert_eq!(told, "changed        events.supported\n");
}

#[tokio::test]
async fn what_needs_a_restart_keeps_its_value_and_is_named_until_then() {
    let node = Node::start_with(&plain(""), |builder| {
        builder
            .env("SOCKD_SERVER__KEEP_ALIVE", "70s")
            .env("SOCKD_LIMITS__HANDSHAKES", "7")
    })
    .await;
    assert_eq!(
        node.command(&["reload"]).await.ok(),
        "nothing has changed\n"
    );
    // The environment goes over the file, so these two do not change.
    let over = "server.keep_alive = \"20s\"\nlimits.handshakes = 8\n";
    let more = "server.backlog = 9\nsocketio.ping_interval = \"9s\"\nsessions.ttl = \"1d\"\n\
                internal.max_body = \"1KiB\"\nlimits.connections = 100\nlog.format = \"json\"\n";
    node.write(&plain(&format!("{over}{more}")));
    let told = node.command(&["reload", "--json"]).await.ok();
    assert_eq!(
        told,
        "{\"ok\":true,\"changed\":[\"limits.connections\"],\"needsRestart\":[\"server.backlog\",\
         \"socketio.ping_interval\",\"internal.max_body\",\"sessions.ttl\",\"log.format\"],\
         \"warnings\":[]}\n"
    );
    let again = node.command(&["reload"]).await.ok();
    let named =
        "server.backlog, socketio.ping_interval, internal.max_body, sessions.ttl, log.format";
    assert_eq!(
        again,
        format!("nothing has changed\nneeds restart  {named}\n")
    );
    let named = "needs_restart=\"server.backlog,socketio.ping_interval,";
    node.logs(named, 2).await;
    let mut socket = WebSocket::open(node.sockd.address()).await;
    assert!(socket.packet().await.contains("\"pingInterval\":25000"));
    assert_eq!(
        node.post("/internal/reload", INTERNAL_SECRET, &json!({}))
            .await,
        (200, json!({ "ok": true }))
    );
    // Taken back, there is nothing to restart for.
    node.write(&plain(over));
    let told = node.command(&["reload"]).await.ok();
    assert_eq!(told, "changed        limits.connections\n");
}

#[tokio::test]
async fn a_reload_during_a_drain_is_refused_and_changes_nothing() {
    // Of the reloads, only lines of the audit log.
    let level = "log.level = \"info,sockd::server::reload=off\"\n";
    let mut node = Node::start(&plain(level)).await;
    let body = json!({ "userId": jwt::user(), "event": "profile:update" }).to_string();
    let head = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {INTERNAL_SECRET}\r\n\
             prefer: return=representation\r\n{more}"
        )
    };
    let mut held = RawConnection::open(node.sockd.address()).await;
    let length = format!(
        "content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    held.send(head("/internal/emit", &length)).await;
    let mut late = RawConnection::open(node.sockd.address()).await;
    late.send(head("/internal/reload", "")).await;
    node.write("not TOML");
    node.sockd.signal("TERM");
    node.logs("draining", 1).await;
    node.sockd.signal("HUP");
    let ignored = "ignored a reload, the node is draining by=\"SIGHUP\"";
    node.logs(ignored, 1).await;
    late.send("\r\n").await;
    let answer = late.read_answer().await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("DRAINING"),
        "{answer}"
    );
    held.send(body).await;
    assert!(held.read_answer().await.starts_with("HTTP/1.1 200"));
    assert_eq!(node.sockd.ended(PATIENCE).await.code(), Some(0));
    assert!(!node.sockd.log().text().contains("not TOML"));
}
