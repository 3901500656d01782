//! The bus over Redis: a supervised subscriber connection that cannot go deaf unnoticed.
//!
//! Every two seconds the node says hello to all nodes, itself included, over the command
//! connection, and expects to hear it over the subscriber connection. That is its canary, and how
//! the others know that it lives. After a rebuilt connection the node subscribes for all its users
//! again and makes up for what it missed before it calls itself ready.

mod emit;
mod hello;
mod lanes;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{PushInfo, PushKind, Value};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use self::lanes::Lanes;
use super::{
    Deaf, Listener,
    channels::{Channels, Hearing},
    peers::{PeerTooOld, Peers},
    pending::{Pending, Tally},
    subscriber::{SubscribeError, Subscriber},
};
use crate::{
    id::{NodeId, UserId},
    redis::{Backoff, Link, chain, names::ChannelNames, refusal::Grants},
    wire::{DecodeError, NodeMessage, Publication, Sequence, UserMessage},
};

/// How often the node says hello.
const HELLO_INTERVAL: Duration = Duration::from_secs(2);
/// How long a hello or an event may take to come back.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// Channels in one SUBSCRIBE: few round trips for 100,000 users, and no command that holds Redis up.
const CHUNK: usize = 1_000;

#[derive(Debug)]
pub struct RedisBus {
    node: NodeId,
    link: Link,
    grants: Grants,
    names: ChannelNames,
    channels: Arc<Channels>,
    pending: Arc<Pending>,
    peers: Mutex<Peers>,
    state: Mutex<Result<(), Deaf>>,
    was_ready: AtomicBool,
    /// Events that wait for the start of the bus go on in their order.
    first_ready: Notify,
    /// Every user's channel is subscribed, on a connection that is not known to be lost.
    linked: AtomicBool,
    /// No event is sent to Redis before this time, because it has just failed to answer one.
    mute_until: Mutex<Option<Instant>>,
    /// The newest of our own hellos that came back.
    hello: watch::Sender<Sequence>,
    hello_now: Notify,
    /// The present subscriber connection; messages of earlier ones are ignored.
    generation: AtomicU64,
    lanes: Mutex<Lanes>,
    lanes_changed: Notify,
    /// Channels on which the node must hear itself beside that of all nodes.
    canaries: Mutex<Vec<String>>,
}

impl RedisBus {
    pub fn new(node: NodeId, link: Link, names: ChannelNames) -> Self {
        // The bus has channels alone.
        let grants = Grants::new(&link.config, "");
        Self {
            node,
            link,
            grants,
            names,
            channels: Arc::default(),
            pending: Arc::default(),
            peers: Mutex::default(),
            state: Mutex::new(Err(Deaf("not connected to Redis yet".to_owned()))),
            was_ready: AtomicBool::new(false),
            first_ready: Notify::new(),
            linked: AtomicBool::new(false),
            mute_until: Mutex::new(None),
            hello: watch::Sender::new(0),
            hello_now: Notify::new(),
            generation: AtomicU64::new(0),
            lanes: Mutex::default(),
            lanes_changed: Notify::new(),
            canaries: Mutex::default(),
        }
    }

    pub(super) async fn hear(&self, user: &UserId) -> Hearing {
        self.channels.hear(user).await
    }

    pub(super) fn publication(&self, user: &UserId, message: &UserMessage) -> Publication {
        Publication {
            channel: self.names.user(user),
            message: message.encode(),
        }
    }

    pub(super) fn check_peers(&self, message: &UserMessage) -> Result<(), PeerTooOld> {
        self.peers().understand(message)
    }

    pub(super) fn tally(&self) -> Tally {
        self.pending.tally()
    }

    pub(super) async fn answer(&self, to: &NodeId, seq: Sequence, count: u64) {
        if *to == self.node {
            return self.pending.answered(seq, count);
        }
        let message = NodeMessage::Disconnected { seq, count }.encode();
        if let Err(why) = self.publish(&self.names.node(to), message).await {
            tracing::warn!(%to, why, "cannot answer another node");
        }
    }

    pub(super) fn check(&self) -> Result<(), Deaf> {
        self.state().clone()?;
        // What a replica passes on does not reach the nodes that are at its master.
        let role = self.link.check_role();
        role.map_err(|demoted| Deaf(demoted.to_string()))
    }

    pub(super) async fn leave(&self) {
        let message = NodeMessage::Bye {
            node: self.node.clone(),
        }
        .encode();
        self.publish(self.names.all(), message).await.ok();
    }

    pub(super) async fn run(self: Arc<Self>, listener: Arc<dyn Listener>) {
        tokio::join!(
            self.hear_forever(&listener),
            self.deliver_late_events(&*listener)
        );
    }

    async fn hear_forever(self: &Arc<Self>, listener: &Arc<dyn Listener>) {
        let mut backoff = Backoff::new(self.link.dialer.clone());
        loop {
            let since = Instant::now();
            let why = self.hear_for_a_while(listener).await;
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.linked.store(false, Ordering::Release);
            self.turn(Err(Deaf(why)));
            self.channels.lose();
            self.lanes().give_up_all(Instant::now());
            self.lanes_changed.notify_one();
            // The first attempt is made at once; one that took long needs no pause either.
            if since.elapsed() > HELLO_INTERVAL {
                backoff.reset();
            } else {
                backoff.pause().await;
            }
        }
    }

    /// Runs one subscriber connection to its end; returns why it ended.
    async fn hear_for_a_while(self: &Arc<Self>, listener: &Arc<dyn Listener>) -> String {
        let (bus, ears) = (self.clone(), listener.clone());
        let generation = self.generation.load(Ordering::Acquire);
        let on_push = move |push: PushInfo| {
            if bus.generation.load(Ordering::Acquire) == generation {
                bus.on_push(push, &*ears);
            }
        };
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
            why = watch.lost() => format!("lost the subscriber connection: {why}"),
            error = self.live(subscriber, listener) => error,
        }
    }

    async fn live(&self, mut subscriber: Subscriber, listener: &Arc<dyn Listener>) -> String {
        if let Err(why) = self.recover(&mut subscriber, listener).await {
            return why;
        }
        tokio::select! {
            biased;
            why = self.keep_subscribed(&mut subscriber, listener) => why,
            why = self.keep_hearing_itself() => why,
        }
    }

    /// Subscribes for all local users, and makes up for what was missed meanwhile. What arrives
    /// during that waits, so that no event reaches a session whose replacement was missed.
    async fn recover(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), String> {
        let started = Instant::now();
        // What an earlier attempt has held back is still to be told.
        self.lanes().hold();
        let own = [self.names.node(&self.node), self.names.all().to_owned()];
        let heard = subscriber.subscribe(&own).await;
        heard.map_err(|error| self.explain(&error))?;
        self.set_canaries(subscriber);
        self.link
            .connection()
            .await
            .map_err(|error| error.to_string())?;
        self.peers().recovered(Instant::now());
        // Before anyone is let in, so that no other node takes itself for the only one.
        let hello = async || self.say_hello().await.map_err(|missed| missed.to_string());
        hello().await?;
        while self.channels.has_changes() {
            let applied = self.apply_changes(subscriber).await;
            applied.map_err(|error| self.explain(&error))?;
        }
        listener.missed().await?;
        self.lanes()
            .release(|user, message| listener.heard(user, message));
        // All that took a while.
        hello().await?;
        let users = self.channels.count();
        tracing::info!(users, elapsed = ?started.elapsed(), "hearing the bus");
        self.linked.store(true, Ordering::Release);
        self.turn(Ok(()));
        self.was_ready.store(true, Ordering::Release);
        self.first_ready.notify_waiters();
        Ok(())
    }

    async fn keep_subscribed(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> String {
        loop {
            let done = tokio::select! {
                biased;
                () = self.channels.changed() => {
                    let applied = self.apply_changes(subscriber).await;
                    applied.map_err(|error| self.explain(&error))
                }
                () = subscriber.moved() => self.follow(subscriber, listener).await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Some channels have moved to another node of the cluster. They are found again, and what was
    /// missed meanwhile is made up for, as after a rebuilt connection.
    async fn follow(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), String> {
        self.lanes().hold();
        let moved = subscriber.follow().await;
        let moved = moved.map_err(|error| self.explain(&error))?;
        self.set_canaries(subscriber);
        let users = moved.iter().filter_map(|name| self.names.user_of(name));
        let users: Vec<_> = users.flat_map(UserId::try_from).collect();
        tracing::debug!(users = users.len(), "followed channels to another node");
        listener.missed_of(users).await?;
        self.lanes()
            .release(|user, message| listener.heard(user, message));
        // The command connection may not know yet.
        self.hello_now.notify_one();
        Ok(())
    }

    async fn apply_changes(&self, subscriber: &mut Subscriber) -> Result<(), SubscribeError> {
        let changes = self.channels.take_changes(CHUNK);
        let names = |users: &[UserId]| {
            users
                .iter()
                .map(|user| self.names.user(user))
                .collect::<Vec<_>>()
        };
        if !changes.unsubscribe.is_empty() {
            let names = names(&changes.unsubscribe);
            self.lanes()
                .give_up_of(&changes.unsubscribe, Instant::now());
            self.lanes_changed.notify_one();
            subscriber.unsubscribe(&names).await?;
        }
        if !changes.subscribe.is_empty() {
            let names = names(&changes.subscribe);
            subscriber.subscribe(&names).await?;
            self.channels.confirm(&changes.subscribe);
        }
        Ok(())
    }

    fn set_canaries(&self, subscriber: &Subscriber) {
        *self.canaries() = subscriber.canaries();
    }

    async fn publish(&self, channel: &str, message: Vec<u8>) -> Result<usize, String> {
        let Some(mut connection) = self.link.current() else {
            return Err("no connection to Redis".to_owned());
        };
        connection
            .publish(channel, message)
            .await
            .map_err(|error| self.grants.explain(&error))
    }

    /// What was said, and what to do about it.
    fn explain(&self, error: &SubscribeError) -> String {
        match error {
            SubscribeError::Redis(error) => self.grants.explain(error),
            other => chain(other),
        }
    }

    fn turn(&self, state: Result<(), Deaf>) {
        let mut present = self.state();
        match (&*present, &state) {
            (Ok(()), Err(Deaf(why))) => tracing::warn!(why, "deaf on the bus"),
            (Err(before), Err(now)) if before != now => {
                tracing::warn!(why = now.0, "still deaf on the bus");
            }
            (Err(_), Ok(())) => tracing::info!("ready on the bus"),
            _ => {}
        }
        *present = state;
    }

    fn on_push(&self, push: PushInfo, listener: &dyn Listener) {
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
            Some(user) => self.on_user_message(user, &message, listener),
            None => self.on_node_message(&message),
        };
        if let Err(error) = understood {
            metrics::counter!("sockd_bus_messages_ignored_total", "why" => error.label())
                .increment(1);
            tracing::debug!(why = chain(&error), "ignored a message on the bus");
        }
    }

    fn on_user_message(
        &self,
        user: &str,
        bytes: &[u8],
        listener: &dyn Listener,
    ) -> Result<(), DecodeError> {
        let Ok(user) = UserId::try_from(user) else {
            return Ok(());
        };
        let message = UserMessage::decode(bytes)?;
        let own = match &message {
            UserMessage::Emit { from, seq, .. } if *from == self.node => Some(*seq),
            _ => None,
        };
        self.lanes().heard(&user, message, own, |user, message| {
            listener.heard(user, message);
        });
        Ok(())
    }

    fn on_node_message(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        match NodeMessage::decode(bytes)? {
            NodeMessage::Hello { node, seq, .. } if node == self.node => {
                // A Redis that was frozen may tell what an earlier connection said after that of
                // the present one.
                self.hello.send_modify(|heard| *heard = seq.max(*heard));
            }
            NodeMessage::Hello { node, build, .. } => {
                let release = build.release.clone();
                let newcomer = self.peers().heard(node.clone(), build, Instant::now());
                if newcomer {
                    tracing::info!(%node, release, "another node is there");
                    // A newcomer should know of us at once, and not after our next turn.
                    self.hello_now.notify_one();
                }
            }
            NodeMessage::Bye { node } => {
                tracing::info!(%node, "another node has gone");
                self.peers().gone(&node);
            }
            NodeMessage::Disconnected { seq, count } => self.pending.answered(seq, count),
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, Result<(), Deaf>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        // Neither lock is ever held across a panic that leaves its content half-changed.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn canaries(&self) -> MutexGuard<'_, Vec<String>> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
