//! Input: a byte that chooses the limit, a byte that chooses where the stream is cut, and the stream.

use std::io;

use arbtest::arbitrary::{Result, Unstructured};
use tungstenite::{
    Error, WebSocket,
    protocol::{Message as Theirs, Role, WebSocketConfig},
};

use super::{Frames, Message, Violation};
use crate::gateway::fuzz::{Peer, fuzz};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Received {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close,
}

/// The outcome of reading a stream.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    received: Vec<Received>,
    violation: Option<Violation>,
}

#[test]
fn frames_are_read_alike_in_any_pieces_and_as_tungstenite_reads_them() {
    fuzz("frames", target, generate);
}

fn target(input: &[u8]) {
    let [limit, cut, stream @ ..] = input else {
        return;
    };
    let limit = [125, 300, 2_000, 70_000][usize::from(limit % 4)];
    let whole = read(stream, limit, |_| usize::MAX);
    let cut = usize::from(*cut);
    for length in [
        (|_, _| 1) as fn(usize, usize) -> usize,
        |cut, _| 1 + cut,
        |cut, number| 1 + (cut + number * 31) % 17,
    ] {
        let pieces = read(stream, limit, |number| length(cut, number));
        assert_eq!(pieces, whole, "in pieces, limit {limit}");
    }
    compare(stream, limit, &whole);
}

/// Reads a stream in pieces, and checks that no more is kept than has arrived.
fn read(stream: &[u8], limit: usize, length: impl Fn(usize) -> usize) -> Reading {
    let mut frames = Frames::default();
    let mut received = Vec::new();
    let (mut rest, mut number) = (stream, 0);
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(length(number).min(rest.len()));
        (rest, number) = (more, number + 1);
        let read = frames.read(&mut piece.to_vec(), limit, |message| {
            received.push(match message {
                Message::Text(text) => Received::Text(text.to_owned()),
                Message::Binary(bytes) => Received::Binary(bytes.to_vec()),
                Message::Ping(payload) => Received::Ping(payload.to_vec()),
                Message::Close(_) => Received::Close,
            });
            received.last() != Some(&Received::Close)
        });
        match read {
            Err(violation) => {
                let violation = Some(violation);
                return Reading {
                    received,
                    violation,
                };
            }
            Ok(_) if received.last() == Some(&Received::Close) => break,
            Ok(read) => assert_eq!(read, piece.len(), "all that arrived is read"),
        }
        let arrived = stream.len() - rest.len();
        if let Some(kept) = &frames.0 {
            let (frame, message) = (&kept.frame, &kept.message);
            assert!(
                frame.len() + message.len() <= arrived,
                "it keeps what arrived"
            );
            assert!(!frame.is_empty() || kept.opcode.is_some(), "or nothing");
            let capacity = frame.capacity() + message.capacity();
            assert!(
                capacity <= 2 * arrived + 64,
                "{capacity} for {arrived} bytes"
            );
        }
    }
    let violation = None;
    Reading {
        received,
        violation,
    }
}

fn compare(stream: &[u8], limit: usize, ours: &Reading) {
    // We judge a frame by its header; tungstenite judges some only once they are complete.
    let padding = if ours.violation.is_some() {
        limit + 16
    } else {
        0
    };
    let padded = [stream, &vec![0; padding]].concat();
    let config = WebSocketConfig::default()
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    let stream = Peer(&padded);
    let mut theirs = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
    let mut received = Vec::new();
    let error = loop {
        match theirs.read() {
            Ok(Theirs::Text(text)) => received.push(Received::Text(text.to_string())),
            Ok(Theirs::Binary(bytes)) => received.push(Received::Binary(bytes.to_vec())),
            Ok(Theirs::Ping(payload)) => received.push(Received::Ping(payload.to_vec())),
            Ok(Theirs::Pong(_)) => {}
            Ok(Theirs::Close(_)) => {
                received.push(Received::Close);
                break None;
            }
            Ok(Theirs::Frame(_)) => unreachable!("only writers make frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break None,
            Err(error) => break Some(error),
        }
    };
    // A status that may not be sent ends both; tungstenite shows it as a close.
    if ours.violation.is_some() && received.len() == ours.received.len() + 1 {
        assert_eq!(received.pop(), Some(Received::Close));
    }
    match (&ours.violation, error) {
        // It checks the text of each fragment, and we that of the whole message, so we may read more before.
        (_, Some(Error::Utf8(_))) => assert!(ours.received.starts_with(&received)),
        (None, None) | (Some(_), _) => assert_eq!(received, ours.received),
        (None, Some(error)) => panic!("only tungstenite refuses it: {error}"),
    }
}

/// A sequence of frames, most of them valid.
fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut input = random.bytes(2)?.to_vec();
    let mut is_begun = false;
    for _ in 0..random.int_in_range(1..=8)? {
        let control = random.ratio(1, 3)?;
        let opcode = match control {
            true => *random.choose(&[8, 9, 10])?,
            false if is_begun => 0,
            false => *random.choose(&[1, 2])?,
        };
        let is_final = control || random.ratio(2, 3)?;
        is_begun = if control { is_begun } else { !is_final };
        let odd = if random.ratio(1, 16)? {
            random.int_in_range(0..=0xff)?
        } else {
            0
        };
        input.push((u8::from(is_final) << 7 | opcode) ^ odd);
        let longest = *random.choose(&[0, 3, 30, 125, 126, 300, 2_001])?;
        let length = random.int_in_range(0..=if control { longest.min(125) } else { longest })?;
        match (length, random.ratio(1, 16)?) {
            (0..126, false) => input.push(0x80 | length as u8),
            (_, false) => {
                input.push(0x80 | 126);
                input.extend((length as u16).to_be_bytes());
            }
            (_, true) => {
                input.push(0x80 | 127);
                input.extend((length as u64).to_be_bytes());
            }
        }
        let mask = random.bytes(4)?;
        input.extend(mask);
        let status = *random.choose(&[999_u16, 1_000, 1_001, 1_005, 1_012, 3_000, 5_000])?;
        let mut payload: Vec<u8> = match opcode {
            8 if length > 1 => status.to_be_bytes().to_vec(),
            _ => Vec::new(),
        };
        let text = random.choose(&["3", "42[\"a\"]", "\u{20ac}uro", "\u{1f600}", "\u{7f}"])?;
        payload.extend(
            text.bytes()
                .cycle()
                .take(length - payload.len().min(length)),
        );
        payload.truncate(length);
        input.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    }
    Ok(input)
}
