//! The bus over Redis: a supervised subscriber connection that cannot go silent unnoticed.
//!
//! Every two seconds the node says hello to all nodes, itself included, over the command
//! connection, and expects it back over the subscriber connection. That is its canary, and how
//! the others know that it lives. On a new connection the node subscribes for all its users
//! again and catches up with what it missed before it calls itself ready.
//!
//! What is known and decided is in [`state`]; here is the I/O around it.

mod emit;
mod hello;
mod meters;
mod question;
mod shards;
mod state;
mod subscriber;
mod subscription;

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::redis::{PushInfo, PushKind, Value};
use tokio::{
    sync::{Notify, SetOnce},
    time::{Instant, timeout},
};

use self::{
    meters::Meters,
    state::{Action, Changes, CommandLink, ECHO_LIMIT, News, State},
};
pub use self::{
    question::Question,
    state::{Answer, PeerTooOld, Reply},
    subscriber::{SubscribeError, Subscriber},
    subscription::Subscription,
};
use super::{Listener, Logout, LogoutOrder, NotReady};
use crate::{
    error::chain,
    id::{NodeId, UserId},
    metrics::BUS_MESSAGES_DROPPED,
    redis::{Backoff, Connection, Link, View, names::ChannelNames, refusal::Grants},
    wire::{DecodeError, LogoutReason, NodeMessage, OwnEvents, Publication, UserMessage},
};

/// Channels in one SUBSCRIBE: few round trips for 100,000 users, and no command that holds Redis up.
const CHUNK: usize = 1_000;
/// How long a call right after the start waits for the bus, out of the time that it has.
const START_LIMIT: Duration = Duration::from_millis(500);
/// A subscriber connection that lasted no longer is replaced after a pause.
const SHORT_LIFE: Duration = Duration::from_secs(2);

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
        // The bus has channels alone.
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

    pub(super) async fn tell(&self, publication: &Publication) -> Result<usize, NotReady> {
        self.wait_for_start().await;
        self.check()?;
        let Publication { channel, message } = publication;
        self.publish(channel, message.clone()).await
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
        let publish = |(user, message): &(UserId, UserMessage)| {
            let mut publish = ::redis::cmd(connection.publish_command());
            publish.arg(self.names.user(user)).arg(message.encode());
            publish
        };
        let publishes = messages.iter().map(publish).collect();
        let published = timeout(ECHO_LIMIT, connection.each(publishes)).await;
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
        };
        if let Err(error) = self.publish(&self.names.node(to), message.encode()).await {
            tracing::warn!(%to, why = %error, "cannot answer another node");
        }
    }

    pub(super) fn check(&self) -> Result<(), NotReady> {
        self.feed(|state| state.check())
    }

    pub(super) async fn leave(&self) {
        let node = self.node.clone();
        let message = NodeMessage::Bye { node }.encode();
        self.publish(self.names.all(), message).await.ok();
    }

    pub(super) async fn run(self: Arc<Self>, listener: Arc<dyn Listener>) {
        tokio::join!(
            self.stay_subscribed(&listener),
            self.tend_late_events(&*listener),
            self.check_roles(),
        );
    }

    async fn stay_subscribed(self: &Arc<Self>, listener: &Arc<dyn Listener>) {
        let mut backoff = Backoff::new(self.link.dialer.clone());
        loop {
            let since = Instant::now();
            let why = self.use_one_connection(listener).await;
            self.meters.lost();
            self.feed(|state| state.lost(why, now()));
            // The first attempt is made at once; one that took long needs no pause either.
            if since.elapsed() > SHORT_LIFE {
                backoff.reset();
            } else {
                backoff.pause().await;
            }
        }
    }

    /// Runs one subscriber connection to its end; returns why it ended.
    async fn use_one_connection(self: &Arc<Self>, listener: &Arc<dyn Listener>) -> NotReady {
        let generation = self.state().generation();
        let (bus, recipient) = (self.clone(), listener.clone());
        let on_push = move |push: PushInfo| bus.on_push(generation, push, &*recipient);
        let bus = self.clone();
        let canary = move |number| bus.names.canary(&bus.node, number);
        let link = Some(self.link.clone());
        let opened = Subscriber::open(&self.link.config, link, canary, on_push).await;
        let (subscriber, mut watch) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.explain(&error),
        };
        tokio::select! {
            biased;
            lost = watch.lost() => NotReady::SubscriberLost(lost),
            why = self.live(subscriber, listener) => why,
        }
    }

    async fn live(&self, mut subscriber: Subscriber, listener: &Arc<dyn Listener>) -> NotReady {
        if let Err(why) = self.recover(&mut subscriber, listener).await {
            return why;
        }
        tokio::select! {
            biased;
            why = self.keep_subscribed(&mut subscriber, listener) => why,
            why = self.keep_saying_hello() => why,
        }
    }

    /// Subscribes for all local users, and catches up with what was missed meanwhile. What arrives
    /// during that waits, so that no event reaches a session whose replacement was missed.
    async fn recover(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), NotReady> {
        let started = Instant::now();
        self.feed(State::catch_up);
        let own = [self.names.node(&self.node), self.names.all().to_owned()];
        let subscribed = subscriber.subscribe(&own).await;
        subscribed.map_err(|error| self.explain(&error))?;
        self.feed(|state| state.set_canaries(subscriber.canaries()));
        let connected = self.link.connection().await;
        connected.map_err(|_| NotReady::NotConnected)?;
        self.feed(|state| state.receives_hellos(now()));
        // Before anyone is let in, so that no other node takes itself for the only one.
        self.say_hello().await?;
        while self.state().has_changes() {
            self.apply_changes(subscriber).await?;
        }
        let caught_up = listener.missed().await;
        caught_up.map_err(|error| NotReady::NotCaughtUp(chain(&error)))?;
        self.feed_delivering(&**listener, State::caught_up);
        // All that took a while.
        self.say_hello().await?;
        let users = self.feed(|state| {
            state.ready();
            state.users()
        });
        self.meters.connected.set(1);
        tracing::info!(users, elapsed = ?started.elapsed(), "subscribed to the bus");
        self.started.set(()).ok();
        Ok(())
    }

    async fn keep_subscribed(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> NotReady {
        loop {
            let done = tokio::select! {
                biased;
                () = self.changes.notified() => self.apply_changes(subscriber).await,
                () = subscriber.moved() => self.follow(subscriber, listener).await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Some channels have moved to another node of the cluster. They are found again, and what was
    /// missed meanwhile is caught up with, as on a new connection.
    async fn follow(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), NotReady> {
        self.feed(State::moved);
        let moved = subscriber.follow().await;
        let moved = moved.map_err(|error| self.explain(&error))?;
        self.feed(|state| state.set_canaries(subscriber.canaries()));
        let users = moved.iter().filter_map(|name| self.names.user_of(name));
        let users: Vec<_> = users.flat_map(UserId::try_from).collect();
        tracing::debug!(users = users.len(), "followed channels to another node");
        let caught_up = listener.missed_of(users).await;
        caught_up.map_err(|error| NotReady::NotCaughtUp(chain(&error)))?;
        self.feed_delivering(&**listener, State::followed);
        Ok(())
    }

    async fn apply_changes(&self, subscriber: &mut Subscriber) -> Result<(), NotReady> {
        let Changes {
            unsubscribe,
            subscribe,
        } = self.feed(|state| state.take_changes(CHUNK, now()));
        let names = |users: &[UserId]| -> Vec<String> {
            users.iter().map(|user| self.names.user(user)).collect()
        };
        if !unsubscribe.is_empty() {
            let names = names(&unsubscribe);
            let unsubscribed = self.change(subscriber.unsubscribe(&names)).await;
            unsubscribed.map_err(|error| self.explain(&error))?;
        }
        if !subscribe.is_empty() {
            let names = names(&subscribe);
            let subscribed = self.change(subscriber.subscribe(&names)).await;
            subscribed.map_err(|error| self.explain(&error))?;
            self.feed(|state| state.subscribed(&subscribe));
        }
        Ok(())
    }

    /// A call right after the start waits a moment for the bus.
    async fn wait_for_start(&self) {
        if !self.started.initialized() {
            timeout(START_LIMIT, self.started.wait()).await.ok();
        }
    }

    /// Waits for a change of subscriptions, and says when that takes too long. A Redis that is held
    /// up for a moment must not cost all subscriptions, so the state decides what follows.
    async fn change<T>(&self, change: impl Future<Output = T>) -> T {
        let mut change = pin!(change);
        if let Ok(done) = timeout(ECHO_LIMIT, change.as_mut()).await {
            return done;
        }
        self.feed(State::changes_overdue);
        let done = change.await;
        self.feed(State::changes_confirmed);
        done
    }

    async fn publish(&self, channel: &str, message: Vec<u8>) -> Result<usize, NotReady> {
        let Some(mut connection) = self.link.current() else {
            return Err(NotReady::NotConnected);
        };
        let published = connection.publish(channel, message).await;
        published.map_err(|error| NotReady::Refused(self.grants.explain(&error)))
    }

    /// What was said, and what to do about it.
    fn explain(&self, error: &SubscribeError) -> NotReady {
        NotReady::Refused(match error {
            SubscribeError::Redis(error) => self.grants.explain(error),
            other => chain(other),
        })
    }

    fn on_push(&self, generation: u64, push: PushInfo, listener: &dyn Listener) {
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return;
        }
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(channel)), Some(Value::BulkString(message))) =
            (data.next(), data.next())
        else {
            return;
        };
        let channel = String::from_utf8_lossy(&channel);
        let understood = match self.names.user_of(&channel) {
            Some(user) => self.on_user_message(generation, user, &message, listener),
            None => NodeMessage::decode(&message)
                .map(|message| self.feed(|state| state.node_message(generation, message, now()))),
        };
        if let Err(error) = understood {
            self.meters.ignored(&error).inc();
            tracing::debug!(why = chain(&error), "ignored a message on the bus");
        }
    }

    fn on_user_message(
        &self,
        generation: u64,
        user: &str,
        bytes: &[u8],
        listener: &dyn Listener,
    ) -> Result<(), DecodeError> {
        // The event itself is still here, so that it need not be read again.
        if let Some(seq) = self.own_events.recognise(bytes)
            && self.feed_delivering(listener, |state| state.echo(generation, user, seq))
        {
            return Ok(());
        }
        let Ok(user) = UserId::try_from(user) else {
            return Ok(());
        };
        let message = UserMessage::decode(bytes)?;
        self.feed_delivering(listener, |state| state.received(generation, &user, message));
        Ok(())
    }

    /// Tells the state what happened, and does what follows from it. Nothing to deliver may follow.
    fn feed<T>(&self, event: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        self.link.view(|link| state.sees(command_link(link)));
        let told = event(&mut state);
        let actions = state.take_actions();
        drop(state);
        self.perform(actions);
        told
    }

    /// Like [`Self::feed`]; returns the command connection that the state saw meanwhile, too.
    fn feed_over_link<T>(&self, event: impl FnOnce(&mut State) -> T) -> (Option<Connection>, T) {
        let mut state = self.state();
        let connection = self.link.view(|link| {
            state.sees(command_link(link));
            link.connection.cloned()
        });
        let told = event(&mut state);
        let actions = state.take_actions();
        drop(state);
        self.perform(actions);
        (connection, told)
    }

    /// Like [`Self::feed`], and delivers what follows before it returns.
    fn feed_delivering<T>(
        &self,
        listener: &dyn Listener,
        event: impl FnOnce(&mut State) -> T,
    ) -> T {
        let (told, is_any) = self.feed(|state| {
            let told = event(state);
            (told, state.has_deliveries())
        });
        if !is_any {
            return told;
        }
        let turn = self.delivering.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let deliveries = self.state().take_deliveries();
        let mut own = Vec::new();
        for delivery in deliveries {
            let user = &delivery.user;
            own.extend(delivery.own.map(|seq| (seq, delivery.over_bus)));
            match delivery.message {
                UserMessage::Emit { event, .. } => {
                    listener.deliver(user, &event);
                }
                UserMessage::SessionChanged { from, seq, session } => {
                    let logout = Logout {
                        keep: Some(session),
                        reason: LogoutReason::SESSION_REPLACED,
                    };
                    listener.log_out(user, LogoutOrder { from, seq, logout });
                }
                UserMessage::Kicked {
                    from,
                    seq,
                    reason,
                    session,
                } => {
                    let logout = Logout {
                        keep: session,
                        reason,
                    };
                    listener.log_out(user, LogoutOrder { from, seq, logout });
                }
                UserMessage::SessionHeld { session, age_ms } => {
                    listener.session_held(user, session, Duration::from_millis(age_ms));
                }
            }
        }
        if !own.is_empty() {
            self.feed(|state| state.delivered(&own));
        }
        told
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
                Action::Tell(news) => tell(news),
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

fn tell(news: News) {
    match news {
        News::NotReady(why) => tracing::warn!(%why, "not ready on the bus"),
        News::StillNotReady(why) => tracing::warn!(%why, "still not ready on the bus"),
        News::Ready => tracing::info!("ready on the bus"),
        News::PeerCame { node, release } => {
            tracing::info!(%node, release, "another node is there");
        }
        News::PeerLeft { node } => tracing::info!(%node, "another node has gone"),
        News::Dropped(count) => {
            BUS_MESSAGES_DROPPED.inc_by(count);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
