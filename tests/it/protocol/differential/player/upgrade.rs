//! How a client moves from polling to WebSocket, or does not.

use tokio_tungstenite::tungstenite::Message;

use super::{Link, Player, Until, packets};
use crate::protocol::differential::{
    conversation::{USERS, Upgrade},
    wire::{Answer, Came, Socket},
};

impl Player {
    pub(super) async fn upgrade(&mut self, client: usize, how: &Upgrade) {
        if matches!(how, Upgrade::WithPoll) {
            self.let_poll_wait(client).await;
            self.round_trip().await;
        }
        let query = format!("EIO=4&transport=websocket&sid={}", self.clients[client].sid);
        let mut socket = match Socket::open(self.address, &query, None).await {
            Ok(socket) => socket,
            Err(answer) => {
                self.note_answer(client, "upgrade", answer.as_ref());
                return self.settle_all().await;
            }
        };
        let is_polling = matches!(self.clients[client].link, Link::Polling);
        match how {
            Upgrade::Twice => match Socket::open(self.address, &query, None).await {
                Ok(mut second) => {
                    let end = second.next().await;
                    self.note(client, format!("second upgrade: {end:?}"));
                }
                Err(answer) => self.note_answer(client, "second upgrade", answer.as_ref()),
            },
            Upgrade::Pinged => socket.send(Message::Ping(vec![1].into())).await,
            Upgrade::First(packet) => {
                socket.send(self.message(packet)).await;
                return self.after_probe(client, socket).await;
            }
            Upgrade::Abandoned {
                probed: false,
                politely,
            } => return self.abandon(client, socket, *politely).await,
            _ => {}
        }
        socket.send(Message::text("2probe")).await;
        if matches!(how, Upgrade::ProbedTwice) {
            socket.send(Message::text("2probe")).await;
            let answer = socket.next().await;
            self.note(client, format!("probe: {answer:?}"));
        }
        let mut until = Until::Marker;
        if !matches!(how, Upgrade::InOneBreath) {
            let answer = socket.next().await;
            let is_answered = answer == Came::Packet("3probe".into());
            self.note(client, format!("probe: {answer:?}"));
            if !is_answered || !is_polling {
                return self.settle_all().await;
            }
            self.release(client).await;
            match how {
                Upgrade::LogoutBetween(login) => self.log_out(*login).await,
                Upgrade::EventBetween => {
                    for user in 0..USERS {
                        self.emit(user, "profile:update", r#""between""#).await;
                    }
                }
                Upgrade::PostBetween(packets) => {
                    self.send(client, packets).await;
                    until = self.until(client, packets);
                }
                Upgrade::Second(packet) => {
                    socket.send(self.message(packet)).await;
                    return self.after_probe(client, socket).await;
                }
                Upgrade::Abandoned { politely, .. } => {
                    return self.abandon(client, socket, *politely).await;
                }
                _ => {}
            }
        }
        socket.send(Message::text("5")).await;
        self.clients[client].link = Link::WebSocket(Box::new(socket));
        self.release(client).await;
        self.settle(client, until).await;
        self.settle_all().await;
    }

    /// Reads what a waiting poll is released with.
    async fn release(&mut self, client: usize) {
        let Some(poll) = self.clients[client].poll.take() else {
            return;
        };
        match poll.answer().await {
            Some(Answer { status: 200, body }) => {
                for packet in packets(&body) {
                    self.hear(client, &packet).await;
                }
            }
            answer => self.note_answer(client, "released poll", answer.as_ref()),
        }
    }

    /// The client did not go on as it should: either transport may be the one that is left.
    async fn after_probe(&mut self, client: usize, mut socket: Socket) {
        self.settle(client, Until::Marker).await;
        if matches!(self.clients[client].link, Link::None) {
            self.clients[client].link = Link::WebSocket(Box::new(socket));
            return self.settle(client, Until::Marker).await;
        }
        let end = socket.next().await;
        self.note(client, format!("probe: {end:?}"));
    }

    async fn abandon(&mut self, client: usize, mut socket: Socket, politely: bool) {
        if politely {
            socket.send(Message::Close(None)).await;
            while !matches!(socket.next().await, Came::Cut | Came::Silence) {}
        }
        drop(socket);
        self.settle(client, Until::Marker).await;
    }
}
