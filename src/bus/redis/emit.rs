//! Publishes events for the state, and delivers late ones without the bus.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::LazyLock,
};

use redis::{RedisResult, Script};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::{
    RedisBus, now,
    state::{Begun, ECHO_LIMIT, Published, State},
};
use crate::{
    bus::{BusUnavailable, Listener, Reach},
    id::UserId,
    redis::{Connection, refusal::Refusal},
    wire::{Event, Sequence},
};

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("publish.lua")));

/// An event whose caller waits. If the caller gives up, the state forgets the outcome.
struct Emitting<'a> {
    bus: &'a RedisBus,
    seq: Sequence,
    is_done: bool,
}

impl RedisBus {
    /// Returns once the event is delivered to the sockets of this node, within [`ECHO_LIMIT`] plus the
    /// limit of a look. An event that was sent is delivered even if this future is dropped.
    pub(in crate::bus) async fn emit(
        &self,
        user: &UserId,
        event: &Event,
    ) -> Result<Reach, BusUnavailable> {
        let due = Instant::now() + ECHO_LIMIT;
        self.wait_for_start().await;
        let (connection, begun) =
            self.feed_over_link(|state| state.emit(user, event, due.into_std(), now()));
        let mut emitting = match begun {
            Begun::Done(outcome) => return outcome,
            Begun::Publish { seq, .. } | Begun::Wait(seq) => Emitting {
                bus: self,
                seq,
                is_done: false,
            },
        };
        let seq = emitting.seq;
        let publish = async {
            let (Some(mut connection), Begun::Publish { to_master, .. }) = (connection, begun)
            else {
                return;
            };
            let (channel, message) = (self.names.user(user), self.own_events.encode(seq, event));
            let timer = self.meters.publish.start_timer();
            let published = if to_master {
                let published = self.publish_to_master(&mut connection, &channel, &message);
                published.await
            } else {
                connection.publish(&channel, &message).await
            };
            drop(timer);
            let published = match published {
                Ok(nodes) => Published::Received {
                    nodes,
                    from_master: to_master,
                },
                Err(error) if error.is_timeout() => Published::Unanswered,
                Err(error) if Refusal::of(&error) == Some(Refusal::ReadOnly) => {
                    Published::Misplaced
                }
                Err(error) => Published::Failed(self.grants.explain(&error)),
            };
            self.feed(|state| state.published(seq, published, now()));
        };
        let mut publish = pin!(publish);
        let mut is_published = false;
        let outcome = poll_fn(|context| {
            // The deadline of the event in the state is that of its PUBLISH, too.
            is_published = is_published || publish.as_mut().poll(context).is_ready();
            self.state().poll_outcome(seq, context.waker())
        })
        .await;
        emitting.is_done = true;
        outcome
    }

    /// Publishes a message by the script, which a replica refuses. [`Script`] itself would load a missing
    /// script first, and later events would overtake this one.
    async fn publish_to_master(
        &self,
        connection: &mut Connection,
        channel: &str,
        message: &[u8],
    ) -> RedisResult<usize> {
        let mut publish = redis::cmd("EVALSHA");
        publish.arg(PUBLISH.get_hash()).arg(1);
        publish.arg(self.names.nobody()).arg(channel).arg(message);
        publish.query_async(connection).await
    }

    /// Loads the script, and runs it without a message to see that it is allowed.
    async fn load_script(&self, connection: &mut Connection) -> RedisResult<()> {
        let nobody = self.names.nobody();
        let loaded: RedisResult<usize> = PUBLISH.key(nobody).invoke_async(connection).await;
        loaded.map(drop)
    }

    /// Delivers late events until dropped. One task serves all users, so that many events share one look
    /// at the sessions.
    pub(super) async fn tend_late_events(&self, listener: &dyn Listener) {
        loop {
            let now = now();
            let (looks, can_look, next) = self.feed(|state| {
                state.expire(now);
                let can_look = state.can_look(now);
                (state.take_looks(), can_look, state.next_deadline())
            });
            if let Some(looks) = looks {
                let were_seen = can_look && {
                    let until = Instant::from_std(looks.until);
                    let look = timeout_at(until, listener.look(&looks.users)).await;
                    look.is_ok_and(|seen| seen.is_ok())
                };
                self.feed_delivering(listener, |state| state.looked(&looks, were_seen));
                continue;
            }
            let next = async {
                match next {
                    Some(next) => sleep_until(Instant::from_std(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.late.notified() => {}
                () = next => {}
            }
        }
    }

    /// Loads the script by which a master proves itself, and checks whether events that nobody received
    /// went to a master, until dropped.
    pub(super) async fn check_roles(&self) {
        loop {
            self.role.notified().await;
            // In a Cluster a replica refuses to publish anyway.
            while let (Some(mut connection), Some(link)) = self.feed_over_link(State::begin_loading)
                && !connection.is_cluster()
            {
                let loaded = timeout(ECHO_LIMIT, self.load_script(&mut connection)).await;
                if loaded.is_ok_and(|loaded| loaded.is_ok()) {
                    self.feed(|state| state.script_loaded(link));
                }
            }
            while let (Some(mut connection), Some(link)) =
                self.feed_over_link(State::begin_role_check)
            {
                let is_replica = timeout(ECHO_LIMIT, connection.is_replica()).await;
                let is_replica = is_replica.ok().and_then(Result::ok);
                self.feed(|state| state.role_checked(link, is_replica));
            }
        }
    }
}

impl Drop for Emitting<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.bus.feed(|state| state.abandon(self.seq));
        }
    }
}
