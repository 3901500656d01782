//! What can happen to a traced user, and how nodes agree on a trace.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Event;
use crate::id::{NodeId, UserId};

/// What a node is to trace, and for how long unless it is asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLease {
    /// Which of the asking node's traces it is.
    pub number: u64,
    pub user: UserId,
    pub payloads: bool,
    pub lease_ms: u64,
}

/// What happens to a user.
#[derive(Debug, Serialize)]
#[serde(
    tag = "what",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum Step<'a> {
    /// A socket has joined.
    Joined {
        transport: Option<&'a str>,
        address: Option<String>,
        /// The beginning of its session.
        session: String,
    },
    /// A handshake was refused.
    Refused {
        reason: String,
        /// More than the client was told.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        address: Option<String>,
        /// The client had hung up before it was told.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        gone: bool,
    },
    /// A handshake cannot go on, as the stored session cannot be read.
    SessionUnknown { why: String },
    /// The session of a handshake became the active one, as there was none.
    SessionAdopted { session: String },
    /// The stored session was removed.
    SessionRemoved { removed: bool },
    /// A backend has emitted an event on this node.
    Emitted {
        event: &'a str,
        /// How many nodes have the user; absent if unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        nodes: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// An event was given to the sockets on this node.
    Event {
        event: &'a str,
        sockets: usize,
        bytes: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    /// A caller of this node has logged the user out.
    LoggedOut {
        /// `force-logout` or `kick`.
        act: &'a str,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        disconnected: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A socket was told to go.
    Dismissed { event: &'a str, reason: &'a str },
    /// A client that polled has moved to a WebSocket.
    Upgraded { address: Option<String> },
    /// A client has disconnected its socket, and its connection stays.
    Left {
        address: Option<String>,
        duration_ms: u64,
    },
    /// The connection of a socket ends.
    Ended {
        why: &'a str,
        transport: Option<&'a str>,
        address: Option<String>,
        duration_ms: u64,
    },
    /// Whether another node takes part.
    Peer {
        peer: &'a NodeId,
        /// `yes`, or why not.
        traced: &'a str,
    },
    /// Whether the caller's node can rely on the bus; if not, there may be nodes that do not take part.
    Bus {
        ready: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// This many lines are missing here.
    Dropped { lines: u64 },
    /// The trace begins.
    Began { user: &'a UserId },
    /// The trace ends, but not because its caller has hung up.
    Over { why: &'a str },
}

impl<'a> Step<'a> {
    /// An event for this many sockets, with or without its payload.
    pub fn event(event: &'a Event, sockets: usize, with_payload: bool) -> Self {
        let payload = || serde_json::from_slice(event.payload()).ok();
        Self::Event {
            event: event.name.as_str(),
            sockets,
            bytes: event.payload().len(),
            payload: with_payload.then(payload).flatten(),
        }
    }
}

/// Enough of a session to tell two apart; the whole is half of a credential.
pub fn beginning(session: &str) -> String {
    const SHOWN: usize = 8;
    let length = session.chars().count();
    session.chars().take(SHOWN.min(length / 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_beginning_of_a_session_is_shown() {
        assert_eq!(
            beginning("3f2b8c1e-5a4d-4e6f-8a9b-0c1d2e3f4a5b"),
            "3f2b8c1e"
        );
        assert_eq!(beginning("abcdef"), "abc");
        assert_eq!(beginning("a"), "");
    }
}
