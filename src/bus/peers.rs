//! Which other nodes live: those whose hello was heard of late.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::{
    id::{IdMap, NodeId},
    wire::{Build, UserMessage},
};

/// How long a node that is no longer heard counts as living, while this one hears itself.
const MEMORY: Duration = Duration::from_secs(10);

/// The other nodes on the same Redis. Time in which this node was deaf proves nothing, so nobody
/// is forgotten in it: after an outage the peers are those from before.
#[derive(Debug, Default)]
pub struct Peers {
    known: IdMap<NodeId, Peer>,
    alone: bool,
}

#[derive(Debug)]
struct Peer {
    last_heard: Instant,
    build: Build,
}

/// A live node would ignore the message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("node {node} of release {release} does not know {kind:?}; upgrade it first")]
pub struct PeerTooOld {
    node: NodeId,
    release: String,
    kind: &'static str,
}

impl Peers {
    /// A node said hello; `true` if it was not known.
    pub fn heard(&mut self, node: NodeId, build: Build, now: Instant) -> bool {
        self.alone = false;
        let last_heard = now;
        self.known
            .insert(node, Peer { last_heard, build })
            .is_none()
    }

    /// # Errors
    /// One of the nodes is not capable of acting on the message.
    pub fn understand(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        let kind = message.kind();
        for (node, Peer { build, .. }) in &self.known {
            if !build.capabilities.iter().any(|known| known == kind) {
                return Err(PeerTooOld {
                    node: node.clone(),
                    release: build.release.clone(),
                    kind,
                });
            }
        }
        Ok(())
    }

    /// A node said that it goes.
    pub fn gone(&mut self, node: &NodeId) {
        self.known.remove(node);
    }

    /// This node was deaf until now.
    pub fn recovered(&mut self, now: Instant) {
        self.known
            .values_mut()
            .for_each(|peer| peer.last_heard = now);
    }

    /// This node heard its own hello, which so many nodes received.
    pub fn settle(&mut self, receivers: usize, now: Instant) {
        self.known
            .retain(|_, peer| now.duration_since(peer.last_heard) < MEMORY);
        self.alone = receivers <= 1 && self.known.is_empty();
    }

    /// Whether there was certainly no other node when this one last heard itself.
    pub fn is_alone(&self) -> bool {
        self.alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    #[test]
    fn a_node_is_alone_only_when_it_knows() {
        let now = Instant::now();
        let peer = NodeId::try_from("b").unwrap();
        let mut peers = Peers::default();
        assert!(!peers.is_alone(), "nothing is known yet");
        peers.settle(1, now);
        assert!(peers.is_alone());
        peers.settle(2, now);
        assert!(!peers.is_alone(), "somebody else received the hello");
        peers.settle(1, now);
        assert!(peers.heard(peer.clone(), Build::own(), now));
        assert!(!peers.is_alone());
        peers.settle(1, now + MEMORY / 2);
        assert!(!peers.is_alone(), "the peer may be about to return");
        peers.settle(1, now + MEMORY);
        assert!(peers.is_alone());
    }

    #[test]
    fn deaf_time_does_not_make_a_peer_forgotten() {
        let now = Instant::now();
        let peer = NodeId::try_from("b").unwrap();
        let mut peers = Peers::default();
        peers.heard(peer.clone(), Build::own(), now);
        let later = now + 5 * MEMORY;
        peers.recovered(later);
        peers.settle(1, later);
        assert!(!peers.is_alone());
        peers.gone(&peer);
        peers.settle(1, later);
        assert!(peers.is_alone());
    }

    #[test]
    fn what_one_of_the_peers_does_not_know_cannot_be_asked_of_them() {
        let now = Instant::now();
        let [old, new] = ["old", "new"].map(|name| NodeId::try_from(name).unwrap());
        let message = UserMessage::SessionChanged {
            from: new.clone(),
            seq: 1,
            session: SessionId::try_from("s").unwrap(),
        };
        let mut peers = Peers::default();
        peers.heard(new, Build::own(), now);
        peers.heard(NodeId::try_from("first").unwrap(), Build::default(), now);
        assert_eq!(peers.understand(&message), Ok(()));
        let build = Build {
            release: "0.0.9".to_owned(),
            capabilities: vec!["emit".to_owned()],
        };
        peers.heard(old.clone(), build, now);
        let error = peers.understand(&message).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"node old of release 0.0.9 does not know "session_changed"; upgrade it first"#
        );
        // It was upgraded, and says so under its name, or has gone.
        peers.heard(old.clone(), Build::own(), now);
        assert_eq!(peers.understand(&message), Ok(()));
        peers.gone(&old);
        assert_eq!(peers.understand(&message), Ok(()));
    }
}
