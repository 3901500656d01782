//! Messages that this node has sent and whose answers it awaits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::wire::Sequence;

#[derive(Debug, Default)]
pub struct Pending {
    last: AtomicU64,
    tallies: Mutex<HashMap<Sequence, Counted>>,
}

#[derive(Debug, Default, Clone)]
struct Counted {
    nodes: usize,
    count: u64,
    more: Arc<Notify>,
}

impl Pending {
    pub fn next(&self) -> Sequence {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts the answers to a message until dropped.
    pub fn tally(self: &Arc<Self>) -> Tally {
        let seq = self.next();
        let more = Arc::new(Notify::new());
        self.tallies().insert(
            seq,
            Counted {
                more: more.clone(),
                ..Counted::default()
            },
        );
        Tally {
            pending: self.clone(),
            seq,
            more,
        }
    }

    /// A node has answered.
    pub fn answered(&self, seq: Sequence, count: u64) {
        if let Some(counted) = self.tallies().get_mut(&seq) {
            counted.nodes += 1;
            counted.count += count;
            counted.more.notify_one();
        }
    }

    fn tallies(&self) -> MutexGuard<'_, HashMap<Sequence, Counted>> {
        // No operation above leaves the map half-changed, so a poisoned lock is as good as new.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answers to one message.
#[derive(Debug)]
pub struct Tally {
    pending: Arc<Pending>,
    seq: Sequence,
    more: Arc<Notify>,
}

impl Tally {
    /// The number that the message must carry.
    pub fn seq(&self) -> Sequence {
        self.seq
    }

    /// Resolves when so many nodes have answered. Cancellation-safe.
    pub async fn complete(&self, nodes: usize) {
        while self.counted().0 < nodes {
            self.more.notified().await;
        }
    }

    /// How many sockets the nodes have disconnected that answered so far.
    pub fn count(&self) -> u64 {
        self.counted().1
    }

    fn counted(&self) -> (usize, u64) {
        let tallies = self.pending.tallies();
        tallies
            .get(&self.seq)
            .map_or((0, 0), |counted| (counted.nodes, counted.count))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.pending.tallies().remove(&self.seq);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_tally_adds_up_the_answers_of_its_nodes() {
        let pending = Arc::new(Pending::default());
        let tally = pending.tally();
        pending.answered(tally.seq(), 2);
        assert!(tally.complete(2).now_or_never().is_none());
        pending.answered(tally.seq(), 3);
        assert!(tally.complete(2).now_or_never().is_some());
        assert_eq!(tally.count(), 5);
        let seq = tally.seq();
        drop(tally);
        pending.answered(seq, 1);
        assert!(pending.tallies().is_empty());
    }
}
