//! Reads on until all is quiet.

use tokio_tungstenite::tungstenite::Message;

use super::{Link, Player, packets};
use crate::protocol::differential::{
    conversation::CLIENTS,
    wire::{Answer, Came},
};

/// What a client reads on for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Marker,
    /// The response to a CONNECT.
    Answer,
    Ping,
    End,
}

impl Player {
    pub(super) async fn settle_all(&mut self) {
        for client in 0..CLIENTS {
            self.settle(client, Until::Marker).await;
        }
    }

    /// Reads until nothing more can come of what has happened.
    pub(super) async fn settle(&mut self, client: usize, until: Until) {
        if until == Until::Answer {
            self.read(client, Until::Answer, "").await;
        }
        let marker = format!("/settled-{}", self.markers);
        self.markers += 1;
        match &mut self.clients[client].link {
            Link::None => return,
            Link::WebSocket(socket) => socket.send(Message::text(format!("40{marker}"))).await,
            Link::Polling => {
                self.post(client, &format!("40{marker}")).await;
            }
        }
        let answer = format!(r#"44{marker},{{"message":"Invalid namespace"}}"#);
        self.read(client, Until::Marker, &answer).await;
    }

    /// Reads on; to the end where the server has said goodbye.
    pub(super) async fn read(&mut self, client: usize, until: Until, marker: &str) {
        loop {
            let packets = match &mut self.clients[client].link {
                Link::None => return,
                Link::WebSocket(socket) => match socket.next().await {
                    Came::Packet(packet) => vec![packet],
                    end => {
                        let goes_on = matches!(end, Came::Binary(_) | Came::Pong(_));
                        self.note(client, format!("{end:?}"));
                        if goes_on {
                            continue;
                        }
                        self.clients[client].link = Link::None;
                        return;
                    }
                },
                Link::Polling => match self.poll(client).await {
                    Some(packets) => packets,
                    None => return,
                },
            };
            let mut done = false;
            for packet in packets {
                if packet == marker {
                    done = true;
                    continue;
                }
                done |= match until {
                    Until::Answer => packet.starts_with("40{") || packet.starts_with("44{"),
                    Until::Ping => packet == "2",
                    Until::Marker | Until::End => false,
                };
                match until {
                    Until::Ping | Until::End => self.see(client, &packet),
                    Until::Marker | Until::Answer => self.hear(client, &packet).await,
                }
            }
            if done && until != Until::End && !self.clients[client].dismissed {
                return;
            }
        }
    }

    /// Takes a packet; a ping is answered, if there is a heartbeat.
    pub(super) async fn hear(&mut self, client: usize, packet: &str) {
        match packet {
            "2" if self.beats => self.answer_ping(client).await,
            packet => self.see(client, packet),
        }
    }

    pub(super) async fn answer_ping(&mut self, client: usize) {
        match &mut self.clients[client].link {
            Link::None => {}
            Link::WebSocket(socket) => socket.send(Message::text("3")).await,
            Link::Polling => {
                self.post(client, "3").await;
            }
        }
    }

    /// The packets of one poll; nothing if it was refused, which is the end.
    async fn poll(&mut self, client: usize) -> Option<Vec<String>> {
        let poll = match self.clients[client].poll.take() {
            Some(poll) => poll,
            None => self.begin_poll(client).await,
        };
        match poll.answer().await {
            Some(Answer { status: 200, body }) => Some(packets(&body)),
            answer => {
                self.note_answer(client, "poll", answer.as_ref());
                self.clients[client].link = Link::None;
                None
            }
        }
    }
}
