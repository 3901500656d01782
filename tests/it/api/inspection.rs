//! `GET /internal/users/ID`: a user's session and sockets, on all nodes.

use std::time::{Duration, SystemTime};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    PATIENCE, eventually, jwt,
    polling::Polling,
    redis::{Redis, is_left_by_all},
    sockd::{INTERNAL_SECRET, Sockd},
    websocket::WebSocket,
    within,
};

async fn inspect(sockd: &Sockd, user: &str) -> Value {
    let answer = sockd.get(&format!("/internal/users/{user}")).await;
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// The same, once all nodes have answered in time: a busy machine may hold one up.
async fn inspect_all(sockd: &Sockd, user: &str) -> Value {
    within(PATIENCE, "the answers of all nodes", async {
        loop {
            let found = inspect(sockd, user).await;
            if found["complete"] == true {
                return found;
            }
        }
    })
    .await
}

/// The id of the node itself.
async fn id(sockd: &Sockd) -> Value {
    inspect(sockd, &jwt::user()).await["nodes"][0]["node"].clone()
}

/// Two nodes that know each other.
async fn pair(redis: &Redis) -> [Sockd; 2] {
    let nodes = [
        Sockd::with_redis(redis).await,
        Sockd::with_redis(redis).await,
    ];
    for node in &nodes {
        eventually(PATIENCE, "the other node", || async {
            let nodes = inspect(node, &jwt::user()).await;
            nodes["nodes"].as_array().map(Vec::len) == Some(2)
        })
        .await;
    }
    nodes
}

fn age(since: &Value) -> Duration {
    let since = humantime::parse_rfc3339(since.as_str().expect("text")).expect("a time");
    let age = SystemTime::now().duration_since(since);
    // The node rounds to milliseconds.
    age.unwrap_or_default()
}

#[tokio::test]
async fn each_socket_is_listed_with_its_transport_address_and_age() {
    let redis = Redis::start().await;
    for sockd in [Sockd::start().await, Sockd::with_redis(&redis).await] {
        let (user, session) = (jwt::user(), jwt::session());
        let before = inspect(&sockd, &user).await;
        let release = env!("CARGO_PKG_VERSION");
        let node = before["nodes"][0]["node"].clone();
        let expected = json!({
            "ok": true, "userId": user, "session": { "state": "none" }, "complete": true,
            "nodes": [{ "node": node, "release": release, "answered": "yes", "sockets": 0 }],
            "truncated": false, "sockets": [],
        });
        assert_eq!(before, expected);

        let started = Instant::now();
        let socket = WebSocket::join_first(sockd.address(), &user, &session).await;
        let polling = Polling::join(sockd.address(), &user, &session).await;
        let _other = WebSocket::join(sockd.address(), &jwt::user(), &jwt::session()).await;
        // One that has not joined is no socket.
        let _open = WebSocket::open(sockd.address()).await;
        let found = inspect(&sockd, &user).await;
        assert_eq!(found["session"]["state"], "stored");
        assert_eq!(found["session"]["sessionId"], session.as_str());
        let left = found["session"]["expiresInSeconds"].as_u64();
        assert!(
            left.is_some_and(|left| (604_700..=604_800).contains(&left)),
            "{found}"
        );
        assert_eq!(found["nodes"][0]["sockets"], 2);
        let sockets = found["sockets"].as_array().expect("a list");
        assert_eq!(sockets.len(), 2);
        for (socket, transport) in sockets.iter().zip(["polling", "websocket"]) {
            assert_eq!(socket["node"], node);
            assert_eq!(socket["transport"], transport, "the newest is first");
            let address = socket["address"].as_str().expect("an address");
            assert!(address.starts_with("127.0.0.1:"), "{address}");
            assert_eq!(socket["sessionId"], session.as_str());
            assert!(age(&socket["since"]) <= started.elapsed() + Duration::from_millis(2));
        }
        assert!(age(&sockets[0]["since"]) <= age(&sockets[1]["since"]));

        // A client that upgrades is the same socket on another transport.
        let since = sockets[0]["since"].clone();
        let mut upgraded =
            WebSocket::open_with(sockd.address(), &format!("&sid={}", polling.sid), &[]).await;
        upgraded.send("2probe").await;
        assert_eq!(upgraded.packet().await, "3probe");
        upgraded.send("5").await;
        eventually(PATIENCE, "the upgrade", || async {
            inspect(&sockd, &user).await["sockets"][0]["transport"] == "websocket"
        })
        .await;
        let again = inspect(&sockd, &user).await["sockets"][0]["since"].clone();
        let drift = age(&again).abs_diff(age(&since));
        assert!(drift < Duration::from_secs(1), "{again} {since}");

        // Ends and dismissals are visible immediately.
        sockd.force_logout(&user, &jwt::session()).await;
        let gone = inspect(&sockd, &user).await;
        assert_eq!(gone["sockets"], json!([]), "{gone}");
        assert_eq!(gone["nodes"][0]["sockets"], 0);
        drop(socket);
    }
}

#[tokio::test]
async fn the_sockets_of_all_nodes_are_listed_whichever_is_asked() {
    let redis = Redis::start().await;
    let nodes = pair(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let _here = WebSocket::join(nodes[0].address(), &user, &session).await;
    let _there = WebSocket::join(nodes[1].address(), &user, &session).await;
    let _there_too = Polling::join(nodes[1].address(), &user, &session).await;
    let ids = [id(&nodes[0]).await, id(&nodes[1]).await];
    for (asked, node) in nodes.iter().enumerate() {
        let found = inspect_all(node, &user).await;
        let counts = [1, 2];
        for (place, number) in [asked, 1 - asked].into_iter().enumerate() {
            let row = &found["nodes"][place];
            assert_eq!(row["node"], ids[number], "the node that answers is first");
            assert_eq!(row["sockets"], counts[number]);
            let sockets = found["sockets"].as_array().expect("a list");
            let of_it = sockets.iter().filter(|row| row["node"] == ids[number]);
            assert_eq!(of_it.count(), counts[number]);
        }
    }
    // A user whom no other node has is asked about all the same.
    let alone = jwt::user();
    let _alone = WebSocket::join(nodes[0].address(), &alone, &session).await;
    let found = inspect_all(&nodes[1], &alone).await;
    assert_eq!(found["sockets"][0]["node"], ids[0], "{found}");
    for node in &nodes {
        assert_eq!(node.figure("sockd_bus_messages_ignored_total").await, 0.0);
    }
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named_and_the_others_still_do() {
    let redis = Redis::start().await;
    let [first, second] = pair(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let _here = WebSocket::join(first.address(), &user, &session).await;
    let _there = WebSocket::join(second.address(), &user, &session).await;
    let second_id = id(&second).await;
    second.signal("STOP");
    let began = Instant::now();
    let found = inspect(&first, &user).await;
    assert!(began.elapsed() < PATIENCE / 4);
    second.signal("CONT");
    assert_eq!(found["complete"], false);
    assert_eq!(found["sockets"].as_array().map(Vec::len), Some(1));
    let silent = json!({
        "node": second_id, "release": env!("CARGO_PKG_VERSION"), "answered": "timed_out",
    });
    assert_eq!(found["nodes"][1], silent);
    assert_eq!(found["session"]["state"], "stored");

    // Its subscriptions end with it, and its neighbours remember it for a while.
    let mut second = second;
    second.kill().await;
    let channel = format!("sockd:@node:{}", second_id.as_str().expect("text"));
    is_left_by_all(&redis, &channel).await;
    let found = inspect(&first, &user).await;
    assert_eq!(found["nodes"][1]["node"], second_id, "{found}");
    assert_eq!(found["nodes"][1]["answered"], "unreachable", "{found}");
    assert_eq!(found["complete"], false);
}

#[tokio::test]
async fn without_redis_the_local_sockets_are_listed_and_the_session_is_unknown() {
    for hangs in [true, false] {
        // New ones each time: a node is forgotten after 10 s in which it says nothing.
        let mut redis = Redis::start().await;
        let [first, second] = pair(&redis).await;
        let (user, session) = (jwt::user(), jwt::session());
        let _here = WebSocket::join(first.address(), &user, &session).await;
        let _there = WebSocket::join(second.address(), &user, &session).await;
        if hangs {
            redis.freeze();
        } else {
            redis.kill();
        }
        let began = Instant::now();
        let found = inspect(&first, &user).await;
        assert!(began.elapsed() < PATIENCE / 4, "{hangs}");
        assert_eq!(found["session"], json!({ "state": "unknown" }), "{found}");
        assert_eq!(found["complete"], false);
        assert_eq!(found["sockets"].as_array().map(Vec::len), Some(1));
        assert_eq!(found["nodes"][0]["answered"], "yes");
        assert_eq!(found["nodes"][1]["answered"], "unreachable");
        eventually(PATIENCE, "the reason of /readyz", async || {
            let found = inspect(&first, &user).await;
            found["reason"]
                .as_str()
                .is_some_and(|reason| !reason.is_empty())
        })
        .await;
    }
}

#[tokio::test]
async fn kinds_of_stored_values_are_told_apart() {
    let redis = Redis::start().await;
    let sockd = Sockd::with_redis(&redis).await;
    let user = jwt::user();
    let key = format!("socket:active_session:{user}");
    for (command, expected) in [
        (
            vec!["SET", &key, "\"s\""],
            json!({ "state": "stored", "sessionId": "s", "expiresInSeconds": null }),
        ),
        (vec!["SET", &key, "null"], json!({ "state": "none" })),
        (vec!["SET", &key, "\"\""], json!({ "state": "none" })),
        (vec!["SET", &key, "7"], json!({ "state": "unintelligible" })),
        (
            vec!["SET", &key, "no json"],
            json!({ "state": "unintelligible" }),
        ),
        (vec!["DEL", &key], json!({ "state": "none" })),
        (
            vec!["LPUSH", &key, "1"],
            json!({ "state": "unintelligible" }),
        ),
    ] {
        redis.run(&command);
        let found = inspect(&sockd, &user).await;
        assert_eq!(found["session"], expected, "{command:?}");
        assert_eq!(found["complete"], true);
    }
}

#[tokio::test]
async fn an_acl_that_hides_when_a_session_expires_hides_nothing_else() {
    let redis = Redis::start().await;
    let rules = "ACL SETUSER narrow reset resetchannels on >pw ~socket:active_session:* &sockd:* \
        +ping +get +set +expire +evalsha +script|load +publish +subscribe +unsubscribe";
    redis.run(&rules.split_whitespace().collect::<Vec<_>>());
    let url = format!("redis://narrow:pw@127.0.0.1:{}", redis.port);
    let sockd = Sockd::builder().env("SOCKD_REDIS__URL", url).start().await;
    sockd.is_ready(PATIENCE).await;
    let (user, session) = (jwt::user(), jwt::session());
    let _socket = WebSocket::join(sockd.address(), &user, &session).await;
    let found = inspect(&sockd, &user).await;
    let stored = json!({
        "state": "stored", "sessionId": session, "expiresInSeconds": null, "expiryUnknown": true,
    });
    assert_eq!(found["session"], stored);
    assert_eq!(found["sockets"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn of_a_crowd_the_newest_are_listed_and_all_are_counted() {
    const LISTED: usize = 500;
    const HERE: usize = 20;
    let redis = Redis::start().await;
    let nodes = pair(&redis).await;
    let (user, session) = (jwt::user(), jwt::session());
    let mut sockets = Vec::new();
    for _ in 0..LISTED + 10 {
        sockets.push(WebSocket::join(nodes[1].address(), &user, &session).await);
    }
    for _ in 0..HERE {
        sockets.push(WebSocket::join(nodes[0].address(), &user, &session).await);
    }
    for (asked, counts, of_first) in [
        (0, [HERE, LISTED + 10], HERE),
        (1, [LISTED + 10, HERE], LISTED),
    ] {
        let found = inspect_all(&nodes[asked], &user).await;
        assert_eq!(found["truncated"], true);
        for (node, count) in counts.iter().enumerate() {
            assert_eq!(found["nodes"][node]["sockets"], *count);
        }
        let listed = found["sockets"].as_array().expect("a list");
        assert_eq!(listed.len(), LISTED);
        let first = &found["nodes"][0]["node"];
        let of_it = listed.iter().filter(|row| row["node"] == *first).count();
        assert_eq!(of_it, of_first);
    }
    sockets.drain(..20);
    eventually(PATIENCE, "fewer sockets", || async {
        inspect(&nodes[1], &user).await["nodes"][0]["sockets"] == LISTED - 10
    })
    .await;
    drop(sockets);
    eventually(PATIENCE, "no sockets", || async {
        let found = inspect(&nodes[1], &user).await;
        found["sockets"] == json!([]) && found["truncated"] == false
    })
    .await;
}

#[tokio::test]
async fn bad_ids_are_refused_and_the_id_keeps_its_spelling() {
    let sockd = Sockd::start().await;
    for id in ["nobody", "%FF", "%20"] {
        let answer = sockd.get(&format!("/internal/users/{id}")).await;
        assert_eq!(answer.status(), 400, "{id}");
        let body = answer.text().await.expect("a body");
        assert_eq!(body, r#"{"ok":false,"error":"INVALID_USER_ID"}"#);
    }
    let user = jwt::user();
    for path in [
        format!("/internal/users/{user}/sockets"),
        "/internal/users/".to_owned(),
    ] {
        assert_eq!(sockd.get(&path).await.status(), 404, "{path}");
    }
    let path = format!("/Internal/USERS/{}/", user.to_uppercase());
    let answer: Value = sockd.get(&path).await.json().await.expect("JSON");
    assert_eq!(answer["userId"], user.to_uppercase());
    let head = sockd.request(Method::HEAD, &format!("/internal/users/{user}"));
    let head = head.bearer_auth(INTERNAL_SECRET).send().await;
    assert_eq!(head.expect("the server answers").status(), 200);
    let stranger = sockd.request(Method::GET, &format!("/internal/users/{user}"));
    let stranger = stranger.send().await.expect("the server answers");
    assert_eq!(stranger.status(), 401);
}
