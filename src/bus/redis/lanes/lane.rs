//! The messages of one user.

use std::collections::VecDeque;

use tokio::{sync::oneshot, time::Instant};

use super::{Kept, Remembered};
use crate::{
    id::UserId,
    wire::{Sequence, UserMessage},
};

/// The messages of one user: those that wait here, then those still on the bus.
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
    /// `covers` the head of the queue; messages behind it need one `again`, since that time.
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
    /// Redis has answered the PUBLISH.
    pub(super) taken: bool,
    /// Gets, on delivery, whether the event came over the bus.
    pub(super) delivered: oneshot::Sender<bool>,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Makes the first `count` of the sent events late.
    pub(super) fn give_up(&mut self, count: usize, late: &mut Remembered) {
        let count = count.min(self.sent.len());
        for message in self.sent.drain(..count) {
            if let Some(own) = &message.own {
                late.insert(own.seq);
            }
            self.queue.push_back(message);
        }
    }

    /// Whether the event is still on the bus, or has come back and waits for the node to catch up.
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

    /// Passes on the messages at the head that need no look themselves.
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
