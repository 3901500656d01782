//! One user: the order of what happens to its sockets.
//!
//! Admissions, events and judgements take numbers from one sequence. An event, like a judgement,
//! concerns the sockets with a smaller number. Events for many sockets go to a backlog, from which
//! one task sends them in turns, and later events queue behind them.

mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::yield_now, time::Instant};

use self::state::{Newest, State};
use super::{BATCH, Farewell, Holding, Hub, Outlet, Revoked, sockets::Socket};
use crate::{
    id::{SessionId, UserId},
    metrics::EVENT_SOCKETS,
    wire::{Event, LogoutReason},
};

pub(super) struct User {
    pub(super) id: UserId,
    state: Mutex<State>,
}

/// A socket's session and outlet, for use without the user's lock.
pub(super) type SocketRef = (SessionId, Arc<dyn Outlet>);

/// What is known when a session is checked; if any of it changes later, the session is in doubt.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The number of announcements of sessions of the user.
    pub(super) announcements: u64,
    /// The number of doubts about all handshakes.
    pub(super) doubts: u64,
}

/// Why a socket is not admitted.
pub(super) enum Denied {
    /// The session may have changed since it was checked; carries what is known now.
    Doubted(Known),
    /// The session has as many sockets as are allowed.
    Full,
}

impl User {
    /// A user with one handshake under way.
    pub(super) fn new(id: UserId) -> Self {
        let mut state = State::default();
        state.activity().handshakes = 1;
        Self {
            id,
            state: Mutex::new(state),
        }
    }

    /// Returns the number of announcements so far; `None` if the user is gone from the hub.
    pub(super) fn begin_handshake(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.is_gone() {
            return None;
        }
        let activity = state.activity();
        activity.handshakes += 1;
        Some(activity.announcements)
    }

    pub(super) fn end_handshake(self: &Arc<Self>, hub: &Arc<Hub>) {
        let mut state = self.lock();
        state.activity().handshakes -= 1;
        self.release(hub, state);
    }

    /// Admits a socket and returns its number.
    ///
    /// # Errors
    /// Why the socket is not admitted.
    pub(super) fn admit(
        &self,
        hub: &Hub,
        session: &SessionId,
        outlet: &Arc<dyn Outlet>,
        known: Known,
        sockets_per_user: Option<usize>,
        began: Instant,
    ) -> Result<u64, Denied> {
        let mut state = self.lock();
        let activity = state.activity();
        let is_in_doubt = activity.announcements != known.announcements
            && (activity.announced.as_ref() != Some(session)
                || activity.announced_since > known.announcements + 1);
        let doubts = hub.doubts();
        if is_in_doubt || doubts != known.doubts {
            let announcements = activity.announcements;
            return Err(Denied::Doubted(Known {
                announcements,
                doubts,
            }));
        }
        if let Some(limit) = sockets_per_user {
            // The sockets of another session are about to be dismissed.
            let others = state.sockets.iter();
            if others.filter(|socket| socket.session == *session).count() >= limit {
                return Err(Denied::Full);
            }
        }
        // The sockets of a session share its text.
        let first = state.sockets.iter().next().map(|socket| &socket.session);
        let session = first.filter(|first| *first == session).unwrap_or(session);
        let socket = Socket::new(session.clone(), outlet.clone());
        let number = state.next_number();
        state.sockets.push(number, socket);
        let admitted = Instant::now();
        state.newest = Some(Newest {
            admitted,
            took_ms: u32::try_from((admitted - began).as_millis()).unwrap_or(u32::MAX),
            is_told: false,
        });
        hub.add(1);
        Ok(number)
    }

    /// Sends the events queued for the socket.
    ///
    /// # Errors
    /// The socket is revoked.
    pub(super) fn activate(&self, hub: &Hub, number: u64) -> Result<(), Farewell> {
        loop {
            let mut state = self.lock();
            let Some(socket) = state.sockets.get_mut(number) else {
                return Err(state.farewell(number));
            };
            let (sent, is_live) = socket.activate(BATCH);
            drop(state);
            hub.sent(sent);
            if is_live {
                return Ok(());
            }
        }
    }

    pub(super) fn remove(self: &Arc<Self>, hub: &Arc<Hub>, number: u64) {
        let mut state = self.lock();
        let removed = state.sockets.remove(number);
        hub.subtract(usize::from(removed.is_some()));
        if let (None, Some(activity)) = (&removed, &mut state.activity) {
            activity.farewells.remove(&number);
        }
        self.release(hub, state);
        // Not under the lock: it may be the last reference to the outlet.
        drop(removed);
    }

    pub(super) fn deliver(self: &Arc<Self>, hub: &Arc<Hub>, event: &Event) -> usize {
        let mut state = self.lock();
        let reached = state.sockets.len();
        if reached == 0 {
            return 0;
        }
        let number = state.next_number();
        let sent = if state.has_backlog() || state.sockets.span() > BATCH {
            state.activity().backlog.push(number, event);
            state.step_unless_running()
        } else {
            let sockets = state.sockets.range_mut(0, number);
            let sent = sockets.filter_map(|(_, socket)| Some(socket?.take(number, Some(event))));
            sent.map(u64::from).sum()
        };
        self.release(hub, state);
        hub.sent(sent);
        EVENT_SOCKETS.observe(reached as f64);
        reached
    }

    /// Returns the number of a new judgement; `None` if all sockets are of this session.
    pub(super) fn judge(&self, session: &SessionId) -> Option<u64> {
        let mut state = self.lock();
        if let Some(activity) = &mut state.activity
            && activity.handshakes > 0
        {
            activity.announcements += 1;
            if activity.announced.as_ref() != Some(session) {
                activity.announced_since = activity.announcements;
                activity.announced = Some(session.clone());
            }
        }
        if state
            .sockets
            .iter()
            .all(|socket| socket.session == *session)
        {
            return None;
        }
        state.activity().holds += 1;
        Some(state.next_number())
    }

    /// Revokes the sockets of other sessions that were admitted before the judgement.
    pub(super) fn keep(
        &self,
        hub: &Hub,
        judgement: u64,
        session: &SessionId,
        reason: LogoutReason,
    ) -> Revoked {
        let is_other = |socket: &Socket| socket.session != *session;
        self.lock().revoke(hub, judgement, is_other, reason)
    }

    /// Revokes all sockets.
    pub(super) fn revoke_all(self: &Arc<Self>, hub: &Arc<Hub>, reason: LogoutReason) -> Revoked {
        let mut state = self.lock();
        let revoked = state.revoke(hub, u64::MAX, |_| true, reason);
        self.release(hub, state);
        revoked
    }

    pub(super) fn end_judgement(self: &Arc<Self>, hub: &Arc<Hub>) {
        let mut state = self.lock();
        state.activity().holds -= 1;
        let sent = state.step_unless_running();
        self.release(hub, state);
        hub.sent(sent);
    }

    /// The session of the user's first socket.
    pub(super) fn session(&self) -> Option<SessionId> {
        let state = self.lock();
        state
            .sockets
            .iter()
            .next()
            .map(|socket| socket.session.clone())
    }

    /// The number of sockets, and the newest of them, up to `limit`.
    pub(super) fn newest(&self, limit: usize) -> (usize, Vec<SocketRef>) {
        let state = self.lock();
        let newest = state.sockets.iter().rev().take(limit);
        let newest = newest.map(|socket| (socket.session.clone(), socket.outlet.clone()));
        (state.sockets.len(), newest.collect())
    }

    /// The session of the user's newest socket.
    pub(super) fn holding(&self) -> Option<Holding> {
        let state = self.lock();
        let socket = state.sockets.iter().next_back()?;
        let newest = state.newest.as_ref()?;
        let took = Duration::from_millis(newest.took_ms.into());
        Some(Holding {
            user: self.id.clone(),
            session: socket.session.clone(),
            found_after: newest.admitted.checked_sub(took)?,
            found_before: newest.admitted,
            is_told: newest.is_told,
        })
    }

    /// Records that the other nodes were told of this holding.
    pub(super) fn told(&self, holding: &Holding) {
        if let Some(newest) = &mut self.lock().newest
            && newest.admitted == holding.found_before
        {
            newest.is_told = true;
        }
    }

    #[cfg(test)]
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        let state = self.lock();
        let sockets = state.sockets.iter();
        sockets.map(|socket| socket.session.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation above leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unlocks, then starts the task for the backlog or removes the user, where that is due.
    fn release(self: &Arc<Self>, hub: &Arc<Hub>, mut state: MutexGuard<'_, State>) {
        let needs_task = state.can_step();
        if needs_task {
            state.activity().is_running = true;
        }
        state.tidy();
        let is_gone = state.is_gone();
        drop(state);
        if needs_task {
            hub.lifecycle.spawn(self.clone().fan_out(hub.clone()));
        } else if is_gone {
            hub.forget(self);
        }
    }

    /// Sends the backlog, turn by turn.
    async fn fan_out(self: Arc<Self>, hub: Arc<Hub>) {
        loop {
            // Let the work of other users run first.
            yield_now().await;
            let mut state = self.lock();
            let sent = state.step();
            hub.sent(sent);
            let activity = state.activity();
            if activity.holds > 0 || activity.backlog.is_empty() {
                activity.is_running = false;
                return self.release(&hub, state);
            }
        }
    }
}
