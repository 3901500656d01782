//! The use cases of one node: who is admitted, who gets which events, who is logged out. No HTTP, no
//! Socket.IO.

mod comparison;
mod complaints;
mod inspection;
mod logout;
mod store_state;
mod trace;
mod upkeep;

use std::{
    iter::once_with,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use self::{complaints::Complaints, store_state::StoreState};
pub use self::{
    inspection::Reporter,
    logout::{LoggedOut, LogoutError},
    store_state::StoreNotReady,
};
use crate::{
    bus::{
        self, Bus, BusUnavailable, CatchUp, CatchUpError, Listener, Logout, LogoutOrder, Reach,
        redis::Subscription,
    },
    error::chain,
    hub::{Farewell, Holding, Hub, Lease, NotAdmitted, Outlet},
    id::{NodeId, SessionId, UserId},
    lifecycle::Lifecycle,
    metrics::{SESSIONS_ADOPTED, SOCKETS_SWEPT},
    session::{Claim, SessionError, SessionStore},
    trace::{Batch, Traces},
    wire::{Event, HandshakeError, Inquiry, Sequence, Step, beginning},
};

/// How long a handshake or a force-logout may take in all, so that it is answered within 3 s while Redis
/// is down or hangs.
pub const DECISION_LIMIT: Duration = Duration::from_millis(2_500);
/// Users in one step of a sweep: enough to fill a pipeline, too few to hold up Redis.
const CHUNK: usize = 500;

/// One running sockd, as seen from its clients and callers.
pub struct Node {
    id: NodeId,
    sessions: SessionStore,
    bus: Bus,
    hub: Arc<Hub>,
    lifecycle: Lifecycle,
    store_state: StoreState,
    complaints: Complaints,
    reporter: OnceLock<Reporter>,
    traces: Arc<Traces>,
    /// The node itself, for the tasks that a message starts.
    me: Weak<Self>,
}

/// A socket's right to be here. It ends when this is dropped.
pub struct Admitted {
    lease: Lease,
    _subscription: Option<Subscription>,
}

impl Admitted {
    pub fn user(&self) -> &UserId {
        self.lease.user()
    }

    /// The client knows that it has joined: events flow from now on.
    ///
    /// # Errors
    /// The socket was revoked in the meantime; the caller dismisses it.
    pub fn activate(&self) -> Result<(), Farewell> {
        self.lease.activate()
    }
}

/// Why a node cannot do its work now; `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotReady {
    #[error("draining")]
    Draining,
    #[error(transparent)]
    Bus(#[from] bus::NotReady),
    #[error(transparent)]
    Store(#[from] StoreNotReady),
    /// Something took too long although the node seems ready.
    #[error("for no known reason")]
    Unknown,
}

/// Why a session could not be removed.
#[derive(Debug, Error)]
pub enum RemoveError {
    #[error("Redis did not answer in time: {0}")]
    Timeout(NotReady),
    #[error("the session store failed")]
    Store(#[from] SessionError),
}

/// Why not all sockets could be compared with the stored sessions.
#[derive(Debug, Error)]
enum SweepError {
    #[error(transparent)]
    Store(#[from] SessionError),
    #[error(transparent)]
    Bus(#[from] bus::NotReady),
}

impl Node {
    /// Puts the parts together and starts the background tasks: the bus, the sweep and renewals.
    pub fn start(
        id: NodeId,
        sessions: SessionStore,
        bus: Bus,
        sweep_interval: Duration,
        lifecycle: &Lifecycle,
    ) -> Arc<Self> {
        let lifecycle = lifecycle.clone();
        let traces = Traces::new(id.clone());
        let node = Arc::new_cyclic(|me| {
            let hub = Hub::new(&lifecycle);
            Self {
                id,
                sessions,
                bus,
                hub,
                lifecycle,
                store_state: StoreState::unknown(),
                complaints: Complaints::default(),
                reporter: OnceLock::new(),
                traces,
                me: me.clone(),
            }
        });
        node.lifecycle.spawn(node.bus.clone().run(node.clone()));
        node.lifecycle
            .spawn(node.clone().sweep_forever(sweep_interval));
        node.lifecycle.spawn(node.clone().renew_forever());
        let me = node.clone();
        node.lifecycle
            .spawn(async move { me.store_state.watch(&me.sessions).await });
        node
    }

    pub fn sessions(&self) -> &SessionStore {
        &self.sessions
    }

    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// # Errors
    /// The node cannot do its work now.
    pub fn check(&self) -> Result<(), NotReady> {
        self.troubles().next().map_or(Ok(()), Err)
    }

    /// Everything that keeps the node from doing its work.
    pub fn troubles(&self) -> impl Iterator<Item = NotReady> {
        let draining = self.lifecycle.is_draining().then_some(NotReady::Draining);
        let bus = || self.bus.check().err().map(NotReady::from);
        let store = || self.store_state.check().err().map(NotReady::from);
        let draining = draining.into_iter();
        draining
            .chain(once_with(bus).flatten())
            .chain(once_with(store).flatten())
    }

    /// Admits a client with a valid token, if its session is the active one or can become it, and has
    /// fewer sockets here than are allowed.
    ///
    /// The order is what makes single login a guarantee: first the socket is in the hub, then the
    /// node is subscribed to the user's channel, then the session is claimed. Whatever replaces the session
    /// after the claim finds the socket; whatever did before is seen by the claim.
    ///
    /// The deadline is [`DECISION_LIMIT`] after the handshake began.
    ///
    /// # Errors
    /// Why the client is refused.
    pub async fn admit(
        &self,
        user: &UserId,
        session: &SessionId,
        outlet: Arc<dyn Outlet>,
        deadline: Instant,
        sockets_per_user: Option<usize>,
    ) -> Result<Admitted, HandshakeError> {
        let mut handshake = self.hub.register(user, session, outlet);
        let admission = async {
            // The id is stored once for the hub and the bus.
            let subscription = self.bus.subscribe(handshake.user()).await;
            loop {
                self.claim(user, session).await?;
                match handshake.admit(sockets_per_user) {
                    Ok(lease) => {
                        return Ok(Admitted {
                            lease,
                            _subscription: subscription,
                        });
                    }
                    Err(NotAdmitted::Doubted(again)) => handshake = again,
                    Err(NotAdmitted::Full) => return Err(HandshakeError::TooManySockets),
                }
            }
        };
        timeout_at(deadline, admission).await.unwrap_or_else(|_| {
            let why = self.reason().to_string();
            self.traces
                .record(user, || Step::SessionUnknown { why: why.clone() });
            self.complaints.tell("a handshake took too long", why);
            Err(HandshakeError::AuthUnavailable)
        })
    }

    async fn claim(&self, user: &UserId, session: &SessionId) -> Result<(), HandshakeError> {
        let question = self.bus.ask();
        let replaced = Logout::replaced_by(session);
        let message = self.message(&replaced, question.as_ref());
        let publication = self.bus.publication(user, &message);
        match self.sessions.claim(user, session, &publication).await {
            Ok(Claim::Active) => Ok(()),
            Ok(Claim::Mismatch) => Err(HandshakeError::SessionMismatch),
            Ok(Claim::Adopted { told }) => {
                SESSIONS_ADOPTED.inc();
                self.traces.record(user, || Step::SessionAdopted {
                    session: beginning(session.as_str()),
                });
                // The key may have been lost under a live socket of another session, here or
                // elsewhere. It must be gone before this one is in.
                self.disconnect(user, &replaced).await;
                self.await_answers(question.as_ref(), told).await;
                Ok(())
            }
            // Sockets of the session before it may still be live. Those here go when the message comes
            // back, not earlier: the force-logout that replaced it counts them.
            Ok(Claim::New { told }) => {
                self.await_answers(question.as_ref(), told).await;
                self.disconnect(user, &replaced).await;
                Ok(())
            }
            Err(error) => {
                let why = chain(&error);
                self.traces
                    .record(user, || Step::SessionUnknown { why: why.clone() });
                self.complaints.tell("cannot check a session", why);
                Err(HandshakeError::AuthUnavailable)
            }
        }
    }

    /// Sends an event to every socket of the user, on every node.
    ///
    /// # Errors
    /// The event reached the sockets of this node, but possibly not those of others.
    pub async fn emit(&self, user: &UserId, event: &Event) -> Result<Reach, BusUnavailable> {
        let emitted = self.bus.emit(self, user, event).await;
        self.traces.record(user, || Step::Emitted {
            event: event.name.as_str(),
            nodes: emitted.as_ref().ok().and_then(|reach| reach.nodes),
            error: emitted.as_ref().err().map(ToString::to_string),
        });
        emitted
    }

    /// Forgets the user's stored session; returns whether there was one. Open sockets stay until another
    /// session is adopted.
    ///
    /// # Errors
    /// The session may still be stored.
    pub async fn remove_session(&self, user: &UserId) -> Result<bool, RemoveError> {
        let removed = timeout(DECISION_LIMIT, self.sessions.remove(user)).await;
        let removed = match removed {
            Ok(removed) => removed.map_err(RemoveError::from),
            Err(_) => Err(RemoveError::Timeout(self.reason())),
        };
        if let Ok(removed) = removed {
            self.traces
                .record(user, || Step::SessionRemoved { removed });
        }
        removed.inspect_err(|error| {
            self.complaints
                .tell("cannot remove a session", chain(error));
        })
    }

    /// Why something takes too long, if that is known.
    fn reason(&self) -> NotReady {
        self.check().err().unwrap_or(NotReady::Unknown)
    }

    /// Compares all local sockets with the stored sessions, whatever messages arrived or were lost. Tells
    /// the other nodes about sessions that Redis does not know: only the first time, or `again`.
    async fn sweep(&self, again: bool) -> Result<(), SweepError> {
        let mut users = self.hub.presences().map(|presence| presence.user);
        let mut outcome = Ok(());
        loop {
            let chunk: Vec<UserId> = users.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return outcome;
            }
            // One part of a Cluster that is down must not keep the others from being swept.
            outcome = outcome.and(self.sweep_chunk(&chunk, again).await);
        }
    }

    async fn sweep_chunk(&self, users: &[UserId], again: bool) -> Result<(), SweepError> {
        let unknown = self.enforce_stored(users).await?;
        Ok(self.compare(unknown, again).await?)
    }

    /// Returns what is held here for users who have no stored session.
    async fn enforce_stored(&self, users: &[UserId]) -> Result<Vec<Holding>, SessionError> {
        let active = self.sessions.active(users).await?;
        let mut unknown = Vec::new();
        for (user, active) in users.iter().zip(active) {
            if let Some(active) = active {
                let replaced = Logout::replaced_by(&active);
                SOCKETS_SWEPT.inc_by(self.disconnect(user, &replaced).await);
            } else if let Some(holding) = self.hub.holding(user) {
                // Of several sessions here, the one admitted last was stored last.
                let replaced = Logout::replaced_by(&holding.session);
                SOCKETS_SWEPT.inc_by(self.disconnect(user, &replaced).await);
                unknown.push(holding);
            }
        }
        Ok(unknown)
    }
}

impl Listener for Node {
    fn deliver(&self, user: &UserId, event: &Event) -> usize {
        let sockets = self.hub.deliver(user, event);
        self.traces.record_event(user, event, sockets);
        sockets
    }

    fn log_out(&self, user: &UserId, order: LogoutOrder) {
        self.carry_out(user, order);
    }

    fn session_held(&self, user: &UserId, session: SessionId, age: Duration) {
        self.compare_with(user, &session, age);
    }

    fn asked(&self, from: NodeId, seq: Sequence, inquiry: Inquiry) {
        self.reply(from, seq, inquiry);
    }

    fn traced(&self, number: u64, lines: Vec<String>, dropped: u64) {
        self.traces.arrived(number, Batch { lines, dropped });
    }

    fn missed(&self) -> CatchUp<'_> {
        Box::pin(async move {
            // A claim may have been answered before a change that this node missed.
            self.hub.doubt_handshakes();
            // The node is ready again only once the store is known to work too.
            self.store_state.probe(&self.sessions).await;
            self.sweep(true).await.map_err(CatchUpError::new)
        })
    }

    fn missed_of(&self, users: Vec<UserId>) -> CatchUp<'_> {
        Box::pin(async move {
            // Handshakes under way may have asked before a change that this node missed.
            self.hub.doubt_handshakes();
            let unknown = self.enforce_stored(&users).await;
            let unknown = unknown.map_err(CatchUpError::new)?;
            let compared = self.compare(unknown, true).await;
            compared.map_err(CatchUpError::new)
        })
    }

    fn look<'a>(&'a self, users: &'a [UserId]) -> CatchUp<'a> {
        Box::pin(async move {
            let present = users.iter().filter(|user| self.hub.has(user));
            let present: Vec<UserId> = present.cloned().collect();
            let mut outcome = Ok(());
            for chunk in present.chunks(CHUNK) {
                let looked = self.enforce_stored(chunk).await;
                if let Err(error) = &looked {
                    tracing::debug!(
                        why = chain(error),
                        "cannot check the sessions of some users"
                    );
                }
                outcome = outcome.and(looked.map(drop));
            }
            outcome.map_err(CatchUpError::new)
        })
    }
}
