//! Plays a conversation to a server and records what its clients and callers see.
//!
//! Nothing waits for time to pass. After each step the client sends a CONNECT to a namespace that
//! does not exist, and what comes before its refusal is what the step led to.

mod frames;
mod read;
mod request;
mod text;
mod upgrade;

use std::{fmt, net::SocketAddr};

use serde_json::{Value, json};

use self::read::Until;
use super::{
    conversation::{
        CLIENTS, Credentials, Login, Packet, Payload, SESSIONS, Step, Transport, USERS, Waiting,
        name,
    },
    wire::{Answer, Came, Exchange, Socket, request_upgrade},
};
use crate::support::{jwt, sockd::INTERNAL_SECRET};

const POLLING: &str = "EIO=4&transport=polling";
const SEPARATOR: &str = "\u{1e}";

/// Something that a client or a backend sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `a`, `b`, `c`, or `*` for the backend.
    pub who: char,
    pub what: String,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.400}", self.who, self.what)
    }
}

/// Plays to the end. Returns what was seen in each step, and at the end.
pub async fn play(address: SocketAddr, steps: &[Step], beats: bool) -> Vec<Vec<Seen>> {
    let mut player = Player::new(address, beats);
    let mut transcript = Vec::new();
    for step in steps {
        player.take(step).await;
        transcript.push(std::mem::take(&mut player.seen));
    }
    player.settle_all().await;
    transcript.push(std::mem::take(&mut player.seen));
    transcript
}

struct Player {
    address: SocketAddr,
    users: [String; USERS],
    sessions: [[String; SESSIONS]; USERS],
    clients: [Client; CLIENTS],
    seen: Vec<Seen>,
    markers: usize,
    /// Pings may come at any time.
    beats: bool,
}

#[derive(Default)]
struct Client {
    sid: String,
    link: Link,
    /// A poll whose response has not come yet.
    poll: Option<Exchange>,
    joined: bool,
    /// The server has said goodbye: nothing but the end may follow.
    dismissed: bool,
}

#[derive(Default)]
enum Link {
    #[default]
    None,
    Polling,
    WebSocket(Box<Socket>),
}

impl Player {
    fn new(address: SocketAddr, beats: bool) -> Self {
        Self {
            address,
            users: std::array::from_fn(|_| jwt::user()),
            sessions: std::array::from_fn(|_| std::array::from_fn(|_| jwt::session())),
            clients: std::array::from_fn(|_| Client::default()),
            seen: Vec::new(),
            markers: 0,
            beats,
        }
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Open(client, transport, credentials) => {
                self.open(*client, *transport, credentials).await;
            }
            Step::Emit(user, event, payload, waiting) => {
                if *waiting == Waiting::Yes {
                    self.let_polls_wait().await;
                }
                match payload {
                    Payload::Raw(payload) => self.emit(*user, event, payload).await,
                    Payload::Long(count, bytes) => {
                        for number in 0..*count {
                            let payload = format!(r#""{number} {}""#, "x".repeat(*bytes));
                            self.emit(*user, event, &payload).await;
                        }
                    }
                }
                self.settle_all().await;
            }
            Step::Logout(login, waiting) => {
                if *waiting == Waiting::Yes {
                    self.let_polls_wait().await;
                }
                self.log_out(*login).await;
                self.settle_all().await;
            }
            Step::OpenRequest(request) => self.open_request(request).await,
            Step::UpgradeRequest(query, headers) => {
                let what = request_upgrade(self.address, query, headers).await;
                self.seen.push(Seen { who: '*', what });
            }
            Step::Send(client, _)
            | Step::Upgrade(client, _)
            | Step::Request(client, _)
            | Step::Leave(client, _)
            | Step::Wait(client)
            | Step::Beat(client)
            | Step::Expire(client)
            | Step::Frames(client, _)
                if matches!(self.clients[*client].link, Link::None) =>
            {
                self.note(*client, "is not connected");
            }
            Step::Send(client, packets) => {
                self.send(*client, packets).await;
                self.settle(*client, self.until(*client, packets)).await;
                let is_about_it = |packet: &&Packet| connects(packet) || leaves(packet);
                let last = packets.iter().rfind(is_about_it);
                self.clients[*client].joined &= !last.is_some_and(leaves);
            }
            Step::Upgrade(client, how) => self.upgrade(*client, how).await,
            Step::Request(client, request) => {
                self.request(*client, request).await;
                self.settle(*client, Until::Marker).await;
            }
            Step::Leave(client, how) => self.leave(*client, *how).await,
            Step::Beat(client) => {
                self.read(*client, Until::Ping, "").await;
                self.answer_ping(*client).await;
            }
            Step::Expire(client) => self.read(*client, Until::End, "").await,
            Step::Wait(client) => {
                self.let_poll_wait(*client).await;
                self.round_trip().await;
            }
            Step::Frames(client, frames) => {
                let until = self.frames(*client, frames).await;
                self.settle(*client, until).await;
            }
        }
    }

    fn note(&mut self, client: usize, what: impl Into<String>) {
        let (who, what) = (name(client), what.into());
        self.seen.push(Seen { who, what });
    }

    fn note_answer(&mut self, client: usize, to: &str, answer: Option<&Answer>) {
        self.note(client, format!("{to}: {}", told(answer)));
    }

    async fn emit(&mut self, user: usize, event: &str, payload: &str) {
        let (user, event) = (json!(self.users[user]), json!(event));
        // Verbatim, not reserialised.
        let body = format!(r#"{{"userId":{user},"event":{event},"payload":{payload}}}"#);
        self.call("emit", &body).await;
    }

    async fn log_out(&mut self, but: Login) {
        let (user, session) = (&self.users[but.user], &self.sessions[but.user][but.session]);
        let body = json!({ "userId": user, "sessionId": session });
        self.call("force-logout", &body.to_string()).await;
    }

    async fn call(&mut self, route: &str, body: &str) {
        let head = format!(
            "POST /internal/{route}\nauthorization: Bearer {INTERNAL_SECRET}\n\
             content-type: application/json"
        );
        let answer = Exchange::begin(self.address, &head, body)
            .await
            .answer()
            .await;
        let what = format!("{route}: {}", told(answer.as_ref()));
        self.seen.push(Seen { who: '*', what });
    }

    /// Requests whose response comes after the server has read what was sent before.
    async fn round_trip(&self) {
        for _ in 0..2 {
            let request = Exchange::begin(self.address, "GET /nowhere", "").await;
            request.answer().await;
        }
    }

    /// What a client that sent these packets reads on for.
    fn until(&self, client: usize, packets: &[Packet]) -> Until {
        let mut joined = self.clients[client].joined;
        for packet in packets {
            if connects(packet) && !joined {
                return Until::Answer;
            }
            joined &= !leaves(packet);
        }
        Until::Marker
    }

    async fn open(&mut self, client: usize, transport: Transport, credentials: &Credentials) {
        if !matches!(self.clients[client].link, Link::None) {
            return self.note(client, "is connected");
        }
        let (query, authorization) = match credentials {
            Credentials::None => (String::new(), None),
            Credentials::Query(login) => (format!("&token={}", self.token(*login)), None),
            Credentials::Header(login) => {
                let header = format!("Bearer {}", self.token(*login));
                (String::new(), Some(header))
            }
        };
        self.clients[client] = Client::default();
        match transport {
            Transport::Polling => {
                let header = authorization.map(|value| format!("\nauthorization: {value}"));
                let head = format!(
                    "GET /socket.io/?{POLLING}{query}{}",
                    header.unwrap_or_default()
                );
                let answer = Exchange::begin(self.address, &head, "").await;
                match answer.answer().await {
                    Some(Answer { status: 200, body }) => {
                        self.clients[client].link = Link::Polling;
                        for packet in body.split(SEPARATOR) {
                            self.see(client, packet);
                        }
                    }
                    answer => self.note_answer(client, "open", answer.as_ref()),
                }
            }
            Transport::WebSocket => {
                let query = format!("EIO=4&transport=websocket{query}");
                match Socket::open(self.address, &query, authorization.as_deref()).await {
                    Ok(mut socket) => {
                        match socket.next().await {
                            Came::Packet(packet) => self.see(client, &packet),
                            other => self.note(client, format!("{other:?}")),
                        }
                        self.clients[client].link = Link::WebSocket(Box::new(socket));
                    }
                    Err(answer) => self.note_answer(client, "open", answer.as_ref()),
                }
            }
        }
    }

    /// Records a packet, without what differs in each run.
    fn see(&mut self, client: usize, packet: &str) {
        let state = &mut self.clients[client];
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let what = if let Some(open) = packet.strip_prefix('0')
            && let Some(sid) = json(open)["sid"].as_str()
        {
            state.sid = sid.to_owned();
            packet.replacen(sid, &shape(sid), 1)
        } else if let Some(answer) = packet.strip_prefix("40")
            && let Some(sid) = json(answer)["sid"].as_str()
        {
            state.joined = true;
            let shape = match sid == state.sid {
                true => "the transport's".to_owned(),
                false => shape(sid),
            };
            packet.replacen(sid, &shape, 1)
        } else {
            state.dismissed |= packet == "41" || packet == "1";
            packet.to_owned()
        };
        self.note(client, what);
    }

    fn endpoint(&self, client: usize, method: &str) -> String {
        let sid = &self.clients[client].sid;
        format!("{method} /socket.io/?{POLLING}&sid={sid}")
    }

    async fn begin_poll(&self, client: usize) -> Exchange {
        Exchange::begin(self.address, &self.endpoint(client, "GET"), "").await
    }

    async fn let_polls_wait(&mut self) {
        for client in 0..CLIENTS {
            self.let_poll_wait(client).await;
        }
        self.round_trip().await;
    }

    async fn let_poll_wait(&mut self, client: usize) {
        let state = &self.clients[client];
        if matches!(state.link, Link::Polling) && state.poll.is_none() {
            self.clients[client].poll = Some(self.begin_poll(client).await);
        }
    }

    async fn post(&self, client: usize, body: &str) -> Option<Answer> {
        let head = self.endpoint(client, "POST") + "\ncontent-type: text/plain;charset=UTF-8";
        Exchange::begin(self.address, &head, body)
            .await
            .answer()
            .await
    }

    async fn send(&mut self, client: usize, packets: &[Packet]) {
        let messages: Vec<_> = packets.iter().map(|packet| self.message(packet)).collect();
        match &mut self.clients[client].link {
            Link::None => {}
            Link::WebSocket(socket) => socket.send_all(messages).await,
            Link::Polling => {
                let answer = self.post(client, &self.payload(packets)).await;
                self.note_answer(client, "post", answer.as_ref());
            }
        }
    }
}

fn connects(packet: &Packet) -> bool {
    matches!(packet, Packet::Connect(_))
}

fn leaves(packet: &Packet) -> bool {
    matches!(packet, Packet::Text(text) if text == "41" || text == "41,")
}

fn told(answer: Option<&Answer>) -> String {
    match answer {
        Some(Answer { status, body }) => format!("{status} {body}").trim().to_owned(),
        None => "no answer".to_owned(),
    }
}

/// The packets of a payload, but for those that only release a poll.
fn packets(body: &str) -> Vec<String> {
    let packets = body.split(SEPARATOR).filter(|packet| *packet != "6");
    packets.map(str::to_owned).collect()
}

/// Describes an id that differs in each run.
fn shape(id: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match id.chars().all(is_safe) {
        true => format!("{} URL-safe characters", id.len()),
        false => id.to_owned(),
    }
}
