//! The packets of Engine.IO v4 and Socket.IO v5, read and written.

use std::{borrow::Cow, fmt};

use engineioxide_core::{Packet as EnginePacket, ProtocolVersion, Str};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use socketioxide_core::{
    Value,
    packet::{Packet as SocketPacket, PacketData},
    parser::{Parse, ParseConfig, ParseError, ParserState},
};
use socketioxide_parser_common::CommonParser;

use super::registry::Sid;
use crate::{
    auth,
    auth::trim,
    secret::Secret,
    wire::{Frame, HandshakeError},
};

/// Attachments of one event; clients' events are ignored, so they are only counted.
pub(super) const MOST_ATTACHMENTS: usize = 16;
/// A named namespace is refused, and its name is in the answer, which waits until it is read.
const LONGEST_NAME: usize = 1_024;
/// Names that Socket.IO keeps for itself: no client may send them.
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];

pub(super) const PING: Frame = Frame::from_static(b"\x81\x012", 2);
pub(super) const PONG_PROBE: Frame = Frame::from_static(b"\x81\x063probe", 2);
pub(super) const DISCONNECT: Frame = Frame::from_static(b"\x81\x0241", 2);
/// Packets that only polling knows.
pub(super) const CLOSE: &[u8] = b"1";
pub(super) const NOOP: &[u8] = b"6";
/// Parts the packets of one poll or POST.
pub(super) const SEPARATOR: u8 = 0x1e;

/// A packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Close,
    Pong,
    Probe,
    Upgrade,
    Noop,
    /// It asks to join the namespace `/`.
    Connect(Auth),
    /// It asks to join another one.
    ConnectElsewhere(String),
    /// It leaves the namespace.
    Disconnect,
    /// An event, an acknowledgement, or what only servers send; so many attachments follow.
    Message {
        attachments: usize,
    },
    /// A packet for another namespace, which nobody can have joined.
    Elsewhere,
}

/// What a CONNECT carries for sockd; what else is in it does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Auth {
    /// `None`: not given, not a text, or blank.
    pub(super) token: Option<Token>,
}

/// A token as it was sent.
#[derive(Debug)]
pub(super) struct Token(pub(super) Secret);

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.expose())
    }
}

impl Eq for Token {}

impl Token {
    /// `None` for a blank text. A text that is too long for any token is cut, and stays too long.
    pub(super) fn new(text: &str) -> Option<Self> {
        if trim(text).is_empty() {
            return None;
        }
        let end = text.floor_char_boundary(2 * auth::MAX_TOKEN);
        Some(Self(Secret::new(text[..end].to_owned())))
    }
}

/// A packet that cannot be read, which ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

impl From<ParseError> for Unreadable {
    fn from(_: ParseError) -> Self {
        Self
    }
}

/// Reads a packet that came as text.
///
/// # Errors
/// What Node's parsers refuse, or answer by ending the connection.
pub(super) fn read(text: &str) -> Result<Packet, Unreadable> {
    let packet = EnginePacket::parse(ProtocolVersion::V4, text.to_owned());
    match packet.map_err(|_| Unreadable)? {
        EnginePacket::Close => Ok(Packet::Close),
        EnginePacket::Pong | EnginePacket::PongUpgrade => Ok(Packet::Pong),
        EnginePacket::PingUpgrade => Ok(Packet::Probe),
        EnginePacket::Upgrade => Ok(Packet::Upgrade),
        EnginePacket::Noop => Ok(Packet::Noop),
        EnginePacket::Message(message) => read_message(message),
        // A ping of a client goes in the wrong direction.
        _ => Err(Unreadable),
    }
}

/// The length of a binary packet on polling, which is base64 behind a `b`. Node decodes it leniently,
/// so it is always valid.
pub(super) fn binary_length(text: &str) -> Option<usize> {
    let encoded = text.strip_prefix('b')?;
    Some(encoded.len() / 4 * 3)
}

fn read_message(message: Str) -> Result<Packet, Unreadable> {
    let config = ParseConfig {
        max_incoming_binaries: MOST_ATTACHMENTS,
        ..ParseConfig::default()
    };
    // The parser would keep an event until all its attachments came; we only count them.
    let state = ParserState::default();
    // It refuses CONNECT_ERROR, which Node reads and ignores.
    let (is_error, message) = match message.strip_prefix('4') {
        Some(rest) => (true, Str::from(format!("0{rest}"))),
        None => (false, message),
    };
    // It skips what follows a DISCONNECT, which Node refuses.
    let is_bare = matches!(&*message, "1" | "1/" | "1/,");
    let (packet, attachments) = match CommonParser.decode_str(&config, &state, message) {
        Ok(packet) => (packet, 0),
        Err(ParseError::NeedsMoreBinaryData) => {
            let packet = state.partial_bin_packet.into_inner();
            let packet = packet.ok().flatten().ok_or(Unreadable)?.packet;
            (packet, state.incoming_binary_cnt.into_inner())
        }
        Err(error) => return Err(error.into()),
    };
    let SocketPacket { inner, ns } = packet;
    let is_elsewhere = &*ns != "/";
    match inner {
        PacketData::Connect(data) if is_error => {
            let data = data.as_ref().and_then(Value::as_str).map(|data| &**data);
            check_error(data)?;
        }
        PacketData::Connect(data) => {
            let data = data.as_ref().and_then(Value::as_str);
            let auth = data.map_or(Ok(Auth::default()), |data| read_auth(data))?;
            return match &*ns {
                "/" => Ok(Packet::Connect(auth)),
                name if name.len() > LONGEST_NAME => Err(Unreadable),
                name => Ok(Packet::ConnectElsewhere(name.to_owned())),
            };
        }
        PacketData::Disconnect if is_elsewhere => {}
        PacketData::Disconnect if is_bare => return Ok(Packet::Disconnect),
        PacketData::Event(data, _) => check_event(&data)?,
        PacketData::BinaryEvent(data, _) if attachments > 0 => check_event(&data)?,
        PacketData::EventAck(data, _) => check_list(&data)?,
        PacketData::BinaryAck(data, _) if attachments > 0 => check_list(&data)?,
        _ => return Err(Unreadable),
    }
    Ok(if is_elsewhere {
        Packet::Elsewhere
    } else {
        Packet::Message { attachments }
    })
}

/// Node reads the text or object of a CONNECT_ERROR.
fn check_error(data: Option<&str>) -> Result<(), Unreadable> {
    let Some(data) = data else { return Ok(()) };
    let data: &RawValue = serde_json::from_str(data).map_err(|_| Unreadable)?;
    data.get()
        .starts_with(['"', '{'])
        .then_some(())
        .ok_or(Unreadable)
}

/// An event is a list that begins with its name: a text that is not reserved, or a number.
fn check_event(data: &Value) -> Result<(), Unreadable> {
    let text = data.as_str().ok_or(Unreadable)?;
    let List(name) = serde_json::from_str(text).map_err(|_| Unreadable)?;
    let name = name.ok_or(Unreadable)?.get();
    match name.as_bytes()[0] {
        b'-' | b'0'..=b'9' => Ok(()),
        // A name that is not UTF-8, with half a surrogate pair, is not a reserved one.
        b'"' => match serde_json::from_str::<Cow<'_, str>>(name) {
            Ok(name) if RESERVED.contains(&&*name) => Err(Unreadable),
            _ => Ok(()),
        },
        _ => Err(Unreadable),
    }
}

fn check_list(data: &Value) -> Result<(), Unreadable> {
    let text = data.as_str().ok_or(Unreadable)?;
    let read = serde_json::from_str::<List<'_>>(text);
    read.map(drop).map_err(|_| Unreadable)
}

/// The first element of a list; the rest is only checked to be JSON.
struct List<'a>(Option<&'a RawValue>);

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;
        impl<'de> Visitor<'de> for First {
            type Value = List<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List(first))
            }
        }
        deserializer.deserialize_seq(First)
    }
}

/// Reads the object that a CONNECT carries.
fn read_auth(json: &str) -> Result<Auth, Unreadable> {
    let TokenMember(token) = serde_json::from_str(json).map_err(|_| Unreadable)?;
    let token = token.and_then(|token| match token.get().as_bytes()[0] {
        b'[' => serde_json::from_str::<List<'_>>(token.get()).ok()?.0,
        _ => Some(token),
    });
    let token = token.filter(|token| token.get().starts_with('"'));
    let token = token.and_then(|token| {
        // JavaScript reads half a surrogate pair; such a token is invalid.
        let text = serde_json::from_str::<Cow<'_, str>>(token.get());
        Token::new(&text.unwrap_or(Cow::Borrowed("\u{fffd}")))
    });
    Ok(Auth { token })
}

/// The last member `token` of an object. Keys and values are taken as they are written, so that
/// nothing but syntax is judged, as in JavaScript: not surrogates, the size of numbers, or depth.
struct TokenMember<'a>(Option<&'a RawValue>);

impl<'de> Deserialize<'de> for TokenMember<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = TokenMember<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut token = None;
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let key = serde_json::from_str::<Cow<'_, str>>(key.get());
                    if key.is_ok_and(|key| key == "token") {
                        token = Some(value);
                    }
                }
                Ok(TokenMember(token))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The answer to a CONNECT that was accepted. Anything else a client is told then goes here.
pub(super) fn connected(sid: Sid) -> Frame {
    Frame::text(&[r#"40{"sid":""#, sid.as_str(), r#""}"#])
}

/// The answer to a CONNECT that was refused.
pub(super) fn refused(refusal: HandshakeError) -> Frame {
    Frame::text(&[r#"44{"message":""#, &refusal.to_string(), r#""}"#])
}

/// The answer to a CONNECT for a namespace that is not there.
pub(super) fn unknown_namespace(name: &str) -> Frame {
    Frame::text(&["44", name, r#",{"message":"Invalid namespace"}"#])
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    fn token(json: &str) -> Option<String> {
        let auth = read_auth(json).expect("an object");
        auth.token.map(|token| token.0.expose().to_owned())
    }

    #[test]
    fn only_the_token_of_an_auth_object_matters() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(token(r#"{"token":"a"}"#), some("a"));
        assert_eq!(token(r#"{"token":["b","c"]}"#), some("b"));
        assert_eq!(token(r#"{"token":"a","token":"b"}"#), some("b"));
        assert_eq!(token(r#" { "tok\u0065n" : "a\u0062" } "#), some("ab"));
        for beside in [
            r#""name":"Ann\ud83d""#.to_owned(),
            r#""\ud83d":1"#.to_owned(),
            r#""n":1e400"#.to_owned(),
            r#""n":1,"n":2"#.to_owned(),
            format!(r#""deep":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert_eq!(token(&format!(r#"{{{beside},"token":"a"}}"#)), some("a"));
            assert_eq!(token(&format!(r#"{{"token":"a",{beside}}}"#)), some("a"));
        }
        assert_eq!(token(r#"{"token":"a\ud83d"}"#), some("\u{fffd}"));
        for blank in [
            "{}",
            r#"{"token":" "}"#,
            r#"{"token":1}"#,
            r#"{"token":[[]]}"#,
        ] {
            assert_eq!(token(blank), None, "{blank}");
        }
    }

    #[test]
    fn packets_are_read_as_nodes_parsers_read_them() {
        let message = Ok(Packet::Message { attachments: 0 });
        for (text, expected) in [
            ("1", Ok(Packet::Close)),
            ("3", Ok(Packet::Pong)),
            ("2probe", Ok(Packet::Probe)),
            ("5", Ok(Packet::Upgrade)),
            ("40", Ok(Packet::Connect(Auth::default()))),
            ("40/,{}", Ok(Packet::Connect(Auth::default()))),
            ("40/a?b=c,", Ok(Packet::ConnectElsewhere("/a?b=c".into()))),
            ("41", Ok(Packet::Disconnect)),
            ("41/a,", Ok(Packet::Elsewhere)),
            ("42/a,[\"b\"]", Ok(Packet::Elsewhere)),
            ("452-[\"a\"]", Ok(Packet::Message { attachments: 2 })),
            ("461-1[]", Ok(Packet::Message { attachments: 1 })),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            r#"42["a"]"#,
            r#"42[1,2]"#,
            r#"42[-1.5e400]"#,
            r#"42["with \"escapes\" \u00e4 \ud83d"]"#,
            r#"4217["a",{"b":[null]}]"#,
            "431[]",
            "44",
            r#"44{"message":"x"}"#,
            r#"44"x""#,
        ] {
            assert_eq!(read(text), message, "{text}");
        }
        for text in [
            "",
            "x",
            "9",
            "0",
            "2",
            "4",
            "4x",
            "47",
            "42",
            "42{}",
            "42[",
            "42[]",
            "42[null]",
            "42[[]]",
            "42[\"a\"]]",
            "42[\"connect\"]",
            r#"42["conn\u0065ct"]"#,
            "43[]",
            "44[]",
            "45-[\"a\"]",
            "451[\"a\"]",
            "450-[\"a\"]",
            "4517-[\"a\"]",
            "40[]",
            "40\"text\"",
            "40{\"token\":",
            "40null",
            "41{}",
            "41x",
        ] {
            assert_eq!(read(text), Err(Unreadable), "{text}");
        }
        let name = |length: usize| format!("40/{},", "n".repeat(length - 1));
        assert!(matches!(
            read(&name(1_024)),
            Ok(Packet::ConnectElsewhere(_))
        ));
        assert_eq!(read(&name(1_025)), Err(Unreadable));
    }
}
