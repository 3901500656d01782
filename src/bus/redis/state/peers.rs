//! Which other nodes are alive: those that have said hello lately.

use std::time::{Duration, Instant};

use thiserror::Error;

use crate::{
    id::{IdMap, NodeId},
    wire::{Build, UserMessage},
};

/// How long a silent node counts as alive while hellos of this one return.
const MEMORY: Duration = Duration::from_secs(10);

/// The other nodes on the same Redis. Silence while this node was not subscribed proves nothing, so after an
/// outage the peers are those from before.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: IdMap<NodeId, Peer>,
    alone: bool,
}

#[derive(Debug)]
struct Peer {
    last_hello: Instant,
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
    pub(super) fn said_hello(&mut self, node: NodeId, build: Build, now: Instant) -> bool {
        self.alone = false;
        let last_hello = now;
        self.known
            .insert(node, Peer { last_hello, build })
            .is_none()
    }

    /// # Errors
    /// One of the nodes cannot act on the message.
    pub(super) fn understand(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        let kind = message.kind();
        for (node, Peer { build, .. }) in &self.known {
            if !build.can(kind) {
                return Err(PeerTooOld {
                    node: node.clone(),
                    release: build.release.clone(),
                    kind,
                });
            }
        }
        Ok(())
    }

    /// The known nodes, and what they run.
    pub(super) fn builds(&self) -> impl Iterator<Item = (&NodeId, &Build)> {
        self.known.iter().map(|(node, peer)| (node, &peer.build))
    }

    /// A node has left; `true` if it was known.
    pub(super) fn gone(&mut self, node: &NodeId) -> bool {
        self.known.remove(node).is_some()
    }

    /// This node was not subscribed until now, so silence counts from here.
    pub(super) fn recovered(&mut self, now: Instant) {
        self.known
            .values_mut()
            .for_each(|peer| peer.last_hello = now);
    }

    /// The hello of this node returned; `receivers` nodes received it. Forgets the nodes that have been silent
    /// for too long, and returns them.
    pub(super) fn settle(&mut self, receivers: usize, now: Instant) -> Vec<NodeId> {
        let is_silent = |_: &NodeId, peer: &mut Peer| now.duration_since(peer.last_hello) >= MEMORY;
        let silent = self.known.extract_if(is_silent);
        let silent = silent.map(|(node, _)| node).collect();
        self.alone = receivers <= 1 && self.known.is_empty();
        silent
    }

    /// The last hello may not have reached all nodes.
    pub(super) fn doubt_alone(&mut self) {
        self.alone = false;
    }

    /// Whether there was certainly no other node when its last hello returned.
    pub(super) fn is_alone(&self) -> bool {
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
        assert!(!peers.is_alone(), "another node received the hello");
        peers.settle(1, now);
        assert!(peers.said_hello(peer.clone(), Build::own(), now));
        assert!(!peers.is_alone());
        peers.settle(1, now + MEMORY / 2);
        assert!(!peers.is_alone(), "the peer may be about to return");
        peers.settle(1, now + MEMORY);
        assert!(peers.is_alone());
    }

    #[test]
    fn no_peer_is_forgotten_because_of_an_outage() {
        let now = Instant::now();
        let peer = NodeId::try_from("b").unwrap();
        let mut peers = Peers::default();
        peers.said_hello(peer.clone(), Build::own(), now);
        let later = now + 5 * MEMORY;
        peers.recovered(later);
        peers.settle(1, later);
        assert!(!peers.is_alone());
        peers.gone(&peer);
        peers.settle(1, later);
        assert!(peers.is_alone());
    }

    #[test]
    fn a_message_that_one_of_the_peers_does_not_know_is_refused() {
        let now = Instant::now();
        let [old, new] = ["old", "new"].map(|name| NodeId::try_from(name).unwrap());
        let message = UserMessage::SessionChanged {
            from: new.clone(),
            seq: 1,
            session: SessionId::try_from("s").unwrap(),
        };
        let mut peers = Peers::default();
        peers.said_hello(new, Build::own(), now);
        peers.said_hello(NodeId::try_from("first").unwrap(), Build::default(), now);
        assert_eq!(peers.understand(&message), Ok(()));
        let build = Build {
            release: "0.0.9".to_owned(),
            capabilities: vec!["emit".to_owned()],
        };
        peers.said_hello(old.clone(), build, now);
        let error = peers.understand(&message).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"node old of release 0.0.9 does not know "session_changed"; upgrade it first"#
        );
        // It was upgraded, and says so under its name, or has gone.
        peers.said_hello(old.clone(), Build::own(), now);
        assert_eq!(peers.understand(&message), Ok(()));
        peers.gone(&old);
        assert_eq!(peers.understand(&message), Ok(()));
    }
}
