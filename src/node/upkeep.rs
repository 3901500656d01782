//! What a node does by itself, for as long as it lives.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{CHUNK, DECISION_LIMIT, Node};
use crate::{
    auth::unix_time,
    hub::{Farewell, Presence},
    redis::chain,
    session::SessionStore,
};

/// How often sockets are looked through for tokens that have run out.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

impl Node {
    pub(super) async fn sweep_forever(self: Arc<Self>, period: Duration) {
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed = Instant::now();
        loop {
            tick.tick().await;
            // A sweep that Redis does not answer must not delay the one after it for long.
            match timeout(period.max(DECISION_LIMIT), self.sweep()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(why = chain(&error), "cannot sweep"),
                Err(_) => tracing::debug!("a sweep took too long"),
            }
            if let SessionStore::Memory(sessions) = &self.sessions {
                sessions.forget_expired();
            }
            // A quarter of the TTL leaves room for an outage of half of it.
            if renewed.elapsed() > self.sessions.ttl() / 4 {
                renewed = Instant::now();
                self.renew_all().await;
            }
        }
    }

    /// A session with a live socket is not forgotten, however long the socket lives.
    async fn renew_all(&self) {
        for chunk in self.hub.presences().chunks(CHUNK) {
            let held: Vec<_> = chunk
                .iter()
                .map(|Presence { user, session }| (user.clone(), session.clone()))
                .collect();
            if let Err(error) = self.sessions.renew(&held).await {
                self.complaints.tell("cannot renew sessions", chain(&error));
            }
        }
    }

    pub(super) async fn expire_forever(self: Arc<Self>) {
        let mut tick = interval(EXPIRY_INTERVAL);
        loop {
            tick.tick().await;
            self.hub
                .expire(unix_time())
                .iter()
                .for_each(|outlet| outlet.dismiss(Farewell::TokenExpired));
        }
    }
}
