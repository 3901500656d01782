//! Sends events over Redis, and delivers those directly that do not come back in time.

use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    ECHO_LIMIT, RedisBus,
    lanes::{Lanes, Late},
};
use crate::{
    bus::{Emitted, Listener},
    id::UserId,
    wire::{Event, Publication, Sequence, UserMessage},
};

/// How long an emit right after the start waits for the bus, out of the time that it has.
const START_LIMIT: Duration = Duration::from_millis(500);

/// How an event reaches the sockets of the node that sends it.
enum Way {
    /// It comes back over the bus; resolves on delivery.
    Back(oneshot::Receiver<bool>),
    /// The node is not subscribed to the user's channel and delivers it without the bus.
    Past(oneshot::Receiver<bool>),
    /// The user has no sockets here.
    None { deaf: bool },
}

impl RedisBus {
    /// Returns once the event was delivered to the sockets of this node, within [`ECHO_LIMIT`] plus
    /// [`super::lanes::LOOK_LIMIT`]. An event that was sent is delivered even if this is dropped.
    pub(in crate::bus) async fn emit(&self, user: &UserId, event: &Event) -> Emitted {
        let started = Instant::now();
        let deadline = started + ECHO_LIMIT;
        let first_ready = self.first_ready.notified();
        if !self.was_ready.load(Ordering::Acquire) {
            timeout(START_LIMIT, first_ready).await.ok();
        }
        let seq = self.pending.next();
        let message = UserMessage::Emit {
            from: self.node.clone(),
            seq,
            event: event.clone(),
        };
        let connection = self.link.current();
        if connection.is_none() {
            self.doubt("no connection to Redis".to_owned());
        }
        let is_usable = self.link.check_role().is_ok() && !self.is_mute();
        let Some(mut connection) = connection.filter(|_| is_usable) else {
            if self.channels.is_wanted(user) {
                self.deliver_late(user, seq, message, false).await.ok();
            }
            return self.unsent(user);
        };
        let publication = self.publication(user, &message);
        let way = self.send_back(user, seq, message, deadline);
        let Publication { channel, message } = publication;
        let published = match timeout_at(deadline, connection.publish(channel, message)).await {
            Ok(Ok(nodes)) => {
                self.lanes().taken(user, seq);
                Some(nodes)
            }
            Ok(Err(error)) if !error.is_timeout() => {
                if !self.link.is_newer_than(started) {
                    self.doubt(self.grants.explain(&error));
                }
                None
            }
            Ok(Err(_)) | Err(_) => {
                self.unanswered_since(started);
                None
            }
        };
        if published.is_none() {
            // Redis may have received it anyway, and it may be back already.
            self.lanes().give_up(user, seq, Instant::now());
            self.lanes_changed.notify_one();
        }
        // No node has received it: the user is offline, or connected where another server was promoted.
        let published = match (published, &way) {
            (Some(0), Way::Past(_) | Way::None { .. }) => {
                match timeout_at(deadline, connection.is_replica()).await {
                    Ok(Ok(false)) => published,
                    Ok(Ok(true)) => {
                        self.link.renew();
                        if let Way::Past(delivered) = way {
                            delivered.await.ok();
                        }
                        return Emitted::Partly;
                    }
                    Ok(Err(_)) | Err(_) => None,
                }
            }
            _ => published,
        };
        match (published, way) {
            (Some(nodes), Way::Back(delivered)) => {
                delivered.await.ok();
                Emitted::Everywhere { nodes: Some(nodes) }
            }
            (Some(nodes), Way::None { deaf: false }) => Emitted::Everywhere { nodes: Some(nodes) },
            (Some(_), way) => {
                if let Way::Past(delivered) = way {
                    delivered.await.ok();
                }
                // What took the subscriptions of this node may have taken those of others.
                if self.linked.load(Ordering::Acquire) || self.peers().is_alone() {
                    Emitted::Everywhere { nodes: None }
                } else {
                    Emitted::Partly
                }
            }
            (None, Way::Back(delivered) | Way::Past(delivered)) => match delivered.await {
                Ok(true) => Emitted::Everywhere { nodes: None },
                _ => self.unsent(user),
            },
            (None, Way::None { .. }) => self.unsent(user),
        }
    }

    /// Prepares for the event's return, or delivers it without one.
    fn send_back(
        &self,
        user: &UserId,
        seq: Sequence,
        message: UserMessage,
        deadline: Instant,
    ) -> Way {
        // Looked at in this order, because the state turns before channels are lost, and after they
        // are found again.
        if self.channels.is_heard(user) {
            let mut lanes = self.lanes();
            if lanes.next_deadline().is_none() {
                self.lanes_changed.notify_one();
            }
            let delivered = lanes.send(user, seq, message, deadline);
            drop(lanes);
            // The channel may have been lost before the lanes knew of the event.
            if !self.channels.is_heard(user) {
                self.lanes().give_up(user, seq, Instant::now());
                self.lanes_changed.notify_one();
            }
            return Way::Back(delivered);
        }
        let deaf = self.check().is_err();
        if deaf && self.channels.is_wanted(user) {
            return Way::Past(self.deliver_late(user, seq, message, true));
        }
        Way::None { deaf }
    }

    fn deliver_late(
        &self,
        user: &UserId,
        seq: Sequence,
        message: UserMessage,
        may_return: bool,
    ) -> oneshot::Receiver<bool> {
        let now = Instant::now();
        let delivered = self
            .lanes()
            .deliver_late(user, seq, message, may_return, now);
        self.lanes_changed.notify_one();
        delivered
    }

    fn unsent(&self, user: &UserId) -> Emitted {
        // While Redis is away no node admits anyone, but behind a replica there is a master.
        if self.link.check_role().is_err() || !self.peers().is_alone() {
            return Emitted::Partly;
        }
        let nodes = usize::from(self.channels.is_wanted(user));
        Emitted::Everywhere { nodes: Some(nodes) }
    }

    /// Delivers late events until dropped. One task serves all users, so that many events share one
    /// look at the sessions.
    pub(super) async fn deliver_late_events(&self, listener: &dyn Listener) {
        loop {
            let late = self.lanes().give_up_late(Instant::now());
            for late in late {
                match late {
                    Late::Unheard => self.doubt("an event did not come back in time".to_owned()),
                    Late::Untaken { due } => self.unanswered_since(due - ECHO_LIMIT),
                }
            }
            if self.look(listener).await {
                continue;
            }
            let next = self.lanes().next_deadline();
            let late = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.lanes_changed.notified() => {}
                () = late => {}
            }
        }
    }

    /// A node that delivers without the bus may have missed that a session was replaced, so it looks
    /// first, unless Redis does not answer. Returns whether there was anything to deliver.
    async fn look(&self, listener: &dyn Listener) -> bool {
        let Some(looks) = self.lanes().take_looks() else {
            return false;
        };
        if self.link.current().is_some() && !self.is_mute() {
            let look = listener.look(&looks.users);
            timeout_at(looks.until, look).await.ok();
        }
        self.lanes()
            .looked(&looks.users, |user, message| listener.heard(user, message));
        true
    }

    /// Notes that Redis has not answered since then. Silence on an earlier link does not count.
    fn unanswered_since(&self, time: Instant) {
        if !self.link.is_newer_than(time) {
            self.set_mute_until(Instant::now() + ECHO_LIMIT);
            self.doubt("Redis did not take an event in time".to_owned());
        }
    }

    fn is_mute(&self) -> bool {
        let until = *self
            .mute_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn set_mute_until(&self, until: impl Into<Option<Instant>>) {
        *self
            .mute_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = until.into();
    }

    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // No operation leaves them half-changed, so a poisoned lock is as good as new.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
