//! WebSocket frames by hand (RFC 6455, 5.2).

use super::{Link, Player, Until};
use crate::protocol::differential::conversation::{Frames, Packet};
use tokio_tungstenite::tungstenite::Message;

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const LAST: u8 = 0x80;
const MASK: [u8; 4] = [7, 99, 250, 1];

impl Player {
    /// Sends them, and says what the client reads on for.
    pub(super) async fn frames(&mut self, client: usize, frames: &Frames) -> Until {
        let mut until = Until::Marker;
        let bytes = match frames {
            Frames::Pieces(packet) => {
                until = self.until(client, std::slice::from_ref(packet));
                self.pieces(packet)
            }
            Frames::One(first, payload) => frame(*first, payload),
            Frames::Unmasked => b"\x81\x0240".to_vec(),
            Frames::Mixed => [frame(TEXT, b"4"), frame(LAST | TEXT, b"40")].concat(),
            Frames::TooLong => {
                let length = 1_000_001_u64.to_be_bytes();
                [&[LAST | TEXT, 0x80 | 127][..], &length, &MASK].concat()
            }
        };
        match &mut self.clients[client].link {
            Link::WebSocket(socket) => socket.send_bytes(&bytes).await,
            _ => self.note(client, "is no WebSocket"),
        }
        until
    }

    fn pieces(&self, packet: &Packet) -> Vec<u8> {
        let message = self.message(packet);
        let opcode = match message {
            Message::Binary(_) => BINARY,
            _ => TEXT,
        };
        let payload = message.into_data();
        let (first, rest) = payload.split_at(payload.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        let frames = [
            frame(opcode, first),
            frame(PING, b"in between"),
            frame(0, second),
            frame(PONG, b""),
            frame(LAST, third),
        ];
        frames.concat()
    }
}

/// A masked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload.len()).expect("a short payload") {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
