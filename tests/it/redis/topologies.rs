//! Deployments of Redis: behind a name that moves, under Sentinels, and as a Cluster.

mod cluster;
mod name;
mod sentinel;
mod tls;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, http, jwt,
    redis::key,
    sockd::Sockd,
    websocket::{Came, WebSocket, is_told},
};

/// How long after the promotion of a master the nodes must be ready again: three times as long as
/// promised, for a busy machine.
const RECOVERY: Duration = Duration::from_secs(15);

/// A user's socket on each of two nodes.
struct Pair {
    user: String,
    session: String,
    sockets: [WebSocket; 2],
}

impl Pair {
    async fn join(nodes: [&Sockd; 2]) -> Self {
        Self::join_as(jwt::user(), nodes).await
    }

    async fn join_as(user: String, nodes: [&Sockd; 2]) -> Self {
        let session = jwt::session();
        let sockets = [
            WebSocket::join(nodes[0].address(), &user, &session).await,
            WebSocket::join(nodes[1].address(), &user, &session).await,
        ];
        Self {
            user,
            session,
            sockets,
        }
    }

    /// Joins, and retries after AUTH_UNAVAILABLE, as clients do.
    async fn come(nodes: [&Sockd; 2]) -> Self {
        let (user, session) = (jwt::user(), jwt::session());
        let join = async |node: &Sockd| {
            let deadline = Instant::now() + RECOVERY;
            loop {
                let mut socket = WebSocket::open(node.address()).await;
                socket.packet().await;
                let answer = socket.connect(&jwt::token(&user, &session)).await;
                if answer.starts_with("40") {
                    return socket;
                }
                assert_eq!(answer, r#"44{"message":"AUTH_UNAVAILABLE"}"#);
                assert!(Instant::now() < deadline, "still unavailable");
            }
        };
        let sockets = [join(nodes[0]).await, join(nodes[1]).await];
        Self {
            user,
            session,
            sockets,
        }
    }

    /// Emits from both nodes in turn; each socket gets all events in this order.
    async fn hear_in_order(&mut self, nodes: [&Sockd; 2]) {
        for number in 0..6 {
            let payload = json!({ "number": number });
            nodes[number % 2]
                .emit(&self.user, "profile:update", &payload)
                .await;
        }
        for socket in &mut self.sockets {
            for number in 0..6 {
                let event = format!(r#"42["profile:update",{{"number":{number}}}]"#);
                assert_eq!(socket.packet().await, event);
            }
        }
    }

    /// Both sockets receive an event emitted by each node, once each.
    async fn hears_again(&mut self, nodes: [&Sockd; 2], text: &str) {
        for node in nodes {
            node.emit(&self.user, "account:update", &json!(text)).await;
        }
        let event = format!(r#"42["account:update","{text}"]"#);
        for socket in &mut self.sockets {
            for _ in nodes {
                let mut packet = socket.packet().await;
                while packet == COUNTED {
                    packet = socket.packet().await;
                }
                assert_eq!(packet, event);
            }
        }
    }

    /// Another session replaces this one, through the given node; both sockets are closed.
    async fn log_out(mut self, node: &Sockd) -> String {
        let session = jwt::session();
        assert_eq!(node.force_logout(&self.user, &session).await, 2);
        for socket in &mut self.sockets {
            let reason = r#"42["auth:logout",{"reason":"SESSION_REPLACED"}]"#;
            assert_eq!(socket.packet().await, reason);
            assert_eq!(socket.packet().await, "41");
            assert!(matches!(socket.next(PATIENCE).await, Came::Closed(_)));
        }
        session
    }
}

/// All that two nodes do for a user, end to end.
async fn everything_works(nodes: [&Sockd; 2]) {
    everything_works_for(jwt::user(), nodes).await;
}

async fn everything_works_for(user: String, nodes: [&Sockd; 2]) {
    let mut pair = Pair::join_as(user, nodes).await;
    let (user, session) = (pair.user.clone(), pair.session.clone());
    pair.hear_in_order(nodes).await;
    let known = json!({ "ok": true, "online": true, "nodes": 2 });
    assert_eq!(emit_and_ask(nodes[0], &user).await, known);
    for socket in &mut pair.sockets {
        assert_eq!(socket.packet().await, COUNTED);
    }
    let mut stranger = WebSocket::open(nodes[1].address()).await;
    stranger.packet().await;
    let refused = stranger.connect(&jwt::token(&user, &jwt::session())).await;
    assert_eq!(refused, r#"44{"message":"SESSION_MISMATCH"}"#);

    let newer = pair.log_out(nodes[0]).await;
    let refused = stranger.connect(&jwt::token(&user, &session)).await;
    assert_eq!(refused, r#"44{"message":"SESSION_MISMATCH"}"#);
    for invalidates in [false, true] {
        let mut sockets = Vec::new();
        for node in nodes {
            sockets.push(WebSocket::join(node.address(), &user, &newer).await);
        }
        let body = json!({ "userId": user, "invalidateSession": invalidates });
        let answer = nodes[1].post("/internal/kick", &body).await;
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer, json!({ "ok": true, "disconnected": 2 }));
        for socket in &mut sockets {
            is_told(socket, r#"42["auth:logout",{"reason":"KICKED"}]"#).await;
        }
    }
    let refused = stranger.connect(&jwt::token(&user, &newer)).await;
    assert_eq!(refused, r#"44{"message":"SESSION_MISMATCH"}"#);
}

/// A user's key is lost and no server takes a write: a force-logout is refused on either node, and no
/// socket gets it.
async fn a_refused_logout_touches_nobody(nodes: [&Sockd; 2], servers: &mut [redis::Connection]) {
    let mut pair = Pair::join(nodes).await;
    for server in &mut *servers {
        // Only one of a Cluster's masters has it.
        redis::cmd("DEL").arg(key(&pair.user)).exec(server).ok();
    }
    let mut set_limit = |limit: &str| {
        for server in &mut *servers {
            let mut command = redis::cmd("CONFIG");
            let set = command.arg("SET").arg("maxmemory").arg(limit).exec(server);
            set.expect("CONFIG SET works");
        }
    };
    set_limit("1");
    for node in nodes {
        let body = json!({ "userId": pair.user, "sessionId": jwt::session() });
        let answer = node.post("/internal/force-logout", &body).await;
        assert_eq!(answer.status(), 503);
    }
    pair.hears_again(nodes, "after a refusal").await;
    set_limit("0");
    pair.log_out(nodes[0]).await;
}

/// The response to an emit that prefers a representation.
async fn emit_and_ask(node: &Sockd, user: &str) -> Value {
    let body = json!({ "userId": user, "event": "account:update", "payload": null });
    let request = http::client()
        .post(format!("{}/internal/emit", node.url()))
        .bearer_auth(crate::support::sockd::INTERNAL_SECRET)
        .header("prefer", "return=representation")
        .json(&body);
    let answer = request.send().await.expect("the server answers");
    answer.json().await.expect("JSON")
}

/// What sockets receive by [`emit_and_ask`].
const COUNTED: &str = r#"42["account:update",null]"#;

/// Prints how long something took.
#[expect(
    clippy::print_stderr,
    reason = "figures for the person who runs the tests"
)]
fn tell(what: &str, since: Instant) {
    eprintln!("{what}: {:.2} s", since.elapsed().as_secs_f64());
}

/// What `sockd sessions ls --json` prints, a line each.
fn sessions_ls(environment: &[(&str, &str)]) -> Vec<Value> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sockd"))
        .args(["sessions", "ls", "--json"])
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the built binary starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    let parse = |line: &str| serde_json::from_str(line).expect("JSON");
    lines.lines().map(parse).collect()
}

/// Gives a user on a server the rights that docs/redis.md asks for, in the line of it that has `mark`
/// in it.
fn grant(server: &mut redis::Connection, mark: &str) {
    let docs = include_str!("../../../docs/redis.md");
    let is_it = |line: &&str| line.starts_with("user sockd ") && line.contains(mark);
    let rules = docs.lines().find(is_it).expect("a line with the rules");
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER");
    command.arg(rules.split_whitespace().skip(1).collect::<Vec<_>>());
    command.exec(server).expect("Redis takes the rules");
}

/// The password in those rules.
const PASSWORD: &str = "PASSWORD";
