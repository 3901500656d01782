//! What nodes report to operators, and to the node that an operator has asked.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, UserId};

/// One socket of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketReport {
    /// `polling` or `websocket`.
    pub transport: String,
    /// The client's address, as the node sees it; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When it joined (RFC 3339).
    pub since: String,
    /// The session of its token.
    pub session_id: String,
}

/// The sockets of a user on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketsReport {
    /// How many there are.
    pub count: usize,
    /// The newest of them, newest first.
    pub sockets: Vec<SocketReport>,
}

/// The session that is stored for a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum SessionReport {
    Stored {
        session_id: String,
        /// Whole seconds until it expires; `None` if it never does.
        expires_in_seconds: Option<u64>,
        /// Redis does not let the node ask when the session expires.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        expiry_unknown: bool,
    },
    None,
    /// Something is stored that sockd does not understand.
    Unintelligible,
    /// The store did not answer.
    Unknown,
}

/// Whether a node answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    Yes,
    /// It received the question, and has not answered in time.
    TimedOut,
    /// The question could not be sent to it.
    Unreachable,
    /// It runs a release that does not know the question.
    TooOld,
}

/// A node that was asked about a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedNode {
    pub node: NodeId,
    pub release: String,
    pub answered: Answered,
    /// How many sockets of the user it has; absent if it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<usize>,
}

/// A socket of a user, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRow {
    pub node: NodeId,
    #[serde(flatten)]
    pub socket: SocketReport,
}

/// The answer to `GET /internal/users/ID`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserAnswer {
    pub ok: bool,
    pub user_id: UserId,
    pub session: SessionReport,
    /// Whether every node has answered, and there can be no other.
    pub complete: bool,
    /// Why there may be nodes that were not asked: the node that answers is not ready on the bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The node that answers, then the others.
    pub nodes: Vec<AskedNode>,
    /// Whether there are more sockets than are listed.
    pub truncated: bool,
    pub sockets: Vec<SocketRow>,
}
