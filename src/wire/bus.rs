//! Messages between nodes. They are versioned, so that two releases can run side by side during a
//! rolling upgrade.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::{Event, LogoutReason};
use crate::id::{EventName, NodeId, SessionId};

/// The number by which a node recognises its own message, or the answer to it.
pub type Sequence = u64;

/// A message on a user's channel.
#[derive(Debug, Clone)]
pub enum UserMessage {
    /// Deliver the event to the sockets of the user.
    Emit {
        from: NodeId,
        seq: Sequence,
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
        /// A session that nobody has, which is the active one by now: sockets of this one would stay.
        /// `None` if the active session has not changed.
        session: Option<SessionId>,
    },
    /// No session of the user is stored, and a node has sockets of this one, which it last found
    /// stored at least so many milliseconds ago. Nodes with sockets of another session
    /// [compare](crate::bus::Listener::session_held).
    SessionHeld { session: SessionId, age_ms: u64 },
}

/// A message on the channel of one node, or of all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeMessage {
    /// The answer to a `SessionChanged` or `Kicked`: the number of sockets that `from` has
    /// disconnected. Older releases do not give their name.
    Disconnected {
        seq: Sequence,
        count: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<NodeId>,
    },
    /// A node is alive; sent to all nodes every few seconds. The sender expects to receive it too.
    Hello {
        node: NodeId,
        seq: Sequence,
        #[serde(flatten)]
        build: Build,
    },
    /// A node is shutting down.
    Bye { node: NodeId },
}

/// The release that a node runs, and its capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    pub release: String,
    /// The kinds of messages on users' channels that it handles.
    pub capabilities: Vec<String>,
}

impl Build {
    /// The build of this process.
    pub fn own() -> Self {
        Self {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: UserHeader::KINDS.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The build of a node whose hello has none: the first release, which knows these kinds.
impl Default for Build {
    fn default() -> Self {
        Self {
            release: "0.1.0 or older".to_owned(),
            capabilities: ["emit", "session_changed"].map(str::to_owned).to_vec(),
        }
    }
}

/// A message and its channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publication {
    pub channel: String,
    pub message: Vec<u8>,
}

/// The version of the bus messages. A node ignores newer ones.
pub const BUS_VERSION: u32 = 1;

/// A bus message that this release does not understand.
#[derive(Debug, Error)]
pub enum DecodeError {
    #[error("bus message of version {0}, newer than {BUS_VERSION}")]
    Newer(u32),
    #[error("bus message of the unknown kind {0:?}")]
    UnknownKind(String),
    #[error("bus message cannot be read")]
    Malformed(#[source] serde_json::Error),
    #[error("bus message is not UTF-8")]
    NotText(#[source] std::str::Utf8Error),
}

impl DecodeError {
    /// All reasons as labels of a metric.
    pub const LABELS: [&str; 3] = ["malformed", "newer_version", "unknown_kind"];

    /// The reason as a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Newer(_) => "newer_version",
            Self::UnknownKind(_) => "unknown_kind",
            Self::Malformed(_) | Self::NotText(_) => "malformed",
        }
    }
}

/// The first line of a bus message, as JSON; in an emit, the payload follows it. Unknown fields are
/// ignored.
#[derive(Serialize, Deserialize)]
struct Header<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// The fields that every message has.
#[derive(Deserialize)]
struct Envelope {
    v: u32,
    kind: String,
}

/// The body of a header, of one of these kinds.
trait Body: Serialize {
    const KINDS: &[&str];
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum UserHeader {
    Emit {
        from: NodeId,
        seq: Sequence,
        event: EventName,
    },
    SessionChanged {
        from: NodeId,
        seq: Sequence,
        session: SessionId,
    },
    Kicked {
        from: NodeId,
        seq: Sequence,
        reason: LogoutReason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<SessionId>,
    },
    SessionHeld {
        session: SessionId,
        age_ms: u64,
    },
}

impl Body for UserHeader {
    const KINDS: &[&str] = &["emit", "session_changed", "kicked", "session_held"];
}

impl Body for NodeMessage {
    const KINDS: &[&str] = &["disconnected", "hello", "bye"];
}

fn encode(body: impl Body) -> Vec<u8> {
    let header = Header {
        v: BUS_VERSION,
        body,
    };
    serde_json::to_vec(&header).expect("a header has only strings and numbers")
}

fn decode<T: Body + DeserializeOwned>(line: &str) -> Result<T, DecodeError> {
    let error = match serde_json::from_str::<Header<T>>(line) {
        // A newer version may mean something else by a kind that we know.
        Ok(header) if header.v > BUS_VERSION => return Err(DecodeError::Newer(header.v)),
        Ok(header) => return Ok(header.body),
        Err(error) => error,
    };
    Err(match serde_json::from_str(line) {
        Ok(Envelope { v, .. }) if v > BUS_VERSION => DecodeError::Newer(v),
        Ok(Envelope { kind, .. }) if !T::KINDS.contains(&kind.as_str()) => {
            DecodeError::UnknownKind(kind)
        }
        _ => DecodeError::Malformed(error),
    })
}

impl UserMessage {
    /// The capability that a node needs to act on the message; see [`Build::capabilities`].
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
            Self::SessionChanged { from, seq, session } => {
                let (from, session) = (from.clone(), session.clone());
                encode(UserHeader::SessionChanged {
                    from,
                    seq: *seq,
                    session,
                })
            }
            Self::Kicked {
                from,
                seq,
                reason,
                session,
            } => encode(UserHeader::Kicked {
                from: from.clone(),
                seq: *seq,
                reason: reason.clone(),
                session: session.clone(),
            }),
            Self::SessionHeld { session, age_ms } => encode(UserHeader::SessionHeld {
                session: session.clone(),
                age_ms: *age_ms,
            }),
        }
    }

    /// # Errors
    /// A message of a newer release, or one that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::NotText)?;
        let (line, payload) = text.split_once('\n').unwrap_or((text, "null"));
        Ok(match decode(line)? {
            UserHeader::Emit { from, seq, event } => {
                // The sender has checked that it is JSON.
                let event = Event::new(event, payload);
                Self::Emit { from, seq, event }
            }
            UserHeader::SessionChanged { from, seq, session } => {
                Self::SessionChanged { from, seq, session }
            }
            UserHeader::Kicked {
                from,
                seq,
                reason,
                session,
            } => Self::Kicked {
                from,
                seq,
                reason,
                session,
            },
            UserHeader::SessionHeld { session, age_ms } => Self::SessionHeld { session, age_ms },
        })
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

impl NodeMessage {
    pub fn encode(&self) -> Vec<u8> {
        encode(self.clone())
    }

    /// # Errors
    /// A message of a newer release, or one that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(std::str::from_utf8(bytes).map_err(DecodeError::NotText)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_event_is_written_as_the_header_of_its_kind_and_recognised_by_its_sender_only() {
        let names = ["n1", r#"a"\b"#, "n-1\u{e9}"].map(|name| NodeId::try_from(name).unwrap());
        for from in &names {
            let own = OwnEvents::of(from);
            for (name, seq) in [("a:b", 0), (r#"a"b"#, 7), ("a", Sequence::MAX)] {
                let name = EventName::try_from(name).unwrap();
                let header = UserHeader::Emit {
                    from: from.clone(),
                    seq,
                    event: name.clone(),
                };
                let bytes = own.encode(seq, &Event::new(name, "[1]"));
                assert_eq!(bytes, [&encode(header)[..], b"\n[1]"].concat());
                assert_eq!(own.recognise(&bytes), Some(seq));
                for other in names.iter().filter(|other| *other != from) {
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
    fn messages_that_are_not_understood_have_a_label_for_the_reason() {
        let cases = [
            (r#"{"v":2,"kind":"rename","to":"x"}"#, "newer_version"),
            (
                r#"{"v":2,"kind":"emit","from":"n","seq":1,"event":"a"}"#,
                "newer_version",
            ),
            (
                r#"{"v":2,"kind":"hello","node":"n","seq":1}"#,
                "newer_version",
            ),
            (r#"{"v":1,"kind":"rename","to":"x"}"#, "unknown_kind"),
            (r#"{"v":1,"kind":"emit"}"#, "malformed"),
            (r#"{"v":1,"kind":"hello"}"#, "malformed"),
            (r#"{"kind":"rename"}"#, "malformed"),
            (r#"{"v":1}"#, "malformed"),
            ("", "malformed"),
        ];
        for (message, label) in cases {
            let user = UserMessage::decode(message.as_bytes()).unwrap_err();
            let node = NodeMessage::decode(message.as_bytes()).unwrap_err();
            // The kinds of the other sort of channel are unknown on this one.
            let labels = [user.label(), node.label()];
            assert!(labels.contains(&label), "{message}: {labels:?}");
            assert!(
                !labels.contains(&"newer_version") || labels == [label; 2],
                "{message}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let hello = br#"{"v":1,"kind":"hello","node":"n1","seq":1,"load":0.5,"zone":{"a":[]}}"#;
        let node = node();
        let build = Build::default();
        assert_eq!(
            NodeMessage::decode(hello).unwrap(),
            NodeMessage::Hello {
                node,
                seq: 1,
                build
            }
        );
        let emit =
            b"{\"v\":1,\"kind\":\"emit\",\"ttl\":9,\"from\":\"n1\",\"seq\":1,\"event\":\"a\"}\n7";
        assert!(UserMessage::decode(emit).is_ok());
    }

    #[test]
    fn every_kind_that_is_sent_is_known() {
        let (from, session) = (node(), SessionId::try_from("s").unwrap());
        let seq = 1;
        let event = EventName::try_from("a").unwrap();
        let build = Build::own();
        let bodies = [
            encode(UserHeader::Emit {
                from: from.clone(),
                seq,
                event,
            }),
            encode(UserHeader::SessionChanged {
                from,
                seq,
                session: session.clone(),
            }),
            kick(None).encode(),
            encode(UserHeader::SessionHeld { session, age_ms: 1 }),
            NodeMessage::Disconnected {
                seq,
                count: 1,
                from: None,
            }
            .encode(),
            NodeMessage::Hello {
                node: node(),
                seq,
                build,
            }
            .encode(),
            NodeMessage::Bye { node: node() }.encode(),
        ];
        let kinds = bodies.map(|body| serde_json::from_slice::<Envelope>(&body).unwrap().kind);
        assert_eq!(
            kinds.as_slice(),
            [UserHeader::KINDS, NodeMessage::KINDS].concat()
        );
    }

    #[test]
    fn node_messages_survive_a_round_trip() {
        let (node, build) = (node(), Build::own());
        for message in [
            NodeMessage::Disconnected {
                seq: 3,
                count: 2,
                from: None,
            },
            NodeMessage::Disconnected {
                seq: 3,
                count: 2,
                from: Some(node.clone()),
            },
            NodeMessage::Hello {
                node,
                seq: 4,
                build,
            },
        ] {
            assert_eq!(NodeMessage::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn a_message_and_its_header_name_the_same_kind() {
        let (from, session) = (node(), SessionId::try_from("s").unwrap());
        let event = Event::new(EventName::try_from("a").unwrap(), "null");
        let seq = 1;
        let messages = [
            UserMessage::Emit {
                from: from.clone(),
                seq,
                event,
            },
            UserMessage::SessionChanged { from, seq, session },
            kick(None),
        ];
        for (message, kind) in messages.iter().zip(UserHeader::KINDS) {
            let header = String::from_utf8(message.encode()).unwrap();
            let header = header.lines().next().unwrap();
            let envelope: Envelope = serde_json::from_str(header).unwrap();
            assert_eq!((message.kind(), envelope.kind.as_str()), (*kind, *kind));
        }
    }
}
