//! The messages of one user.

use std::{collections::VecDeque, time::Instant};

use super::{Delivery, Kept, Remembered};
use crate::{
    id::UserId,
    wire::{Sequence, UserMessage},
};

/// The messages of one user: first those that wait here, then those still on the bus.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Message>,
    /// Events of this node that are on the bus, oldest first.
    pub(super) sent: VecDeque<Message>,
    pub(super) look: Look,
}

/// Whether the user's session has to be looked at.
#[derive(Debug, Default)]
pub(super) enum Look {
    #[default]
    Unneeded,
    Wanted,
    /// It covers the first messages of the queue; if those behind need another look, `again` is since when.
    UnderWay {
        covers: usize,
        again: Option<Instant>,
    },
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) message: UserMessage,
    /// It came over the bus.
    pub(super) over_bus: bool,
    /// The number of the event, if this node sent it.
    pub(super) own: Option<Sequence>,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Makes the first `count` of the sent events late.
    pub(super) fn give_up(&mut self, count: usize, user: &UserId, late: &mut Remembered) {
        let count = count.min(self.sent.len());
        for message in self.sent.drain(..count) {
            if let Some(seq) = message.own {
                late.insert(seq, user);
            }
            self.queue.push_back(message);
        }
    }

    /// Whether the event has come back, and waits behind the messages that the look under way covers.
    pub(super) fn keeps_unseen(&self, seq: Sequence) -> bool {
        let covered = match self.look {
            Look::UnderWay { covers, .. } => covers,
            Look::Unneeded | Look::Wanted => 0,
        };
        let mut unseen = self.queue.iter().skip(covered);
        unseen.any(|message| message.over_bus && message.is(seq))
    }

    pub(super) fn pass_first(
        &mut self,
        user: &UserId,
        kept: &mut Kept,
        pass: &mut impl FnMut(Delivery),
    ) {
        if let Some(message) = self.queue.pop_front() {
            pass_on(message, user, kept, pass);
        }
    }

    /// Passes on the first `count` messages, except the events of other nodes, which stay.
    pub(super) fn pass_known(
        &mut self,
        count: usize,
        user: &UserId,
        kept: &mut Kept,
        pass: &mut impl FnMut(Delivery),
    ) {
        let rest = self.queue.split_off(count.min(self.queue.len()));
        let covered = std::mem::replace(&mut self.queue, rest);
        let (foreign, known): (VecDeque<_>, VecDeque<_>) =
            covered.into_iter().partition(Message::is_foreign_event);
        for message in known {
            pass_on(message, user, kept, pass);
        }
        for message in foreign.into_iter().rev() {
            self.queue.push_front(message);
        }
    }

    /// Passes on messages from the head of the queue until one needs a look.
    pub(super) fn pass_received(
        &mut self,
        user: &UserId,
        kept: &mut Kept,
        pass: &mut impl FnMut(Delivery),
    ) {
        while self.queue.front().is_some_and(|message| message.over_bus) {
            self.pass_first(user, kept, pass);
        }
    }
}

impl Message {
    pub(super) fn own(seq: Sequence, message: UserMessage) -> Self {
        Self {
            message,
            over_bus: false,
            own: Some(seq),
        }
    }

    pub(super) fn received(message: UserMessage) -> Self {
        Self {
            message,
            over_bus: true,
            own: None,
        }
    }

    pub(super) fn is(&self, seq: Sequence) -> bool {
        self.own == Some(seq)
    }

    fn is_foreign_event(&self) -> bool {
        self.own.is_none() && matches!(self.message, UserMessage::Emit { .. })
    }

    pub(super) fn for_user(self, user: &UserId) -> Delivery {
        Delivery {
            user: user.clone(),
            message: self.message,
            own: self.own,
            over_bus: self.over_bus,
        }
    }
}

fn pass_on(message: Message, user: &UserId, kept: &mut Kept, pass: &mut impl FnMut(Delivery)) {
    if message.over_bus {
        kept.remove(&message.message);
    }
    pass(message.for_user(user));
}
