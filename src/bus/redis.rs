//! The bus over Redis: a supervised subscriber connection that cannot go silent unnoticed.
//!
//! Every two seconds the node says hello to all nodes, itself included, over the command
//! connection, and expects it back over the subscriber connection. That is its canary, and how the
//! others know that it is alive. On a new connection the node subscribes for all its users again and
//! catches up with what it missed before it is ready.
//!
//! [`state`] knows and decides everything; the other modules are the I/O around it.

mod emit;
mod hello;
mod incoming;
mod inquiry;
mod meters;
mod question;
mod shards;
mod state;
mod subscriber;
mod subscription;
mod upkeep;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, SetOnce},
    time::{Instant, timeout},
};

pub use self::{
    inquiry::PeerAnswer,
    question::Question,
    state::{Answer, PeerTooOld, Reply},
    subscriber::{SubscribeError, Subscriber},
    subscription::Subscription,
};
use self::{
    meters::Meters,
    state::{Action, CommandLink, ECHO_LIMIT, News, State},
};
use super::{Listener, NotReady, TellError};
use crate::{
    error::chain,
    id::{NodeId, UserId},
    metrics::BUS_MESSAGES_DROPPED,
    redis::{Connection, Link, View, grants::Grants, names::ChannelNames},
    wire::{NodeMessage, OwnEvents, Publication, UserMessage},
};

/// How long a call right after the start waits for the bus, as part of its own time limit.
const START_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct RedisBus {
    node: NodeId,
    link: Link,
    grants: Grants,
    names: ChannelNames,
    own_events: OwnEvents,
    state: Mutex<State>,
    /// Held while deliveries are taken and handed to the listener, so that they stay in order. Always
    /// taken before the lock of the state, which is not held meanwhile.
    delivering: Mutex<()>,
    /// Set when the node is ready for the first time.
    started: SetOnce<()>,
    changes: Notify,
    hello_now: Notify,
    late: Notify,
    role: Notify,
    meters: Meters,
}

impl RedisBus {
    pub fn new(node: NodeId, link: Link, names: ChannelNames) -> Self {
        // The bus uses channels, and no keys.
        let grants = Grants::new(&link.config, "");
        Self {
            own_events: OwnEvents::of(&node),
            state: Mutex::new(State::new(node.clone(), link.demoted())),
            node,
            link,
            grants,
            names,
            delivering: Mutex::default(),
            started: SetOnce::new(),
            changes: Notify::new(),
            hello_now: Notify::new(),
            late: Notify::new(),
            role: Notify::new(),
            meters: Meters::new(),
        }
    }

    pub(super) async fn subscribe(self: &Arc<Self>, user: &UserId) -> Subscription {
        Subscription::confirmed(self, user).await
    }

    pub(super) fn publication(&self, user: &UserId, message: &UserMessage) -> Publication {
        Publication {
            channel: self.names.user(user),
            message: message.encode(),
        }
    }

    pub(super) async fn tell(&self, publication: &Publication) -> Result<usize, TellError> {
        self.wait_for_start().await;
        self.check()?;
        let Publication { channel, message } = publication;
        let mut connection = self.link.current().ok_or(NotReady::NotConnected)?;
        let nodes = self.publish_over(&mut connection, channel, message).await?;
        // Asked after publishing, so that a demotion in between is noticed.
        match connection.is_replica().await {
            Ok(false) => Ok(nodes),
            Ok(true) | Err(_) => {
                self.link.renew();
                Err(TellError::Misplaced)
            }
        }
    }

    pub(super) async fn tell_peers(
        &self,
        messages: &[(UserId, UserMessage)],
    ) -> Result<(), NotReady> {
        if messages.is_empty() || self.state().is_alone() {
            return Ok(());
        }
        let Some(mut connection) = self.link.current() else {
            return Err(NotReady::NotConnected);
        };
        let messages = messages
            .iter()
            .map(|(user, message)| (self.names.user(user), message.encode()));
        let published = timeout(ECHO_LIMIT, connection.publish_each(messages)).await;
        let published = published.map_err(|_| NotReady::EventUnanswered)?;
        let published = published.and_then(|each| each.into_iter().collect::<Result<Vec<_>, _>>());
        published.map_err(|error| NotReady::Refused(self.grants.explain(&error)))?;
        Ok(())
    }

    pub(super) fn check_peers(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        self.state().check_peers(message)
    }

    pub(super) fn ask(self: &Arc<Self>) -> Question {
        Question::open(self)
    }

    pub(super) async fn answer(&self, to: &NodeId, seq: u64, reply: Reply) {
        let from = Some(self.node.clone());
        if *to == self.node {
            return self.feed(|state| state.answered(seq, from, reply));
        }
        let message = match reply {
            Reply::Disconnected(count) => NodeMessage::Disconnected { seq, count, from },
            Reply::Sockets(report) => NodeMessage::UserSockets {
                from: self.node.clone(),
                seq,
                report,
            },
            Reply::Status(status) => NodeMessage::Status {
                from: self.node.clone(),
                seq,
                status,
            },
            Reply::Tracing { full } => NodeMessage::Tracing {
                from: self.node.clone(),
                seq,
                full,
            },
        };
        self.send(to, &message).await;
    }

    pub(super) async fn send(&self, to: &NodeId, message: &NodeMessage) {
        if let Err(error) = self.publish(&self.names.node(to), &message.encode()).await {
            tracing::warn!(%to, why = %error, "cannot answer another node");
        }
    }

    pub(super) fn check(&self) -> Result<(), NotReady> {
        self.feed(|state| state.check())
    }

    pub(super) async fn leave(&self) {
        let node = self.node.clone();
        let message = NodeMessage::Bye { node }.encode();
        self.publish(self.names.all(), &message).await.ok();
    }

    pub(super) async fn run(self: Arc<Self>, listener: Arc<dyn Listener>) {
        tokio::join!(
            self.stay_subscribed(&listener),
            self.tend_late_events(&*listener),
            self.check_roles(),
        );
    }

    /// A call right after the start waits a moment for the bus.
    async fn wait_for_start(&self) {
        if !self.started.initialized() {
            timeout(START_LIMIT, self.started.wait()).await.ok();
        }
    }

    async fn publish(&self, channel: &str, message: &[u8]) -> Result<usize, NotReady> {
        let mut connection = self.link.current().ok_or(NotReady::NotConnected)?;
        self.publish_over(&mut connection, channel, message).await
    }

    async fn publish_over(
        &self,
        connection: &mut Connection,
        channel: &str,
        message: &[u8],
    ) -> Result<usize, NotReady> {
        let published = connection.publish(channel, message).await;
        published.map_err(|error| NotReady::Refused(self.grants.explain(&error)))
    }

    /// The error, and what to do about it.
    fn explain(&self, error: &SubscribeError) -> NotReady {
        NotReady::Refused(match error {
            SubscribeError::Redis(error) => self.grants.explain(error),
            other => chain(other),
        })
    }

    /// Tells the state what happened, and carries out the actions that follow. For events that deliver
    /// nothing; see [`Self::feed_delivering`].
    fn feed<T>(&self, event: impl FnOnce(&mut State) -> T) -> T {
        self.feed_seeing(|_| (), event).1
    }

    /// Like [`Self::feed`]; also returns the command connection that the state saw.
    fn feed_over_link<T>(&self, event: impl FnOnce(&mut State) -> T) -> (Option<Connection>, T) {
        self.feed_seeing(|link| link.connection.cloned(), event)
    }

    fn feed_seeing<L, T>(
        &self,
        look: impl FnOnce(&View<'_>) -> L,
        event: impl FnOnce(&mut State) -> T,
    ) -> (L, T) {
        let mut state = self.state();
        let looked = self.link.view(|link| {
            let looked = look(&link);
            state.sees(command_link(link));
            looked
        });
        let told = event(&mut state);
        let actions = state.take_actions();
        drop(state);
        self.perform(actions);
        (looked, told)
    }

    fn perform(&self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::ChangeSubscriptions => self.changes.notify_one(),
                Action::SayHello => self.hello_now.notify_one(),
                Action::TendLate => self.late.notify_one(),
                Action::CheckRole => self.role.notify_one(),
                Action::FindMaster => self.link.renew(),
                Action::Wake(waiting) => waiting.wake(),
                Action::Report(news) => report(news),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves it half-changed, so a poisoned lock is as good as new.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command_link(link: View<'_>) -> CommandLink {
    CommandLink {
        number: link.number,
        is_connected: link.connection.is_some(),
        is_demoted: link.is_demoted,
    }
}

fn report(news: News) {
    match news {
        News::NotReady(why) => tracing::warn!(%why, "not ready on the bus"),
        News::StillNotReady(why) => tracing::warn!(%why, "still not ready on the bus"),
        News::Ready => tracing::info!("ready on the bus"),
        News::PeerCame { node, release } => {
            tracing::info!(%node, release, "another node has joined");
        }
        News::PeerLeft { node } => tracing::info!(%node, "another node has left"),
        News::PeerSilent { node } => {
            tracing::warn!(%node, "another node is silent, and counts as gone");
        }
        News::Dropped(count) => {
            BUS_MESSAGES_DROPPED.inc_by(count);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
