//! The sockets of this process, by user. It knows no protocol: a socket is an [`Outlet`].
//!
//! A socket is registered before its session is checked, so that a change of session in between
//! finds it. It goes through three stages: in its *handshake*, *admitted* (its session is proven,
//! events wait until its client knows), and *live*.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dashmap::{DashMap, mapref::multiple::RefMulti};

use crate::{
    id::{SessionId, UserId},
    wire::Event,
};

/// Events that may wait while a user's sessions are judged, or a client learns that it is in.
const WAITING_LIMIT: usize = 4_096;

/// The way to one client.
pub trait Outlet: Send + Sync + 'static {
    /// Sends an event; a client that cannot keep up is the outlet's to deal with.
    fn send(&self, event: &Event);

    /// Tells the client why it has to go, and closes its connection.
    fn dismiss(&self, farewell: Farewell);
}

/// Why a socket is dismissed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    SessionReplaced,
    TokenExpired,
}

/// All sockets of this process.
#[derive(Default)]
pub struct Hub {
    users: DashMap<UserId, User>,
    last_socket: AtomicU64,
}

#[derive(Debug, Clone)]
struct SocketKey {
    user: UserId,
    number: u64,
}

#[derive(Default)]
struct User {
    sockets: Vec<Socket>,
    /// How many judgements are under way; while there is one, events wait.
    holds: usize,
    waiting: Vec<Event>,
}

struct Socket {
    number: u64,
    session: SessionId,
    outlet: Arc<dyn Outlet>,
    stage: Stage,
}

enum Stage {
    /// `doubted`: the session may have changed since it was checked.
    Handshake {
        doubted: bool,
    },
    Admitted {
        waiting: Vec<Event>,
    },
    Live,
    /// Gets nothing any more, and goes when its connection does.
    Revoked(Farewell),
}

/// What the hub knows of a user who has admitted sockets here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub user: UserId,
    /// The session of the user's sockets; of one of them, should they differ.
    pub session: SessionId,
}

/// A socket's place in the hub; it is given up when this is dropped.
pub struct Lease {
    hub: Arc<Hub>,
    key: SocketKey,
}

/// What [`Lease::admit`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// The session may have changed since it was checked: check again.
    Doubted,
}

impl Hub {
    /// Registers a socket in its handshake. It gets no events before it is admitted.
    pub fn register(
        self: &Arc<Self>,
        user: &UserId,
        session: &SessionId,
        outlet: Arc<dyn Outlet>,
    ) -> Lease {
        let number = self.last_socket.fetch_add(1, Ordering::Relaxed);
        let stage = Stage::Handshake { doubted: false };
        let socket = Socket {
            number,
            session: session.clone(),
            outlet,
            stage,
        };
        self.users
            .entry(user.clone())
            .or_default()
            .sockets
            .push(socket);
        let key = SocketKey {
            user: user.clone(),
            number,
        };
        Lease {
            hub: self.clone(),
            key,
        }
    }

    /// Hands an event to all sockets of the user; answers how many.
    pub fn deliver(&self, user: &UserId, event: &Event) -> usize {
        let Some(mut user) = self.users.get_mut(user) else {
            return 0;
        };
        if user.holds > 0 {
            push_bounded(&mut user.waiting, event);
        } else {
            user.deliver(event);
        }
        user.sockets
            .iter()
            .filter(|socket| socket.stage.is_in())
            .count()
    }

    /// Begins to judge the user's sockets, now that `session` may be the only one; `None` if no
    /// socket is of another. Those in their handshake will be asked to check again, those already
    /// in are judged by [`Judgement::keep`], and events wait until the judgement is dropped.
    pub fn judge(self: &Arc<Self>, user: &UserId, session: &SessionId) -> Option<Judgement> {
        let mut entry = self.users.get_mut(user)?;
        for socket in entry
            .sockets
            .iter_mut()
            .filter(|socket| socket.session != *session)
        {
            socket.doubt();
        }
        let admitted = || entry.sockets.iter().filter(|socket| socket.stage.is_in());
        if admitted().all(|socket| socket.session == *session) {
            return None;
        }
        // Those of the named session too: it may itself have been replaced since.
        let judged = admitted().map(|socket| socket.number).collect();
        entry.holds += 1;
        Some(Judgement {
            hub: self.clone(),
            user: user.clone(),
            judged,
        })
    }

    /// Asks all sockets in their handshake to check their sessions again.
    pub fn doubt_handshakes(&self) {
        for mut user in self.users.iter_mut() {
            user.sockets.iter_mut().for_each(Socket::doubt);
        }
    }

    /// The users who have sockets here.
    pub fn presences(&self) -> Vec<Presence> {
        let presence = |user: RefMulti<'_, UserId, User>| {
            let socket = user.sockets.iter().find(|socket| socket.stage.is_in())?;
            Some(Presence {
                user: user.key().clone(),
                session: socket.session.clone(),
            })
        };
        self.users.iter().filter_map(presence).collect()
    }

    /// Whether the user has a socket here.
    pub fn has(&self, user: &UserId) -> bool {
        let found = self.users.get(user);
        found.is_some_and(|user| user.sockets.iter().any(|socket| socket.stage.is_in()))
    }

    /// How many sockets are in.
    pub fn count(&self) -> usize {
        let count = |user: &User| {
            user.sockets
                .iter()
                .filter(|socket| socket.stage.is_in())
                .count()
        };
        self.users.iter().map(|user| count(&user)).sum()
    }

    fn forget_if_empty(&self, user: &UserId) {
        self.users
            .remove_if(user, |_, user| user.sockets.is_empty() && user.holds == 0);
    }
}

impl User {
    fn deliver(&mut self, event: &Event) {
        for socket in &mut self.sockets {
            match &mut socket.stage {
                Stage::Handshake { .. } | Stage::Revoked(_) => {}
                Stage::Admitted { waiting } => push_bounded(waiting, event),
                Stage::Live => socket.outlet.send(event),
            }
        }
    }

    fn socket(&mut self, number: u64) -> Option<&mut Socket> {
        self.sockets
            .iter_mut()
            .find(|socket| socket.number == number)
    }
}

/// Judgements and handshakes take moments; what would not fit is counted and lost.
fn push_bounded(waiting: &mut Vec<Event>, event: &Event) {
    if waiting.len() < WAITING_LIMIT {
        waiting.push(event.clone());
    } else {
        metrics::counter!("sockd_events_dropped_total").increment(1);
    }
}

impl Stage {
    fn is_in(&self) -> bool {
        matches!(self, Self::Admitted { .. } | Self::Live)
    }
}

impl Socket {
    fn doubt(&mut self) {
        if let Stage::Handshake { doubted } = &mut self.stage {
            *doubted = true;
        }
    }

    /// From now on the socket gets nothing. Answers the outlet if its client knows that it is in;
    /// else [`Lease::activate`] will find out.
    fn revoke(&mut self, farewell: Farewell) -> Option<Arc<dyn Outlet>> {
        let before = std::mem::replace(&mut self.stage, Stage::Revoked(farewell));
        matches!(before, Stage::Live).then(|| self.outlet.clone())
    }
}

/// Sockets whose session is in question; the user's events wait until it is dropped.
pub struct Judgement {
    hub: Arc<Hub>,
    user: UserId,
    judged: Vec<u64>,
}

/// The sockets that a judgement has revoked.
#[derive(Default)]
pub struct Revoked {
    /// How many, those included whose clients do not know yet that they were in.
    pub count: u64,
    /// Those to dismiss now.
    pub outlets: Vec<Arc<dyn Outlet>>,
}

impl Judgement {
    /// Revokes the judged sockets of other sessions than this one.
    pub fn keep(&self, session: &SessionId) -> Revoked {
        let mut revoked = Revoked::default();
        let Some(mut user) = self.hub.users.get_mut(&self.user) else {
            return revoked;
        };
        let others = user.sockets.iter_mut().filter(|socket| {
            self.judged.contains(&socket.number)
                && socket.stage.is_in()
                && socket.session != *session
        });
        for socket in others {
            revoked.count += 1;
            revoked
                .outlets
                .extend(socket.revoke(Farewell::SessionReplaced));
        }
        revoked
    }
}

impl Drop for Judgement {
    fn drop(&mut self) {
        if let Some(mut user) = self.hub.users.get_mut(&self.user) {
            user.holds -= 1;
            if user.holds == 0 {
                let waiting = std::mem::take(&mut user.waiting);
                waiting.iter().for_each(|event| user.deliver(event));
            }
        }
        self.hub.forget_if_empty(&self.user);
    }
}

impl Lease {
    /// The session is proven. Events wait from now on until [`Self::activate`].
    pub fn admit(&self) -> Admission {
        let Some(mut user) = self.hub.users.get_mut(&self.key.user) else {
            return Admission::Doubted;
        };
        let Some(socket) = user.socket(self.key.number) else {
            return Admission::Doubted;
        };
        match &mut socket.stage {
            Stage::Handshake { doubted: true } => {
                socket.stage = Stage::Handshake { doubted: false };
                Admission::Doubted
            }
            Stage::Handshake { doubted: false } => {
                socket.stage = Stage::Admitted {
                    waiting: Vec::new(),
                };
                Admission::Admitted
            }
            Stage::Admitted { .. } | Stage::Live | Stage::Revoked(_) => Admission::Admitted,
        }
    }

    /// The client knows that it is in: it gets what has waited, and events from now on.
    ///
    /// # Errors
    /// The socket was revoked in the meantime; the caller dismisses it.
    pub fn activate(&self) -> Result<(), Farewell> {
        let Some(mut user) = self.hub.users.get_mut(&self.key.user) else {
            return Ok(());
        };
        let Some(socket) = user.socket(self.key.number) else {
            return Ok(());
        };
        match std::mem::replace(&mut socket.stage, Stage::Live) {
            Stage::Revoked(farewell) => {
                socket.stage = Stage::Revoked(farewell);
                Err(farewell)
            }
            Stage::Admitted { waiting } => {
                waiting.iter().for_each(|event| socket.outlet.send(event));
                Ok(())
            }
            Stage::Handshake { .. } | Stage::Live => Ok(()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut user) = self.hub.users.get_mut(&self.key.user) {
            user.sockets
                .retain(|socket| socket.number != self.key.number);
        }
        self.hub.forget_if_empty(&self.key.user);
    }
}

#[cfg(test)]
mod tests;
