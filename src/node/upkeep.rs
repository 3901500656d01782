//! The background work of a node.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{CHUNK, DECISION_LIMIT, Node};
use crate::{
    error::chain,
    hub::Presence,
    session::{SessionError, SessionStore},
};

/// How often sessions are renewed within their TTL: an outage of half the TTL does no harm.
const RENEWALS: u32 = 4;
/// How often within the TTL a failed renewal is retried.
const RENEWAL_ATTEMPTS: u32 = 32;
/// How often within the period of sweeps a failed one is retried.
const SWEEP_ATTEMPTS: u32 = 4;

/// Why some sessions were not renewed.
#[derive(Debug, Error)]
enum RenewError {
    #[error("Redis does not answer in time")]
    Timeout,
    #[error(transparent)]
    Store(#[from] SessionError),
}

impl Node {
    pub(super) async fn sweep_forever(self: Arc<Self>, period: Duration) {
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // A sweep that Redis does not answer must not delay the one after it for long.
            let failure = match timeout(period.max(DECISION_LIMIT), self.sweep(false)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(chain(&error)),
                Err(_) => Some("it took too long".to_owned()),
            };
            if let Some(why) = failure {
                tracing::debug!(why, "cannot sweep");
                tick.reset_after(period / SWEEP_ATTEMPTS);
            }
            if let SessionStore::Memory(sessions) = &self.sessions {
                sessions.forget_expired();
            }
        }
    }

    /// Keeps sessions with a live socket from expiring, however long the socket lives.
    pub(super) async fn renew_forever(self: Arc<Self>) {
        let ttl = self.sessions.ttl();
        let mut pause = ttl / RENEWALS;
        loop {
            sleep(pause).await;
            pause = match self.renew_all().await {
                Ok(()) => ttl / RENEWALS,
                Err(error) => {
                    self.complaints.tell("cannot renew sessions", chain(&error));
                    ttl / RENEWAL_ATTEMPTS
                }
            };
        }
    }

    /// In chunks, each with its own time limit: if one shard of a Cluster fails, the others go on.
    async fn renew_all(&self) -> Result<(), RenewError> {
        let mut outcome = Ok(());
        let mut sessions = self
            .hub
            .presences()
            .map(|Presence { user, session }| (user, session));
        loop {
            let held: Vec<_> = sessions.by_ref().take(CHUNK).collect();
            if held.is_empty() {
                return outcome;
            }
            let renewed = match timeout(DECISION_LIMIT, self.sessions.renew(&held)).await {
                Ok(renewed) => renewed.map_err(RenewError::from),
                Err(_) => Err(RenewError::Timeout),
            };
            outcome = outcome.and(renewed);
        }
    }
}
