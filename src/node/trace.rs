//! Traces of users over all nodes.
//!
//! The caller's node asks the others repeatedly to take part, each time for a few seconds only. So no
//! part of a trace outlives its caller or that node, and a node that starts later takes part too.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{Node, logout::ANSWER_LIMIT};
use crate::{
    bus::{
        self,
        redis::{PeerAnswer, Reply},
    },
    id::{IdMap, NodeId, UserId},
    trace::{Batch, Leased, TooManyTraces, Trace, Traces},
    wire::{Answered, Inquiry, NodeMessage, Step, TraceLease},
};

/// How often the other nodes are asked to go on.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long they go on without being asked.
const LEASE: Duration = Duration::from_secs(4);
/// Bytes in one message or chunk, unless one line has more.
const CHUNK: usize = 256 << 10;
/// A caller that reads nothing for this long has gone.
const STALL: Duration = Duration::from_secs(60);
/// How long the last line may take.
const LAST_LINE: Duration = Duration::from_secs(1);

impl Node {
    pub fn traces(&self) -> &Arc<Traces> {
        &self.traces
    }

    /// Begins to trace a user; [`Self::run_trace`] must follow.
    ///
    /// # Errors
    /// There are too many traces.
    pub fn begin_trace(&self, user: &UserId, payloads: bool) -> Result<Trace, TooManyTraces> {
        let trace = self.traces.begin(user, payloads)?;
        trace.say(&Step::Began { user });
        Ok(trace)
    }

    /// Sends the lines of all nodes to the caller, until the caller has gone or the node drains.
    pub async fn run_trace(self: Arc<Self>, trace: Trace, caller: mpsc::Sender<Bytes>) {
        let running = async {
            tokio::select! {
                () = forward(&trace, &caller) => {}
                () = self.renew_trace(&trace) => {}
                () = caller.closed() => {}
            }
        };
        if self.lifecycle.until_drained(pin!(running)).await.is_none() {
            trace.say(&Step::Over { why: "draining" });
            timeout(LAST_LINE, async {
                let batch = trace.queue.take_now(usize::MAX);
                caller.send(chunk(&self.traces, batch)).await.ok();
            })
            .await
            .ok();
        }
    }

    /// Never returns.
    async fn renew_trace(&self, trace: &Trace) {
        let mut known: IdMap<NodeId, &str> = IdMap::default();
        let mut trouble: Option<bus::NotReady> = None;
        let mut tick = interval(RENEWAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let now = self.bus.check().err();
            if now.is_some() != trouble.is_some() {
                trace.say(&Step::Bus {
                    ready: now.is_none(),
                    why: now.as_ref().map(ToString::to_string),
                });
            }
            trouble = now;
            let lease = TraceLease {
                number: trace.number(),
                user: trace.user.clone(),
                payloads: trace.payloads,
                lease_ms: LEASE.as_millis() as u64,
            };
            let answers = self
                .bus
                .ask_peers(Inquiry::Trace(lease), ANSWER_LIMIT)
                .await;
            let label = |answer: PeerAnswer| (answer.node, label(&answer.reply));
            let now: IdMap<NodeId, &str> = answers.into_iter().map(label).collect();
            for (peer, traced) in &now {
                if known.get(peer) != Some(traced) {
                    trace.say(&Step::Peer { peer, traced });
                }
            }
            for peer in known.keys().filter(|peer| !now.contains_key(*peer)) {
                trace.say(&Step::Peer {
                    peer,
                    traced: "gone",
                });
            }
            known = now;
            // An empty line shows that the trace goes on, and a proxy that the connection is not idle.
            trace.queue.push(String::new());
        }
    }

    /// Takes part in a trace of another node's caller; `false` if too many run.
    pub(super) fn take_part(self: &Arc<Self>, from: NodeId, lease: &TraceLease) -> bool {
        let until = Instant::now() + Duration::from_millis(lease.lease_ms).min(2 * LEASE);
        match self.traces.lease(&from, lease, until) {
            Leased::Begun(trace) => {
                let node = self.clone();
                self.lifecycle
                    .spawn(async move { node.send_trace(&from, &trace).await });
                true
            }
            Leased::Renewed => true,
            Leased::Full => false,
        }
    }

    /// Sends what happens here to the caller's node, until that no longer asks.
    async fn send_trace(&self, to: &NodeId, trace: &Trace) {
        while let Some(until) = trace.until().filter(|until| *until > Instant::now()) {
            tokio::select! {
                Batch { lines, dropped } = trace.queue.take(CHUNK) => {
                    let number = trace.number();
                    let message = NodeMessage::Traced { number, lines, dropped };
                    self.bus.send(to, &message).await;
                }
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Returns once the caller has gone.
async fn forward(trace: &Trace, caller: &mpsc::Sender<Bytes>) {
    loop {
        let batch = trace.queue.take(CHUNK).await;
        let chunk = chunk(trace.traces(), batch);
        match timeout(STALL, caller.send(chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

fn chunk(traces: &Traces, batch: Batch) -> Bytes {
    let Batch { mut lines, dropped } = batch;
    if dropped > 0 {
        lines.push(traces.line(&Step::Dropped { lines: dropped }));
    }
    lines.push(String::new());
    lines.join("\n").into()
}

/// Whether a node takes part, or why not.
fn label(reply: &Result<Reply, Answered>) -> &'static str {
    match reply {
        Ok(Reply::Tracing { full: false }) => "yes",
        Ok(Reply::Tracing { full: true }) => "too_many_traces",
        Err(Answered::Unreachable) => "unreachable",
        Err(Answered::TooOld) => "too_old",
        // No other reply has the number of this question.
        Ok(_) | Err(Answered::Yes | Answered::TimedOut) => "timed_out",
    }
}
