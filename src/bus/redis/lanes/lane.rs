//! One user's messages.

use std::collections::VecDeque;

use tokio::{sync::oneshot, time::Instant};

use super::{Kept, Remembered};
use crate::{
    id::UserId,
    wire::{Sequence, UserMessage},
};

/// One user's messages: first what waits here, then what is still on its way.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) queue: VecDeque<Message>,
    /// Own events that are on the bus, oldest first.
    pub(super) sent: VecDeque<Message>,
    pub(super) look: Look,
}

/// Whether the user's session is looked at.
#[derive(Debug, Default)]
pub(super) enum Look {
    #[default]
    Unneeded,
    Wanted,
    /// For so many at the head of the queue; those behind may want one of their own, and since when.
    UnderWay {
        covers: usize,
        again: Option<Instant>,
    },
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) message: UserMessage,
    /// Heard on the bus.
    pub(super) heard: bool,
    pub(super) own: Option<Own>,
}

#[derive(Debug)]
pub(super) struct Own {
    pub(super) seq: Sequence,
    /// Redis has confirmed that it passes the event on.
    pub(super) taken: bool,
    /// Told on delivery, with whether the event came over the bus.
    pub(super) delivered: oneshot::Sender<bool>,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// The first so many of those sent are late.
    pub(super) fn give_up(&mut self, count: usize, late: &mut Remembered) {
        let count = count.min(self.sent.len());
        for message in self.sent.drain(..count) {
            if let Some(own) = &message.own {
                late.insert(own.seq);
            }
            self.queue.push_back(message);
        }
    }

    /// Whether the event is still to come back, or has, and waits here for what may take long.
    pub(super) fn awaits(&self, seq: Sequence) -> bool {
        self.sent.iter().any(|sent| sent.is(seq)) || self.keeps_unseen(seq)
    }

    pub(super) fn keeps_unseen(&self, seq: Sequence) -> bool {
        let covered = match self.look {
            Look::UnderWay { covers, .. } => covers,
            Look::Unneeded | Look::Wanted => 0,
        };
        let mut unseen = self.queue.iter().skip(covered);
        unseen.any(|message| message.heard && message.is(seq))
    }

    pub(super) fn pass_first(
        &mut self,
        user: &UserId,
        kept: &mut Kept,
        pass: &mut impl FnMut(&UserId, UserMessage),
    ) {
        if let Some(message) = self.queue.pop_front() {
            if message.heard {
                kept.remove(&message.message);
            }
            message.pass(user, pass);
        }
    }

    /// Passes on what has only waited for others.
    pub(super) fn pass_heard(
        &mut self,
        user: &UserId,
        kept: &mut Kept,
        pass: &mut impl FnMut(&UserId, UserMessage),
    ) {
        while self.queue.front().is_some_and(|message| message.heard) {
            self.pass_first(user, kept, pass);
        }
    }
}

impl Message {
    pub(super) fn own(seq: Sequence, message: UserMessage) -> (Self, oneshot::Receiver<bool>) {
        let (delivered, receiver) = oneshot::channel();
        let own = Own {
            seq,
            taken: false,
            delivered,
        };
        let message = Self {
            message,
            heard: false,
            own: Some(own),
        };
        (message, receiver)
    }

    pub(super) fn heard(message: UserMessage) -> Self {
        Self {
            message,
            heard: true,
            own: None,
        }
    }

    pub(super) fn is(&self, seq: Sequence) -> bool {
        self.own_if(seq).is_some()
    }

    pub(super) fn own_if(&self, seq: Sequence) -> Option<&Own> {
        self.own.as_ref().filter(|own| own.seq == seq)
    }

    pub(super) fn pass(self, user: &UserId, pass: &mut impl FnMut(&UserId, UserMessage)) {
        pass(user, self.message);
        if let Some(own) = self.own {
            own.delivered.send(self.heard).ok();
        }
    }
}
