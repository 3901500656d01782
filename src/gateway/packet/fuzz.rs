//! Compares packets with a straightforward model of Node's parsers, and payloads of POSTs with the codec
//! of `engineioxide-core`, which we do not use for them.

use std::borrow::Cow;

use arbtest::arbitrary::{Result as Generated, Unstructured};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion, payload};
use futures_util::{FutureExt, StreamExt};
use http_body_util::Full;
use serde_json::{Value, value::RawValue};

use super::{Auth, LONGEST_NAME, Packet, RESERVED, SEPARATOR, Token, read};
use crate::{
    auth::{is_blank, trim},
    gateway::fuzz::fuzz,
};

#[test]
fn packets_are_judged_as_a_straightforward_model_judges_them() {
    fuzz("packets", judge, generate_packet);
}

#[test]
fn payloads_are_split_as_the_codec_splits_them() {
    fuzz("payloads", split, generate_payload);
}

fn judge(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (read, model) = (read(&text).ok(), model(&text));
    assert_eq!(read, model, "{text:?}");
}

fn model(text: &str) -> Option<Packet> {
    match text.chars().next()? {
        '1' => Some(Packet::Close),
        '2' => (text == "2probe").then_some(Packet::Probe),
        '3' => Some(Packet::Pong),
        '4' => message(&text[1..]),
        '5' => Some(Packet::Upgrade),
        '0' | '6' => Some(Packet::Noop),
        'b' => Some(Packet::Attachment),
        _ => None,
    }
}

/// `decodeString` of socket.io-parser, line by line.
fn message(text: &str) -> Option<Packet> {
    let text: Vec<char> = text.chars().collect();
    let at = |index: usize| text.get(index).copied();
    let part = |from: usize, to: usize| text[from..to].iter().collect::<String>();
    let is_number = |c: char| c.is_ascii_digit() || is_blank(c);
    let kind = at(0).filter(|c| is_number(*c))?.to_digit(10).unwrap_or(0);
    let (mut i, mut attachments) = (0, 0);
    if kind == 5 || kind == 6 {
        i = (1..text.len()).find(|i| at(*i) == Some('-'))?;
        let count = number(trim(&part(1, i)))?;
        attachments = (1..=10).find(|known| f64::from(*known) == count)?;
    }
    let mut namespace = "/".to_owned();
    if at(i + 1) == Some('/') {
        let start = i + 1;
        i = (start..text.len())
            .find(|i| at(*i) == Some(','))
            .unwrap_or(text.len());
        namespace = part(start, i);
    }
    i += 1;
    while at(i).is_some_and(is_number) {
        i += 1;
    }
    let data = part(i.min(text.len()), text.len());
    let json = match data.as_str() {
        "" => None,
        data => Some(serde_json::from_str::<&RawValue>(data).ok()?.get()),
    };
    let is_here = namespace == "/";
    match (kind, json) {
        (0, json) => {
            let json = json.unwrap_or("{}");
            let token = json.starts_with('{').then(|| token(json))?;
            return match is_here {
                true => Some(Packet::Connect(Auth { token })),
                false if namespace.len() > LONGEST_NAME => None,
                false => Some(Packet::ConnectOther(namespace)),
            };
        }
        (1, None) if is_here => return Some(Packet::Disconnect),
        (1 | 2 | 3 | 5 | 6, None) => {}
        (2 | 5, Some(json)) => is_event(json).then_some(())?,
        (3 | 6, Some(json)) => json.starts_with('[').then_some(())?,
        // Socket.IO's server treats a CONNECT_ERROR as an error.
        _ => return None,
    }
    Some(match is_here {
        true => Packet::Message { attachments },
        false => Packet::OtherNamespace { attachments },
    })
}

/// JavaScript's `Number`, for texts that can be a count of attachments.
fn number(text: &str) -> Option<f64> {
    let digits = |radix| {
        let mut digits = text[2..].chars();
        let first = f64::from(digits.next()?.to_digit(radix)?);
        digits.try_fold(first, |sum, digit| {
            Some(sum * f64::from(radix) + f64::from(digit.to_digit(radix)?))
        })
    };
    match text.to_ascii_lowercase() {
        text if text.starts_with("0x") => digits(16),
        text if text.starts_with("0o") => digits(8),
        text if text.starts_with("0b") => digits(2),
        text => text.parse().ok(),
    }
}

fn is_event(json: &str) -> bool {
    let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(json) else {
        return false;
    };
    match list.first().map(|name| name.get()) {
        Some(name) if name.starts_with('"') => {
            let name = serde_json::from_str::<Cow<'_, str>>(name).ok();
            name.is_none_or(|name| !RESERVED.contains(&&*name))
        }
        Some(name) => name.starts_with(|c: char| c == '-' || c.is_ascii_digit()),
        None => false,
    }
}

/// The token in serde_json's tree; where serde_json cannot build one, our own reading is trusted.
fn token(json: &str) -> Option<Token> {
    match serde_json::from_str::<Value>(json) {
        Ok(tree) => match &tree["token"] {
            Value::Array(list) => Token::new(list.first()?.as_str()?),
            token => Token::new(token.as_str()?),
        },
        Err(_) => super::read_auth(json).ok()?.token,
    }
}

fn split(input: &[u8]) {
    // A byte that is not UTF-8 becomes U+FFFD before the payload is split.
    let text = String::from_utf8_lossy(input).into_owned();
    let body = Full::new(Bytes::from(text.clone()));
    let limit = text.len() as u64;
    let theirs = payload::decoder(body, None, ProtocolVersion::V4, limit).collect::<Vec<_>>();
    let theirs = theirs.now_or_never().expect("the body is there");
    let ours: Vec<_> = text.split(char::from(SEPARATOR)).collect();
    // It stops at the first error, and does not count an empty packet at the end.
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let expected = match theirs {
            Ok(EnginePacket::Message(message)) => {
                assert_eq!(ours[1..], **message);
                continue;
            }
            Ok(EnginePacket::Binary(_)) => Some(Packet::Attachment),
            Ok(EnginePacket::Close) => Some(Packet::Close),
            Ok(EnginePacket::PingUpgrade) => Some(Packet::Probe),
            Ok(EnginePacket::Pong | EnginePacket::PongUpgrade) => Some(Packet::Pong),
            Ok(EnginePacket::Upgrade) => Some(Packet::Upgrade),
            Ok(EnginePacket::Noop) => Some(Packet::Noop),
            Ok(EnginePacket::Ping) => None,
            Ok(packet) => panic!("{ours:?} is read as {packet:?}"),
            // Like Node, we take any bytes for base64.
            Err(_) if ours.starts_with('b') => Some(Packet::Attachment),
            Err(_) if ours.starts_with('0') => Some(Packet::Noop),
            Err(_) => None,
        };
        assert_eq!(read(ours).ok(), expected, "{ours:?}");
    }
    if theirs.iter().all(Result::is_ok) {
        let counted = ours.iter().rposition(|packet| !packet.is_empty());
        assert!(
            theirs.len() >= counted.map_or(0, |last| last + 1),
            "{text:?}"
        );
    }
}

const WORDS: [&str; 54] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "9",
    "40",
    "41",
    "42",
    "43",
    "44",
    "45",
    "46",
    "-",
    "/",
    ",",
    "/a,",
    "/,",
    "1-",
    "10-",
    "11-",
    "0x1-",
    "+1.0-",
    "1e0-",
    "45",
    "\u{a0}",
    "\u{feff}",
    "007",
    "18446744073709551616",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ":",
    "\"a\"",
    "\"connect\"",
    "\"disconn\\u0065ct\"",
    "{\"token\":",
    "\"\\ud83d\"",
    "\"t\"",
    "1e400",
    "-0.5",
    "null",
    "[]",
    "{}",
    " ",
    "\u{20ac}",
    "probe",
    "b",
    "AQIDBA==",
    "\u{1e}",
];

fn generate_packet(random: &mut Unstructured<'_>) -> Generated<Vec<u8>> {
    let mut packet = Vec::new();
    for _ in 0..random.int_in_range(1..=12)? {
        packet.extend(random.choose(&WORDS)?.bytes());
    }
    Ok(packet)
}

fn generate_payload(random: &mut Unstructured<'_>) -> Generated<Vec<u8>> {
    let mut payload = Vec::new();
    for _ in 0..random.int_in_range(1..=8)? {
        payload.extend(match random.ratio(1, 4)? {
            true => STANDARD.encode(random.bytes(5)?).into_bytes(),
            false => generate_packet(random)?,
        });
        payload.push(SEPARATOR);
        if random.ratio(1, 4)? {
            payload.push(b'b');
        }
    }
    payload.pop();
    Ok(payload)
}
