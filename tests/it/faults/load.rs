//! The tasks that emit, replace sessions, and poll readiness.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    ledger::{NODES, Sample},
    population::BUSY,
    scene::Shared,
};
use crate::support::{http, sockd::INTERNAL_SECRET};

/// Between two events of one sender.
const EMIT_PACE: Duration = Duration::from_millis(40);
/// Between two replaced sessions.
const REPLACE_PACE: Duration = Duration::from_millis(100);
/// Between two checks of one node's readiness.
const SAMPLE_PACE: Duration = Duration::from_millis(50);
/// Longer than a node may take for any response.
const NO_ANSWER: Duration = Duration::from_secs(5);

/// A sender of events, one after the other.
#[derive(Debug, Clone, Copy)]
pub enum Sender {
    /// All through one node.
    Through(usize),
    /// Through the nodes in turn, to a user after the other.
    InTurn,
    /// By the scene itself, to see whether events arrive.
    Probe,
}

impl Sender {
    pub const ALL: [Self; 3] = [Self::Through(0), Self::Through(1), Self::InTurn];

    /// Its name in the ledger.
    pub fn number(self) -> usize {
        match self {
            Self::Through(node) => node,
            Self::InTurn => NODES.len(),
            Self::Probe => NODES.len() + 1,
        }
    }

    pub async fn emit_forever(self, scene: &Shared) {
        for turn in 0.. {
            scene.is_on().await;
            let node = match self {
                Self::Through(node) => node,
                // The user changes only when the nodes have all had their turn.
                Self::InTurn | Self::Probe => turn % NODES.len(),
            };
            let user = match self {
                Self::Through(_) => turn,
                Self::InTurn | Self::Probe => turn / NODES.len(),
            };
            self.emit(scene, user % BUSY, node).await;
            sleep(EMIT_PACE).await;
        }
    }

    /// Emits one event and records the response; returns the event's number.
    pub async fn emit(self, scene: &Shared, user: usize, node: usize) -> usize {
        let event = scene.ledger.sent(user, self.number(), node);
        let body = json!({
            "userId": scene.users[user].id,
            "event": "profile:update",
            "payload": event,
        });
        if let Some(status) = post(scene, node, "/internal/emit", &body).await {
            scene.ledger.answered(event, status);
        }
        event
    }
}

/// Replaces the session of one busy user after the other, as backends do: repeated until it returns 200.
pub async fn replace_forever(scene: &Shared) {
    for turn in 0.. {
        scene.is_on().await;
        let user = &scene.users[turn % BUSY];
        let (number, session) = user.next_session();
        let body = json!({ "userId": user.id, "sessionId": session });
        for attempt in 0.. {
            let logout = scene.ledger.replacing(turn % BUSY, number);
            let node = (turn + attempt) % NODES.len();
            if post(scene, node, "/internal/force-logout", &body).await == Some(200) {
                scene.ledger.replaced(logout);
                break;
            }
            sleep(REPLACE_PACE).await;
        }
        user.switch_to(number);
        sleep(REPLACE_PACE).await;
    }
}

/// Looks at `/readyz` of one node.
pub async fn sample_forever(scene: &Shared, node: usize) {
    loop {
        let asked = Instant::now();
        let url = format!("http://{}/readyz", scene.address(node));
        let request = scene.client.get(url).bearer_auth(INTERNAL_SECRET);
        let answer = request.timeout(NO_ANSWER).send().await;
        let (status, reason) = match answer {
            Err(_) => (0, String::new()),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let body: Value = answer.json().await.unwrap_or_default();
                (
                    status,
                    body["reason"].as_str().unwrap_or_default().to_owned(),
                )
            }
        };
        scene.ledger.felt(asked, false);
        scene.ledger.open().samples.push(Sample {
            node,
            asked,
            answered: Instant::now(),
            status,
            reason,
        });
        sleep(SAMPLE_PACE).await;
    }
}

/// Measures whether this process and Redis are slow.
pub async fn feel_forever(scene: &Shared) {
    loop {
        let from = Instant::now();
        sleep(SAMPLE_PACE).await;
        // Redis may be away; it is slowness that counts.
        timeout(NO_ANSWER, ping(scene.redis_port())).await.ok();
        scene.ledger.felt(from, true);
    }
}

async fn ping(port: u16) -> io::Result<()> {
    let mut redis = TcpStream::connect(("127.0.0.1", port)).await?;
    redis.write_all(b"PING\r\n").await?;
    redis.read_u8().await.map(drop)
}

/// The status of the response, if there was one.
async fn post(scene: &Shared, node: usize, path: &str, body: &Value) -> Option<u16> {
    let url = format!("http://{}{path}", scene.address(node));
    let request = scene.client.post(url).bearer_auth(INTERNAL_SECRET);
    let answer = request.timeout(NO_ANSWER).json(body).send().await;
    answer.ok().map(|answer| answer.status().as_u16())
}

/// A client that all of them share.
pub fn client() -> reqwest::Client {
    http::client()
}
