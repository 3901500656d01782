//! Two releases of sockd side by side: what a node does with messages that it does not understand.

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    command::Shell,
    eventually, jwt,
    redis::Redis,
    sockd::Sockd,
    websocket::{WebSocket, is_dismissed, is_told},
};

const USER: &str = "sockd:user:USER";
const NODE: &str = "sockd:@node:NODE";
const ALL: &str = "sockd:@nodes";

/// A channel, what a stranger says there, and why it is ignored.
const STRANGE: [(&str, &[u8], &str); 17] = [
    (
        USER,
        br#"{"v":2,"kind":"rename","to":"x"}"#,
        "newer_version",
    ),
    (
        USER,
        b"{\"v\":2,\"kind\":\"emit\",\"from\":\"n\",\"seq\":1,\"event\":\"newer\"}\n1",
        "newer_version",
    ),
    (
        USER,
        br#"{"v":2,"kind":"session_changed","from":"n","seq":1,"session":"SESSION"}"#,
        "newer_version",
    ),
    (
        USER,
        br#"{"v":2,"kind":"kicked","from":"n","seq":1,"reason":"A"}"#,
        "newer_version",
    ),
    (
        USER,
        br#"{"v":1,"kind":"kicked","from":"n","seq":1}"#,
        "malformed",
    ),
    (
        USER,
        br#"{"v":1,"kind":"kicked","from":"n","seq":1,"reason":"\u0000"}"#,
        "malformed",
    ),
    (USER, br#"{"v":1,"kind":"rename","to":"x"}"#, "unknown_kind"),
    (
        USER,
        br#"{"v":1,"kind":"emit","from":"n","seq":1}"#,
        "malformed",
    ),
    (
        USER,
        b"{\"v\":1,\"kind\":\"emit\",\"from\":\"n\",\"seq\":1,\"event\":\"a\"}\n\"\xff\"",
        "malformed",
    ),
    (USER, b"\xff\xfe", "malformed"),
    (USER, b"", "malformed"),
    (
        ALL,
        br#"{"v":9,"kind":"hello","node":"n","seq":1,"more":[]}"#,
        "newer_version",
    ),
    (ALL, br#"{"v":1,"kind":"census"}"#, "unknown_kind"),
    (
        ALL,
        br#"{"v":1,"kind":"hello","node":7,"seq":1}"#,
        "malformed",
    ),
    (ALL, br#"{"v":-1,"kind":"bye","node":"n"}"#, "malformed"),
    (NODE, br#"{"v":1,"kind":"shutdown"}"#, "unknown_kind"),
    (NODE, b"PING", "malformed"),
];

/// What a later release of this version might say: more than we know, in another order.
const FAMILIAR: [(&str, &str); 5] = [
    (
        USER,
        "{\"trace\":{\"id\":[1]},\"event\":\"auth:logout\",\"seq\":7,\"from\":\"n\",\"kind\":\"emit\",\"v\":1}\n{\"n\":1}",
    ),
    (
        USER,
        r#"{"v":1,"kind":"session_changed","from":"n","seq":8,"session":"SESSION","at":1.5}"#,
    ),
    (
        ALL,
        r#"{"v":1,"kind":"hello","node":"n","seq":1,"zone":"b","load":0.5}"#,
    ),
    (ALL, r#"{"v":1,"kind":"bye","node":"n","why":"drained"}"#),
    (
        NODE,
        r#"{"v":1,"kind":"disconnected","seq":1,"count":0,"told":["a"]}"#,
    ),
];

#[tokio::test]
async fn messages_of_a_newer_release_are_ignored_and_counted() {
    let node = Neighbour::start().await;
    let mut socket = WebSocket::join(node.sockd.address(), &node.user, &node.session).await;
    for (number, (channel, message, why)) in STRANGE.into_iter().enumerate() {
        let before = node.ignored(why).await;
        node.say(channel, message);
        eventually(PATIENCE, "the count of ignored messages", || async {
            node.ignored(why).await == before + 1
        })
        .await;
        node.sockd
            .emit(&node.user, "profile:update", &json!(number))
            .await;
        // Nothing but our own event has come.
        assert_eq!(
            socket.packet().await,
            format!(r#"42["profile:update",{number}]"#)
        );
    }
    assert!(node.sockd.is_ready_now().await);
}

#[tokio::test]
async fn fields_of_a_newer_release_are_ignored() {
    let node = Neighbour::start().await;
    let mut socket = WebSocket::join(node.sockd.address(), &node.user, &node.session).await;
    for (channel, message) in FAMILIAR {
        node.say(channel, message.as_bytes());
    }
    node.sockd
        .emit(&node.user, "profile:update", &json!("last"))
        .await;
    assert_eq!(socket.packet().await, r#"42["auth:logout",{"n":1}]"#);
    assert_eq!(socket.packet().await, r#"42["profile:update","last"]"#);
    for why in ["newer_version", "unknown_kind", "malformed"] {
        assert_eq!(node.ignored(why).await, 0, "{why}");
    }
}

#[tokio::test]
async fn what_an_older_live_node_cannot_do_is_refused() {
    let node = Neighbour::start().await;
    let (sockd, user) = (&node.sockd, &node.user);
    let mut socket = WebSocket::join(sockd.address(), user, &node.session).await;
    // The first release does not say what it can do, and can do this.
    node.greets("first", json!({})).await;
    node.greets(
        "old",
        json!({ "release": "0.0.9", "capabilities": ["emit", "fax"] }),
    )
    .await;
    let next = jwt::session();
    let body = json!({ "userId": user, "sessionId": next });
    let answer = sockd.post("/internal/force-logout", &body).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.text().await.expect("a body"),
        r#"{"ok":false,"error":"PEER_TOO_OLD"}"#
    );
    sockd.logs("node old of release 0.0.9 does not know").await;
    // Nothing has changed, and what it can do it still gets.
    let stored = node.redis.stored(user);
    assert_eq!(stored, Some(format!("\"{}\"", node.session)));
    sockd.emit(user, "profile:update", &json!("still")).await;
    assert_eq!(socket.packet().await, r#"42["profile:update","still"]"#);
    // The old node is upgraded or leaves.
    node.say(ALL, br#"{"v":1,"kind":"bye","node":"old"}"#);
    eventually(PATIENCE, "the news that it has gone", || async {
        sockd.log().text().contains("another node has left")
    })
    .await;
    assert_eq!(sockd.force_logout(user, &next).await, 1);
    is_dismissed(&mut socket).await;
}

#[tokio::test]
async fn a_kick_that_an_older_live_node_would_ignore_is_refused() {
    let node = Neighbour::start().await;
    let (sockd, user) = (&node.sockd, &node.user);
    let mut socket = WebSocket::join(sockd.address(), user, &node.session).await;
    // The first release does not say what it can do, and does not know kicks.
    node.greets("first", json!({})).await;
    for invalidates in [false, true] {
        let body = json!({ "userId": user, "invalidateSession": invalidates });
        let answer = sockd.post("/internal/kick", &body).await;
        assert_eq!(answer.status(), 503);
        let answer = answer.text().await.expect("a body");
        assert_eq!(answer, r#"{"ok":false,"error":"PEER_TOO_OLD"}"#);
    }
    let stored = node.redis.stored(user);
    assert_eq!(stored, Some(format!("\"{}\"", node.session)));
    sockd.emit(user, "profile:update", &json!("still")).await;
    assert_eq!(socket.packet().await, r#"42["profile:update","still"]"#);
    assert_eq!(sockd.force_logout(user, &jwt::session()).await, 1);
    is_dismissed(&mut socket).await;
}

#[tokio::test]
async fn a_kick_of_a_later_release_is_carried_out() {
    let node = Neighbour::start().await;
    let (sockd, user) = (&node.sockd, &node.user);
    let mut socket = WebSocket::join(sockd.address(), user, &node.session).await;
    let kick = br#"{"by":"ops","reason":"GONE","seq":1,"from":"n","kind":"kicked","v":1}"#;
    node.say(USER, kick);
    is_told(&mut socket, r#"42["auth:logout",{"reason":"GONE"}]"#).await;
}

#[tokio::test]
async fn a_node_announces_its_release_and_capabilities() {
    let node = Neighbour::start().await;
    let mut connection = node.redis.connection();
    connection
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let mut subscriber = connection.as_pubsub();
    subscriber.subscribe(ALL).expect("SUBSCRIBE works");
    let said = subscriber.get_message().expect("a hello");
    let said: String = said.get_payload().expect("text");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["kind"], "hello");
    assert_eq!(said["release"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        said["capabilities"],
        json!([
            "emit",
            "session_changed",
            "kicked",
            "session_held",
            "ask_user",
            "ask_status",
            "ask_trace"
        ])
    );
}

#[tokio::test]
async fn a_node_that_does_not_know_a_question_is_named_and_not_asked() {
    let node = Neighbour::start().await;
    let (sockd, user) = (&node.sockd, &node.user);
    let _socket = WebSocket::join(sockd.address(), user, &node.session).await;
    // A node is forgotten after 10 s in which it says nothing.
    let greets = async || {
        let can = json!({ "release": "0.2.0", "capabilities": ["emit", "kicked"] });
        node.greets("old", can).await;
    };
    greets().await;
    let answer = sockd.get(&format!("/internal/users/{user}")).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.expect("JSON");
    let old = json!({ "node": "old", "release": "0.2.0", "answered": "too_old" });
    assert_eq!(answer["nodes"][1], old);
    assert_eq!(answer["complete"], false);
    assert_eq!(answer["sockets"].as_array().map(Vec::len), Some(1));
    greets().await;
    let answer = sockd.get("/internal/status?all=true").await;
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["nodes"][1], old);
    assert_eq!(answer["nodes"][0]["answered"], "yes");
    assert_eq!(answer["complete"], false);
    let shell = Shell::at(sockd);
    greets().await;
    let traced = shell.run(&["trace", user, "--timeout", "2s"]).await.ok();
    let too_old = traced.lines().find(|line| line.contains("  peer=old"));
    let too_old = too_old.unwrap_or_else(|| panic!("{traced}"));
    assert!(too_old.ends_with("  traced=too_old"), "{traced}");
}

#[tokio::test]
async fn a_question_of_a_newer_release_is_answered_as_far_as_it_is_understood() {
    let node = Neighbour::start().await;
    let _socket = WebSocket::join(node.sockd.address(), &node.user, &node.session).await;
    let mut connection = node.redis.connection();
    connection
        .set_read_timeout(Some(PATIENCE))
        .expect("a time limit");
    let path = format!("/internal/users/{}", node.user);
    let answer: Value = node.sockd.get(&path).await.json().await.expect("JSON");
    let asked = answer["nodes"][0]["node"].as_str().expect("an id");
    let mut subscriber = connection.as_pubsub();
    subscriber
        .subscribe("sockd:@node:asker")
        .expect("SUBSCRIBE works");
    let question = json!({
        "v": 1, "kind": "ask_user", "from": "asker", "seq": 7, "user": node.user, "limit": 3,
    });
    let channel = format!("sockd:@node:{asked}");
    node.say(&channel, question.to_string().as_bytes());
    let said = subscriber.get_message().expect("an answer");
    let said: String = said.get_payload().expect("text");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&said["kind"], &said["seq"]),
        (&json!("user_sockets"), &json!(7))
    );
    assert_eq!(said["count"], 1);
    assert_eq!(said["sockets"][0]["sessionId"], node.session.as_str());
}

/// A running node, and a stranger on its Redis.
struct Neighbour {
    redis: Redis,
    sockd: Sockd,
    user: String,
    session: String,
}

impl Neighbour {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let sockd = Sockd::with_redis(&redis).await;
        let (user, session) = (jwt::user(), jwt::session());
        Self {
            redis,
            sockd,
            user,
            session,
        }
    }

    /// Publishes to the channel, to which a node must be subscribed.
    fn say(&self, channel: &str, message: &[u8]) {
        let mut connection = self.redis.connection();
        let ours: Vec<String> = redis::cmd("PUBSUB")
            .arg(&["CHANNELS", "sockd:@node:*"])
            .query(&mut connection)
            .expect("PUBSUB CHANNELS works");
        let channel = channel.replace("USER", &self.user).replace(NODE, &ours[0]);
        let message = match std::str::from_utf8(message) {
            Ok(text) => text.replace("SESSION", &self.session).into_bytes(),
            Err(_) => message.to_owned(),
        };
        let heard: usize = redis::cmd("PUBLISH")
            .arg(&channel)
            .arg(message)
            .query(&mut connection)
            .expect("PUBLISH works");
        assert_eq!(heard, 1, "{channel}");
    }

    /// Another node says hello, and is noticed.
    async fn greets(&self, name: &str, mut more: Value) {
        more["v"] = json!(1);
        more["kind"] = json!("hello");
        more["node"] = json!(name);
        more["seq"] = json!(1);
        self.say(ALL, more.to_string().as_bytes());
        let noticed = format!("another node has joined node={name}");
        eventually(PATIENCE, "the news of another node", || async {
            self.sockd.log().text().contains(&noticed)
        })
        .await;
    }

    /// How many messages the node says that it has ignored for this reason.
    async fn ignored(&self, why: &str) -> u64 {
        let text = self.sockd.metrics().await;
        let name = format!("sockd_bus_messages_ignored_total{{why=\"{why}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.map_or(0, |count| count.parse().expect("a number"))
    }
}
