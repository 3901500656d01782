//! The users and their sockets, which reconnect whenever they are closed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use super::{ledger::NODES, scene::Shared};
use crate::support::{
    jwt,
    polling::Polling,
    websocket::{Came, WebSocket},
};

/// Users who get events all the time.
pub const BUSY: usize = 8;
/// Users who get none until the fault is over; the last is the one that the scene probes with.
pub const IDLE: usize = 4;
/// Every so many users have a socket that polls as well.
const POLLING: usize = 4;
/// How long a client waits before it reconnects.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than any scene.
const EVER: Duration = Duration::from_secs(600);

pub struct User {
    pub id: String,
    /// All sessions that it ever had, in their order.
    sessions: Mutex<Vec<String>>,
    /// Which of them its clients use.
    current: Mutex<usize>,
}

impl User {
    pub fn new() -> Self {
        Self {
            id: jwt::user(),
            sessions: Mutex::new(vec![jwt::session()]),
            current: Mutex::new(0),
        }
    }

    /// Generates the next session; returns its number and the session.
    pub fn next_session(&self) -> (usize, String) {
        let mut sessions = self.sessions.lock().expect("whole");
        sessions.push(jwt::session());
        (sessions.len() - 1, sessions[sessions.len() - 1].clone())
    }

    pub fn switch_to(&self, session: usize) {
        *self.current.lock().expect("whole") = session;
    }

    fn session(&self) -> (usize, String) {
        let current = *self.current.lock().expect("whole");
        let sessions = self.sessions.lock().expect("whole");
        (current, sessions[current].clone())
    }
}

/// A place for one socket at a time.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    pub user: usize,
    pub node: usize,
    polls: bool,
}

/// All seats: each user's on both nodes, and some more that poll.
pub fn seats() -> Vec<Seat> {
    let seat = |polls| move |(user, node)| Seat { user, node, polls };
    let users = || 0..BUSY + IDLE;
    let sockets = users().flat_map(|user| NODES.map(|node| (user, node)));
    let pollers = users()
        .step_by(POLLING)
        .map(|user| (user, user / POLLING % NODES.len()));
    sockets
        .map(seat(false))
        .chain(pollers.map(seat(true)))
        .collect()
}

impl Seat {
    /// Joins, records what arrives, and reconnects whenever it is dismissed or closed.
    pub async fn be_taken(self, scene: Arc<Shared>) {
        let user = &scene.users[self.user];
        // Clients that were dismissed, and wait for their connections to be closed.
        let mut leaving = JoinSet::new();
        let mut told_to_go = None;
        loop {
            let (number, session) = user.session();
            // As with stock clients, a dismissed one reconnects only after a new login.
            if told_to_go >= Some(number) {
                sleep(PAUSE).await;
                continue;
            }
            let joined = self.join(scene.address(self.node), &user.id, &session);
            let Ok(mut client) = joined.await else {
                sleep(PAUSE).await;
                continue;
            };
            let life = scene.ledger.joined(self.user, self.node, number);
            let ended = listen(&mut client, life, &scene).await == Heard::End;
            if !ended {
                told_to_go = Some(number);
            }
            scene.ledger.left(life);
            let scene = scene.clone();
            leaving.spawn(async move {
                while !ended && listen(&mut client, life, &scene).await != Heard::End {}
                scene.ledger.ended(life);
            });
        }
    }

    async fn join(&self, to: SocketAddr, user: &str, session: &str) -> Result<Client, String> {
        Ok(if self.polls {
            Client::Polling(Box::new(Polling::try_join(to, user, session).await?))
        } else {
            Client::WebSocket(Box::new(WebSocket::try_join(to, user, session).await?))
        })
    }
}

/// What interrupts the events.
#[derive(PartialEq)]
enum Heard {
    Disconnect,
    End,
}

/// Writes down the events that come until something else does.
async fn listen(client: &mut Client, life: usize, scene: &Shared) -> Heard {
    while let Some(packet) = client.packet().await {
        match number_of(&packet) {
            Some(event) => scene.ledger.got(life, event),
            None if packet == "41" => return Heard::Disconnect,
            None => {}
        }
    }
    Heard::End
}

enum Client {
    WebSocket(Box<WebSocket>),
    Polling(Box<Polling>),
}

impl Client {
    /// The next packet; `None` once the connection is over.
    async fn packet(&mut self) -> Option<String> {
        match self {
            Self::WebSocket(socket) => match socket.next(EVER).await {
                Came::Packet(packet) => Some(packet),
                Came::Binary(_) | Came::Closed(_) => None,
            },
            Self::Polling(polling) => polling.next().await.ok(),
        }
    }
}

/// The number in an event of ours.
fn number_of(packet: &str) -> Option<usize> {
    let event: Value = serde_json::from_str(packet.strip_prefix("42")?).ok()?;
    let number = (event[0] == "profile:update").then(|| event[1].as_u64())??;
    usize::try_from(number).ok()
}
