//! Packets against a straightforward model of Node's parsers, payloads of POSTs against the codec that
//! we do not use for them.

use std::borrow::Cow;

use arbtest::arbitrary::{Result as Invented, Unstructured};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion, payload};
use futures_util::{FutureExt, StreamExt};
use http_body_util::Full;
use serde_json::{Value, value::RawValue};

use super::{
    Auth, LONGEST_NAME, MOST_ATTACHMENTS, Packet, RESERVED, SEPARATOR, Token, binary_length, read,
};
use crate::gateway::fuzz::fuzz;

#[test]
fn packets_are_judged_as_a_straightforward_model_judges_them() {
    fuzz("packets", judge, invent_packet);
}

#[test]
fn payloads_are_parted_as_the_codec_parts_them() {
    fuzz("payloads", part, invent_payload);
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
        '6' => Some(Packet::Noop),
        _ => None,
    }
}

fn message(text: &str) -> Option<Packet> {
    let mut characters = text.chars();
    let kind = characters.next()?;
    let mut rest = characters.as_str();
    let mut attachments = 0;
    if matches!(kind, '5' | '6') {
        let (count, behind) = rest.split_once('-')?;
        attachments = digits(count).filter(|count| (1..=MOST_ATTACHMENTS).contains(count))?;
        rest = behind;
    }
    let mut name = "/";
    if rest.starts_with('/') {
        (name, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, data) = rest.split_at(end);
    let json = serde_json::from_str::<&RawValue>(data)
        .map(RawValue::get)
        .ok();
    let is_here = name == "/";
    match kind {
        '0' => {
            let json = if data.is_empty() { "{}" } else { json? };
            let token = json.starts_with('{').then(|| token(json))?;
            match is_here {
                true => return Some(Packet::Connect(Auth { token })),
                false if name.len() > LONGEST_NAME => return None,
                false => return Some(Packet::ConnectElsewhere(name.to_owned())),
            }
        }
        '1' if is_here => return rest.is_empty().then_some(Packet::Disconnect),
        '1' => {}
        '2' | '5' => is_event(json?).then_some(())?,
        '3' | '6' => {
            digits::<i64>(number)?;
            json?.starts_with('[').then_some(())?;
        }
        '4' if data.is_empty() => {}
        '4' => json?.starts_with(['{', '"']).then_some(())?,
        _ => return None,
    }
    Some(match is_here {
        true => Packet::Message { attachments },
        false => Packet::Elsewhere,
    })
}

/// Digits alone: what a number may count up to is the parser's own.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| are_digits)
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

/// As a tree has it; where there can be none, what is read is taken for good.
fn token(json: &str) -> Option<Token> {
    match serde_json::from_str::<Value>(json) {
        Ok(tree) => match &tree["token"] {
            Value::Array(list) => Token::new(list.first()?.as_str()?),
            token => Token::new(token.as_str()?),
        },
        Err(_) => super::read_auth(json).ok()?.token,
    }
}

fn part(input: &[u8]) {
    // A byte that is not UTF-8 becomes U+FFFD before the payload is parted.
    let text = String::from_utf8_lossy(input).into_owned();
    let body = Full::new(Bytes::from(text.clone()));
    let limit = text.len() as u64;
    let theirs = payload::decoder(body, None, ProtocolVersion::V4, limit).collect::<Vec<_>>();
    let theirs = theirs.now_or_never().expect("the body is there");
    let ours: Vec<_> = text.split(char::from(SEPARATOR)).collect();
    // It stops where it finds fault, and does not count an empty packet at the end.
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let length = binary_length(ours);
        match theirs {
            Ok(EnginePacket::Binary(bytes)) => {
                let length = length.expect("it is binary");
                assert!(
                    (bytes.len()..=bytes.len() + 2).contains(&length),
                    "{ours:?}"
                );
            }
            Ok(EnginePacket::Message(message)) => assert_eq!(ours[1..], **message),
            Ok(EnginePacket::Ping) => assert_eq!(read(ours).ok(), None),
            Ok(packet) => {
                let expected = match packet {
                    EnginePacket::Close => Packet::Close,
                    EnginePacket::PingUpgrade => Packet::Probe,
                    EnginePacket::Pong | EnginePacket::PongUpgrade => Packet::Pong,
                    EnginePacket::Upgrade => Packet::Upgrade,
                    EnginePacket::Noop => Packet::Noop,
                    packet => panic!("{ours:?} is read as {packet:?}"),
                };
                assert_eq!(read(ours).ok(), Some(expected));
            }
            Err(_) => match length {
                // Node, as we, takes any bytes for base64.
                Some(length) => {
                    assert!(STANDARD.decode(&ours[1..]).is_err() && length <= ours.len())
                }
                None => assert_eq!(read(ours).ok(), None, "{ours:?}"),
            },
        }
    }
    if theirs.iter().all(Result::is_ok) {
        let counted = ours.iter().rposition(|packet| !packet.is_empty());
        assert!(
            theirs.len() >= counted.map_or(0, |last| last + 1),
            "{text:?}"
        );
    }
}

const WORDS: [&str; 48] = [
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
    "16-",
    "17-",
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

fn invent_packet(random: &mut Unstructured<'_>) -> Invented<Vec<u8>> {
    let mut packet = Vec::new();
    for _ in 0..random.int_in_range(1..=12)? {
        packet.extend(random.choose(&WORDS)?.bytes());
    }
    Ok(packet)
}

fn invent_payload(random: &mut Unstructured<'_>) -> Invented<Vec<u8>> {
    let mut payload = Vec::new();
    for _ in 0..random.int_in_range(1..=8)? {
        payload.extend(match random.ratio(1, 4)? {
            true => STANDARD.encode(random.bytes(5)?).into_bytes(),
            false => invent_packet(random)?,
        });
        payload.push(SEPARATOR);
        if random.ratio(1, 4)? {
            payload.push(b'b');
        }
    }
    payload.pop();
    Ok(payload)
}
