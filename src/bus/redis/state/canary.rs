//! The node's canary: it says hello to all nodes, and expects its own hello back.

use std::{
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{Action, HELLO_INTERVAL, News, Phase, State, moves::Moving};
use crate::{bus::NotReady, wire::Sequence};

/// How often the node says hello while it is not ready, so that it recovers quickly.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// The number of hellos lost in a row after which the subscriber connection is replaced.
const LOST_HELLOS: u32 = 3;
/// The number of hellos that may return while a change of subscriptions is overdue or a subscription seems
/// lost, before the connection is replaced. When a Redis that hung goes on, the first hello may return
/// before the confirmation, or before the notice that a channel has moved.
const IDLE_HELLOS: u32 = 2;

/// Why a hello did not return.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::bus::redis) enum HelloError {
    #[error("{0}")]
    Unsent(NotReady),
    #[error("the node does not receive its own hellos")]
    NotReturned,
}

#[derive(Debug, Default)]
pub(super) struct Canary {
    /// The channels for a hello beside that of all nodes: in a Cluster, one on each shard.
    channels: Vec<String>,
    /// The newest of our own hellos that returned.
    newest: Sequence,
    /// The value of `newest` when the current hello began.
    newest_before: Sequence,
    /// How many hellos in a row were sent and did not return.
    lost: u32,
    waiting: Option<Waker>,
}

impl Canary {
    /// Errors from an earlier connection do not count against this one.
    pub(super) fn begin(&mut self) {
        self.lost = 0;
    }

    /// Whether there are shards, between which channels can move.
    pub(super) fn is_of_cluster(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Our own hello returned. A Redis that hung may deliver hellos of an earlier connection after those
    /// of the present one.
    pub(super) fn returned(&mut self, seq: Sequence) -> Option<Waker> {
        self.newest = seq.max(self.newest);
        self.waiting.take()
    }
}

impl State {
    pub(in crate::bus::redis) fn set_canaries(&mut self, channels: Vec<String>) {
        self.canary.channels = channels;
    }

    /// Begins a hello; returns the channels that it must be sent on beside that of all nodes.
    pub(in crate::bus::redis) fn begin_hello(&mut self) -> Vec<String> {
        self.canary.newest_before = self.canary.newest;
        self.canary.channels.clone()
    }

    /// Redis has accepted a message of the hello.
    pub(in crate::bus::redis) fn hello_taken(&mut self) {
        self.mute_until = None;
    }

    /// The message on the channel of one shard returned; `receivers` subscribers received it.
    pub(in crate::bus::redis) fn canary_returned(&mut self, receivers: usize) {
        // A replica also passes a message on, but counts no receivers.
        if receivers == 0 {
            self.actions.push(Action::FindMaster);
        }
    }

    /// Whether the message with this number has returned.
    pub(in crate::bus::redis) fn poll_hello(&mut self, seq: Sequence, waker: &Waker) -> Poll<()> {
        if self.canary.newest >= seq {
            return Poll::Ready(());
        }
        self.canary.waiting = Some(waker.clone());
        Poll::Pending
    }

    /// The whole hello returned; `receivers` nodes received it.
    pub(in crate::bus::redis) fn hello_returned(&mut self, receivers: usize, now: Instant) {
        for node in self.peers.settle(receivers, now) {
            self.actions.push(Action::Report(News::PeerSilent { node }));
        }
        self.canary.lost = 0;
        self.retry_proof();
        if self.phase != Phase::Live {
            return;
        }
        if let Moving::Maybe(hellos) = &mut self.moving {
            *hellos += 1;
            if *hellos >= IDLE_HELLOS {
                self.moving = Moving::No;
                self.condemn(NotReady::SubscriptionLost);
            }
            return;
        }
        let Some(hellos) = self.channels.overdue_hello() else {
            return self.set_trouble(None);
        };
        if hellos >= IDLE_HELLOS {
            self.condemn(NotReady::SubscriptionUnanswered);
        }
    }

    /// The hello did not return.
    ///
    /// # Errors
    /// The subscriber connection must be replaced, for this reason.
    pub(in crate::bus::redis) fn hello_lost(&mut self, error: HelloError) -> Result<(), NotReady> {
        let (was_sent, why) = match error {
            HelloError::Unsent(why) => (false, why),
            HelloError::NotReturned => (true, NotReady::HelloLost),
        };
        let canary = &mut self.canary;
        // A hello that was not sent says nothing about the subscriber connection. One that returned late
        // shows that Redis is slow, and a new connection would not be faster.
        canary.lost = if canary.newest > canary.newest_before {
            0
        } else {
            canary.lost + u32::from(was_sent)
        };
        if canary.lost >= LOST_HELLOS {
            return Err(why);
        }
        self.set_trouble(Some(why));
        Ok(())
    }

    /// How long to wait before the next hello.
    pub(in crate::bus::redis) fn hello_pause(&self) -> Duration {
        match self.trouble {
            Some(_) => DOUBT_INTERVAL,
            None => HELLO_INTERVAL,
        }
    }
}
