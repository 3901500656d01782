//! One user: the order of what happens to its sockets.
//!
//! Admissions, events and judgements are numbered as they come. An event is for the sockets with
//! a smaller number, and so is a judgement. Events for many sockets wait in a backlog that one
//! task works off in turns, while later events queue behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::yield_now;

use super::{
    BATCH, Hub, Outlet, Revoked,
    backlog::Backlog,
    sockets::{Socket, Sockets},
};
use crate::{
    id::{SessionId, UserId},
    wire::Event,
};

pub(super) struct User {
    pub(super) id: UserId,
    state: Mutex<State>,
}

/// A user with neither sockets nor business is gone from the hub, or about to be.
#[derive(Default)]
struct State {
    sockets: Sockets,
    last_number: u64,
    /// Most users have none.
    business: Option<Box<Business>>,
}

/// What is under way for a user.
#[derive(Default)]
struct Business {
    handshakes: usize,
    /// How often a session was announced during the handshakes, and which was the last.
    announcements: u64,
    announced: Option<SessionId>,
    /// How many judgements are under way; while there is one, events wait.
    holds: usize,
    backlog: Backlog,
    /// The sockets with a smaller number have what is first in the backlog.
    cursor: u64,
    /// Whether a task works off the backlog.
    is_running: bool,
}

/// What had put sessions in doubt when one was last checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Announcements of sessions of the user.
    pub(super) announcements: u64,
    /// Doubts about all handshakes.
    pub(super) doubts: u64,
}

impl User {
    /// A user with one handshake under way.
    pub(super) fn new(id: UserId) -> Self {
        let mut state = State::default();
        state.business().handshakes = 1;
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
        let business = state.business();
        business.handshakes += 1;
        Some(business.announcements)
    }

    pub(super) fn end_handshake(self: &Arc<Self>, hub: &Arc<Hub>) {
        let mut state = self.lock();
        state.business().handshakes -= 1;
        self.release(hub, state);
    }

    /// Admits a socket and returns its number.
    ///
    /// # Errors
    /// What is known now, if its session may have changed since.
    pub(super) fn admit(
        &self,
        hub: &Hub,
        session: &SessionId,
        outlet: &Arc<dyn Outlet>,
        known: Known,
    ) -> Result<u64, Known> {
        let mut state = self.lock();
        let business = state.business();
        let is_in_doubt = match business.announcements - known.announcements {
            0 => false,
            1 => business.announced.as_ref() != Some(session),
            _ => true,
        };
        let doubts = hub.doubts();
        if is_in_doubt || doubts != known.doubts {
            let announcements = business.announcements;
            return Err(Known {
                announcements,
                doubts,
            });
        }
        // The sockets of a session share its text.
        let first = state.sockets.iter().next().map(|socket| &socket.session);
        let session = first.filter(|first| *first == session).unwrap_or(session);
        let socket = Socket::new(session.clone(), outlet.clone());
        let number = state.next_number();
        state.sockets.push(number, socket);
        hub.add(1);
        Ok(number)
    }

    /// Sends what waits for the socket; `false` if it is revoked.
    pub(super) fn activate(&self, hub: &Hub, number: u64) -> bool {
        loop {
            let mut state = self.lock();
            let Some(socket) = state.sockets.get_mut(number) else {
                return false;
            };
            let (sent, is_live) = socket.activate(BATCH);
            drop(state);
            hub.sent(sent);
            if is_live {
                return true;
            }
        }
    }

    pub(super) fn remove(self: &Arc<Self>, hub: &Arc<Hub>, number: u64) {
        let mut state = self.lock();
        let removed = state.sockets.remove(number);
        hub.subtract(usize::from(removed.is_some()));
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
            state.business().backlog.push(number, event);
            state.step_unless_running()
        } else {
            let sockets = state.sockets.range_mut(0, number);
            let sent = sockets.filter_map(|(_, socket)| Some(socket?.take(number, Some(event))));
            sent.map(u64::from).sum()
        };
        self.release(hub, state);
        hub.sent(sent);
        reached
    }

    /// Returns the number of a new judgement; `None` if all sockets are of this session.
    pub(super) fn judge(&self, session: &SessionId) -> Option<u64> {
        let mut state = self.lock();
        if let Some(business) = &mut state.business
            && business.handshakes > 0
        {
            business.announcements += 1;
            business.announced = Some(session.clone());
        }
        if state
            .sockets
            .iter()
            .all(|socket| socket.session == *session)
        {
            return None;
        }
        state.business().holds += 1;
        Some(state.next_number())
    }

    /// Revokes the sockets of other sessions that were admitted before the judgement.
    pub(super) fn keep(&self, hub: &Hub, judgement: u64, session: &SessionId) -> Revoked {
        let mut state = self.lock();
        let is_other = |socket: &Socket| socket.session != *session;
        let removed = state.sockets.remove_all(judgement, is_other);
        hub.subtract(removed.len());
        drop(state);
        Revoked::new(removed)
    }

    pub(super) fn end_judgement(self: &Arc<Self>, hub: &Arc<Hub>) {
        let mut state = self.lock();
        state.business().holds -= 1;
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

    /// Unlocks, and does what has become due.
    fn release(self: &Arc<Self>, hub: &Arc<Hub>, mut state: MutexGuard<'_, State>) {
        let needs_task = state.can_step();
        if needs_task {
            state.business().is_running = true;
        }
        state.tidy();
        let is_gone = state.is_gone();
        drop(state);
        if needs_task {
            hub.spawn(self.clone().work_off(hub.clone()));
        } else if is_gone {
            hub.forget(self);
        }
    }

    /// Works off the backlog, a batch in a turn.
    async fn work_off(self: Arc<Self>, hub: Arc<Hub>) {
        loop {
            // What other users have to do comes first.
            yield_now().await;
            let mut state = self.lock();
            let sent = state.step();
            hub.sent(sent);
            let business = state.business();
            if business.holds > 0 || business.backlog.is_empty() {
                business.is_running = false;
                return self.release(&hub, state);
            }
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn business(&mut self) -> &mut Business {
        self.business.get_or_insert_default()
    }

    /// Whether an event has to wait.
    fn has_backlog(&self) -> bool {
        let business = self.business.as_ref();
        business.is_some_and(|business| business.holds > 0 || !business.backlog.is_empty())
    }

    /// Whether there is something to work off, and nobody who does.
    fn can_step(&self) -> bool {
        self.business.as_ref().is_some_and(|business| {
            !business.is_running && business.holds == 0 && !business.backlog.is_empty()
        })
    }

    fn step_unless_running(&mut self) -> u64 {
        if self.can_step() { self.step() } else { 0 }
    }

    /// Gives what waits to a batch of sockets, in order. Returns how many events were sent.
    fn step(&mut self) -> u64 {
        let Some(business) = &mut self.business else {
            return 0;
        };
        let Business {
            holds,
            backlog,
            cursor,
            ..
        } = &mut **business;
        let (mut sent, mut left) = (0, BATCH);
        while *holds == 0
            && left > 0
            && let Some(entry) = backlog.front()
        {
            // One that is for nobody costs something too.
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

    fn tidy(&mut self) {
        self.business.take_if(|business| {
            business.handshakes == 0
                && business.holds == 0
                && business.backlog.is_empty()
                && !business.is_running
        });
    }

    fn is_gone(&self) -> bool {
        self.sockets.len() == 0 && self.business.is_none()
    }
}
