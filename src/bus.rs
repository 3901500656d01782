//! How a message reaches every node that has a user.
//!
//! Each user has a channel, and a node is subscribed to it while it has a socket of the user. Every node,
//! the sender included, delivers an event when it arrives over the bus: one path, so one order per
//! user. If an event does not come back in time, the node that sent it delivers it to its own sockets, in its
//! place in that order.

pub mod redis;

use std::{error::Error, future::Future, pin::Pin, sync::Arc, time::Duration};

use thiserror::Error;

use self::redis::{PeerAnswer, PeerTooOld, Question, RedisBus, Reply, Subscription};
use crate::{
    id::{NodeId, SessionId, UserId},
    redis::{Demoted, Lost},
    wire::{Event, Inquiry, LogoutReason, NodeMessage, Publication, Sequence, UserMessage},
};

/// How this node reaches the others.
#[derive(Debug, Clone)]
pub enum Bus {
    /// There are no others.
    Local,
    Redis(Arc<RedisBus>),
}

/// What the bus calls on the node, in the order of the messages.
pub trait Listener: Send + Sync + 'static {
    /// An event for the sockets of a user; returns how many there are. Must not block.
    fn deliver(&self, user: &UserId, event: &Event) -> usize;

    /// Sockets of the user must be disconnected. Must not block.
    fn log_out(&self, user: &UserId, order: LogoutOrder);

    /// No session of the user is stored, and another node has sockets of this one, which it last found
    /// stored at least `age` ago. Must not block.
    fn session_held(&self, user: &UserId, session: SessionId, age: Duration);

    /// Another node asks a question; [`Bus::answer`] must follow. Must not block.
    fn asked(&self, from: NodeId, seq: Sequence, inquiry: Inquiry);

    /// Lines that another node has recorded for this node's trace of that number. Must not block.
    fn traced(&self, number: u64, lines: Vec<String>, dropped: u64);

    /// Messages may have been missed; resolves when the node has caught up.
    fn missed(&self) -> CatchUp<'_>;

    /// Like [`Self::missed`], for messages on the channels of these users only.
    fn missed_of(&self, users: Vec<UserId>) -> CatchUp<'_>;

    /// Compares these users' sockets with the stored sessions before events are delivered to them
    /// without the bus. May be dropped at any time.
    fn look<'a>(&'a self, users: &'a [UserId]) -> CatchUp<'a>;
}

/// Resolves when the node has caught up with what it missed, or cannot.
pub type CatchUp<'a> = Pin<Box<dyn Future<Output = Result<(), CatchUpError>> + Send + 'a>>;

/// Why a node cannot catch up with what it missed.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct CatchUpError(Box<dyn Error + Send + Sync>);

impl CatchUpError {
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

/// An order to disconnect sockets of a user; [`Bus::answer`] to `from` must follow.
#[derive(Debug, Clone)]
pub struct LogoutOrder {
    pub from: NodeId,
    pub seq: Sequence,
    pub logout: Logout,
}

/// Which sockets of a user to disconnect, and what to tell them.
#[derive(Debug, Clone)]
pub struct Logout {
    /// The new active session, whose sockets stay. `None` if the active session has not changed: then all
    /// sockets go.
    pub keep: Option<SessionId>,
    pub reason: LogoutReason,
}

impl Logout {
    /// The session has become the active one.
    pub fn replaced_by(session: &SessionId) -> Self {
        Self {
            keep: Some(session.clone()),
            reason: LogoutReason::SESSION_REPLACED,
        }
    }
}

/// How far an event went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How many nodes have the user; `None` if that is unknown.
    pub nodes: Option<usize>,
}

/// The event may not have reached every node; the sockets of this one have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the bus is not available")]
pub struct BusUnavailable;

/// Why the bus cannot be relied on now; `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotReady {
    #[error("not connected to Redis yet")]
    Starting,
    #[error("no connection to Redis")]
    NotConnected,
    #[error("lost the subscriber connection: {}", .0.why())]
    SubscriberLost(Lost),
    /// What Redis said, and what an operator can do about it.
    #[error("{0}")]
    Refused(String),
    #[error("Redis did not accept a hello in time")]
    HelloUnanswered,
    #[error("the node does not receive its own hellos")]
    HelloLost,
    #[error("Redis did not confirm a subscription in time")]
    SubscriptionUnanswered,
    #[error("Redis has lost a subscription of this node")]
    SubscriptionLost,
    #[error("Redis did not accept a message in time")]
    EventUnanswered,
    #[error("an event did not return in time")]
    EventLost,
    #[error(transparent)]
    Demoted(Demoted),
    /// Why the sockets could not be compared with the stored sessions.
    #[error("{0}")]
    NotCaughtUp(String),
}

/// Why a message may not reach every node that has the user.
#[derive(Debug, Error)]
pub enum TellError {
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The message went to a server that may have become a replica, so nodes at its master do not have it.
    #[error("Redis may not be the master any more")]
    Misplaced,
}

impl Bus {
    /// Subscribes to the user's channel until the result is dropped. Resolves once Redis has confirmed the
    /// subscription, however long that takes. Cancellation-safe.
    pub async fn subscribe(&self, user: &UserId) -> Option<Subscription> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.subscribe(user).await),
        }
    }

    /// Sends an event to every node that has the user. The `listener` is this node.
    ///
    /// # Errors
    /// The event reached the sockets of this node, but maybe not those of others.
    pub async fn emit(
        &self,
        listener: &dyn Listener,
        user: &UserId,
        event: &Event,
    ) -> Result<Reach, BusUnavailable> {
        match self {
            Self::Local => {
                let nodes = usize::from(listener.deliver(user, event) > 0);
                Ok(Reach { nodes: Some(nodes) })
            }
            Self::Redis(bus) => bus.emit(user, event).await,
        }
    }

    /// Sends a message that is not part of a session change to the nodes that have the user;
    /// returns their number.
    ///
    /// # Errors
    /// The bus is not ready, Redis did not accept the message, or it may have gone to a replica.
    pub async fn tell(&self, publication: &Publication) -> Result<usize, TellError> {
        match self {
            Self::Local => Ok(0),
            Self::Redis(bus) => bus.tell(publication).await,
        }
    }

    /// A message for the user's channel that the session store publishes with its change.
    pub fn publication(&self, user: &UserId, message: &UserMessage) -> Publication {
        match self {
            Self::Local => Publication::default(),
            Self::Redis(bus) => bus.publication(user, message),
        }
    }

    /// Sends messages on the channels of these users, if there may be another node.
    ///
    /// # Errors
    /// Redis did not accept all of them in time.
    pub async fn tell_peers(&self, messages: &[(UserId, UserMessage)]) -> Result<(), NotReady> {
        match self {
            Self::Local => Ok(()),
            Self::Redis(bus) => bus.tell_peers(messages).await,
        }
    }

    /// # Errors
    /// A node of an older release would ignore such a message.
    pub fn check_peers(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        match self {
            Self::Local => Ok(()),
            Self::Redis(bus) => bus.check_peers(message),
        }
    }

    /// Opens a question, which gathers the answers to the message that carries its number.
    pub fn ask(&self) -> Option<Question> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.ask()),
        }
    }

    /// Asks every other live node, and returns what each answered within the limit.
    pub async fn ask_peers(&self, inquiry: Inquiry, limit: Duration) -> Vec<PeerAnswer> {
        match self {
            Self::Local => Vec::new(),
            Self::Redis(bus) => bus.ask_peers(inquiry, limit).await,
        }
    }

    /// Sends a message to one node, without making sure that it arrives.
    pub async fn send(&self, to: &NodeId, message: &NodeMessage) {
        if let Self::Redis(bus) = self {
            bus.send(to, message).await;
        }
    }

    /// Sends the reply to a question of another node, which `seq` identifies.
    pub async fn answer(&self, to: &NodeId, seq: Sequence, reply: Reply) {
        if let Self::Redis(bus) = self {
            bus.answer(to, seq, reply).await;
        }
    }

    /// # Errors
    /// The node cannot receive messages for its users now.
    pub fn check(&self) -> Result<(), NotReady> {
        match self {
            Self::Local => Ok(()),
            Self::Redis(bus) => bus.check(),
        }
    }

    /// Listens until dropped.
    pub async fn run(self, listener: Arc<dyn Listener>) {
        if let Self::Redis(bus) = self {
            bus.run(listener).await;
        }
    }

    /// Tells the other nodes that this one is leaving, so that they do not wait for it.
    pub async fn leave(&self, limit: Duration) {
        if let Self::Redis(bus) = self {
            tokio::time::timeout(limit, bus.leave()).await.ok();
        }
    }
}
