//! Keeps the node subscribed to its users' channels, over one subscriber connection after another.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use redis::PushInfo;
use tokio::time::{Instant, timeout};

use super::{
    RedisBus, now,
    state::{Changes, ECHO_LIMIT, State},
    subscriber::Subscriber,
};
use crate::{
    bus::{Listener, NotReady},
    error::chain,
    id::UserId,
    redis::Backoff,
};

/// Channels in one SUBSCRIBE: few round trips for 100,000 users, and no command that blocks Redis for long.
const CHUNK: usize = 1_000;
/// A subscriber connection that ends within this time is replaced only after a pause.
const SHORT_LIFE: Duration = Duration::from_secs(2);

impl RedisBus {
    pub(super) async fn stay_subscribed(self: &Arc<Self>, listener: &Arc<dyn Listener>) {
        let mut backoff = Backoff::new(self.link.dialer.clone());
        loop {
            let since = Instant::now();
            let why = self.use_one_connection(listener).await;
            self.meters.lost();
            self.feed(|state| state.lost(why, now()));
            // A connection, or an attempt, that took longer needs no pause.
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

    /// Subscribes for all users of this node, and catches up with what it missed. Messages that arrive in the
    /// meantime wait, so that no event reaches a session whose replacement was missed.
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
        // Before any client is admitted, so that no other node takes itself for the only one.
        self.say_hello().await?;
        while self.state().has_changes() {
            self.apply_changes(subscriber).await?;
        }
        let caught_up = listener.missed().await;
        caught_up.map_err(|error| NotReady::NotCaughtUp(chain(&error)))?;
        self.feed_delivering(&**listener, State::caught_up);
        // The rest may have taken a while.
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
                // First, because a busy node never runs out of changes.
                () = subscriber.moved() => self.follow(subscriber, listener).await,
                () = self.changes.notified() => self.apply_changes(subscriber).await,
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Some channels have moved to another master of the Cluster. Finds them again, and catches up with what
    /// was missed, as on a new connection.
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

    /// Waits for a change of subscriptions, and tells the state if it takes too long. The state decides what
    /// follows: a Redis that hangs for a moment must not cost all subscriptions.
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
}
