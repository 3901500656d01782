//! Messages that this node has sent and whose return or answers it awaits.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, oneshot};

use crate::wire::Sequence;

/// How many events that were delivered without the bus are remembered, should they come back.
const REMEMBERED: usize = 16 * 1024;

#[derive(Debug, Default)]
pub struct Pending {
    last: AtomicU64,
    echoes: Mutex<Echoes>,
    tallies: Mutex<HashMap<Sequence, Counted>>,
}

#[derive(Debug, Default)]
struct Echoes {
    awaited: HashMap<Sequence, oneshot::Sender<()>>,
    given_up: HashSet<Sequence>,
    /// The order of `given_up`, oldest first.
    order: VecDeque<Sequence>,
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

    /// Resolves when the message of this number comes back.
    pub fn expect_echo(&self, seq: Sequence) -> oneshot::Receiver<()> {
        let (sender, echo) = oneshot::channel();
        self.echoes().awaited.insert(seq, sender);
        echo
    }

    /// Our own event has come back; `false` if it was given up and delivered meanwhile.
    pub fn echoed(&self, seq: Sequence) -> bool {
        let mut echoes = self.echoes();
        if let Some(awaited) = echoes.awaited.remove(&seq) {
            awaited.send(()).ok();
            return true;
        }
        !echoes.given_up.remove(&seq)
    }

    /// From now on the event counts as delivered without the bus; `false` if it has come back.
    pub fn give_up(&self, seq: Sequence, was_expected: bool) -> bool {
        let mut echoes = self.echoes();
        if was_expected && echoes.awaited.remove(&seq).is_none() {
            return false;
        }
        echoes.given_up.insert(seq);
        echoes.order.push_back(seq);
        if echoes.order.len() > REMEMBERED {
            let oldest = echoes.order.pop_front();
            oldest.map(|oldest| echoes.given_up.remove(&oldest));
        }
        true
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

    fn echoes(&self) -> MutexGuard<'_, Echoes> {
        // No operation above leaves the state half-changed, so a poisoned lock is as good as new.
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tallies(&self) -> MutexGuard<'_, HashMap<Sequence, Counted>> {
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
    fn an_event_is_delivered_once_whether_it_comes_back_in_time_or_late() {
        let pending = Pending::default();
        let (timely, late, foreign) = (pending.next(), pending.next(), pending.next());
        let echo = pending.expect_echo(timely);
        assert!(pending.echoed(timely));
        assert!(echo.now_or_never().is_some_and(|echo| echo.is_ok()));
        assert!(!pending.give_up(timely, true));

        let _echo = pending.expect_echo(late);
        assert!(pending.give_up(late, true));
        assert!(!pending.echoed(late));

        assert!(pending.echoed(foreign));
    }

    #[test]
    fn what_was_given_up_is_remembered_in_bounds() {
        let pending = Pending::default();
        for _ in 0..REMEMBERED + 10 {
            assert!(pending.give_up(pending.next(), false));
        }
        assert_eq!(pending.echoes().given_up.len(), REMEMBERED);
    }

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
