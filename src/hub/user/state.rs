//! The state of one user: its sockets, and what is under way for them.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    hub::{
        Farewell, Hub, Revoked, TURN,
        backlog::Backlog,
        sockets::{Socket, Sockets},
    },
    id::SessionId,
    wire::LogoutReason,
};

/// A user with neither sockets nor activity has been removed from the hub, or is about to be.
#[derive(Default)]
pub(super) struct State {
    pub(super) sockets: Sockets,
    pub(super) last_number: u64,
    pub(super) newest: Option<Newest>,
    /// `None` for an idle user.
    pub(super) activity: Option<Box<Activity>>,
}

/// The newest admission of a socket.
pub(super) struct Newest {
    pub(super) admitted: Instant,
    /// How long before that its handshake began, in milliseconds.
    pub(super) took_ms: u32,
    pub(super) is_told: bool,
}

/// What is under way for a user.
#[derive(Default)]
pub(super) struct Activity {
    pub(super) handshakes: usize,
    /// How often a session was announced during the handshakes, and which was the last.
    pub(super) announcements: u64,
    pub(super) announced: Option<SessionId>,
    /// The number of the announcement since which all have named it.
    pub(super) announced_since: u64,
    /// How many judgements are under way; while there is one, events wait.
    pub(super) holds: usize,
    pub(super) backlog: Backlog,
    /// Sockets with a smaller number already have the first event of the backlog.
    pub(super) cursor: u64,
    /// Whether a task is sending the backlog.
    pub(super) is_running: bool,
    /// By number, what to tell sockets that were revoked before their clients knew that they had joined.
    pub(super) farewells: BTreeMap<u64, Farewell>,
}

impl State {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Revokes the sockets with a smaller number that `is_revoked` picks.
    pub(super) fn revoke(
        &mut self,
        hub: &Hub,
        before: u64,
        is_revoked: impl Fn(&Socket) -> bool,
        reason: LogoutReason,
    ) -> Revoked {
        let farewell = Farewell::LoggedOut(reason);
        let removed = self.sockets.remove_all(before, is_revoked);
        hub.subtract(removed.len());
        let mut sockets = Vec::with_capacity(removed.len());
        for (number, socket) in removed {
            if !socket.is_live() {
                let farewells = &mut self.activity().farewells;
                farewells.insert(number, farewell.clone());
            }
            sockets.push(socket);
        }
        Revoked { sockets, farewell }
    }

    /// What to tell a socket that was revoked before its client knew that it had joined.
    pub(super) fn farewell(&self, number: u64) -> Farewell {
        let activity = self.activity.as_ref();
        let farewell = activity.and_then(|activity| activity.farewells.get(&number));
        let replaced = || Farewell::LoggedOut(LogoutReason::SESSION_REPLACED);
        farewell.cloned().unwrap_or_else(replaced)
    }

    pub(super) fn activity(&mut self) -> &mut Activity {
        self.activity.get_or_insert_default()
    }

    /// Whether an event has to wait.
    pub(super) fn has_backlog(&self) -> bool {
        let activity = self.activity.as_ref();
        activity.is_some_and(|activity| activity.holds > 0 || !activity.backlog.is_empty())
    }

    /// Whether events could be sent from the backlog, and no task is doing so.
    pub(super) fn can_step(&self) -> bool {
        self.activity.as_ref().is_some_and(|activity| {
            !activity.is_running && activity.holds == 0 && !activity.backlog.is_empty()
        })
    }

    pub(super) fn step_unless_running(&mut self) -> u64 {
        if self.can_step() { self.step() } else { 0 }
    }

    /// Sends from the backlog to the next sockets, in order. Returns the number of events sent.
    pub(super) fn step(&mut self) -> u64 {
        let Some(activity) = &mut self.activity else {
            return 0;
        };
        let Activity {
            holds,
            backlog,
            cursor,
            ..
        } = &mut **activity;
        let (mut sent, mut left) = (0, TURN);
        while *holds == 0
            && left > 0
            && let Some(entry) = backlog.front()
        {
            // An event costs something even if no socket is left for it.
            left -= 1;
            let mut is_done = true;
            for (number, socket) in self.sockets.range_mut(*cursor, entry.number) {
                if left == 0 {
                    is_done = false;
                    break;
                }
                left -= 1;
                *cursor = number + 1;
                let was_sent =
                    socket.is_some_and(|socket| socket.take(entry.number, entry.event.as_ref()));
                sent += u64::from(was_sent);
            }
            if is_done {
                backlog.pop();
                *cursor = 0;
            }
        }
        sent
    }

    pub(super) fn tidy(&mut self) {
        self.activity.take_if(|activity| {
            activity.handshakes == 0
                && activity.holds == 0
                && activity.backlog.is_empty()
                && !activity.is_running
                && activity.farewells.is_empty()
        });
    }

    pub(super) fn is_gone(&self) -> bool {
        self.sockets.len() == 0 && self.activity.is_none()
    }
}
