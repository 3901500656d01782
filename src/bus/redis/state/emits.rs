//! The events that this node is sending: how far each one is, and what its caller is told.

mod late;
mod role;

use std::{
    collections::{HashMap, VecDeque},
    task::{Poll, Waker},
    time::Instant,
};

use super::{Action, CommandLink, ECHO_LIMIT, Looks, Phase, State};
use crate::{
    bus::{BusUnavailable, NotReady, Reach},
    id::{IdHasher, UserId},
    wire::{Event, Sequence, UserMessage},
};

/// What the caller of an emit is told.
type Outcome = Result<Reach, BusUnavailable>;

/// How an emit begins.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bus::redis) enum Begun {
    /// Publish the event under this number, call [`State::published`], and wait for the outcome.
    Publish {
        seq: Sequence,
        /// In the way that a replica refuses.
        to_master: bool,
    },
    /// Wait for the outcome: the event is delivered without the bus.
    Wait(Sequence),
    Done(Outcome),
}

/// How a PUBLISH ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bus::redis) enum Published {
    Received {
        nodes: usize,
        /// Whether the server has proved to be a master.
        from_master: bool,
    },
    /// The server is a replica, and refused it.
    Misplaced,
    /// Redis, or the connection, failed with this explanation.
    Failed(String),
    Unanswered,
}

/// The emits under way.
#[derive(Debug, Default)]
pub(super) struct Emits {
    by_seq: HashMap<Sequence, Emit, IdHasher>,
    /// When events become late, soonest first. Those that are done are removed lazily.
    deadlines: VecDeque<(Instant, Sequence)>,
    /// Events that nobody received, and that wait for the next check of the server's role.
    unproven: Vec<Sequence>,
    /// Those that the check under way is for.
    asked: Vec<Sequence>,
}

#[derive(Debug)]
struct Emit {
    user: UserId,
    /// The number of the command connection that it goes over.
    link: u64,
    began: Instant,
    /// The value of [`State::follows`] at that time.
    follows: u64,
    way: Way,
    publication: Publication,
    /// Set when it is delivered here: whether it came over the bus.
    over_bus: Option<bool>,
    outcome: Option<Outcome>,
    waiting: Option<Waker>,
    /// The caller has given up, perhaps before the PUBLISH was sent.
    is_abandoned: bool,
}

/// How an event reaches the sockets of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It is awaited over the bus.
    Bus,
    /// The node is not subscribed to the user's channel, and delivers it without the bus.
    Direct,
    /// The user has no sockets here that have to get it. Whether the node was ready.
    Elsewhere { was_ready: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Publication {
    Sent,
    Received(usize),
    /// Nobody received it, and it is not known yet whether the server is a master.
    Unproven,
    /// It went to a replica: there may be nodes at its master.
    Misplaced,
    /// It was not sent, refused or not answered. Some nodes may have it.
    Failed,
}

impl Emits {
    /// The user that the event with this number goes to.
    pub(super) fn user(&self, seq: Sequence) -> Option<&UserId> {
        self.by_seq.get(&seq).map(|emit| &emit.user)
    }
}

impl State {
    /// Begins to send an event that is late after `due`.
    pub(in crate::bus::redis) fn emit(
        &mut self,
        user: &UserId,
        event: &Event,
        due: Instant,
        now: Instant,
    ) -> Begun {
        let CommandLink {
            number,
            is_connected,
            is_demoted,
        } = self.command;
        if !is_connected {
            self.doubt(NotReady::NotConnected);
        }
        let is_usable = is_connected && !is_demoted && !self.is_mute(now);
        let is_wanted = self.channels.is_wanted(user);
        if !is_usable && !is_wanted {
            return Begun::Done(self.unsent(user));
        }
        let seq = self.next();
        let message = || UserMessage::Emit {
            from: self.node.clone(),
            seq,
            event: event.clone(),
        };
        let way = if is_usable && self.channels.is_subscribed(user) {
            self.lanes.send(user, seq, message());
            Way::Bus
        } else if is_wanted && (!is_usable || self.check().is_err()) {
            let message = message();
            self.lanes.deliver_late(user, seq, message, is_usable, now);
            self.actions.push(Action::TendLate);
            Way::Direct
        } else {
            let was_ready = self.check().is_ok();
            Way::Elsewhere { was_ready }
        };
        let publication = if is_usable {
            Publication::Sent
        } else {
            Publication::Failed
        };
        let emit = Emit {
            user: user.clone(),
            link: number,
            began: now,
            follows: self.follows,
            way,
            publication,
            over_bus: None,
            outcome: None,
            waiting: None,
            is_abandoned: false,
        };
        self.emits.by_seq.insert(seq, emit);
        if !is_usable {
            return Begun::Wait(seq);
        }
        let deadlines = &mut self.emits.deadlines;
        let index = deadlines.partition_point(|(other, _)| *other <= due);
        deadlines.insert(index, (due, seq));
        if index == 0 {
            self.actions.push(Action::TendLate);
        }
        let to_master = self.proof.is_due(now);
        Begun::Publish { seq, to_master }
    }

    /// The PUBLISH of an event has ended.
    pub(in crate::bus::redis) fn published(
        &mut self,
        seq: Sequence,
        published: Published,
        now: Instant,
    ) {
        let Some(emit) = self.emits.by_seq.get_mut(&seq) else {
            return;
        };
        // The caller polls the outcome itself after this.
        emit.waiting = None;
        match published {
            Published::Received {
                from_master: true, ..
            } => self.proof.came(emit.link, emit.began),
            // The script may be gone.
            Published::Failed(_) if self.proof.is_doubted(emit.link) => {
                self.actions.push(Action::CheckRole);
            }
            _ => {}
        }
        // An answer after the deadline changes nothing.
        if emit.publication != Publication::Sent {
            return;
        }
        // Redis has lost a subscription of this node, and perhaps those of others.
        let is_deaf = matches!(published, Published::Received { nodes: 0, .. })
            && emit.way == Way::Bus
            && (self.phase != Phase::Live || self.lanes.awaits(&emit.user, seq));
        emit.publication = match published {
            Published::Received { .. } if is_deaf => Publication::Failed,
            // The user is offline, or connected at another server that was promoted.
            Published::Received {
                nodes: 0,
                from_master: false,
            } if emit.way != Way::Bus => {
                self.emits.unproven.push(seq);
                self.actions.push(Action::CheckRole);
                Publication::Unproven
            }
            Published::Received { nodes, .. } => Publication::Received(nodes),
            Published::Misplaced => Publication::Misplaced,
            Published::Failed(_) | Published::Unanswered => Publication::Failed,
        };
        if let Publication::Failed | Publication::Misplaced = emit.publication {
            let (user, link, follows) = (emit.user.clone(), emit.link, emit.follows);
            match published {
                Published::Failed(why) if link == self.command.number => {
                    self.doubt(NotReady::Refused(why));
                }
                Published::Unanswered => self.unanswered(link, now),
                Published::Misplaced => self.actions.push(Action::FindMaster),
                Published::Received { .. } if link == self.command.number => {
                    self.doubt_subscriptions(follows);
                }
                _ => {}
            }
            // Redis may have received it anyway, and it may be back already.
            self.lanes.give_up(&user, seq, now);
            self.actions.push(Action::TendLate);
        }
        self.settle(seq);
    }

    /// These events were delivered to the sockets of this node; each with whether it came over the bus.
    pub(in crate::bus::redis) fn delivered(&mut self, events: &[(Sequence, bool)]) {
        for (seq, over_bus) in events {
            if let Some(emit) = self.emits.by_seq.get_mut(seq) {
                emit.over_bus = Some(*over_bus);
                self.settle(*seq);
            }
        }
    }

    /// What the caller is told, once that is known. Afterwards the emit is forgotten.
    pub(in crate::bus::redis) fn poll_outcome(
        &mut self,
        seq: Sequence,
        waker: &Waker,
    ) -> Poll<Outcome> {
        let Some(emit) = self.emits.by_seq.get_mut(&seq) else {
            return Poll::Ready(Err(BusUnavailable));
        };
        if let Some(outcome) = emit.outcome {
            self.emits.by_seq.remove(&seq);
            return Poll::Ready(outcome);
        }
        emit.waiting = Some(waker.clone());
        Poll::Pending
    }

    /// The caller has gone. An event for the sockets of this node is delivered all the same.
    pub(in crate::bus::redis) fn abandon(&mut self, seq: Sequence) {
        if let Some(emit) = self.emits.by_seq.get_mut(&seq) {
            emit.is_abandoned = true;
            emit.waiting = None;
            if emit.outcome.is_some() || matches!(emit.way, Way::Elsewhere { .. }) {
                self.emits.by_seq.remove(&seq);
            }
        }
    }

    /// Sets the outcome, if it is known by now.
    fn settle(&mut self, seq: Sequence) {
        let Some(emit) = self.emits.by_seq.get(&seq) else {
            return;
        };
        let awaits_delivery = match emit.way {
            Way::Bus | Way::Direct => emit.over_bus.is_none(),
            Way::Elsewhere { .. } => false,
        };
        if awaits_delivery {
            return;
        }
        let to_some = |nodes| Ok(Reach { nodes });
        let outcome = match (emit.publication, emit.way) {
            (Publication::Sent | Publication::Unproven, _) => return,
            (Publication::Received(nodes), Way::Bus | Way::Elsewhere { was_ready: true }) => {
                to_some(Some(nodes))
            }
            // Other nodes may have lost their subscriptions, as this one has.
            (Publication::Received(_), Way::Direct | Way::Elsewhere { was_ready: false }) => {
                if self.phase == Phase::Live || self.peers.is_alone() {
                    to_some(None)
                } else {
                    Err(BusUnavailable)
                }
            }
            (Publication::Misplaced, _) => Err(BusUnavailable),
            (Publication::Failed, _) if emit.over_bus == Some(true) => to_some(None),
            (Publication::Failed, _) => self.unsent(&emit.user),
        };
        let is_abandoned = emit.is_abandoned;
        if is_abandoned {
            self.emits.by_seq.remove(&seq);
        } else if let Some(emit) = self.emits.by_seq.get_mut(&seq) {
            emit.outcome = Some(outcome);
            self.actions.extend(emit.waiting.take().map(Action::Wake));
        }
    }

    /// What to report for an event that did not go over Redis.
    fn unsent(&self, user: &UserId) -> Outcome {
        // While Redis is away, no node can admit a client; but a replica has a master, with nodes of its own.
        if self.command.is_demoted || !self.peers.is_alone() {
            return Err(BusUnavailable);
        }
        let nodes = usize::from(self.channels.is_wanted(user));
        Ok(Reach { nodes: Some(nodes) })
    }

    /// Redis has not answered in time on that connection; an earlier one does not count.
    fn unanswered(&mut self, link: u64, now: Instant) {
        if link == self.command.number {
            self.mute_until = Some(now + ECHO_LIMIT);
            self.doubt(NotReady::EventUnanswered);
        }
    }

    fn is_mute(&self, now: Instant) -> bool {
        self.mute_until.is_some_and(|until| now < until)
    }
}
