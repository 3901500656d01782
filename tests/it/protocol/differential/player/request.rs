//! Requests other than the usual ones, and how clients leave.

use serde_json::Value;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::{Link, POLLING, Player, Seen, Until, shape};
use crate::protocol::differential::{
    conversation::{Leaving, Packet, Request},
    wire::{Answer, Exchange, LIMIT},
};

impl Player {
    pub(super) async fn request(&mut self, client: usize, request: &Request) {
        let is_polling = matches!(self.clients[client].link, Link::Polling);
        let post = self.endpoint(client, "POST");
        let send = async |head: &str, body: &str| {
            let request = Exchange::begin(self.address, head, body).await;
            request.answer().await
        };
        let answer = match request {
            Request::TwoPolls => return self.two_polls(client).await,
            Request::TwoPosts => return self.two_posts(client).await,
            Request::CancelledPoll => {
                self.let_poll_wait(client).await;
                self.round_trip().await;
                self.clients[client].poll = None;
                return self.wait_for_end(client).await;
            }
            Request::Bytes => {
                let head = format!("{post}\ncontent-type: application/octet-stream");
                send(&head, r#"42["a"]"#).await
            }
            Request::TooLong => {
                let event = format!(r#"42["long","{}"]"#, "x".repeat(1_000_000));
                send(&post, &event).await
            }
            Request::Post(path) => {
                let path = path.replace("SID", &self.clients[client].sid);
                send(&format!("POST {path}"), "3").await
            }
            Request::Chunked => {
                let head = format!("{post}\ntransfer-encoding: chunked");
                send(&head, "1\r\n3\r\n0\r\n\r\n").await
            }
            Request::Method(method) => send(&self.endpoint(client, method), "").await,
            // A poll, which waits for what does not come.
            Request::Query(query) if is_polling && query == &POLLING => return,
            Request::Query(query) => {
                let sid = &self.clients[client].sid;
                send(&format!("GET /socket.io/?{query}&sid={sid}"), "").await
            }
        };
        self.note_answer(client, "request", answer.as_ref());
    }

    /// A request that belongs to no client.
    pub(super) async fn open_request(&mut self, request: &str) {
        let answer = Exchange::begin(self.address, request, "").await.answer();
        let what = match answer.await {
            // Pages for people.
            Some(Answer { status: 404, .. }) => "404".to_owned(),
            Some(Answer { status, body }) => {
                let open = body.strip_prefix('0').unwrap_or_default();
                let open: Value = serde_json::from_str(open).unwrap_or_default();
                let body = match open["sid"].as_str() {
                    Some(sid) => body.replace(sid, &shape(sid)),
                    None => body,
                };
                format!("{status} {body}")
            }
            None => "no answer".to_owned(),
        };
        self.seen.push(Seen { who: '*', what });
    }

    async fn two_polls(&mut self, client: usize) {
        self.let_poll_wait(client).await;
        self.round_trip().await;
        let Some(first) = self.clients[client].poll.take() else {
            return;
        };
        let second = self.begin_poll(client).await;
        let (first, second) = tokio::join!(first.answer(), second.answer());
        self.note_answer(client, "first poll", first.as_ref());
        self.note_answer(client, "second poll", second.as_ref());
    }

    async fn two_posts(&mut self, client: usize) {
        let (head, body) = (self.endpoint(client, "POST"), r#"42["message"]"#);
        let first = Exchange::begin_part(self.address, &head, body, 3).await;
        self.round_trip().await;
        let second = self.post(client, body).await;
        let first = first.finish(&body[3..]).await;
        self.note_answer(client, "first post", first.as_ref());
        self.note_answer(client, "second post", second.as_ref());
    }

    /// Waits until the server has seen that a client is gone.
    async fn wait_for_end(&mut self, client: usize) {
        // A transport that the session does not have: refused, and the refusal says why.
        let transport = match self.clients[client].link {
            Link::Polling => "websocket",
            _ => "polling",
        };
        let sid = &self.clients[client].sid;
        let head = format!("GET /socket.io/?EIO=4&transport={transport}&sid={sid}");
        let start = Instant::now();
        let mut ended = false;
        while !ended && start.elapsed() < LIMIT {
            let look = Exchange::begin(self.address, &head, "").await;
            let answer = look.answer().await;
            ended = answer.is_some_and(|answer| answer.body.contains("Session ID unknown"));
        }
        self.note(client, if ended { "is gone" } else { "is still there" });
    }

    pub(super) async fn leave(&mut self, client: usize, how: Leaving) {
        match (how, &mut self.clients[client].link) {
            (Leaving::CloseFrame, Link::WebSocket(socket)) => {
                socket.send(Message::Close(None)).await;
                self.read(client, Until::End, "").await;
            }
            (Leaving::HalfClose, Link::WebSocket(socket)) => {
                socket.half_close().await;
                self.read(client, Until::End, "").await;
            }
            (Leaving::Vanishing, Link::WebSocket(_)) => {
                self.clients[client].link = Link::None;
                self.wait_for_end(client).await;
            }
            _ => {
                self.send(client, &[Packet::Text("1".into())]).await;
                self.settle(client, Until::Marker).await;
            }
        }
    }
}
