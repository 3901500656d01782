//! Keeps the messages for each user's sockets on this node in order.
//!
//! Most messages pass straight through. A message waits in its user's lane while the node catches up
//! on what it missed, or behind a *late* event: one that this node sent and that did not come back over
//! the bus in time. A late event is delivered without the bus once the user's session was looked at; if
//! it comes back after all, it is ignored.
//!
//! This is a state machine without I/O: time is passed in, and `pass` hands a message to the node.

mod lane;

use std::{
    collections::{HashSet, VecDeque, hash_map::Entry},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use self::lane::{Lane, Look, Message};
use crate::{
    id::{IdMap, UserId},
    wire::{Sequence, UserMessage},
};

/// How long a late event waits for the look at its user's session: Redis may not answer.
pub(super) const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// How many events from the bus may wait.
const EVENTS: usize = 64 * 1024;
/// How many bytes of their payloads may wait: a payload is up to a megabyte, and most are small.
const BYTES: usize = 64 << 20;
/// How many late events are remembered, should they come back.
const REMEMBERED: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Only those with something in them.
    users: IdMap<UserId, Lane>,
    /// When own events become late, soonest first. Those that have come back are removed lazily.
    deadlines: VecDeque<(Instant, UserId, Sequence)>,
    /// Users whose sessions have to be looked at, and since when.
    unseen: IdMap<UserId, Instant>,
    /// The node is catching up, so everything waits.
    held: bool,
    kept: Kept,
    late: Remembered,
}

/// Why an event is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// Redis has taken it but not passed it on to this node.
    Unheard,
    /// Redis had not answered at this time.
    Untaken { due: Instant },
}

/// Sessions to look at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Looks {
    pub users: Vec<UserId>,
    /// The messages wait no longer than this.
    pub until: Instant,
}

/// How much of what was heard waits.
#[derive(Debug, Default)]
struct Kept {
    events: usize,
    bytes: usize,
}

/// Late events that may still come back.
#[derive(Debug, Default)]
struct Remembered {
    events: HashSet<Sequence>,
    /// Oldest first.
    order: VecDeque<Sequence>,
}

impl Lanes {
    /// Expects an own event back over the bus; at the deadline it is late. The receiver gets, on
    /// delivery, whether the event came over the bus.
    pub(super) fn send(
        &mut self,
        user: &UserId,
        seq: Sequence,
        message: UserMessage,
        deadline: Instant,
    ) -> oneshot::Receiver<bool> {
        let (message, receiver) = Message::own(seq, message);
        let lane = self.users.entry(user.clone()).or_default();
        lane.sent.push_back(message);
        let index = self.deadlines.partition_point(|(due, ..)| *due <= deadline);
        self.deadlines.insert(index, (deadline, user.clone(), seq));
        receiver
    }

    /// Queues an own event that is late from the start: it is not sent, or (`may_return`) it is sent
    /// but this node is not certain to hear it.
    pub(super) fn deliver_late(
        &mut self,
        user: &UserId,
        seq: Sequence,
        message: UserMessage,
        may_return: bool,
        now: Instant,
    ) -> oneshot::Receiver<bool> {
        let (message, receiver) = Message::own(seq, message);
        let lane = self.users.entry(user.clone()).or_default();
        // It must not pass those that were emitted before it.
        lane.give_up(usize::MAX, &mut self.late);
        lane.queue.push_back(message);
        if may_return {
            self.late.insert(seq);
        }
        self.want_look(user, now);
        receiver
    }

    /// Redis has confirmed that it passes the event on.
    pub(super) fn taken(&mut self, user: &UserId, seq: Sequence) {
        let sent = self.users.get_mut(user).map(|lane| &mut lane.sent);
        let mut own = sent
            .into_iter()
            .flatten()
            .filter_map(|sent| sent.own.as_mut());
        if let Some(own) = own.find(|own| own.seq == seq) {
            own.taken = true;
        }
    }

    /// Makes the event late now, and with it the user's events that were sent before it.
    pub(super) fn give_up(&mut self, user: &UserId, seq: Sequence, now: Instant) {
        let Some(lane) = self.users.get_mut(user) else {
            return;
        };
        if let Some(index) = lane.sent.iter().position(|sent| sent.is(seq)) {
            lane.give_up(index + 1, &mut self.late);
            self.want_look(user, now);
        } else if lane.keeps_unseen(seq) {
            self.want_look(user, now);
        }
    }

    /// Makes all events of these users late, because their channels are no longer subscribed.
    pub(super) fn give_up_of(&mut self, users: &[UserId], now: Instant) {
        for user in users {
            if let Some(lane) = self.users.get_mut(user)
                && !lane.sent.is_empty()
            {
                lane.give_up(usize::MAX, &mut self.late);
                self.want_look(user, now);
            }
        }
    }

    /// Makes all events late, because no channel is subscribed any longer.
    pub(super) fn give_up_all(&mut self, now: Instant) {
        let users: Vec<UserId> = self.users.keys().cloned().collect();
        self.give_up_of(&users, now);
    }

    /// Makes those events late whose deadline has passed, and returns why.
    pub(super) fn give_up_late(&mut self, now: Instant) -> Vec<Late> {
        let mut late = Vec::new();
        while let Some((due, user, seq)) = self.deadlines.front().cloned() {
            let lane = self.users.get(&user).filter(|lane| lane.awaits(seq));
            if lane.is_some() && due > now {
                break;
            }
            self.deadlines.pop_front();
            let own = lane.and_then(|lane| lane.sent.iter().find_map(|sent| sent.own_if(seq)));
            match own {
                Some(own) if own.taken => late.push(Late::Unheard),
                // If the caller has gone, its PUBLISH may never have been sent.
                Some(own) if !own.delivered.is_closed() => late.push(Late::Untaken { due }),
                _ => {}
            }
            self.give_up(&user, seq, due);
        }
        late
    }

    /// When to call [`Self::give_up_late`] next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, ..)| *deadline)
    }

    /// Takes a message from the user's channel; `own` is its number if this node sent it as an event.
    pub(super) fn heard(
        &mut self,
        user: &UserId,
        message: UserMessage,
        own: Option<Sequence>,
        mut pass: impl FnMut(&UserId, UserMessage),
    ) {
        if own.is_some_and(|seq| self.late.remove(seq)) {
            return;
        }
        let mut entry = match self.users.entry(user.clone()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(_) if !self.held => return pass(user, message),
            Entry::Vacant(entry) => entry.insert_entry(Lane::default()),
        };
        let lane = entry.get_mut();
        let waits = self.held || !lane.queue.is_empty();
        if waits && !self.kept.add(&message) {
            // An own event stays among those sent, and will be late.
            if lane.is_empty() {
                entry.remove();
            }
            return;
        }
        let sent = own.and_then(|seq| lane.sent.iter().position(|sent| sent.is(seq)));
        let message = match sent.and_then(|index| lane.sent.remove(index)) {
            Some(sent) => Message {
                heard: true,
                ..sent
            },
            None => Message::heard(message),
        };
        if waits {
            lane.queue.push_back(message);
        } else {
            message.pass(user, &mut pass);
            if lane.is_empty() {
                entry.remove();
            }
        }
    }

    /// Makes everything wait until [`Self::release`].
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`Self::hold`]: the node has caught up.
    pub(super) fn release(&mut self, mut pass: impl FnMut(&UserId, UserMessage)) {
        self.held = false;
        let Self { users, kept, .. } = self;
        users.retain(|user, lane| {
            // Lanes with a look pending are passed on after it.
            if let Look::Unneeded = lane.look {
                lane.pass_heard(user, kept, &mut pass);
            }
            !lane.is_empty()
        });
    }

    /// The sessions to look at now, if any; [`Self::looked`] must follow.
    pub(super) fn take_looks(&mut self) -> Option<Looks> {
        let since = *self.unseen.values().min()?;
        let users: Vec<UserId> = self.unseen.drain().map(|(user, _)| user).collect();
        for user in &users {
            if let Some(lane) = self.users.get_mut(user) {
                let covers = lane.queue.len();
                lane.look = Look::UnderWay {
                    covers,
                    again: None,
                };
            }
        }
        let until = since + LOOK_LIMIT;
        Some(Looks { users, until })
    }

    /// Passes on what waited for these looks, whether or not they succeeded.
    pub(super) fn looked(&mut self, users: &[UserId], mut pass: impl FnMut(&UserId, UserMessage)) {
        for user in users {
            let Some(lane) = self.users.get_mut(user) else {
                continue;
            };
            let Look::UnderWay { covers, again } = std::mem::take(&mut lane.look) else {
                continue;
            };
            for _ in 0..covers {
                lane.pass_first(user, &mut self.kept, &mut pass);
            }
            // While the node catches up, messages that came after the look began may follow a change
            // of session that it missed.
            if !self.held {
                lane.pass_heard(user, &mut self.kept, &mut pass);
            }
            if lane.is_empty() {
                self.users.remove(user);
            } else if let Some(since) = again {
                self.want_look(user, since);
            }
        }
    }

    fn want_look(&mut self, user: &UserId, since: Instant) {
        let Some(lane) = self.users.get_mut(user) else {
            return;
        };
        let first = match &mut lane.look {
            Look::UnderWay { again, .. } => again.get_or_insert(since),
            look => {
                *look = Look::Wanted;
                self.unseen.entry(user.clone()).or_insert(since)
            }
        };
        *first = since.min(*first);
    }
}

impl Kept {
    /// An event that does not fit is counted and dropped; a change of session always fits.
    fn add(&mut self, message: &UserMessage) -> bool {
        let UserMessage::Emit { event, .. } = message else {
            return true;
        };
        let bytes = self.bytes + event.payload().len();
        if self.events >= EVENTS || bytes > BYTES {
            metrics::counter!("sockd_bus_messages_dropped_total").increment(1);
            return false;
        }
        self.events += 1;
        self.bytes = bytes;
        true
    }

    fn remove(&mut self, message: &UserMessage) {
        if let UserMessage::Emit { event, .. } = message {
            self.events -= 1;
            self.bytes -= event.payload().len();
        }
    }
}

impl Remembered {
    fn insert(&mut self, seq: Sequence) {
        self.events.insert(seq);
        self.order.push_back(seq);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }

    fn remove(&mut self, seq: Sequence) -> bool {
        self.events.remove(&seq)
    }
}

#[cfg(test)]
mod tests;
