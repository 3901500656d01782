//! Late events: when they become late, and the look at the session that their delivery waits for.

use std::time::Instant;

use super::{Looks, Publication, State};
use crate::bus::NotReady;

impl State {
    /// Makes late all events whose deadline has passed.
    pub(in crate::bus::redis) fn expire(&mut self, now: Instant) {
        // Until the first deadline, entries of events that are done stay as well: without any, each new
        // event would wake the task that waits for deadlines.
        if self.next_deadline().is_some_and(|due| due > now) {
            return;
        }
        while let Some((due, seq)) = self.emits.deadlines.front().copied() {
            let emit = self.emits.by_seq.get_mut(&seq);
            let emit = emit.filter(|emit| emit.outcome.is_none());
            if emit.is_some() && due > now {
                break;
            }
            self.emits.deadlines.pop_front();
            let Some(emit) = emit else { continue };
            let (user, link, before) = (emit.user.clone(), emit.link, emit.publication);
            let is_abandoned = emit.is_abandoned;
            if let Publication::Sent | Publication::Unproven = before {
                emit.publication = Publication::Failed;
            }
            let was_sent = self.lanes.give_up(&user, seq, due);
            match before {
                Publication::Sent if !is_abandoned => self.unanswered(link, now),
                Publication::Received(_) if was_sent => self.doubt(NotReady::EventLost),
                _ => {}
            }
            self.settle(seq);
        }
    }

    /// When to call [`Self::expire`] next.
    pub(in crate::bus::redis) fn next_deadline(&self) -> Option<Instant> {
        self.emits.deadlines.front().map(|(due, _)| *due)
    }

    /// The sessions to look at now, if any; [`Self::looked`] must follow.
    pub(in crate::bus::redis) fn take_looks(&mut self) -> Option<Looks> {
        self.lanes.take_looks()
    }

    /// Whether the sessions can be read now. A node that delivers without the bus may have missed that a
    /// session was replaced, so it looks first, unless Redis does not answer.
    pub(in crate::bus::redis) fn can_look(&self, now: Instant) -> bool {
        self.command.is_connected && !self.is_mute(now)
    }

    /// Delivers what waited for these looks. If they failed while the node is catching up, only what may be
    /// delivered without Redis.
    pub(in crate::bus::redis) fn looked(&mut self, looks: &Looks, were_seen: bool) {
        let Self {
            lanes, deliveries, ..
        } = self;
        lanes.looked(&looks.users, were_seen, |delivery| {
            deliveries.push(delivery)
        });
    }
}
