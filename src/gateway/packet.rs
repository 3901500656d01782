//! The packets of Engine.IO v4 and Socket.IO v5, read and written.

mod auth;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use self::auth::read_auth;
pub(super) use self::auth::{Auth, Token};
use super::registry::Sid;
use crate::{
    auth::{is_blank, trim},
    wire::{Frame, HandshakeError},
};

/// Attachments of one packet, as many as Node takes.
const MOST_ATTACHMENTS: u8 = 10;
/// The longest name of a namespace. The refusal repeats it, and is queued until the client reads it.
const LONGEST_NAME: usize = 1_024;
/// Event names that Socket.IO reserves: no client may send them.
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
/// Separates the packets of one poll or POST.
pub(super) const SEPARATOR: u8 = 0x1e;

/// A packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Close,
    Pong,
    Probe,
    Upgrade,
    /// Means nothing from a client: only a server has a reason to send it.
    Noop,
    /// Asks to join the namespace `/`.
    Connect(Auth),
    /// Asks to join another namespace.
    ConnectOther(String),
    /// Leaves the namespace `/`.
    Disconnect,
    /// An event or an acknowledgement, behind which this many attachments follow.
    Message {
        attachments: u8,
    },
    /// Any other packet for another namespace, which no client can have joined.
    OtherNamespace {
        attachments: u8,
    },
    Attachment,
}

/// A packet that cannot be read, which ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Reads a packet that came as text, as Node's parsers do.
///
/// # Errors
/// A packet that they refuse, or that makes them end the connection.
pub(super) fn read(text: &str) -> Result<Packet, Unreadable> {
    match text.split_at_checked(1).ok_or(Unreadable)? {
        ("1", _) => Ok(Packet::Close),
        ("2", "probe") => Ok(Packet::Probe),
        ("3", _) => Ok(Packet::Pong),
        ("4", message) => read_message(message),
        ("5", _) => Ok(Packet::Upgrade),
        ("0" | "6", _) => Ok(Packet::Noop),
        // Base64, which Node decodes leniently, so it is always valid.
        ("b", _) => Ok(Packet::Attachment),
        // Also a ping, which only the server sends.
        _ => Err(Unreadable),
    }
}

/// Reads a Socket.IO packet: its type, how many attachments it has, its namespace, its id and its
/// data. All but the type may be missing.
fn read_message(text: &str) -> Result<Packet, Unreadable> {
    let mut rest = text.chars();
    // JavaScript takes a blank for the number 0.
    let kind = match rest.next().ok_or(Unreadable)? {
        blank if is_blank(blank) => '0',
        kind => kind,
    };
    let mut rest = rest.as_str();
    let mut attachments = 0;
    if let '5' | '6' = kind {
        let (count, behind) = rest.split_once('-').ok_or(Unreadable)?;
        attachments = read_count(count)?;
        rest = behind;
    }
    let (namespace, rest) = match rest.starts_with('/') {
        true => rest.split_once(',').unwrap_or((rest, "")),
        false => ("/", rest),
    };
    // The id is skipped: sockd acknowledges nothing.
    let data = rest.trim_start_matches(|c: char| c.is_ascii_digit() || is_blank(c));
    let is_other_namespace = namespace != "/";
    match (kind, data) {
        ('0', data) => {
            let auth = match data {
                "" => Auth::default(),
                data => read_auth(data)?,
            };
            return match namespace {
                "/" => Ok(Packet::Connect(auth)),
                name if name.len() > LONGEST_NAME => Err(Unreadable),
                name => Ok(Packet::ConnectOther(name.to_owned())),
            };
        }
        ('1', "") if !is_other_namespace => return Ok(Packet::Disconnect),
        ('1' | '2' | '3' | '5' | '6', "") => {}
        ('2' | '5', data) => check_event(data)?,
        ('3' | '6', data) => check_list(data)?,
        // Also CONNECT_ERROR, which only a server sends.
        _ => return Err(Unreadable),
    }
    Ok(if is_other_namespace {
        Packet::OtherNamespace { attachments }
    } else {
        Packet::Message { attachments }
    })
}

/// Reads a number of attachments in any notation that JavaScript knows.
fn read_count(text: &str) -> Result<u8, Unreadable> {
    let text = trim(text);
    let (radix, digits) = match text.split_at_checked(2) {
        Some(("0x" | "0X", digits)) => (16, digits),
        Some(("0o" | "0O", digits)) => (8, digits),
        Some(("0b" | "0B", digits)) => (2, digits),
        _ => (10, text),
    };
    let count = match radix {
        10 => text
            .parse::<f64>()
            .ok()
            .filter(|count| count.fract() == 0.0),
        _ if digits.starts_with('+') => None,
        _ => u32::from_str_radix(digits, radix).ok().map(f64::from),
    };
    let fits = |count: &f64| (1.0..=f64::from(MOST_ATTACHMENTS)).contains(count);
    let count = count.filter(fits).ok_or(Unreadable)?;
    Ok(count as u8)
}

/// An event is a list that begins with its name: a text that is not reserved, or a number.
fn check_event(data: &str) -> Result<(), Unreadable> {
    let List(name) = serde_json::from_str(data).map_err(|_| Unreadable)?;
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

fn check_list(data: &str) -> Result<(), Unreadable> {
    let read = serde_json::from_str::<List<'_>>(data);
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

/// The answer to a CONNECT that was accepted.
pub(super) fn connected(sid: Sid) -> Frame {
    Frame::text(&[r#"40{"sid":""#, sid.as_str(), r#""}"#])
}

/// The answer to a CONNECT that was refused.
pub(super) fn refused(refusal: HandshakeError) -> Frame {
    Frame::text(&[r#"44{"message":""#, refusal.label(), r#""}"#])
}

/// The answer to a CONNECT for a namespace that does not exist.
pub(super) fn unknown_namespace(name: &str) -> Frame {
    Frame::text(&["44", name, r#",{"message":"Invalid namespace"}"#])
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

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
            ("40/a?b=c,", Ok(Packet::ConnectOther("/a?b=c".into()))),
            ("41", Ok(Packet::Disconnect)),
            ("41/a,", Ok(Packet::OtherNamespace { attachments: 0 })),
            ("4117", Ok(Packet::Disconnect)),
            (
                "42/a,[\"b\"]",
                Ok(Packet::OtherNamespace { attachments: 0 }),
            ),
            ("452-[\"a\"]", Ok(Packet::Message { attachments: 2 })),
            ("452-", Ok(Packet::Message { attachments: 2 })),
            ("461-/a,1[]", Ok(Packet::OtherNamespace { attachments: 1 })),
            ("4610-[]", Ok(Packet::Message { attachments: 10 })),
            ("450xA-[\"a\"]", Ok(Packet::Message { attachments: 10 })),
            ("45 +1.0e0 -[\"a\"]", Ok(Packet::Message { attachments: 1 })),
            // JavaScript reads a blank as the number 0.
            ("4 {}", Ok(Packet::Connect(Auth::default()))),
            ("0{}", Ok(Packet::Noop)),
            ("bAQID", Ok(Packet::Attachment)),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            r#"42["a"]"#,
            r#"42[1,2]"#,
            r#"42[-1.5e400]"#,
            r#"42["with \"escapes\" \u00e4 \ud83d"]"#,
            r#"4217["a",{"b":[null]}]"#,
            r#"4212345678901234567890["a"]"#,
            "42 1 2\u{a0}[\"a\"]",
            "42",
            "4217",
            "43",
            "43[]",
            "4317",
            "431[]",
            "4312345678901234567890[]",
        ] {
            assert_eq!(read(text), message, "{text}");
        }
        for text in [
            "",
            "x",
            "9",
            "2",
            "2x",
            "4",
            "4x",
            "4\u{20ac}",
            "47",
            "42{}",
            "42[",
            "42[]",
            "42[null]",
            "42[[]]",
            "42[\"a\"]]",
            "42[\"connect\"]",
            r#"42["conn\u0065ct"]"#,
            "42-1[\"a\"]",
            "43{}",
            "431.5[]",
            "44",
            r#"44{"message":"x"}"#,
            "45",
            "45-[\"a\"]",
            "451[\"a\"]",
            "450-[\"a\"]",
            "451.5-[\"a\"]",
            "450x-[\"a\"]",
            "450x+1-[\"a\"]",
            "4511-[\"a\"]",
            "45inf-[\"a\"]",
            "46[]",
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
        assert!(matches!(read(&name(1_024)), Ok(Packet::ConnectOther(_))));
        assert_eq!(read(&name(1_025)), Err(Unreadable));
    }
}
