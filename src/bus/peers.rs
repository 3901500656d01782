//! Which other nodes live: those whose hello was heard of late.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::id::NodeId;

/// How long a node that is no longer heard counts as living, while this one hears itself.
const MEMORY: Duration = Duration::from_secs(10);

/// The other nodes on the same Redis. Time in which this node was deaf proves nothing, so nobody
/// is forgotten in it: after an outage the peers are those from before.
#[derive(Debug, Default)]
pub struct Peers {
    last_heard: HashMap<NodeId, Instant>,
    alone: bool,
}

impl Peers {
    /// A node said hello; `true` if it was not known.
    pub fn heard(&mut self, node: NodeId, now: Instant) -> bool {
        self.alone = false;
        self.last_heard.insert(node, now).is_none()
    }

    /// A node said that it goes.
    pub fn gone(&mut self, node: &NodeId) {
        self.last_heard.remove(node);
    }

    /// This node was deaf until now.
    pub fn recovered(&mut self, now: Instant) {
        self.last_heard.values_mut().for_each(|last| *last = now);
    }

    /// This node heard its own hello, which so many nodes received.
    pub fn settle(&mut self, receivers: usize, now: Instant) {
        self.last_heard
            .retain(|_, last| now.duration_since(*last) < MEMORY);
        self.alone = receivers <= 1 && self.last_heard.is_empty();
    }

    /// Whether there was certainly no other node when this one last heard itself.
    pub fn is_alone(&self) -> bool {
        self.alone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(peers.heard(peer.clone(), now));
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
        peers.heard(peer.clone(), now);
        let later = now + 5 * MEMORY;
        peers.recovered(later);
        peers.settle(1, later);
        assert!(!peers.is_alone());
        peers.gone(&peer);
        peers.settle(1, later);
        assert!(peers.is_alone());
    }
}
