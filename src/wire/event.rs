//! An event of a backend, encoded once for all its sockets.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};

use crate::id::EventName;

/// An event for a user's sockets: one packet, in a buffer that all of them share.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: EventName,
    frame: Frame,
    payload_length: usize,
}

impl Event {
    /// `payload` must be JSON; callers have checked it.
    pub fn new(name: EventName, payload: &str) -> Self {
        let quoted = serde_json::to_string(name.as_str()).expect("a text can be JSON");
        let frame = Frame::text(&["42[", &quoted, ",", payload, "]"]);
        Self {
            name,
            frame,
            payload_length: payload.len(),
        }
    }

    /// The payload's JSON, as the caller sent it.
    pub fn payload(&self) -> &[u8] {
        let end = self.frame.bytes.len() - "]".len();
        &self.frame.bytes[end - self.payload_length..end]
    }

    /// The name as JSON.
    pub fn quoted_name(&self) -> &[u8] {
        let start = self.frame.header + "42[".len();
        let end = self.frame.bytes.len() - "]".len() - self.payload_length - ",".len();
        &self.frame.bytes[start..end]
    }

    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

/// A packet as a WebSocket frame of the server (RFC 6455, 5.2); polling uses only what follows the
/// header.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    header: usize,
}

impl Frame {
    /// A text message of these parts.
    pub fn text(parts: &[&str]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let head = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default()
        };
        let header = head.len(length as u64);
        let mut bytes = BytesMut::with_capacity(header + length).writer();
        head.format(length as u64, &mut bytes)
            .expect("a buffer in memory takes all");
        let mut bytes = bytes.into_inner();
        parts
            .iter()
            .for_each(|part| bytes.extend_from_slice(part.as_bytes()));
        Self {
            bytes: bytes.freeze(),
            header,
        }
    }

    /// A constant frame; `header` is the length of its header.
    pub const fn from_static(bytes: &'static [u8], header: usize) -> Self {
        Self {
            bytes: Bytes::from_static(bytes),
            header,
        }
    }

    /// Bytes that are a frame already.
    pub fn raw(bytes: Bytes, header: usize) -> Self {
        Self { bytes, header }
    }

    /// The whole frame.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The packet without the frame's header.
    pub fn packet(&self) -> Bytes {
        self.bytes.slice(self.header..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_frame_whose_packet_and_payload_are_parts_of_it() {
        let event = Event::new(EventName::try_from(r#"a"b"#).unwrap(), r#"{"n":1.0}"#);
        let packet = r#"42["a\"b",{"n":1.0}]"#;
        assert_eq!(event.frame().packet(), packet);
        assert_eq!(event.payload(), br#"{"n":1.0}"#);
        assert_eq!(event.quoted_name(), br#""a\"b""#);
        let header = [0x81, packet.len() as u8];
        assert_eq!(event.frame().bytes()[..2], header);
    }

    #[test]
    fn the_header_grows_with_the_packet() {
        for (length, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let frame = Frame::text(&[&"x".repeat(length)]);
            assert_eq!(frame.bytes().len(), length + header, "{length}");
            assert_eq!(frame.packet().len(), length);
        }
    }
}
