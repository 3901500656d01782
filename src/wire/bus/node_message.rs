//! Messages on the channel of one node, or of all nodes.

use serde::{Deserialize, Serialize};

use super::{Body, DecodeError, Sequence, UserMessage, decode, encode};
use crate::{
    id::{NodeId, UserId},
    wire::{NodeStatus, SocketsReport, TraceLease},
};

/// A message on the channel of one node, or of all nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// Send `from` the sockets of the user.
    AskUser {
        from: NodeId,
        seq: Sequence,
        user: UserId,
    },
    /// The answer to an `AskUser`.
    UserSockets {
        from: NodeId,
        seq: Sequence,
        #[serde(flatten)]
        report: SocketsReport,
    },
    /// Send `from` the status of the node.
    AskStatus { from: NodeId, seq: Sequence },
    /// The answer to an `AskStatus`.
    Status {
        from: NodeId,
        seq: Sequence,
        status: Box<NodeStatus>,
    },
    /// Trace a user for a while, and tell `from` whether that is done.
    AskTrace {
        from: NodeId,
        seq: Sequence,
        lease: TraceLease,
    },
    /// The answer to an `AskTrace`.
    Tracing {
        from: NodeId,
        seq: Sequence,
        /// Whether it does not take part because too many traces run there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        full: bool,
    },
    /// Lines of the receiver's trace of that number, and how many were dropped behind them.
    Traced {
        number: u64,
        lines: Vec<String>,
        dropped: u64,
    },
}

/// A question to other nodes, which each answers for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inquiry {
    /// Which sockets does the user have there?
    User(UserId),
    /// What is the node's status?
    Status,
    /// Take part in the trace of a user.
    Trace(TraceLease),
}

impl Inquiry {
    /// The capability that a node needs to answer.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::User(_) => "ask_user",
            Self::Status => "ask_status",
            Self::Trace(_) => "ask_trace",
        }
    }

    pub fn message(self, from: NodeId, seq: Sequence) -> NodeMessage {
        match self {
            Self::User(user) => NodeMessage::AskUser { from, seq, user },
            Self::Status => NodeMessage::AskStatus { from, seq },
            Self::Trace(lease) => NodeMessage::AskTrace { from, seq, lease },
        }
    }
}

/// The release that a node runs, and its capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Build {
    pub release: String,
    /// The kinds of messages on users' channels that it handles, and of questions that it answers.
    pub capabilities: Vec<String>,
}

/// The kinds of messages that ask a node something.
const QUESTIONS: &[&str] = &["ask_user", "ask_status", "ask_trace"];

impl Build {
    /// The build of this process.
    pub fn own() -> Self {
        let capabilities = UserMessage::KINDS.iter().chain(QUESTIONS);
        Self {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: capabilities.map(ToString::to_string).collect(),
        }
    }

    /// Whether the node acts on messages of this kind.
    pub fn can(&self, kind: &str) -> bool {
        self.capabilities.iter().any(|known| known == kind)
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
    const KINDS: &[&str] = &[
        "disconnected",
        "hello",
        "bye",
        "ask_user",
        "user_sockets",
        "ask_status",
        "status",
        "ask_trace",
        "tracing",
        "traced",
    ];
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
    use crate::wire::{SocketReport, bus::Envelope};

    fn lease() -> TraceLease {
        TraceLease {
            number: 1,
            user: UserId::try_from("u").unwrap(),
            payloads: true,
            lease_ms: 1,
        }
    }

    #[test]
    fn node_messages_survive_a_round_trip() {
        let (node, build) = (NodeId::try_from("n1").unwrap(), Build::own());
        let socket = SocketReport {
            transport: "polling".to_owned(),
            address: None,
            since: "2026-11-26T05:00:00Z".to_owned(),
            session_id: "s".to_owned(),
        };
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
                node: node.clone(),
                seq: 4,
                build,
            },
            NodeMessage::UserSockets {
                from: node,
                seq: 5,
                report: SocketsReport {
                    count: 2,
                    sockets: vec![socket],
                },
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
            NodeMessage::Bye { node: node.clone() },
            Inquiry::User(UserId::try_from("u").unwrap()).message(node.clone(), 1),
            NodeMessage::UserSockets {
                from: node.clone(),
                seq: 1,
                report: SocketsReport::default(),
            },
            Inquiry::Status.message(node.clone(), 1),
            NodeMessage::Status {
                from: node.clone(),
                seq: 1,
                status: Box::default(),
            },
            Inquiry::Trace(lease()).message(node.clone(), 1),
            NodeMessage::Tracing {
                from: node,
                seq: 1,
                full: true,
            },
            NodeMessage::Traced {
                number: 1,
                lines: Vec::new(),
                dropped: 0,
            },
        ];
        for (message, kind) in messages.iter().zip(NodeMessage::KINDS) {
            let Envelope { kind: sent, .. } = serde_json::from_slice(&message.encode()).unwrap();
            assert_eq!(sent, *kind);
        }
        assert_eq!(messages.len(), NodeMessage::KINDS.len());
    }

    #[test]
    fn a_question_is_asked_of_nodes_that_can_answer_it() {
        let user = UserId::try_from("u").unwrap();
        for inquiry in [
            Inquiry::User(user),
            Inquiry::Status,
            Inquiry::Trace(lease()),
        ] {
            assert!(Build::own().can(inquiry.kind()));
            assert!(!Build::default().can(inquiry.kind()));
            let kind = inquiry.kind();
            let message = inquiry.message(NodeId::try_from("n").unwrap(), 1);
            let Envelope { kind: sent, .. } = serde_json::from_slice(&message.encode()).unwrap();
            assert_eq!(sent, kind);
        }
    }
}
