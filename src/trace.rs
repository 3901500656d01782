//! What happens to individual users, live, for operators who trace them; nothing is recorded about other
//! users.

mod queue;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::SystemTime,
};

use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;

pub use self::queue::{Batch, Queue};
use crate::{
    id::{NodeId, UserId},
    metrics::TRACES,
    wire::{Event, Step, TraceLease},
};

/// The most traces that callers of this node run at once.
const OWN: usize = 8;
/// The most that run on this node, including those for callers of other nodes.
const ALL: usize = 64;

/// All traces that run on this node.
#[derive(Debug)]
pub struct Traces {
    node: NodeId,
    /// The number of traces; while it is 0, nothing else is looked at.
    count: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    last: u64,
    traces: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    user: UserId,
    payloads: bool,
    /// When it ends unless it is renewed; `None` for a caller of this node.
    until: Option<Instant>,
    queue: Arc<Queue>,
}

/// The caller's node, and that node's number of the trace.
type Key = (NodeId, u64);

/// A trace on this node, until it is dropped.
#[derive(Debug)]
pub struct Trace {
    traces: Arc<Traces>,
    key: Key,
    pub user: UserId,
    pub payloads: bool,
    pub queue: Arc<Queue>,
}

/// The outcome of another node's request to trace a user here.
#[derive(Debug)]
pub enum Leased {
    Begun(Trace),
    Renewed,
    /// There are too many.
    Full,
}

/// Too many traces are running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{OWN} traces for callers of this node are already running")]
pub struct TooManyTraces;

/// One line of a trace.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    node: &'a NodeId,
    #[serde(flatten)]
    step: &'a Step<'a>,
}

impl Traces {
    pub fn new(node: NodeId) -> Arc<Self> {
        Arc::new(Self {
            node,
            count: AtomicUsize::new(0),
            list: Mutex::default(),
        })
    }

    /// Whether any user is traced.
    pub fn is_active(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    /// Records what happens to a user, if that user is traced. May be called under any lock.
    pub fn record<'a>(&self, user: &UserId, step: impl FnOnce() -> Step<'a>) {
        if !self.is_active() {
            return;
        }
        let readers = self.readers(user);
        if readers.is_empty() {
            return;
        }
        let line = self.line(&step());
        for (queue, _) in readers {
            queue.push(line.clone());
        }
    }

    /// Records an event, with its payload for those who have asked for it.
    pub fn record_event(&self, user: &UserId, event: &Event, sockets: usize) {
        if !self.is_active() {
            return;
        }
        for (queue, payloads) in self.readers(user) {
            queue.push(self.line(&Step::event(event, sockets, payloads)));
        }
    }

    /// Begins a trace for a caller of this node.
    ///
    /// # Errors
    /// There are too many.
    pub fn begin(self: &Arc<Self>, user: &UserId, payloads: bool) -> Result<Trace, TooManyTraces> {
        let mut list = self.list();
        let own = list.traces.iter().filter(|entry| entry.until.is_none());
        if own.count() >= OWN || list.traces.len() >= ALL {
            return Err(TooManyTraces);
        }
        list.last += 1;
        let key = (self.node.clone(), list.last);
        Ok(self.add(list, key, user, payloads, None))
    }

    /// Begins or renews a trace for another node's caller.
    pub fn lease(self: &Arc<Self>, from: &NodeId, lease: &TraceLease, until: Instant) -> Leased {
        let TraceLease {
            number,
            user,
            payloads,
            ..
        } = lease;
        let mut list = self.list();
        let is_same = |entry: &&mut Entry| entry.key == (from.clone(), *number);
        if let Some(entry) = list.traces.iter_mut().find(is_same) {
            entry.until = Some(until);
            return Leased::Renewed;
        }
        if list.traces.len() >= ALL {
            return Leased::Full;
        }
        let key = (from.clone(), *number);
        Leased::Begun(self.add(list, key, user, *payloads, Some(until)))
    }

    /// Takes lines that another node has recorded for a caller of this one.
    pub fn arrived(&self, number: u64, batch: Batch) {
        let list = self.list();
        let is_same = |entry: &&Entry| entry.until.is_none() && entry.key.1 == number;
        if let Some(entry) = list.traces.iter().find(is_same) {
            batch
                .lines
                .into_iter()
                .for_each(|line| entry.queue.push(line));
            entry.queue.drop_more(batch.dropped);
        }
    }

    /// The text of a line, with the current time.
    pub fn line(&self, step: &Step<'_>) -> String {
        let line = Line {
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            node: &self.node,
            step,
        };
        let line = serde_json::to_string(&line).unwrap_or_default();
        // A payload may have line breaks, but only between its tokens.
        line.replace(['\n', '\r'], " ")
    }

    /// Who traces the user, and whether with payloads. Lines are written without the lock, which other
    /// users need too.
    fn readers(&self, user: &UserId) -> Vec<(Arc<Queue>, bool)> {
        let list = self.list();
        let of_user = list.traces.iter().filter(|entry| entry.user == *user);
        of_user
            .map(|entry| (entry.queue.clone(), entry.payloads))
            .collect()
    }

    fn add(
        self: &Arc<Self>,
        mut list: MutexGuard<'_, List>,
        key: Key,
        user: &UserId,
        payloads: bool,
        until: Option<Instant>,
    ) -> Trace {
        let queue = Arc::<Queue>::default();
        list.traces.push(Entry {
            key: key.clone(),
            user: user.clone(),
            payloads,
            until,
            queue: queue.clone(),
        });
        self.counted(&list);
        Trace {
            traces: self.clone(),
            key,
            user: user.clone(),
            payloads,
            queue,
        }
    }

    fn counted(&self, list: &List) {
        self.count.store(list.traces.len(), Relaxed);
        TRACES.set(list.traces.len() as i64);
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // No operation leaves the list half-changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    /// The number that other nodes know it by.
    pub fn number(&self) -> u64 {
        self.key.1
    }

    /// When it ends unless it is renewed.
    pub fn until(&self) -> Option<Instant> {
        let list = self.traces.list();
        let entry = list.traces.iter().find(|entry| entry.key == self.key);
        entry.and_then(|entry| entry.until)
    }

    pub fn traces(&self) -> &Traces {
        &self.traces
    }

    /// Adds a line to this trace only.
    pub fn say(&self, step: &Step<'_>) {
        self.queue.push(self.traces.line(step));
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let mut list = self.traces.list();
        list.traces.retain(|entry| entry.key != self.key);
        self.traces.counted(&list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventName;

    fn user(name: &str) -> UserId {
        UserId::try_from(name).unwrap()
    }

    fn traces() -> Arc<Traces> {
        Traces::new(NodeId::try_from("n").unwrap())
    }

    fn lease(number: u64) -> TraceLease {
        TraceLease {
            number,
            user: user("u"),
            payloads: false,
            lease_ms: 1,
        }
    }

    fn left(reason: &str) -> Step<'_> {
        Step::Dismissed {
            event: "auth:logout",
            reason,
        }
    }

    #[test]
    fn only_what_happens_to_the_traced_user_is_recorded() {
        let traces = traces();
        traces.record(&user("u"), || unreachable!("nobody is traced"));
        let one = traces.begin(&user("u"), false).unwrap();
        let other = traces.begin(&user("u"), false).unwrap();
        traces.record(&user("v"), || unreachable!("nobody traces this one"));
        traces.record(&user("u"), || left("A"));
        for trace in [&one, &other] {
            let lines = trace.queue.take_now(usize::MAX).lines;
            let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
            assert_eq!(
                (lines.len(), &line["what"], &line["node"]),
                (1, &"dismissed".into(), &"n".into())
            );
            assert_eq!(line["reason"], "A");
        }
        drop((one, other));
        assert!(!traces.is_active());
    }

    #[test]
    fn payloads_are_only_for_those_who_ask_and_stay_on_one_line() {
        let traces = traces();
        let [without, with] =
            [false, true].map(|payloads| traces.begin(&user("u"), payloads).unwrap());
        let event = Event::new(
            EventName::try_from("a").unwrap(),
            "{\n\"n\":\t9007199254740993}",
        );
        traces.record_event(&user("u"), &event, 1);
        let line = |trace: &Trace| trace.queue.take_now(usize::MAX).lines.remove(0);
        assert!(!line(&without).contains("payload"));
        let line = line(&with);
        assert!(
            line.ends_with("\"payload\":{ \"n\":\t9007199254740993}}"),
            "{line}"
        );
    }

    #[test]
    fn traces_are_bounded_and_a_lease_is_renewed() {
        let (traces, now) = (traces(), Instant::now());
        let own: Vec<_> = (0..OWN)
            .map(|_| traces.begin(&user("u"), false).unwrap())
            .collect();
        assert_eq!(traces.begin(&user("u"), false).unwrap_err(), TooManyTraces);
        let from = NodeId::try_from("other").unwrap();
        let mut leased = Vec::new();
        for number in 0..(ALL - OWN) as u64 {
            match traces.lease(&from, &lease(number), now) {
                Leased::Begun(trace) => leased.push(trace),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(traces.lease(&from, &lease(99), now), Leased::Full));
        let later = now + std::time::Duration::from_secs(1);
        assert!(matches!(
            traces.lease(&from, &lease(0), later),
            Leased::Renewed
        ));
        assert_eq!((leased[0].until(), own[0].until()), (Some(later), None));
        // What arrives is for this node's own traces, whatever numbers others have.
        let lines = vec!["x".to_owned()];
        traces.arrived(own[0].number(), Batch { lines, dropped: 2 });
        let batch = own[0].queue.take_now(usize::MAX);
        assert_eq!((batch.lines.len(), batch.dropped), (1, 2));
    }
}
