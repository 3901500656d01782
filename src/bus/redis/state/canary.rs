//! The node's canary: it says hello to all nodes, and the hello has to return to itself.

use std::{
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{Action, HELLO_INTERVAL, News, Phase, State, moves::Moving};
use crate::{bus::NotReady, wire::Sequence};

/// How often the node says hello while it is not ready: so that it recovers quickly.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// After so many hellos in a row that did not return, the subscriber connection is rebuilt.
const LOST_HELLOS: u32 = 3;
/// After so many hellos that returned while a change of subscriptions is overdue or a subscription seems to be lost,
/// too. Once a Redis that was held up goes on, the first may come before the confirmation; and before the notice
/// that a channel has moved.
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
    /// Where it is said beside the channel of all nodes: in a Cluster, on each shard.
    channels: Vec<String>,
    /// The newest of our own hellos that returned.
    newest: Sequence,
    /// Its value when the current hello began.
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

    /// Whether there are several shards, between which channels can move.
    pub(super) fn is_of_cluster(&self) -> bool {
        !self.channels.is_empty()
    }

    /// Our own hello returned. A Redis that was frozen may deliver those of an earlier connection
    /// after that of the present one.
    pub(super) fn returned(&mut self, seq: Sequence) -> Option<Waker> {
        self.newest = seq.max(self.newest);
        self.waiting.take()
    }
}

impl State {
    pub(in crate::bus::redis) fn set_canaries(&mut self, channels: Vec<String>) {
        self.canary.channels = channels;
    }

    /// Begins a hello; returns the channels, beside that of all nodes, on which it has to be said.
    pub(in crate::bus::redis) fn begin_hello(&mut self) -> Vec<String> {
        self.canary.newest_before = self.canary.newest;
        self.canary.channels.clone()
    }

    /// Redis has taken a message of the hello.
    pub(in crate::bus::redis) fn hello_taken(&mut self) {
        self.mute_until = None;
    }

    /// The message on the channel of one shard returned, and so many subscribers received it.
    pub(in crate::bus::redis) fn canary_returned(&mut self, receivers: usize) {
        // A replica passes a message on, too, but cannot count who has got it.
        if receivers == 0 {
            self.actions.push(Action::FindMaster);
        }
    }

    /// Whether the message of this number has returned.
    pub(in crate::bus::redis) fn poll_hello(&mut self, seq: Sequence, waker: &Waker) -> Poll<()> {
        if self.canary.newest >= seq {
            return Poll::Ready(());
        }
        self.canary.waiting = Some(waker.clone());
        Poll::Pending
    }

    /// The whole hello returned; so many nodes received it.
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
    /// The subscriber connection has to be rebuilt, for this reason.
    pub(in crate::bus::redis) fn hello_lost(&mut self, error: HelloError) -> Result<(), NotReady> {
        let (was_sent, why) = match error {
            HelloError::Unsent(why) => (false, why),
            HelloError::NotReturned => (true, NotReady::HelloLost),
        };
        let canary = &mut self.canary;
        // What was not sent says nothing of the subscriber connection, and what returned late
        // says that it is slow; another would not be faster.
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
