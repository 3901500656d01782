//! Messages on the channel of one node, or of all nodes.

use serde::{Deserialize, Serialize};

use super::{Body, DecodeError, Sequence, UserMessage, decode, encode};
use crate::id::NodeId;

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
            capabilities: UserMessage::KINDS.iter().map(ToString::to_string).collect(),
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

impl Body for NodeMessage {
    const KINDS: &[&str] = &["disconnected", "hello", "bye"];
}

impl NodeMessage {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
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
    use crate::wire::bus::Envelope;

    #[test]
    fn node_messages_survive_a_round_trip() {
        let (node, build) = (NodeId::try_from("n1").unwrap(), Build::own());
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
    fn every_kind_has_the_name_that_it_is_sent_with() {
        let node = NodeId::try_from("n1").unwrap();
        let messages = [
            NodeMessage::Disconnected {
                seq: 1,
                count: 1,
                from: None,
            },
            NodeMessage::Hello {
                node: node.clone(),
                seq: 1,
                build: Build::own(),
            },
            NodeMessage::Bye { node },
        ];
        for (message, kind) in messages.iter().zip(NodeMessage::KINDS) {
            let Envelope { kind: sent, .. } = serde_json::from_slice(&message.encode()).unwrap();
            assert_eq!(sent, *kind);
        }
    }
}
