//! Crates that clients are made of read back what we write. Input: a byte that chooses the limit of a
//! payload, then texts separated by zero bytes.

use std::io;

use arbtest::arbitrary::{Result, Unstructured};
use engineioxide_core::{Packet as EnginePacket, ProtocolVersion};
use socketioxide_core::{
    packet::PacketData,
    parser::{Parse, ParseConfig, ParserState},
};
use socketioxide_parser_common::CommonParser;
use tungstenite::{Error, Message, WebSocket, protocol::Role};

use super::{Outbox, SEPARATOR};
use crate::{
    gateway::{
        fuzz::{Peer, fuzz},
        packet,
    },
    id::EventName,
    wire::{Event, Frame},
};

#[test]
fn what_is_written_is_read_back() {
    fuzz("written", target, generate);
}

fn target(input: &[u8]) {
    let [limit, texts @ ..] = input else { return };
    let texts = String::from_utf8_lossy(texts);
    let texts: Vec<&str> = texts.split('\0').collect();
    let events: Vec<Event> = texts.chunks(2).filter_map(event).collect();
    let mut frames = vec![packet::PING, packet::DISCONNECT];
    frames.extend(events.iter().map(|event| event.frame().clone()));
    events.iter().for_each(check_event);
    check_frames(&frames);
    check_payloads(&frames, usize::from(*limit) * 8);
}

fn event(texts: &[&str]) -> Option<Event> {
    let name = EventName::try_from(*texts.first()?).ok()?;
    let payload = serde_json::to_string(texts.last()?).ok()?;
    Some(Event::new(name, &payload))
}

fn check_event(event: &Event) {
    let text = String::from_utf8(event.frame().packet().to_vec()).expect("a text");
    let read = EnginePacket::parse(ProtocolVersion::V4, text);
    let EnginePacket::Message(message) = read.expect("a packet") else {
        panic!("{event:?} is no message");
    };
    let (config, state) = (ParseConfig::default(), ParserState::default());
    let read = CommonParser.decode_str(&config, &state, message);
    let PacketData::Event(data, None) = read.expect("a packet").inner else {
        panic!("{event:?} is no event");
    };
    let data = data.as_str().expect("a text");
    let read: (String, serde_json::Value) = serde_json::from_str(data).expect("an event");
    let payload = serde_json::from_slice(event.payload()).expect("JSON");
    assert_eq!(read, (event.name.as_str().to_owned(), payload));
}

fn check_frames(frames: &[Frame]) {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.bytes().to_vec())
        .collect();
    let mut client = WebSocket::from_raw_socket(Peer(&bytes), Role::Client, None);
    for frame in frames {
        let read = client.read().expect("a message");
        assert_eq!(
            read,
            Message::text(String::from_utf8_lossy(&frame.packet()).as_ref())
        );
    }
    let left = client.read().expect_err("that was all");
    assert!(matches!(left, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock));
}

fn check_payloads(frames: &[Frame], limit: usize) {
    let mut outbox = Outbox::default();
    frames.iter().for_each(|frame| outbox.push(frame.clone()));
    let mut read = Vec::new();
    while !outbox.is_empty() {
        let payload = outbox.take_payload(limit);
        let packets: Vec<_> = payload.split(|byte| *byte == SEPARATOR).collect();
        assert!(packets.len() == 1 || payload.len() <= limit, "over {limit}");
        read.extend(packets.into_iter().map(<[u8]>::to_vec));
    }
    assert_eq!(outbox.weight, 0);
    assert!(
        read.iter()
            .eq(frames.iter().map(Frame::packet).collect::<Vec<_>>().iter())
    );
}

fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut input = random.bytes(1)?.to_vec();
    for _ in 0..random.int_in_range(1..=6)? {
        let name = random.choose(&["order:paid", "a\"b", "\u{20ac}", "auth:logout", "\\"])?;
        let word = random.choose(&["x", "\u{1e}", "\"", "\u{2028}", "\u{1f600}", "]"])?;
        let count = *random.choose(&[0, 1, 100, 125, 126, 30_000, 70_000])?;
        input.extend(format!("{name}\0{}\0", word.repeat(count)).bytes());
    }
    Ok(input)
}
