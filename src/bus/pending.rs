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
const REMEMBERED: usize = 64 * 1024;

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

    /// Awaits the return of the message of this number.
    pub fn expect(self: &Arc<Self>, seq: Sequence) -> Echo {
        let (sender, arrived) = oneshot::channel();
        self.echoes().awaited.insert(seq, sender);
        Echo {
            pending: self.clone(),
            seq,
            arrived,
        }
    }

    /// The event of this number is delivered without the bus, and ignored should it come back.
    pub fn give_up(&self, seq: Sequence) {
        self.echoes().give_up(seq);
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

impl Echoes {
    fn give_up(&mut self, seq: Sequence) {
        self.given_up.insert(seq);
        self.order.push_back(seq);
        if self.order.len() > REMEMBERED {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.given_up.remove(&oldest));
        }
    }
}

/// The return of one event.
#[derive(Debug)]
pub struct Echo {
    pending: Arc<Pending>,
    seq: Sequence,
    arrived: oneshot::Receiver<()>,
}

impl Echo {
    /// Resolves when the event has come back. Cancellation-safe.
    pub async fn arrived(&mut self) {
        (&mut self.arrived).await.ok();
    }

    /// From now on the event counts as delivered without the bus; `false` if it has come back.
    pub fn give_up(self) -> bool {
        let mut echoes = self.pending.echoes();
        let awaited = echoes.awaited.remove(&self.seq).is_some();
        if awaited {
            echoes.give_up(self.seq);
        }
        awaited
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.pending.echoes().awaited.remove(&self.seq);
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
        let pending = Arc::new(Pending::default());
        let (timely, late, foreign) = (pending.next(), pending.next(), pending.next());
        let mut echo = pending.expect(timely);
        assert!(pending.echoed(timely));
        assert!(echo.arrived().now_or_never().is_some());
        assert!(!echo.give_up());

        assert!(pending.expect(late).give_up());
        assert!(!pending.echoed(late));

        assert!(pending.echoed(foreign));
    }

    #[test]
    fn an_event_whose_sender_left_is_still_delivered() {
        let pending = Arc::new(Pending::default());
        drop(pending.expect(1));
        assert!(pending.echoes().awaited.is_empty());
        assert!(pending.echoed(1));
    }

    #[test]
    fn what_was_given_up_is_remembered_in_bounds() {
        let pending = Arc::new(Pending::default());
        for _ in 0..REMEMBERED + 10 {
            pending.give_up(pending.next());
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
