//! Says hello to all nodes, and waits until the hello comes back.

use std::future::poll_fn;

use tokio::time::{Instant, timeout, timeout_at};

use super::{
    RedisBus, now,
    state::{ECHO_LIMIT, HelloError, State},
};
use crate::{
    bus::NotReady,
    metrics::REDIS_CANARY,
    wire::{Build, NodeMessage},
};

impl RedisBus {
    /// Says hello at intervals. Returns why the subscriber connection must be replaced.
    pub(super) async fn keep_saying_hello(&self) -> NotReady {
        loop {
            let pause = self.state().hello_pause();
            timeout(pause, self.hello_now.notified()).await.ok();
            if let Some(why) = self.feed(State::take_condemned) {
                return why;
            }
            let Err(error) = self.say_hello().await else {
                continue;
            };
            if let Err(why) = self.feed(|state| state.hello_lost(error)) {
                return why;
            }
        }
    }

    /// Takes no longer than an event may take: a ready node can deliver events in time.
    pub(super) async fn say_hello(&self) -> Result<(), HelloError> {
        let deadline = Instant::now() + ECHO_LIMIT;
        // In a Cluster, the channel of all nodes is on one shard only.
        for canary in self.feed(|state| state.begin_hello()) {
            let receivers = self.say_hello_on(&canary, deadline).await?;
            self.feed(|state| state.canary_returned(receivers));
        }
        let receivers = self.say_hello_on(self.names.all(), deadline).await?;
        self.feed(|state| state.hello_returned(receivers, now()));
        Ok(())
    }

    /// Says hello on a channel and waits until it comes back; returns how many nodes received it.
    async fn say_hello_on(&self, channel: &str, deadline: Instant) -> Result<usize, HelloError> {
        let seq = self.state().next();
        let message = NodeMessage::Hello {
            node: self.node.clone(),
            seq,
            build: Build::own(),
        }
        .encode();
        let sent_at = Instant::now();
        let publish = self.publish(channel, &message);
        let receivers = timeout_at(deadline, publish)
            .await
            .map_err(|_| HelloError::Unsent(NotReady::HelloUnanswered))?
            .map_err(HelloError::Unsent)?;
        self.feed(|state| state.hello_taken());
        let returned = poll_fn(|context| self.state().poll_hello(seq, context.waker()));
        timeout_at(deadline, returned)
            .await
            .map_err(|_| HelloError::NotReturned)?;
        REDIS_CANARY.observe(sent_at.elapsed().as_secs_f64());
        Ok(receivers)
    }
}

impl From<HelloError> for NotReady {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Unsent(why) => why,
            HelloError::NotReturned => Self::HelloLost,
        }
    }
}
