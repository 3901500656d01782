//! Whether the stored sessions can be relied on.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::{error::chain, session::SessionStore};

/// How often reading and writing sessions is tried: `/readyz` has 5 s to show a failure.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often while that fails, so that the node is ready again soon.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// How long one probe may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Why the stored sessions cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreNotReady {
    #[error("the sessions have not been checked yet")]
    NotTried,
    #[error("Redis did not answer a session query in time")]
    Timeout,
    /// What the store said.
    #[error("{0}")]
    Failed(String),
}

/// Whether the stored sessions could be read and written when that was last tried.
#[derive(Debug)]
pub(super) struct StoreState {
    last_probe: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The number of the probe that saw it.
    probe: u64,
    state: Result<(), StoreNotReady>,
}

impl StoreState {
    pub(super) fn unknown() -> Self {
        let state = Err(StoreNotReady::NotTried);
        Self {
            last_probe: AtomicU64::new(0),
            seen: Mutex::new(Seen { probe: 0, state }),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreNotReady> {
        self.seen().state.clone()
    }

    /// Probes the store repeatedly, until dropped.
    pub(super) async fn watch(&self, sessions: &SessionStore) {
        loop {
            self.probe(sessions).await;
            let is_well = self.check().is_ok();
            sleep(if is_well { INTERVAL } else { DOUBT_INTERVAL }).await;
        }
    }

    /// Probes the store once.
    pub(super) async fn probe(&self, sessions: &SessionStore) {
        let probe = self.last_probe.fetch_add(1, Ordering::Relaxed) + 1;
        let state = match timeout(LIMIT, sessions.check()).await {
            Ok(checked) => checked.map_err(|error| StoreNotReady::Failed(chain(&error))),
            Err(_) => Err(StoreNotReady::Timeout),
        };
        self.record(probe, state);
    }

    /// Takes the result of a probe, and logs a change. A probe that began before another that has
    /// already ended may have used a connection that is gone, so its result is ignored.
    fn record(&self, probe: u64, state: Result<(), StoreNotReady>) {
        let mut seen = self.seen();
        if probe < seen.probe {
            return;
        }
        let is_first = seen.probe == 0;
        seen.probe = probe;
        if seen.state == state {
            return;
        }
        match &state {
            Err(why) => tracing::warn!(%why, "the sessions cannot be relied on"),
            // Before the first probe, nothing was logged.
            Ok(()) if is_first => {}
            Ok(()) => tracing::info!("the sessions can be relied on again"),
        }
        seen.state = state;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // No operation above leaves it half-changed, so a poisoned lock is as good as new.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_late_result_of_an_older_probe_is_ignored() {
        let state = StoreState::unknown();
        assert!(state.check().is_err());
        state.record(2, Ok(()));
        state.record(1, Err(StoreNotReady::Timeout));
        assert_eq!(state.check(), Ok(()));
        let full = StoreNotReady::Failed("full".to_owned());
        state.record(3, Err(full.clone()));
        assert_eq!(state.check(), Err(full));
    }
}
