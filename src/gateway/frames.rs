//! The frames of a WebSocket (RFC 6455): reads those of the client, and writes control frames. Whole
//! frames are read in place, and only the beginning of an unfinished one is kept.

use std::io::Cursor;

use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use crate::wire::Frame;

/// The longest payload of a control frame (RFC 6455, 5.5).
const LONGEST_CONTROL: usize = 125;

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    /// Its status and reason, as sent.
    Close(&'a [u8]),
}

/// Why a WebSocket has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    Protocol,
    NotText,
    TooLong,
}

/// Reads frames for one client.
#[derive(Default)]
pub(super) struct Frames(Option<Box<Unfinished>>);

#[derive(Default)]
struct Unfinished {
    /// The bytes of an unfinished frame.
    frame: Vec<u8>,
    /// The opcode of an unfinished message, if there is one.
    opcode: Option<Data>,
    message: Vec<u8>,
}

/// The header of a valid frame.
struct Header {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    length: usize,
    payload: usize,
}

impl Frames {
    /// Calls `take` with each message until it returns `false`. Returns how many bytes were read.
    ///
    /// # Errors
    /// The first violation of the protocol; nothing more can be read then.
    pub(super) fn read(
        &mut self,
        mut bytes: &mut [u8],
        limit: usize,
        mut take: impl FnMut(Message<'_>) -> bool,
    ) -> Result<usize, Violation> {
        let given = bytes.len();
        while !bytes.is_empty() {
            let mut kept = self.0.as_mut().map_or(Vec::new(), |unfinished| {
                std::mem::take(&mut unfinished.frame)
            });
            let goes_on = if kept.is_empty() {
                match self.header(bytes, limit)? {
                    Some(header) if header.length <= bytes.len() => {
                        let (frame, rest) = bytes.split_at_mut(header.length);
                        bytes = rest;
                        self.take_frame(&header, &mut frame[header.payload..], &mut take)?
                    }
                    _ => {
                        kept.extend_from_slice(bytes);
                        bytes = &mut [];
                        self.unfinished().frame = kept;
                        true
                    }
                }
            } else {
                let header = self.header(&kept, limit)?;
                let missing = header
                    .as_ref()
                    .map_or(1, |header| header.length - kept.len());
                let (more, rest) = bytes.split_at_mut(missing.min(bytes.len()));
                bytes = rest;
                kept.extend_from_slice(more);
                match self.header(&kept, limit)? {
                    Some(header) if header.length == kept.len() => {
                        self.take_frame(&header, &mut kept[header.payload..], &mut take)?
                    }
                    _ => {
                        self.unfinished().frame = kept;
                        true
                    }
                }
            };
            if !goes_on {
                break;
            }
        }
        Ok(given - bytes.len())
    }

    /// The header of the frame at the beginning of the bytes, if they hold all of the header.
    fn header(&self, bytes: &[u8], limit: usize) -> Result<Option<Header>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol)?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        // A client's frames are masked, and no extension was agreed on.
        let (Some(mask), false) = (header.mask, header.rsv1 | header.rsv2 | header.rsv3) else {
            return Err(Violation::Protocol);
        };
        let begun = self.0.as_ref().filter(|begun| begun.opcode.is_some());
        let is_sound = match header.opcode {
            OpCode::Control(_) => header.is_final && length <= LONGEST_CONTROL as u64,
            OpCode::Data(Data::Continue) => begun.is_some(),
            OpCode::Data(_) => begun.is_none(),
        };
        if !is_sound {
            return Err(Violation::Protocol);
        }
        let before = match header.opcode {
            OpCode::Control(_) => 0,
            OpCode::Data(_) => begun.map_or(0, |begun| begun.message.len()),
        };
        if length > (limit - before) as u64 {
            return Err(Violation::TooLong);
        }
        let payload = cursor.position() as usize;
        Ok(Some(Header {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            length: payload + length as usize,
            payload,
        }))
    }

    fn take_frame(
        &mut self,
        header: &Header,
        payload: &mut [u8],
        take: &mut impl FnMut(Message<'_>) -> bool,
    ) -> Result<bool, Violation> {
        unmask(payload, header.mask);
        let goes_on = match header.opcode {
            OpCode::Control(Control::Ping) => take(Message::Ping(payload)),
            OpCode::Control(Control::Close) => {
                check_close(payload)?;
                take(Message::Close(payload))
            }
            OpCode::Control(_) => true,
            OpCode::Data(kind) if header.is_final && kind != Data::Continue => {
                take(message(kind, payload)?)
            }
            OpCode::Data(kind) => {
                let begun = self.unfinished();
                begun.message.extend_from_slice(payload);
                let kind = *begun.opcode.get_or_insert(kind);
                if header.is_final {
                    let whole = std::mem::take(&mut begun.message);
                    begun.opcode = None;
                    take(message(kind, &whole)?)
                } else {
                    true
                }
            }
        };
        let is_done = |left: &mut Box<Unfinished>| left.frame.is_empty() && left.opcode.is_none();
        self.0.take_if(is_done);
        Ok(goes_on)
    }

    fn unfinished(&mut self) -> &mut Unfinished {
        self.0.get_or_insert_default()
    }
}

fn message(kind: Data, payload: &[u8]) -> Result<Message<'_>, Violation> {
    Ok(match kind {
        Data::Text => Message::Text(std::str::from_utf8(payload).map_err(|_| Violation::NotText)?),
        _ => Message::Binary(payload),
    })
}

/// Checks that it is empty, or a status that may be sent and a text (RFC 6455, 5.5.1 and 7.4).
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload.split_first_chunk() {
        None if payload.is_empty() => Ok(()),
        None => Err(Violation::Protocol),
        Some((status, reason)) => match u16::from_be_bytes(*status) {
            1000..=1003 | 1007..=1014 | 3000..=4999 => std::str::from_utf8(reason)
                .map(drop)
                .map_err(|_| Violation::NotText),
            _ => Err(Violation::Protocol),
        },
    }
}

/// The pong frame that answers a ping (RFC 6455, 5.5.3).
pub(super) fn pong(payload: &[u8]) -> Frame {
    control(0x8a, payload)
}

/// A close frame (RFC 6455, 5.5.1); its payload is empty or begins with a status.
pub(super) fn close(payload: &[u8]) -> Frame {
    control(0x88, payload)
}

fn control(first: u8, payload: &[u8]) -> Frame {
    let header = [first, payload.len() as u8];
    Frame::raw([&header, payload].concat().into(), header.len())
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [7, 99, 250, 1];
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        frame
    }

    /// What is read from the bytes when they arrive in pieces of this length.
    fn read(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<String>, Violation> {
        let mut frames = Frames::default();
        let mut received = Vec::new();
        for piece in bytes.chunks(piece) {
            frames.read(&mut piece.to_vec(), limit, |message| {
                received.push(match message {
                    Message::Binary(bytes) => format!("Binary({})", bytes.len()),
                    Message::Text(text) if text.len() > 20 => format!("Text({})", text.len()),
                    message => format!("{message:?}"),
                });
                true
            })?;
        }
        assert!(frames.0.is_none(), "an idle client keeps no buffer");
        Ok(received)
    }

    #[test]
    fn messages_are_read_in_pieces_of_any_length() {
        let long = "x".repeat(70_000);
        let bytes = [
            frame(0x81, b"42[\"a\"]"),
            frame(0x01, b"frag"),
            frame(0x89, b"ping"),
            frame(0x00, b"men"),
            frame(0x8a, b""),
            frame(0x80, b"ts"),
            frame(0x82, &[0; 300]),
            frame(0x81, long.as_bytes()),
            frame(0x81, b""),
            frame(0x88, &[3, 232]),
        ];
        let expected = [
            r#"Text("42[\"a\"]")"#,
            "Ping([112, 105, 110, 103])",
            r#"Text("fragments")"#,
            "Binary(300)",
            "Text(70000)",
            r#"Text("")"#,
            "Close([3, 232])",
        ];
        for piece in [1, 2, 3, 7, 64, 1_000, 100_000] {
            assert_eq!(
                read(&bytes.concat(), piece, 70_000).unwrap(),
                expected,
                "{piece}"
            );
        }
    }

    #[test]
    fn a_message_may_be_as_long_as_the_limit_over_all_its_fragments() {
        let fits = [frame(0x01, &[b'x'; 60]), frame(0x80, &[b'x'; 40])].concat();
        let too_long = [frame(0x01, &[b'x'; 60]), frame(0x80, &[b'x'; 41])].concat();
        for piece in [1, 1_000] {
            assert_eq!(read(&fits, piece, 100).unwrap(), ["Text(100)"]);
            assert_eq!(read(&too_long, piece, 100), Err(Violation::TooLong));
        }
        // The header is enough.
        let header = &frame(0x82, &[0; 101])[..8];
        assert_eq!(read(header, 1_000, 100), Err(Violation::TooLong));
    }

    #[test]
    fn what_rfc_6455_forbids_is_a_violation() {
        let unmasked = vec![0x81, 0x01, b'2'];
        for (bytes, violation) in [
            (unmasked, Violation::Protocol),
            (frame(0xc1, b"2"), Violation::Protocol),
            (frame(0x83, b"2"), Violation::Protocol),
            (frame(0x8b, b""), Violation::Protocol),
            (frame(0x80, b"2"), Violation::Protocol),
            (frame(0x09, b""), Violation::Protocol),
            (frame(0x89, &[0; 126]), Violation::Protocol),
            (
                [frame(0x01, b"2"), frame(0x81, b"2")].concat(),
                Violation::Protocol,
            ),
            (frame(0x88, b"x"), Violation::Protocol),
            (frame(0x88, &[3, 237]), Violation::Protocol),
            (frame(0x88, &[3, 232, 0xff]), Violation::NotText),
            (frame(0x81, &[0xff]), Violation::NotText),
        ] {
            for piece in [1, 1_000] {
                assert_eq!(read(&bytes, piece, 1_000), Err(violation), "{bytes:?}");
            }
        }
    }
}
