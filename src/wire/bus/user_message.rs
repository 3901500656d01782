//! Messages on a user's channel.

use serde::{Deserialize, Serialize};

use super::{BUS_VERSION, Body, DecodeError, Sequence, decode, encode};
use crate::{
    id::{NodeId, SessionId},
    wire::{Event, LogoutReason},
};

/// A message on a user's channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum UserMessage {
    /// Deliver the event to the sockets of the user.
    Emit {
        from: NodeId,
        seq: Sequence,
        /// In the header only its name; the payload follows.
        #[serde(with = "name")]
        event: Event,
    },
    /// The user's active session has changed: read it again, disconnect the sockets of other
    /// sessions, and send `from` their number.
    SessionChanged {
        from: NodeId,
        seq: Sequence,
        session: SessionId,
    },
    /// The user is kicked: disconnect the sockets for this reason, and send `from` their number.
    Kicked {
        from: NodeId,
        seq: Sequence,
        reason: LogoutReason,
        /// The active session by now, which no token has: sockets of this one would stay.
        /// `None` if the active session has not changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    /// No session of the user is stored, and a node has sockets of this one, which it last found
    /// stored at least this many milliseconds ago. Nodes with sockets of another session
    /// [compare](crate::bus::Listener::session_held).
    SessionHeld { session: SessionId, age_ms: u64 },
}

impl Body for UserMessage {
    const KINDS: &[&str] = &["emit", "session_changed", "kicked", "session_held"];
}

/// An event as its name.
mod name {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::{id::EventName, wire::Event};

    pub(super) fn serialize<S: Serializer>(event: &Event, to: S) -> Result<S::Ok, S::Error> {
        event.name.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Event, D::Error> {
        EventName::deserialize(from).map(|name| Event::new(name, "null"))
    }
}

impl UserMessage {
    /// The capability that a node needs to act on the message; see [`Build::capabilities`].
    ///
    /// [`Build::capabilities`]: super::Build::capabilities
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Emit { .. } => "emit",
            Self::SessionChanged { .. } => "session_changed",
            Self::Kicked { .. } => "kicked",
            Self::SessionHeld { .. } => "session_held",
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Emit { from, seq, event } => OwnEvents::of(from).encode(*seq, event),
            Self::SessionChanged { .. } | Self::Kicked { .. } | Self::SessionHeld { .. } => {
                encode(self)
            }
        }
    }

    /// # Errors
    /// A message of a newer release, or one that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::NotText)?;
        let (line, payload) = text.split_once('\n').unwrap_or((text, "null"));
        let mut message = decode(line)?;
        if let Self::Emit { event, .. } = &mut message {
            // The sender has checked that it is JSON. The event was already made of its name, which
            // costs an allocation and saves a second type for the header.
            *event = Event::new(event.name.clone(), payload);
        }
        Ok(message)
    }
}

/// Writes the events that a node sends, and recognises them when they come back.
#[derive(Debug)]
pub struct OwnEvents {
    /// How each begins, up to its number.
    head: String,
}

impl OwnEvents {
    pub fn of(node: &NodeId) -> Self {
        let node = serde_json::Value::from(node.as_str());
        let head = format!(r#"{{"v":{BUS_VERSION},"kind":"emit","from":{node},"seq":"#);
        Self { head }
    }

    /// The same bytes as those of [`UserMessage::encode`].
    pub fn encode(&self, seq: Sequence, event: &Event) -> Vec<u8> {
        let (seq, name) = (seq.to_string(), event.quoted_name());
        let parts: [&[u8]; 6] = [
            self.head.as_bytes(),
            seq.as_bytes(),
            br#","event":"#,
            name,
            b"}\n",
            event.payload(),
        ];
        parts.concat()
    }

    /// The number of an event that this node has sent. Its first bytes say so; the rest is not read.
    pub fn recognise(&self, bytes: &[u8]) -> Option<Sequence> {
        let rest = bytes.strip_prefix(self.head.as_bytes())?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let is_number = rest[end] == b',';
        std::str::from_utf8(&rest[..end])
            .ok()
            .filter(|_| is_number)?
            .parse()
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::EventName, wire::bus::Envelope};

    fn node() -> NodeId {
        NodeId::try_from("n1").unwrap()
    }

    fn kick(session: Option<SessionId>) -> UserMessage {
        UserMessage::Kicked {
            from: node(),
            seq: 1,
            reason: LogoutReason::KICKED,
            session,
        }
    }

    #[test]
    fn a_kick_is_read_with_and_without_a_session_but_not_with_a_bad_reason() {
        let fresh = SessionId::try_from("fresh").unwrap();
        for sent in [None, Some(fresh)] {
            let bytes = kick(sent.clone()).encode();
            let Ok(UserMessage::Kicked { session, .. }) = UserMessage::decode(&bytes) else {
                panic!("{:?}", String::from_utf8(bytes));
            };
            assert_eq!(session, sent);
        }
        for reason in ["", r"\u0000", r"\u00e9"] {
            let bytes =
                format!(r#"{{"v":1,"kind":"kicked","from":"n","seq":1,"reason":"{reason}"}}"#);
            let error = UserMessage::decode(bytes.as_bytes()).unwrap_err();
            assert_eq!(error.label(), "malformed", "{reason}");
        }
    }

    #[test]
    fn an_emit_keeps_its_payload_byte_for_byte() {
        let payload = r#"{"n":9007199254740993,"s":"\ud83d\n"}"#;
        let event = Event::new(EventName::try_from("a:b").unwrap(), payload);
        let bytes = UserMessage::Emit {
            from: node(),
            seq: 7,
            event,
        }
        .encode();
        let Ok(UserMessage::Emit { seq: 7, event, .. }) = UserMessage::decode(&bytes) else {
            panic!("{:?}", String::from_utf8(bytes));
        };
        assert_eq!(event.payload(), payload.as_bytes());
    }

    #[test]
    fn what_a_node_holds_is_read_as_it_was_written() {
        let held = UserMessage::SessionHeld {
            session: SessionId::try_from("s").unwrap(),
            age_ms: u64::MAX,
        };
        let bytes = held.encode();
        let read = UserMessage::decode(&bytes).unwrap();
        assert!(matches!(
            &read,
            UserMessage::SessionHeld {
                age_ms: u64::MAX,
                ..
            }
        ));
        assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn an_event_is_written_with_the_header_of_its_kind_and_recognised_only_by_its_sender() {
        let names = ["n1", r#"a"\b"#, "n-1\u{e9}"].map(|name| NodeId::try_from(name).unwrap());
        for own_node in &names {
            let own = OwnEvents::of(own_node);
            for (name, seq) in [("a:b", 0), (r#"a"b"#, 7), ("a", Sequence::MAX)] {
                let name = EventName::try_from(name).unwrap();
                let event = Event::new(name, "[1]");
                let bytes = own.encode(seq, &event);
                let from = own_node.clone();
                let header = encode(&UserMessage::Emit { from, seq, event });
                assert_eq!(bytes, [&header[..], b"\n[1]"].concat());
                assert_eq!(own.recognise(&bytes), Some(seq));
                for other in names.iter().filter(|other| *other != own_node) {
                    assert_eq!(OwnEvents::of(other).recognise(&bytes), None);
                }
            }
        }
        let own = OwnEvents::of(&names[0]);
        for odd in ["", "1", "1}", ",", "18446744073709551616,", "-1,"] {
            let bytes = format!(r#"{{"v":1,"kind":"emit","from":"n1","seq":{odd}"#);
            assert_eq!(own.recognise(bytes.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn every_kind_has_the_name_that_it_is_sent_with() {
        let (from, seq) = (node(), 1);
        let session = SessionId::try_from("s").unwrap();
        let messages = [
            UserMessage::Emit {
                from: from.clone(),
                seq,
                event: Event::new(EventName::try_from("a").unwrap(), "null"),
            },
            UserMessage::SessionChanged {
                from,
                seq,
                session: session.clone(),
            },
            kick(None),
            UserMessage::SessionHeld { session, age_ms: 1 },
        ];
        let kinds = messages.each_ref().map(UserMessage::kind);
        assert_eq!(kinds.as_slice(), UserMessage::KINDS);
        for message in &messages {
            let sent = String::from_utf8(message.encode()).unwrap();
            let header = sent.lines().next().unwrap();
            let Envelope { kind, .. } = serde_json::from_str(header).unwrap();
            assert_eq!(kind, message.kind());
        }
    }
}
