//! Messages between nodes. They are versioned, so that two releases can run side by side during a
//! rolling upgrade.

mod node_message;
mod user_message;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

pub use self::{
    node_message::{Build, Inquiry, NodeMessage},
    user_message::{OwnEvents, UserMessage},
};

/// The number by which a node recognises its own message, or the answer to it.
pub type Sequence = u64;

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

fn encode(body: &impl Body) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

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
        let node = NodeId::try_from("n1").unwrap();
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
}
