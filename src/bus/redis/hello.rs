//! The node's canary: it says hello to all nodes, itself included, and has to hear it.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ECHO_LIMIT, HELLO_INTERVAL, RedisBus};
use crate::{
    bus::Deaf,
    wire::{Build, NodeMessage},
};

/// How often while it is in doubt whether it hears itself: soon sure, and soon well again.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// After so many hellos that did not come back, the subscriber connection is rebuilt.
const LOST_HELLOS: u32 = 3;

/// Why a node did not hear its own hello.
#[derive(Debug, Error)]
pub(super) enum Missed {
    #[error("{0}")]
    Unsent(String),
    #[error("the node does not hear itself on the bus")]
    Unheard,
}

impl RedisBus {
    pub(super) async fn keep_hearing_itself(&self) -> String {
        let mut lost = 0;
        let mut pause = HELLO_INTERVAL;
        loop {
            timeout(pause, self.hello_now.notified()).await.ok();
            let before = *self.hello.borrow();
            let Err(missed) = self.say_hello().await else {
                lost = 0;
                pause = HELLO_INTERVAL;
                self.turn(Ok(()));
                continue;
            };
            pause = DOUBT_INTERVAL;
            let (sent, why) = match missed {
                Missed::Unsent(why) => (false, why),
                Missed::Unheard => (true, missed.to_string()),
            };
            // What was not sent says nothing of the subscriber connection, and what came late says
            // that it is slow; another would not be faster.
            let came = *self.hello.borrow() > before;
            lost = if came { 0 } else { lost + u32::from(sent) };
            if lost >= LOST_HELLOS {
                return why;
            }
            self.turn(Err(Deaf(why)));
        }
    }

    /// Takes no longer than an event may take, so that a node that is ready takes events.
    pub(super) async fn say_hello(&self) -> Result<(), Missed> {
        let deadline = Instant::now() + ECHO_LIMIT;
        self.hear_canaries(deadline).await?;
        let receivers = self.hear_itself_on(self.names.all(), deadline).await?;
        self.peers().settle(receivers, Instant::now());
        Ok(())
    }

    /// Whether every shard is heard; the hello itself passes through one alone.
    async fn hear_canaries(&self, deadline: Instant) -> Result<(), Missed> {
        let canaries = self.canaries().clone();
        for canary in canaries {
            // A replica passes a message on, too, but cannot count who has got it.
            if self.hear_itself_on(&canary, deadline).await? == 0 {
                self.link.renew();
            }
        }
        Ok(())
    }

    /// Says hello on a channel and waits for it; returns the number of nodes that received it.
    async fn hear_itself_on(&self, channel: &str, deadline: Instant) -> Result<usize, Missed> {
        let seq = self.pending.next();
        let message = NodeMessage::Hello {
            node: self.node.clone(),
            seq,
            build: Build::own(),
        }
        .encode();
        let mut hello = self.hello.subscribe();
        let publish = self.publish(channel, message);
        let receivers = timeout_at(deadline, publish)
            .await
            .map_err(|_| Missed::Unsent("Redis did not take a hello in time".to_owned()))?
            .map_err(Missed::Unsent)?;
        self.set_mute_until(None);
        timeout_at(deadline, hello.wait_for(|heard| *heard >= seq))
            .await
            .map_err(|_| Missed::Unheard)?
            .ok();
        Ok(receivers)
    }

    /// Something went wrong that the canary has not seen yet: count as deaf until it sings.
    pub(super) fn doubt(&self, why: String) {
        if self.check().is_ok() {
            self.turn(Err(Deaf(why)));
            self.hello_now.notify_one();
        }
    }
}
