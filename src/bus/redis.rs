//! The bus over Redis: a supervised subscriber connection that cannot go deaf unnoticed.
//!
//! Every two seconds the node says hello to all nodes, itself included, over the command
//! connection, and expects to hear it over the subscriber connection. That is its canary, and how
//! the others know that it lives. After a rebuilt connection the node subscribes for all its users
//! again and makes up for what it missed before it calls itself ready.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::redis::{PushInfo, PushKind, Value};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    Deaf, Emitted, Listener,
    channels::{Channels, Hearing},
    peers::Peers,
    pending::{Pending, Tally},
    subscriber::{SubscribeError, Subscriber},
};
use crate::{
    id::{NodeId, UserId},
    redis::{Backoff, Link, chain, names::ChannelNames},
    wire::{DecodeError, Event, NodeMessage, Publication, Sequence, UserMessage},
};

/// How often the node says hello.
const HELLO_INTERVAL: Duration = Duration::from_secs(2);
/// How long a hello or an event may take to come back.
const ECHO_LIMIT: Duration = Duration::from_secs(1);
/// Hellos that did not come back after which the subscriber connection is built anew.
const LOST_HELLOS: u32 = 3;
/// How long an emit right after the start waits for the first connection.
const START_LIMIT: Duration = Duration::from_secs(2);
/// Channels in one SUBSCRIBE: few round trips for 100,000 users, and no command that holds Redis up.
const CHUNK: usize = 1_000;
/// Messages held back while the node makes up for what it missed; past that they are dropped.
const BACKLOG: usize = 64 * 1024;

#[derive(Debug)]
pub struct RedisBus {
    node: NodeId,
    link: Link,
    names: ChannelNames,
    channels: Arc<Channels>,
    pending: Arc<Pending>,
    peers: Mutex<Peers>,
    state: watch::Sender<Result<(), Deaf>>,
    was_ready: AtomicBool,
    /// The newest of our own hellos that came back.
    hello: watch::Sender<Sequence>,
    hello_now: Notify,
    /// The present subscriber connection; messages of earlier ones are ignored.
    generation: AtomicU64,
    backlog: Mutex<Option<Vec<(UserId, UserMessage)>>>,
    /// Channels on which the node must hear itself beside that of all nodes.
    canaries: Mutex<Vec<String>>,
}

impl RedisBus {
    pub fn new(node: NodeId, link: Link, names: ChannelNames) -> Self {
        Self {
            node,
            link,
            names,
            channels: Arc::default(),
            pending: Arc::default(),
            peers: Mutex::default(),
            state: watch::Sender::new(Err(Deaf("not connected to Redis yet".to_owned()))),
            was_ready: AtomicBool::new(false),
            hello: watch::Sender::new(0),
            hello_now: Notify::new(),
            generation: AtomicU64::new(0),
            backlog: Mutex::new(None),
            canaries: Mutex::default(),
        }
    }

    pub(super) async fn hear(&self, user: &UserId) -> Hearing {
        self.channels.hear(user).await
    }

    pub(super) async fn emit(&self, user: &UserId, event: &Event) -> Emitted {
        let unsent = || Emitted::Unsent {
            alone: self.peers().is_alone(),
        };
        if !self.was_ready.load(Ordering::Relaxed) {
            timeout(START_LIMIT, self.state.subscribe().wait_for(Result::is_ok))
                .await
                .ok();
        }
        let Some(mut connection) = self.link.current().filter(|_| self.check().is_ok()) else {
            return unsent();
        };
        let seq = self.pending.next();
        let message = UserMessage::Emit {
            from: self.node.clone(),
            seq,
            event: event.clone(),
        };
        let mut echo = self.pending.expect(seq, self.channels.is_heard(user));
        let Publication { channel, message } = self.publication(user, &message);
        let sent = timeout(ECHO_LIMIT, async {
            let nodes: usize = connection
                .publish(channel, message)
                .await
                .map_err(|error| chain(&error))?;
            echo.arrived().await;
            Ok(nodes)
        });
        let why = match sent.await {
            Ok(Ok(nodes)) => return Emitted::Everywhere { nodes: Some(nodes) },
            Ok(Err(why)) => why,
            Err(_) => "an event did not come back in time".to_owned(),
        };
        if !echo.give_up() {
            return Emitted::Everywhere { nodes: None };
        }

        self.doubt(why);
        unsent()
    }

    pub(super) fn publication(&self, user: &UserId, message: &UserMessage) -> Publication {
        Publication {
            channel: self.names.user(user),
            message: message.encode(),
        }
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
        self.state.borrow().clone()
    }

    pub(super) async fn leave(&self) {
        let message = NodeMessage::Bye {
            node: self.node.clone(),
        }
        .encode();
        self.publish(self.names.all(), message).await.ok();
    }

    pub(super) async fn run(self: Arc<Self>, listener: Arc<dyn Listener>) {
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let why = self.hear_for_a_while(&listener).await;
            self.generation.fetch_add(1, Ordering::AcqRel);
            self.channels.lose();
            self.turn(Err(Deaf(why)));
            if since.elapsed() > HELLO_INTERVAL {
                backoff.reset();
            }
            backoff.pause().await;
        }
    }

    /// Lives through one subscriber connection; answers why it ended.
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
        let opened = Subscriber::open(&self.link.config, canary, on_push).await;
        let (subscriber, mut watch) = match opened {
            Ok(opened) => opened,
            Err(error) => return chain(&error),
        };
        tokio::select! {
            why = watch.lost() => format!("lost the subscriber connection: {why}"),
            error = self.live(subscriber, listener) => error,
        }
    }

    async fn live(&self, mut subscriber: Subscriber, listener: &Arc<dyn Listener>) -> String {
        if let Err(why) = self.recover(&mut subscriber, listener).await {
            return why;
        }
        tokio::select! {
            why = self.keep_subscribed(&mut subscriber, listener) => why,
            why = self.keep_hearing_itself() => why,
        }
    }

    /// Subscribes for all local users, and makes up for what was missed meanwhile. What arrives
    /// during that waits, lest an event reach a session whose replacement was missed.
    async fn recover(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), String> {
        let started = Instant::now();
        *self.backlog() = Some(Vec::new());
        let own = [self.names.node(&self.node), self.names.all().to_owned()];
        subscriber
            .subscribe(&own)
            .await
            .map_err(|error| chain(&error))?;
        self.set_canaries(subscriber);
        while self.channels.has_changes() {
            self.apply_changes(subscriber)
                .await
                .map_err(|error| chain(&error))?;
        }
        self.peers().recovered(Instant::now());
        self.say_hello().await?;
        listener.missed().await?;
        self.pass_on_backlog(&**listener);
        let users = self.channels.count();
        tracing::info!(users, elapsed = ?started.elapsed(), "hearing the bus");
        self.was_ready.store(true, Ordering::Relaxed);
        self.turn(Ok(()));
        Ok(())
    }

    fn pass_on_backlog(&self, listener: &dyn Listener) {
        let mut backlog = self.backlog();
        for (user, message) in backlog.take().unwrap_or_default() {
            listener.heard(&user, message);
        }
    }

    async fn keep_subscribed(
        &self,
        subscriber: &mut Subscriber,
        listener: &Arc<dyn Listener>,
    ) -> String {
        loop {
            let done = tokio::select! {
                () = self.channels.changed() => {
                    let applied = self.apply_changes(subscriber).await;
                    applied.map_err(|error| chain(&error))
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
        *self.backlog() = Some(Vec::new());
        let moved = subscriber.follow().await;
        let moved = moved.map_err(|error| chain(&error))?;
        self.set_canaries(subscriber);
        let users = moved.iter().filter_map(|name| self.names.user_of(name));
        let users: Vec<_> = users.flat_map(UserId::try_from).collect();
        tracing::debug!(users = users.len(), "followed channels to another node");
        listener.missed_of(users).await?;
        self.pass_on_backlog(&**listener);
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
            subscriber.unsubscribe(&names).await?;
        }
        if !changes.subscribe.is_empty() {
            let names = names(&changes.subscribe);
            subscriber.subscribe(&names).await?;
            self.channels.confirm(&changes.subscribe);
        }
        Ok(())
    }

    async fn keep_hearing_itself(&self) -> String {
        let mut lost = 0;
        loop {
            timeout(HELLO_INTERVAL, self.hello_now.notified())
                .await
                .ok();
            match self.say_hello().await {
                Ok(()) => {
                    lost = 0;
                    self.turn(Ok(()));
                }
                Err(why) => {
                    lost += 1;
                    if lost >= LOST_HELLOS {
                        return why;
                    }
                    self.turn(Err(Deaf(why)));
                }
            }
        }
    }

    fn set_canaries(&self, subscriber: &Subscriber) {
        *self.canaries() = subscriber.canaries();
    }

    /// Whether every shard is heard; the hello itself passes through one alone.
    async fn hear_canaries(&self) -> Result<(), String> {
        let canaries = self.canaries().clone();
        for canary in canaries {
            // A replica passes a message on, too, but cannot count who has got it.
            if self.hear_itself_on(&canary).await? == 0 {
                self.link.renew();
            }
        }
        Ok(())
    }

    async fn say_hello(&self) -> Result<(), String> {
        self.hear_canaries().await?;
        let receivers = self.hear_itself_on(self.names.all()).await?;
        self.peers().settle(receivers, Instant::now());
        Ok(())
    }

    /// Says hello on a channel and waits for it; answers how many nodes have heard it.
    async fn hear_itself_on(&self, channel: &str) -> Result<usize, String> {
        let seq = self.pending.next();
        let message = NodeMessage::Hello {
            node: self.node.clone(),
            seq,
        }
        .encode();
        let mut hello = self.hello.subscribe();
        let receivers = self.publish(channel, message).await?;
        let heard = timeout(ECHO_LIMIT, hello.wait_for(|heard| *heard >= seq)).await;
        heard
            .map_err(|_| "the node does not hear itself on the bus".to_owned())?
            .ok();
        Ok(receivers)
    }

    async fn publish(&self, channel: &str, message: Vec<u8>) -> Result<usize, String> {
        let Some(mut connection) = self.link.current() else {
            return Err("no connection to Redis".to_owned());
        };
        connection
            .publish(channel, message)
            .await
            .map_err(|error| chain(&error))
    }

    /// Something went wrong that the canary has not seen yet: count as deaf until it sings.
    fn doubt(&self, why: String) {
        self.turn(Err(Deaf(why)));
        self.hello_now.notify_one();
    }

    fn turn(&self, state: Result<(), Deaf>) {
        self.state.send_if_modified(|present| {
            match (&present, &state) {
                (Ok(()), Err(Deaf(why))) => tracing::warn!(why, "deaf on the bus"),
                (Err(_), Ok(())) => tracing::info!("ready on the bus"),
                _ => {}
            }
            let modified = *present != state;
            *present = state.clone();
            modified
        });
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
            let newer = matches!(error, DecodeError::Newer(_));
            metrics::counter!("sockd_bus_messages_ignored_total", "newer" => newer.to_string())
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
        if let UserMessage::Emit { from, seq, .. } = &message
            && *from == self.node
            && !self.pending.echoed(*seq)
        {
            return Ok(());
        }
        match &mut *self.backlog() {
            Some(backlog) if backlog.len() < BACKLOG => backlog.push((user, message)),
            Some(_) => metrics::counter!("sockd_bus_messages_dropped_total").increment(1),
            None => listener.heard(&user, message),
        }
        Ok(())
    }

    fn on_node_message(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        match NodeMessage::decode(bytes)? {
            NodeMessage::Hello { node, seq } if node == self.node => {
                self.hello.send_replace(seq);
            }
            NodeMessage::Hello { node, .. } => {
                let newcomer = self.peers().heard(node.clone(), Instant::now());
                if newcomer {
                    tracing::info!(%node, "another node is there");
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

    fn peers(&self) -> MutexGuard<'_, Peers> {
        // Neither lock is ever held across a panic that leaves its content half-changed.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn canaries(&self) -> MutexGuard<'_, Vec<String>> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Option<Vec<(UserId, UserMessage)>>> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
