//! The lines of a trace that wait for their reader, who may be slow.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The most bytes that wait; a large payload fits.
const LIMIT: usize = 4 << 20;
/// What a line costs beside its bytes.
const OVERHEAD: usize = 64;

/// Never makes the writer wait: what does not fit is dropped, and counted.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

/// Lines in order, and how many were dropped behind them.
#[derive(Debug, Default)]
pub struct Batch {
    pub lines: Vec<String>,
    pub dropped: u64,
}

impl Queue {
    pub fn push(&self, line: String) {
        let mut waiting = self.waiting();
        let cost = line.len() + OVERHEAD;
        // Once something is dropped, what follows is as well, so that the place of the gap is known.
        if waiting.dropped > 0 || waiting.bytes + cost > LIMIT {
            waiting.dropped += 1;
        } else {
            waiting.bytes += cost;
            waiting.lines.push_back(line);
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Counts lines that were dropped on their way here.
    pub fn drop_more(&self, lines: u64) {
        if lines > 0 {
            self.waiting().dropped += lines;
            self.arrived.notify_one();
        }
    }

    /// Waits for lines, and takes at least one, then more until they have this many bytes.
    /// Cancellation-safe.
    pub async fn take(&self, bytes: usize) -> Batch {
        loop {
            let batch = self.take_now(bytes);
            if !batch.lines.is_empty() || batch.dropped > 0 {
                return batch;
            }
            self.arrived.notified().await;
        }
    }

    pub fn take_now(&self, bytes: usize) -> Batch {
        let mut waiting = self.waiting();
        let mut batch = Batch::default();
        let mut taken = 0;
        while taken < bytes
            && let Some(line) = waiting.lines.pop_front()
        {
            taken += line.len() + OVERHEAD;
            batch.lines.push(line);
        }
        waiting.bytes -= taken;
        if waiting.lines.is_empty() {
            batch.dropped = std::mem::take(&mut waiting.dropped);
        }
        batch
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No operation leaves it half-changed.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_behind_what_did() {
        let queue = Queue::default();
        let line = "x".repeat(1 << 20);
        (0..5).for_each(|_| queue.push(line.clone()));
        queue.push("small".to_owned());
        queue.drop_more(4);
        let first = queue.take_now(1);
        assert_eq!((first.lines.len(), first.dropped), (1, 0));
        let rest = queue.take_now(usize::MAX);
        assert_eq!((rest.lines.len(), rest.dropped), (2, 2 + 1 + 4));
        queue.push("again".to_owned());
        assert_eq!(queue.take_now(usize::MAX).lines, ["again"]);
        assert_eq!(queue.waiting().bytes, 0);
    }
}
