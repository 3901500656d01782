//! Keeps the messages for each user's sockets on this node in order.
//!
//! Most messages pass straight through. A message waits in its user's lane while the node catches up with
//! what it missed, or behind a *late* event: one that this node sent and that did not come back over the
//! bus in time. A late event is delivered without the bus, after a look at the user's session; if it comes
//! back after all, it is ignored.
//!
//! This is a state machine without I/O: time is passed in, and `pass` receives the deliveries.

mod lane;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::{Duration, Instant},
};

use self::lane::{Lane, Look, Message};
use crate::{
    id::{IdHasher, IdMap, UserId},
    wire::{Sequence, UserMessage},
};

/// How long a late event waits for the look at its user's session, as Redis may not answer.
pub(in crate::bus::redis) const LOOK_LIMIT: Duration = Duration::from_millis(500);
/// How many events from the bus may wait.
const EVENTS: usize = 64 * 1024;
/// How many bytes of their payloads may wait: most are small, but one may have a megabyte.
const BYTES: usize = 64 << 20;
/// How many late events are remembered in case they come back.
const REMEMBERED: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Only lanes that are not empty.
    users: IdMap<UserId, Lane>,
    /// Users whose sessions have to be looked at, and since when.
    unseen: IdMap<UserId, Instant>,
    /// The node is catching up, so everything waits.
    held: bool,
    kept: Kept,
    late: Remembered,
}

/// A message for the user's sockets on this node.
#[derive(Debug)]
pub(in crate::bus::redis) struct Delivery {
    pub(in crate::bus::redis) user: UserId,
    pub(in crate::bus::redis) message: UserMessage,
    /// The number of the event, if this node sent it.
    pub(in crate::bus::redis) own: Option<Sequence>,
    /// Whether it came over the bus.
    pub(in crate::bus::redis) over_bus: bool,
}

/// Sessions to look at.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bus::redis) struct Looks {
    pub(in crate::bus::redis) users: Vec<UserId>,
    /// When the look must end: the messages wait no longer.
    pub(in crate::bus::redis) until: Instant,
}

/// How many of the received events wait.
#[derive(Debug, Default)]
struct Kept {
    events: usize,
    bytes: usize,
    /// How many did not fit.
    dropped: u64,
}

/// Late events that may still come back.
#[derive(Debug, Default)]
struct Remembered {
    events: HashMap<Sequence, UserId, IdHasher>,
    /// Oldest first.
    order: VecDeque<Sequence>,
}

impl Lanes {
    /// Expects an event of this node back over the bus.
    pub(super) fn send(&mut self, user: &UserId, seq: Sequence, message: UserMessage) {
        let lane = self.users.entry(user.clone()).or_default();
        lane.sent.push_back(Message::own(seq, message));
    }

    /// Queues an event of this node that is late from the start: it is not sent, or it is sent
    /// (`may_return`) but not certain to come back.
    pub(super) fn deliver_late(
        &mut self,
        user: &UserId,
        seq: Sequence,
        message: UserMessage,
        may_return: bool,
        now: Instant,
    ) {
        let lane = self.users.entry(user.clone()).or_default();
        // It must not overtake those that were emitted before it.
        lane.give_up(usize::MAX, user, &mut self.late);
        lane.queue.push_back(Message::own(seq, message));
        if may_return {
            self.late.insert(seq, user);
        }
        self.want_look(user, now);
    }

    /// Makes the event late, and the user's events that were sent before it. Returns whether it was still on
    /// the bus.
    pub(super) fn give_up(&mut self, user: &UserId, seq: Sequence, now: Instant) -> bool {
        let Some(lane) = self.users.get_mut(user) else {
            return false;
        };
        if let Some(index) = lane.sent.iter().position(|sent| sent.is(seq)) {
            lane.give_up(index + 1, user, &mut self.late);
            self.want_look(user, now);
            return true;
        }
        if lane.keeps_unseen(seq) {
            self.want_look(user, now);
        }
        false
    }

    /// Whether the event is still expected back over the bus.
    pub(super) fn awaits(&self, user: &UserId, seq: Sequence) -> bool {
        let lane = self.users.get(user);
        lane.is_some_and(|lane| lane.sent.iter().any(|sent| sent.is(seq)))
    }

    /// Makes all events of these users late, because their channels are no longer subscribed.
    pub(super) fn give_up_of(&mut self, users: &[UserId], now: Instant) {
        for user in users {
            if let Some(lane) = self.users.get_mut(user)
                && !lane.sent.is_empty()
            {
                lane.give_up(usize::MAX, user, &mut self.late);
                self.want_look(user, now);
            }
        }
    }

    /// Makes all events late, because no channel is subscribed any longer.
    pub(super) fn give_up_all(&mut self, now: Instant) {
        let users: Vec<UserId> = self.users.keys().cloned().collect();
        self.give_up_of(&users, now);
    }

    /// Takes a message from the user's channel.
    pub(super) fn received(
        &mut self,
        user: &UserId,
        message: UserMessage,
        mut pass: impl FnMut(Delivery),
    ) {
        let message = Message::received(message);
        let lane = match self.users.entry(user.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if !self.held => return pass(message.for_user(user)),
            Entry::Vacant(entry) => entry.insert(Lane::default()),
        };
        if !self.held && lane.queue.is_empty() {
            pass(message.for_user(user));
        } else if self.kept.add(&message.message) {
            lane.queue.push_back(message);
        } else if lane.is_empty() {
            self.users.remove(user);
        }
    }

    /// Takes an event of this node from the user's channel. Returns whether it is known. Without a `user`,
    /// it can only be a late one.
    pub(super) fn echo(
        &mut self,
        user: Option<&UserId>,
        seq: Sequence,
        mut pass: impl FnMut(Delivery),
    ) -> bool {
        if self.late.remove(seq) {
            return true;
        }
        let Some(user) = user else { return false };
        let Some(lane) = self.users.get_mut(user) else {
            return false;
        };
        let Some(index) = lane.sent.iter().position(|sent| sent.is(seq)) else {
            return false;
        };
        let waits = self.held || !lane.queue.is_empty();
        // An event that does not fit stays in `sent`, and will be late.
        if waits && !self.kept.add(&lane.sent[index].message) {
            return true;
        }
        if let Some(mut message) = lane.sent.remove(index) {
            message.over_bus = true;
            if waits {
                lane.queue.push_back(message);
            } else {
                pass(message.for_user(user));
            }
        }
        if lane.is_empty() {
            self.users.remove(user);
        }
        true
    }

    /// Whether a later event of this node to the user is late: it waits here, or is delivered.
    pub(super) fn is_overtaken(&self, user: &str, seq: Sequence) -> bool {
        let mut late = self.late.events.iter();
        late.any(|(late, of)| *late > seq && of.as_str() == user)
    }

    /// How many events did not fit since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.kept.dropped)
    }

    /// Makes everything wait until [`Self::release`].
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Ends [`Self::hold`]: the node has caught up.
    pub(super) fn release(&mut self, mut pass: impl FnMut(Delivery)) {
        self.held = false;
        let Self { users, kept, .. } = self;
        users.retain(|user, lane| {
            // Lanes with a pending look follow after it.
            if let Look::Unneeded = lane.look {
                lane.pass_received(user, kept, &mut pass);
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

    /// Passes on what waited for these looks. `were_seen`: they have succeeded.
    pub(super) fn looked(
        &mut self,
        users: &[UserId],
        were_seen: bool,
        mut pass: impl FnMut(Delivery),
    ) {
        for user in users {
            let Some(lane) = self.users.get_mut(user) else {
                continue;
            };
            let Look::UnderWay { covers, again } = std::mem::take(&mut lane.look) else {
                continue;
            };
            if self.held && !were_seen {
                // The node may have missed a change of session that came before an event of another node.
                lane.pass_known(covers, user, &mut self.kept, &mut pass);
            } else {
                for _ in 0..covers {
                    lane.pass_first(user, &mut self.kept, &mut pass);
                }
            }
            // While the node catches up, it may have missed a change of session that came before the
            // messages behind those that the look covers.
            if !self.held {
                lane.pass_received(user, &mut self.kept, &mut pass);
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
            self.dropped += 1;
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
    fn insert(&mut self, seq: Sequence, user: &UserId) {
        self.events.insert(seq, user.clone());
        self.order.push_back(seq);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.events.remove(&oldest);
        }
    }

    fn remove(&mut self, seq: Sequence) -> bool {
        self.events.remove(&seq).is_some()
    }
}

#[cfg(test)]
mod tests;
