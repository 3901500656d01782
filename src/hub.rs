//! The sockets of this process, by user. It knows no protocol: a socket is an [`Outlet`].
//!
//! A handshake is registered before its session is checked, so that a change of session in between
//! is noticed. Its socket is then *admitted* (its session is proven, events wait until its client
//! has been told), and finally *live*.
//!
//! The map only finds users. Each user has its own lock and order. While the lock is held, at most a
//! batch of sockets is written to; only a judgement visits all of them, to compare their sessions. So a
//! user with many sockets does not slow down other users.
//!
//! In reading order: `handshake` admits a socket, `user` keeps the order of what happens to one user's
//! `sockets`, with a `backlog` of events if there are many, and `judgement` dismisses sockets.

mod backlog;
mod handshake;
mod judgement;
mod sockets;
mod user;

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, mapref::entry::Entry};
use tokio::time::Instant;

use self::user::{Known, User};
pub use self::{
    handshake::{Handshake, Lease, NotAdmitted},
    judgement::{Judgement, Revoked},
};
use crate::{
    id::{IdHasher, SessionId, UserId},
    lifecycle::Lifecycle,
    metrics::EVENTS_SENT,
    stream::ClientAddress,
    wire::{Event, LogoutReason},
};

/// A user with no more sockets than this gets its events at once.
const BATCH: usize = 64;
/// How many sockets of a larger user are written to before other users get a turn: some 50 us of
/// work, which hardly delays an event.
const TURN: usize = 16;
/// Enough that no shard is locked for long while all users are listed; as many on every machine, since
/// they order the walk through all users.
const SHARDS: usize = 256;

/// The connection to one client.
pub trait Outlet: Send + Sync + 'static {
    /// Sends an event; `false` if the client is gone. The outlet handles clients that read too slowly.
    fn send(&self, event: &Event) -> bool;

    /// Ends the connection because events for the client were lost; the client must connect again.
    fn overrun(&self);

    /// Tells the client why it is dismissed, and closes its connection; `false` if it is gone already.
    fn dismiss(&self, farewell: &Farewell) -> bool;

    /// Details for operators; `None` if the client is gone.
    fn about(&self) -> Option<About>;
}

/// What is known of a socket's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub transport: &'static str,
    pub address: Option<ClientAddress>,
    /// How long ago it joined.
    pub age: Duration,
}

/// Why a socket is dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farewell {
    /// Its session was replaced, or its user kicked.
    LoggedOut(LogoutReason),
    TokenExpired,
}

/// All sockets of this process.
pub struct Hub {
    users: DashMap<ById, (), IdHasher>,
    /// The number of admitted sockets.
    count: AtomicUsize,
    /// How often all handshakes were asked to check their sessions again.
    doubts: AtomicU64,
    lifecycle: Lifecycle,
}

/// A user, hashed by its id, so that the id is stored only once.
struct ById(Arc<User>);

/// What the hub knows about a user with sockets here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub user: UserId,
    /// The session of the user's sockets; of one of them, should they differ.
    pub session: SessionId,
}

/// The session of a user's newest socket here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub user: UserId,
    pub session: SessionId,
    /// It was last found to be the stored session between these two times.
    pub found_after: Instant,
    pub found_before: Instant,
    /// Whether [`Hub::told`] was called for it.
    pub is_told: bool,
}

impl Hub {
    pub fn new(lifecycle: &Lifecycle) -> Arc<Self> {
        Arc::new(Self {
            users: DashMap::with_hasher_and_shard_amount(IdHasher::default(), SHARDS),
            count: AtomicUsize::new(0),
            doubts: AtomicU64::new(0),
            lifecycle: lifecycle.clone(),
        })
    }

    /// Registers a socket that begins its handshake. It gets no events before it is admitted.
    pub fn register(
        self: &Arc<Self>,
        user: &UserId,
        session: &SessionId,
        outlet: Arc<dyn Outlet>,
    ) -> Handshake {
        let (user, announcements) = self.begin_handshake(user);
        Handshake {
            hub: self.clone(),
            user,
            session: session.clone(),
            outlet,
            began: Instant::now(),
            known: Known {
                announcements,
                doubts: self.doubts(),
            },
        }
    }

    /// Sends an event to all sockets of the user; returns their number. Where there are many, most
    /// get it later, but each gets all events in the order of the calls.
    pub fn deliver(self: &Arc<Self>, user: &UserId, event: &Event) -> usize {
        self.find(user).map_or(0, |user| user.deliver(self, event))
    }

    /// Begins to judge the user's sockets, now that only `session` may be active; `None` if all of them
    /// are of that session. Handshakes of other sessions will be asked to check again, sockets
    /// already in are judged by [`Judgement::keep`], and events wait until the judgement is dropped.
    pub fn judge(self: &Arc<Self>, user: &UserId, session: &SessionId) -> Option<Judgement> {
        let user = self.find(user)?;
        // Those of the named session are judged too: it may itself have been replaced since.
        let number = user.judge(session)?;
        Some(Judgement {
            hub: self.clone(),
            user,
            number,
        })
    }

    /// Revokes all sockets of the user that are in. Handshakes are not touched: they may have begun
    /// later.
    pub fn revoke_all(self: &Arc<Self>, user: &UserId, reason: LogoutReason) -> Option<Revoked> {
        let user = self.find(user)?;
        Some(user.revoke_all(self, reason))
    }

    /// Asks all sockets in their handshake to check their sessions again.
    pub fn doubt_handshakes(&self) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
    }

    /// The users who have sockets here. Each is read when the iterator reaches it.
    pub fn presences(&self) -> impl Iterator<Item = Presence> + Send + use<> {
        let users = self.users.iter().map(|entry| entry.key().0.clone());
        let users: Vec<_> = users.collect();
        users.into_iter().filter_map(|user| {
            let session = user.session()?;
            let user = user.id.clone();
            Some(Presence { user, session })
        })
    }

    /// What the hub holds of the user; `None` if no socket is here.
    pub fn holding(&self, user: &UserId) -> Option<Holding> {
        self.find(user)?.holding()
    }

    /// Records that the other nodes were told of this holding.
    pub fn told(&self, holding: &Holding) {
        if let Some(user) = self.find(&holding.user) {
            user.told(holding);
        }
    }

    /// How many sockets the user has here, and the newest of them with their sessions, up to `limit`.
    pub fn sockets(&self, user: &UserId, limit: usize) -> (usize, Vec<(SessionId, About)>) {
        let user = self.find(user);
        let (count, newest) = user.map_or_else(Default::default, |user| user.newest(limit));
        let looked_at = newest.len();
        // Not under the user's lock.
        let present: Vec<_> = newest
            .into_iter()
            .filter_map(|(session, outlet)| Some((session, outlet.about()?)))
            .collect();
        (count - (looked_at - present.len()), present)
    }

    /// Whether the user has a socket here.
    pub fn has(&self, user: &UserId) -> bool {
        self.find(user).is_some_and(|user| user.session().is_some())
    }

    /// The number of admitted sockets.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Finds a user, and holds no lock afterwards.
    fn find(&self, user: &UserId) -> Option<Arc<User>> {
        let entry = self.users.get(user.as_str())?;
        Some(entry.key().0.clone())
    }

    fn begin_handshake(&self, id: &UserId) -> (Arc<User>, u64) {
        loop {
            if let Some(user) = self.find(id) {
                match user.begin_handshake() {
                    Some(announcements) => return (user, announcements),
                    // Its last socket has just left, and the user is about to be removed.
                    None => self.forget(&user),
                }
            }
            let user = Arc::new(User::new(id.clone()));
            if let Entry::Vacant(vacant) = self.users.entry(ById(user.clone())) {
                vacant.insert(());
                return (user, 0);
            }
        }
    }

    /// Removes a user that has nothing left, unless another has taken its place.
    fn forget(&self, user: &Arc<User>) {
        let is_same = |found: &ById, (): &()| Arc::ptr_eq(&found.0, user);
        self.users.remove_if(user.id.as_str(), is_same);
    }

    fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::SeqCst)
    }

    fn add(&self, sockets: usize) {
        self.count.fetch_add(sockets, Ordering::Relaxed);
    }

    fn subtract(&self, sockets: usize) {
        self.count.fetch_sub(sockets, Ordering::Relaxed);
    }

    fn sent(&self, events: u64) {
        if events > 0 {
            EVENTS_SENT.inc_by(events);
        }
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id.as_str()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.as_str().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

#[cfg(test)]
mod tests;
