//! Everything that leaves a process: HTTP bodies, refusals of a handshake, messages on the bus.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::id::{EventName, NodeId, SessionId};

/// The event that tells a client that its session was replaced, before it is disconnected.
pub const EVENT_LOGOUT: &str = "auth:logout";
/// The event that tells a client that its token has run out, before it is disconnected.
pub const EVENT_EXPIRED: &str = "auth:expired";

/// The stable code of every error that an HTTP caller can get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    BusUnavailable,
    Draining,
    Forbidden,
    InternalError,
    InvalidEvent,
    InvalidJson,
    InvalidSessionId,
    InvalidUserId,
    NotFound,
    NotReady,
    PayloadTooLarge,
    RedisUnavailable,
    RequestTimeout,
    SessionsInRedis,
    Unauthorized,
    UnsupportedEncoding,
}

impl ErrorCode {
    /// The HTTP status that the code is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidEvent
            | Self::InvalidJson
            | Self::InvalidSessionId
            | Self::InvalidUserId => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::RequestTimeout => 408,
            Self::SessionsInRedis => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedEncoding => 415,
            Self::InternalError => 500,
            Self::BusUnavailable | Self::Draining | Self::NotReady | Self::RedisUnavailable => 503,
        }
    }
}

/// The body of every error answer: `{"ok":false,"error":"CODE"}`.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    pub ok: bool,
    pub error: ErrorCode,
}

impl From<ErrorCode> for ErrorBody {
    fn from(error: ErrorCode) -> Self {
        Self { ok: false, error }
    }
}

/// Why a handshake is refused: the `message` of Socket.IO's CONNECT_ERROR packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TokenMissing,
    TokenInvalid,
    SessionMismatch,
    AuthUnavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenMissing => "TOKEN_MISSING",
            Self::TokenInvalid => "TOKEN_INVALID",
            Self::SessionMismatch => "SESSION_MISMATCH",
            Self::AuthUnavailable => "AUTH_UNAVAILABLE",
        })
    }
}

/// The body of `POST /internal/emit`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmitRequest<'a> {
    pub user_id: &'a str,
    pub event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<&'a RawValue>,
}

/// The body of `POST /internal/force-logout`, as our own client sends it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForceLogoutRequest<'a> {
    pub user_id: &'a str,
    pub session_id: &'a str,
}

/// The answer to an emit; all but `ok` only for a caller that prefers a representation (RFC 7240).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmitAnswer {
    pub ok: bool,
    /// Whether any node has the user; absent where that cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// How many nodes have the user; absent where that cannot be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
}

/// The answer to a force-logout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForceLogoutAnswer {
    pub ok: bool,
    /// How many sockets of other sessions were told and closed, over all nodes.
    pub disconnected: u64,
    /// How many nodes have the user; only for a caller that prefers a representation (RFC 7240).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
}

/// One active session, as `sockd sessions ls` shows it and `GET /internal/sessions` answers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    pub user_id: String,
    /// The active session; `None` where the stored value is not one that sockd understands.
    pub session_id: Option<String>,
    /// Whole seconds until the session is forgotten; `None` where it never is.
    pub expires_in_seconds: Option<u64>,
    /// How many nodes hear the user's channel.
    pub online: usize,
}

/// The answer to `GET /internal/sessions?user=…&after=…&limit=…`, ordered by user.
#[derive(Debug, Serialize, Deserialize)]
pub struct SessionsAnswer {
    pub ok: bool,
    pub sessions: Vec<SessionRow>,
}

/// A JSON object's members as raw text; of a key given twice the last counts.
///
/// # Errors
/// Text that is not JSON, or whose top level is neither an object nor a list; a list has no
/// members. This is what the callers of the TypeScript server are used to.
pub fn parse_members(json: &str) -> Result<HashMap<Cow<'_, str>, &RawValue>, serde_json::Error> {
    if json.trim_ascii_start().starts_with('[') {
        serde_json::from_str::<serde::de::IgnoredAny>(json)?;
        return Ok(HashMap::new());
    }
    serde_json::from_str(json)
}

/// An event on its way to a user's sockets. The payload is raw JSON and shared, never copied.
#[derive(Debug, Clone)]
pub struct Event {
    pub name: EventName,
    pub payload: Arc<RawValue>,
}

/// The number that a node gives to a message that it wants to recognise again.
pub type Sequence = u64;

/// What nodes say on a user's channel.
#[derive(Debug, Clone)]
pub enum UserMessage {
    /// Deliver the event to the sockets of the user.
    Emit {
        from: NodeId,
        seq: Sequence,
        event: Event,
    },
    /// The user's active session has changed: look again, and tell `from` the count.
    SessionChanged {
        from: NodeId,
        seq: Sequence,
        session: SessionId,
    },
}

/// What nodes say on the channel of one node, or of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeMessage {
    /// The answer to a `SessionChanged`: how many sockets this node has disconnected.
    Disconnected { seq: Sequence, count: u64 },
    /// A node lives; said to all every few seconds. The node that says it expects to hear it.
    Hello { node: NodeId, seq: Sequence },
    /// A node has gone in good order.
    Bye { node: NodeId },
}

/// A message and the channel that it goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Publication {
    pub channel: String,
    pub message: Vec<u8>,
}

/// The version of the bus messages. A node ignores what is newer, so that two releases can run
/// side by side during a rolling upgrade.
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
    /// The reason as a metric's label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Newer(_) => "newer_version",
            Self::UnknownKind(_) => "unknown_kind",
            Self::Malformed(_) | Self::NotText(_) => "malformed",
        }
    }
}

/// A bus message is one line of JSON, and for an emit the payload's text behind it. Fields that a
/// release does not know are none of its business.
#[derive(Serialize, Deserialize)]
struct Header<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// What every message has, whatever else it says.
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
}

impl Body for UserHeader {
    const KINDS: &[&str] = &["emit", "session_changed"];
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
        // What a newer version means by a kind that we know is not for us to guess.
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
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Emit { from, seq, event } => {
                let (from, name) = (from.clone(), event.name.clone());
                let mut bytes = encode(UserHeader::Emit {
                    from,
                    seq: *seq,
                    event: name,
                });
                bytes.push(b'\n');
                bytes.extend_from_slice(event.payload.get().as_bytes());
                bytes
            }
            Self::SessionChanged { from, seq, session } => {
                let (from, session) = (from.clone(), session.clone());
                encode(UserHeader::SessionChanged {
                    from,
                    seq: *seq,
                    session,
                })
            }
        }
    }

    /// # Errors
    /// A message of a newer release, or one that cannot be read.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::NotText)?;
        let (line, payload) = text.split_once('\n').unwrap_or((text, "null"));
        Ok(match decode(line)? {
            UserHeader::Emit { from, seq, event } => {
                let payload =
                    RawValue::from_string(payload.to_owned()).map_err(DecodeError::Malformed)?;
                Self::Emit {
                    from,
                    seq,
                    event: Event {
                        name: event,
                        payload: payload.into(),
                    },
                }
            }
            UserHeader::SessionChanged { from, seq, session } => {
                Self::SessionChanged { from, seq, session }
            }
        })
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

    #[test]
    fn an_emit_keeps_its_payload_to_the_byte() {
        let payload =
            RawValue::from_string(r#"{"n":9007199254740993,"s":"\ud83d\n"}"#.into()).unwrap();
        let event = Event {
            name: EventName::try_from("a:b").unwrap(),
            payload: payload.into(),
        };
        let bytes = UserMessage::Emit {
            from: node(),
            seq: 7,
            event,
        }
        .encode();
        let Ok(UserMessage::Emit { seq: 7, event, .. }) = UserMessage::decode(&bytes) else {
            panic!("{:?}", String::from_utf8(bytes));
        };
        assert_eq!(
            event.payload.get(),
            r#"{"n":9007199254740993,"s":"\ud83d\n"}"#
        );
    }

    #[test]
    fn what_is_not_understood_is_told_apart() {
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
    fn fields_of_a_later_release_are_no_hindrance() {
        let hello = br#"{"v":1,"kind":"hello","node":"n1","seq":1,"load":0.5,"zone":{"a":[]}}"#;
        let node = node();
        assert_eq!(
            NodeMessage::decode(hello).unwrap(),
            NodeMessage::Hello { node, seq: 1 }
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
        let bodies = [
            encode(UserHeader::Emit {
                from: from.clone(),
                seq,
                event,
            }),
            encode(UserHeader::SessionChanged { from, seq, session }),
            NodeMessage::Disconnected { seq, count: 1 }.encode(),
            NodeMessage::Hello { node: node(), seq }.encode(),
            NodeMessage::Bye { node: node() }.encode(),
        ];
        let kinds = bodies.map(|body| serde_json::from_slice::<Envelope>(&body).unwrap().kind);
        assert_eq!(
            kinds.as_slice(),
            [UserHeader::KINDS, NodeMessage::KINDS].concat()
        );
    }

    #[test]
    fn node_messages_come_back_as_they_went() {
        let message = NodeMessage::Disconnected { seq: 3, count: 2 };
        assert_eq!(NodeMessage::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn members_are_lenient_as_the_callers_are_used_to() {
        let members = parse_members(r#"{"a":1,"a":2,"x":{"y":[]}}"#).unwrap();
        assert_eq!(members["a"].get(), "2");
        assert!(parse_members("[1,2]").unwrap().is_empty());
        for text in ["1", "\"a\"", "null", "true", "", "  ", "{", "[1"] {
            assert!(parse_members(text).is_err(), "{text:?}");
        }
        let deep = format!("{{\"payload\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(parse_members(&deep).unwrap()["payload"].get().len(), 10_000);
    }
}
