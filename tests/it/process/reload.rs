//! A reload: on SIGHUP and by `sockd reload`, whole or not at all.

mod kept;
mod rotation;
mod systemd;

use std::{fs, sync::Arc};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    PATIENCE,
    command::{Done, Shell},
    eventually, http, jwt,
    sockd::{Builder, INTERNAL_SECRET, Sockd},
    websocket::{Came, WebSocket},
};

const NEW_SECRET: &str = "another-jwt-secret-of-32-bytes-and-more";
const NEW_INTERNAL: &str = "another-internal-secret-of-32-bytes-too";

/// How the node is asked to reload.
#[derive(Debug, Clone, Copy)]
enum Way {
    Signal,
    Command,
}

/// A node that is configured by a file.
struct Node {
    sockd: Sockd,
    directory: Arc<TempDir>,
    /// Of the internal routes, as the node has it now.
    secret: &'static str,
}

impl Node {
    async fn start(settings: &str) -> Self {
        Self::start_with(settings, |builder| builder).await
    }

    async fn start_with(settings: &str, more: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        write(&directory, settings);
        let builder = Sockd::builder()
            .without("JWT_SECRET")
            .without("INTERNAL_SECRET")
            .without("SOCKD_LOG__LEVEL");
        Self {
            sockd: more(builder).start_in(directory.clone()).await,
            directory,
            secret: INTERNAL_SECRET,
        }
    }

    fn write(&self, settings: &str) {
        write(&self.directory, settings);
    }

    async fn reload(&self, way: Way) {
        match way {
            Way::Command => {
                self.command(&["reload"]).await.ok();
            }
            Way::Signal => self.hang_up("ok").await,
        }
    }

    /// Sends SIGHUP and waits until the result is counted.
    async fn hang_up(&self, result: &str) {
        let before = self.reloads(result).await;
        self.sockd.signal("HUP");
        eventually(PATIENCE, "a counted reload", async || {
            self.reloads(result).await == before + 1
        })
        .await;
    }

    async fn command(&self, arguments: &[&str]) -> Done {
        let shell = Shell::new()
            .env("SOCKD_URL", self.sockd.url())
            .file("secret", self.secret);
        let target = ["--secret-file", "secret"];
        shell.run(&[arguments, &target].concat()).await
    }

    async fn reloads(&self, result: &str) -> u64 {
        let request = http::client().get(format!("{}/metrics", self.sockd.url()));
        let answer = request.bearer_auth(self.secret).send().await;
        let answer = answer.expect("the server answers");
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.expect("a body");
        let name = format!("sockd_reloads_total{{result=\"{result}\"}} ");
        let figure = text.lines().find_map(|line| line.strip_prefix(&name));
        figure
            .expect("counted from the start")
            .parse()
            .expect("a number")
    }

    async fn post(&self, path: &str, secret: &str, body: &Value) -> (u16, Value) {
        let request = http::client().post(format!("{}{path}", self.sockd.url()));
        let answer = request.bearer_auth(secret).json(body).send().await;
        let answer = answer.expect("the server answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    /// The response to a CONNECT whose token is signed with this secret.
    async fn connect(&self, secret: &str) -> (WebSocket, String) {
        let mut socket = WebSocket::open(self.sockd.address()).await;
        socket.packet().await;
        let answer = socket.connect(&token(&jwt::user(), secret)).await;
        (socket, answer)
    }

    /// Waits until the log has the text so many times.
    async fn logs(&self, text: &str, times: usize) {
        eventually(PATIENCE, text, async || {
            self.sockd.log().text().matches(text).count() == times
        })
        .await;
    }
}

/// At once, so that a reload under way reads the old or the new.
fn write(directory: &TempDir, settings: &str) {
    let [next, file] = ["next", "sockd.toml"].map(|name| directory.path().join(name));
    fs::write(&next, settings).expect("a new file");
    fs::rename(next, file).expect("a new name");
}

fn settings(auth: &str, internal: &str, more: &str) -> String {
    format!("auth.secret = \"{auth}\"\ninternal.secret = \"{internal}\"\n{more}")
}

fn plain(more: &str) -> String {
    settings(jwt::SECRET, INTERNAL_SECRET, more)
}

fn token(user: &str, secret: &str) -> String {
    jwt::sign_with(
        &json!({ "alg": "HS256" }),
        &json!({ "user_id": user, "session_id": jwt::session() }),
        hmac::HMAC_SHA256,
        secret,
    )
}

const INVALID: &str = r#"44{"message":"TOKEN_INVALID"}"#;

#[tokio::test]
async fn each_section_takes_effect_and_open_sockets_stay() {
    for way in [Way::Signal, Way::Command] {
        let mut node = Node::start(&plain("")).await;
        let user = jwt::user();
        let mut open = WebSocket::join(node.sockd.address(), &user, &jwt::session()).await;
        assert!(!node.sockd.log().text().contains("DEBUG"), "{way:?}");

        node.write(&settings(
            NEW_SECRET,
            NEW_INTERNAL,
            "internal.previous_secrets = [\"the-tests-internal-secret-of-32-bytes\"]\n\
             cors.origin = \"https://a.example\"\n\
             events.supported = [\"order:*\"]\n\
             limits.sockets_per_user = 1\n\
             log.level = \"info,sockd=debug\"\n\
             metrics.public = true\n",
        ));
        node.reload(way).await;

        // Keys and secrets.
        assert_eq!(node.connect(jwt::SECRET).await.1, INVALID, "{way:?}");
        let (_joined, answer) = node.connect(NEW_SECRET).await;
        assert!(answer.starts_with("40{"), "{answer}");
        let event = |name: &str| json!({ "userId": user, "event": name, "payload": 1 });
        for secret in [NEW_INTERNAL, INTERNAL_SECRET] {
            let done = node
                .post("/internal/emit", secret, &event("order:paid"))
                .await;
            assert_eq!(done.0, 200, "{done:?}");
            assert_eq!(open.packet().await, r#"42["order:paid",1]"#, "{way:?}");
        }
        // Events.
        let done = node
            .post("/internal/emit", NEW_INTERNAL, &event("profile:update"))
            .await;
        assert_eq!(
            done,
            (400, json!({ "ok": false, "error": "INVALID_EVENT" }))
        );
        // CORS and metrics.
        let url = node.sockd.url();
        let answer = http::get(&format!("{url}/socket.io/?EIO=4&transport=polling")).await;
        let origin = answer.headers().get("access-control-allow-origin");
        assert_eq!(origin.expect("a header"), "https://a.example");
        assert_eq!(http::get(&format!("{url}/metrics")).await.status(), 200);
        // Limits.
        let (user, session) = (jwt::user(), jwt::session());
        let payload = json!({ "user_id": user, "session_id": session });
        let header = json!({ "alg": "HS256" });
        let same = jwt::sign_with(&header, &payload, hmac::HMAC_SHA256, NEW_SECRET);
        let mut first = WebSocket::open(node.sockd.address()).await;
        first.packet().await;
        assert!(first.connect(&same).await.starts_with("40{"));
        let mut second = WebSocket::open(node.sockd.address()).await;
        second.packet().await;
        let full = r#"44{"message":"TOO_MANY_SOCKETS"}"#;
        assert_eq!(second.connect(&same).await, full, "{way:?}");
        // The log.
        let debug = || node.sockd.log().text().contains("DEBUG");
        eventually(PATIENCE, "debug lines", async || debug()).await;

        // A secret that is on its way out, and back.
        node.secret = NEW_INTERNAL;
        node.write(&settings(
            NEW_SECRET,
            NEW_INTERNAL,
            &format!("auth.previous_secrets = [\"{}\"]\n", jwt::SECRET),
        ));
        node.reload(way).await;
        assert!(
            node.connect(jwt::SECRET).await.1.starts_with("40{"),
            "{way:?}"
        );
        let body = event("order:paid");
        assert_eq!(
            node.post("/internal/emit", INTERNAL_SECRET, &body).await.0,
            401
        );
        assert_eq!(http::get(&format!("{url}/metrics")).await.status(), 401);
        let done = node
            .post(
                "/internal/emit",
                NEW_INTERNAL,
                &json!({ "userId": user, "event": "profile:update" }),
            )
            .await;
        assert_eq!(done.0, 200, "the default again: {done:?}");
    }
}

#[tokio::test]
async fn a_removed_secret_no_longer_serves_a_connection_that_it_opened() {
    let node = Node::start(&plain("")).await;
    for (secret, answer) in [(jwt::SECRET, "40{"), (NEW_SECRET, INVALID)] {
        let query = format!("&token={}", token(&jwt::user(), jwt::SECRET));
        let address = node.sockd.address();
        node.write(&plain(""));
        node.reload(Way::Command).await;
        let mut socket = WebSocket::open_with(address, &query, &[]).await;
        socket.packet().await;
        socket.send("40").await;
        assert!(socket.packet().await.starts_with("40{"));
        node.write(&settings(
            secret,
            INTERNAL_SECRET,
            "limits.handshakes = 9000",
        ));
        node.reload(Way::Command).await;
        socket.send("41").await;
        socket.send("40").await;
        let again = socket.packet().await;
        assert!(again.starts_with(answer), "{again}");
    }
}

#[tokio::test]
async fn a_secret_in_a_file_is_read_again() {
    let file = "internal.secret_file = \"internal.key\"\nauth.secret_file = \"jwt.key\"\n";
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let key =
        |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
    key("jwt.key", jwt::SECRET);
    key("internal.key", INTERNAL_SECRET);
    write(&directory, file);
    let builder = Sockd::builder()
        .without("JWT_SECRET")
        .without("INTERNAL_SECRET");
    let sockd = builder.start_in(directory.clone()).await;
    let node = Node {
        sockd,
        directory: directory.clone(),
        secret: INTERNAL_SECRET,
    };
    key("jwt.key", NEW_SECRET);
    let told = node.command(&["reload"]).await.ok();
    assert_eq!(told, "changed        auth.secret\n");
    assert_eq!(node.connect(jwt::SECRET).await.1, INVALID);
    // The file is gone.
    fs::remove_file(directory.path().join("jwt.key")).expect("it is there");
    let stderr = node.command(&["reload"]).await.fails(2);
    assert!(
        stderr.contains("sockd.toml:2:6: auth.secret_file: \"jwt.key\" not found"),
        "{stderr}"
    );
    assert!(node.connect(NEW_SECRET).await.1.starts_with("40{"));
}

#[tokio::test]
async fn an_open_connection_keeps_its_limits_and_a_new_one_has_the_new() {
    let node = Node::start(&plain("limits.handshake_attempts = 2\n")).await;
    let mut old = WebSocket::open(node.sockd.address()).await;
    old.packet().await;
    node.write(&plain("limits.handshake_attempts = 1\n"));
    node.reload(Way::Signal).await;
    let mut new = WebSocket::open(node.sockd.address()).await;
    new.packet().await;
    for (socket, allowed) in [(&mut old, 2), (&mut new, 1)] {
        for _ in 0..allowed {
            assert_eq!(socket.connect("x").await, INVALID);
        }
        socket.send("40{\"token\":\"x\"}").await;
        assert!(!matches!(socket.next(PATIENCE).await, Came::Packet(_)));
    }
}

#[tokio::test]
async fn reloads_at_once_run_one_after_the_other_and_the_last_file_holds() {
    let node = Node::start(&plain("")).await;
    let url = format!("{}/internal/reload", node.sockd.url());
    for round in 0..10 {
        let name = format!("event-{round}");
        node.write(&plain(&format!("events.supported = [\"{name}\"]\n")));
        let reload = || async {
            let request = http::client().post(&url).bearer_auth(INTERNAL_SECRET);
            request
                .send()
                .await
                .expect("the server answers")
                .status()
                .as_u16()
        };
        node.sockd.signal("HUP");
        let (a, b, c, d) = tokio::join!(reload(), reload(), reload(), reload());
        assert_eq!([a, b, c, d], [200; 4]);
        let body = json!({ "userId": jwt::user(), "event": name });
        assert_eq!(
            node.post("/internal/emit", INTERNAL_SECRET, &body).await.0,
            200
        );
    }
    assert_eq!(node.reloads("failed").await, 0);
}
