//! How an event goes out, and who delivers it here: the bus that brings it back, or else the caller.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{ECHO_LIMIT, RedisBus};
use crate::{
    bus::{Emitted, pending::Echo},
    id::UserId,
    wire::{Event, Publication, Sequence, UserMessage},
};

/// How long an emit right after the start waits for the first connection.
const START_LIMIT: Duration = Duration::from_secs(2);

/// How a node hears an event of its own.
enum Ears {
    /// It has no socket of the user.
    None,
    /// It delivers what it hears back.
    Open {
        echo: Echo,
        /// Resolves when it no longer hears the user's channel.
        ended: oneshot::Receiver<()>,
    },
    /// It has to deliver by itself; what comes back all the same is ignored.
    Deaf,
}

impl RedisBus {
    pub(in crate::bus) async fn emit(&self, user: &UserId, event: &Event) -> Emitted {
        if !self.was_ready.load(Ordering::Relaxed) {
            timeout(START_LIMIT, self.state.subscribe().wait_for(Result::is_ok))
                .await
                .ok();
        }
        let Some(mut connection) = self.link.current() else {
            self.doubt("no connection to Redis".to_owned());
            return self.unsent();
        };
        if self.is_mute() {
            return self.unsent();
        }
        let seq = self.pending.next();
        let message = UserMessage::Emit {
            from: self.node.clone(),
            seq,
            event: event.clone(),
        };
        let Publication { channel, message } = self.publication(user, &message);
        let ears = self.ears(user, seq);
        let started = Instant::now();
        let deadline = started + ECHO_LIMIT;
        let publish = connection.publish(channel, message);
        let published = match timeout_at(deadline, publish).await {
            Ok(published) => published.map_err(|error| self.grants.explain(&error)),
            Err(_) => Err("Redis did not take an event in time".to_owned()),
        };
        match (published, ears) {
            (Ok(nodes), Ears::None) => Emitted::Everywhere { nodes: Some(nodes) },
            (Ok(_), Ears::Deaf) => Emitted::Elsewhere {
                // What took the subscriptions of this node may have taken those of others.
                all: self.linked.load(Ordering::Acquire) || self.peers().is_alone(),
            },
            (Ok(nodes), Ears::Open { mut echo, ended }) => {
                let heard = async {
                    tokio::select! {
                        () = echo.arrived() => {}
                        _ = ended => {}
                    }
                };
                let late = timeout_at(deadline, heard).await.is_err();
                if !echo.give_up() {
                    return Emitted::Everywhere { nodes: Some(nodes) };
                }
                if late {
                    self.doubt("an event did not come back in time".to_owned());
                }
                Emitted::Elsewhere { all: true }
            }
            (Err(why), ears) => {
                // Redis may have got it all the same.
                if let Ears::Open { echo, .. } = ears
                    && !echo.give_up()
                {
                    return Emitted::Everywhere { nodes: None };
                }
                if !self.link.is_newer_than(started) {
                    self.set_mute_until(Instant::now() + ECHO_LIMIT);
                    self.doubt(why);
                }
                self.unsent()
            }
        }
    }

    fn unsent(&self) -> Emitted {
        Emitted::Unsent {
            alone: self.peers().is_alone(),
        }
    }

    /// How this node will hear the event of this number.
    fn ears(&self, user: &UserId, seq: Sequence) -> Ears {
        // Looked at in this order, because the state turns before channels are lost, and after
        // they are found again.
        let heard = self.channels.heard(user);
        let well = self.check().is_ok();
        match heard {
            Some(ended) if well || self.backlog().is_some() => Ears::Open {
                echo: self.pending.expect(seq),
                ended,
            },
            None if well => Ears::None,
            _ => {
                self.pending.give_up(seq);
                Ears::Deaf
            }
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
}
