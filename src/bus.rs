//! How a message reaches every node that has a user.
//!
//! Each user has a channel; a node is subscribed to it while it has a socket of the user. An event is
//! delivered when it comes back from the bus, on the node that sent it too: one path, so one order
//! per user. One that does not come back is delivered without the bus, in its place in that order.

pub mod redis;

use std::{error::Error, future::Future, pin::Pin, sync::Arc, time::Duration};

use thiserror::Error;

use self::redis::{PeerAnswer, PeerTooOld, Question, RedisBus, Reply, Subscription};
use crate::{
    id::{NodeId, SessionId, UserId},
    redis::{Demoted, Lost},
    wire::{Event, Inquiry, LogoutReason, NodeMessage, Publication, Sequence, UserMessage},
};

/// The ways to the other nodes.
#[derive(Debug, Clone)]
pub enum Bus {
    /// This process is all there is.
    Local,
    Redis(Arc<RedisBus>),
}

/// The node, as the bus calls it, in the order of the messages.
pub trait Listener: Send + Sync + 'static {
    /// An event for the sockets of a user; returns how many there are. Must not block.
    fn deliver(&self, user: &UserId, event: &Event) -> usize;

    /// Sockets of the user have to go. Must not block.
    fn log_out(&self, user: &UserId, order: LogoutOrder);

    /// No session of the user is stored, and another node has sockets of this one, which it last
    /// found stored at least so long ago. Must not block.
    fn session_held(&self, user: &UserId, session: SessionId, age: Duration);

    /// Another node asks something, and is to be [answered](Bus::answer). Must not block.
    fn asked(&self, from: NodeId, seq: Sequence, inquiry: Inquiry);

    /// Another node has written down what happened to a user, for this node's trace of that number.
    /// Must not block.
    fn traced(&self, number: u64, lines: Vec<String>, dropped: u64);

    /// Messages may have been missed; resolves when the node has caught up.
    fn missed(&self) -> CatchUp<'_>;

    /// Like [`Self::missed`], where it can only have been messages on the channels of these users.
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

/// An order to disconnect sockets of a user; `from` is to be [answered](Bus::answer).
#[derive(Debug, Clone)]
pub struct LogoutOrder {
    pub from: NodeId,
    pub seq: Sequence,
    pub logout: Logout,
}

/// Which sockets of a user have to go, and what they are told.
#[derive(Debug, Clone)]
pub struct Logout {
    /// The active session, whose sockets stay. If the active session has not changed, `None`: all
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
    /// How many nodes have the user; `None` where that cannot be known.
    pub nodes: Option<usize>,
}

/// Not every node could be reached; the sockets of this one have the event.
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
    /// Only the nodes that are still connected to it have the message.
    #[error("Redis is not known to be the master that it was")]
    Misplaced,
}

impl Bus {
    /// Subscribes to the user's channel, from the moment this resolves until the result is dropped.
    /// Waits for a lost link for as long as the caller lets it. Cancellation-safe.
    pub async fn subscribe(&self, user: &UserId) -> Option<Subscription> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.subscribe(user).await),
        }
    }

    /// Sends an event to every node that has the user, of which the `listener` is one.
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
    /// It was not sent, or Redis did not accept it, and this node may not receive it or the answers; or
    /// it went to a replica.
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
    /// Redis does not take them all, or not in time.
    pub async fn tell_peers(&self, messages: &[(UserId, UserMessage)]) -> Result<(), NotReady> {
        match self {
            Self::Local => Ok(()),
            Self::Redis(bus) => bus.tell_peers(messages).await,
        }
    }

    /// # Errors
    /// Another node, of an older release, would ignore such a message.
    pub fn check_peers(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        match self {
            Self::Local => Ok(()),
            Self::Redis(bus) => bus.check_peers(message),
        }
    }

    /// Begins to gather the answers to the message that carries this question's number.
    pub fn ask(&self) -> Option<Question> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.ask()),
        }
    }

    /// Asks every other node that is known to live, and gathers what they answer within the limit.
    pub async fn ask_peers(&self, inquiry: Inquiry, limit: Duration) -> Vec<PeerAnswer> {
        match self {
            Self::Local => Vec::new(),
            Self::Redis(bus) => bus.ask_peers(inquiry, limit).await,
        }
    }

    /// Sends a message to one node; one that does not arrive is lost.
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

    /// Tells the other nodes that this one leaves, so that they do not wait for it.
    pub async fn leave(&self, limit: Duration) {
        if let Self::Redis(bus) = self {
            tokio::time::timeout(limit, bus.leave()).await.ok();
        }
    }
}
