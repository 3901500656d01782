//! How a message reaches every node that has a user.
//!
//! Each user has a channel; a node hears it while it has a socket of the user. An event is
//! delivered when it comes back from the bus, on the node that sent it too: one path, so one order
//! per user. One that does not come back is delivered without the bus, in its place in that order.

pub mod channels;
pub mod peers;
pub mod pending;
pub mod redis;
pub mod shards;
pub mod subscriber;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use thiserror::Error;

use self::{channels::Hearing, peers::PeerTooOld, pending::Tally, redis::RedisBus};
use crate::{
    id::{NodeId, UserId},
    wire::{Event, Publication, Sequence, UserMessage},
};

/// The ways to the other nodes.
#[derive(Debug, Clone)]
pub enum Bus {
    /// This process is all there is.
    Local,
    Redis(Arc<RedisBus>),
}

/// What the bus tells the node that listens to it. Calls come in the order of the messages.
pub trait Listener: Send + Sync + 'static {
    /// A message on the channel of a user has arrived. Must not block.
    fn heard(&self, user: &UserId, message: UserMessage);

    /// Messages may have been missed; resolves when what they could have said is made up for, or
    /// to why it cannot be.
    fn missed(&self) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;

    /// Compares these users' sockets with the stored sessions before events are delivered to them
    /// without the bus; does nothing where the store cannot be read. May be dropped at any time.
    fn look<'a>(&'a self, users: &'a [UserId]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// Like [`Self::missed`], where it can only have been messages on the channels of these users.
    fn missed_of(
        &self,
        users: Vec<UserId>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

/// How far [`Bus::emit`] has brought an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emitted {
    /// Nowhere yet: this process is all there is, and the caller delivers.
    Here,
    /// To every node that has the user. How many those are cannot always be known.
    Everywhere { nodes: Option<usize> },
    /// To the sockets of this node, but maybe not to those of others.
    Partly,
}

/// Why the bus cannot be relied on now; `/readyz` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Deaf(pub String);

impl Bus {
    /// Hears the user's channel from the moment this resolves until the answer is dropped.
    /// Waits for a lost link for as long as the caller lets it. Cancellation-safe.
    pub async fn hear(&self, user: &UserId) -> Option<Hearing> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.hear(user).await),
        }
    }

    /// Sends an event to every node that has the user.
    pub async fn emit(&self, user: &UserId, event: &Event) -> Emitted {
        match self {
            Self::Local => Emitted::Here,
            Self::Redis(bus) => bus.emit(user, event).await,
        }
    }

    /// A message for the user's channel that the session store publishes with its change.
    pub fn publication(&self, user: &UserId, message: &UserMessage) -> Publication {
        match self {
            Self::Local => Publication::default(),
            Self::Redis(bus) => bus.publication(user, message),
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

    /// Begins to count the answers to the message of this number.
    pub fn tally(&self) -> Option<Tally> {
        match self {
            Self::Local => None,
            Self::Redis(bus) => Some(bus.tally()),
        }
    }

    /// Tells the node that asked how many sockets were disconnected here.
    pub async fn answer(&self, to: &NodeId, seq: Sequence, count: u64) {
        if let Self::Redis(bus) = self {
            bus.answer(to, seq, count).await;
        }
    }

    /// # Errors
    /// The node cannot hear its users now; the error says why.
    pub fn check(&self) -> Result<(), Deaf> {
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

    /// Tells the other nodes that this one goes, so that they need not wonder.
    pub async fn leave(&self, limit: Duration) {
        if let Self::Redis(bus) = self {
            tokio::time::timeout(limit, bus.leave()).await.ok();
        }
    }
}
