//! Messages that arrive over the subscriber connection.

use std::time::Instant;

use super::{Action, News, Reply, State};
use crate::{
    id::UserId,
    wire::{NodeMessage, Sequence, UserMessage},
};

impl State {
    /// A message on a user's channel arrived, unless it is an event that [`Self::echo`] knows.
    pub(in crate::bus::redis) fn received(
        &mut self,
        generation: u64,
        user: &UserId,
        message: UserMessage,
    ) {
        if generation != self.generation {
            return;
        }
        let Self {
            lanes, deliveries, ..
        } = self;
        lanes.received(user, message, |delivery| deliveries.push(delivery));
        self.report_dropped();
    }

    /// An event of this node is back. Returns whether that is all; if not, the caller must decode it and treat
    /// it as [received](Self::received) from another node.
    ///
    /// An event that was not awaited, as its user had no socket here yet, is dropped if a later one was not
    /// waited for: sockets that have joined since need not get it, and must not get it behind that one.
    pub(in crate::bus::redis) fn echo(
        &mut self,
        generation: u64,
        user: &str,
        seq: Sequence,
    ) -> bool {
        if generation != self.generation {
            return true;
        }
        let Self {
            lanes,
            deliveries,
            emits,
            ..
        } = self;
        let emitted = emits.user(seq).filter(|emitted| emitted.as_str() == user);
        let is_known = lanes.echo(emitted, seq, |delivery| deliveries.push(delivery));
        self.report_dropped();
        is_known || self.lanes.is_overtaken(user, seq)
    }

    fn report_dropped(&mut self) {
        let dropped = self.lanes.take_dropped();
        if dropped > 0 {
            self.actions.push(Action::Report(News::Dropped(dropped)));
        }
    }

    /// A message on the channel of this node, or of all.
    pub(in crate::bus::redis) fn node_message(
        &mut self,
        generation: u64,
        message: NodeMessage,
        now: Instant,
    ) {
        if generation != self.generation {
            return;
        }
        match message {
            NodeMessage::Hello { node, seq, .. } if node == self.node => {
                let waiting = self.canary.returned(seq);
                self.actions.extend(waiting.map(Action::Wake));
            }
            NodeMessage::Hello { node, build, .. } => {
                let release = build.release.clone();
                if self.peers.said_hello(node.clone(), build, now) {
                    let news = News::PeerCame { node, release };
                    self.actions.push(Action::Report(news));
                    // So that a newcomer knows about this node at once, and not after the next interval.
                    self.actions.push(Action::SayHello);
                }
            }
            NodeMessage::Bye { node } if node == self.node => {}
            NodeMessage::Bye { node } => {
                if self.peers.gone(&node) {
                    self.actions.push(Action::Report(News::PeerLeft { node }));
                }
            }
            NodeMessage::Disconnected { seq, count, from } => {
                self.answered(seq, from, Reply::Disconnected(count));
            }
            NodeMessage::UserSockets { from, seq, report } => {
                self.answered(seq, Some(from), Reply::Sockets(report));
            }
            NodeMessage::Status { from, seq, status } => {
                self.answered(seq, Some(from), Reply::Status(status));
            }
            NodeMessage::Tracing { from, seq, full } => {
                self.answered(seq, Some(from), Reply::Tracing { full });
            }
            // These go to the node itself.
            NodeMessage::AskUser { .. }
            | NodeMessage::AskStatus { .. }
            | NodeMessage::AskTrace { .. }
            | NodeMessage::Traced { .. } => {}
        }
    }
}
