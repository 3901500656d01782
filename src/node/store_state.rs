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

/// How often it is tried whether sessions can be read and written: `/readyz` has 5 s to tell.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often while they cannot be: soon well again.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// How long one try may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Why the stored sessions cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreNotReady {
    #[error("the sessions were not looked at yet")]
    NotTried,
    #[error("Redis does not answer for the sessions in time")]
    Timeout,
    /// What the store said.
    #[error("{0}")]
    Failed(String),
}

/// Whether the stored sessions could be read and written when that was last tried.
#[derive(Debug)]
pub(super) struct StoreState {
    last_look: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// The look that has seen it.
    look: u64,
    state: Result<(), StoreNotReady>,
}

impl StoreState {
    pub(super) fn unknown() -> Self {
        let state = Err(StoreNotReady::NotTried);
        Self {
            last_look: AtomicU64::new(0),
            seen: Mutex::new(Seen { look: 0, state }),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreNotReady> {
        self.seen().state.clone()
    }

    /// Tries them again and again, until dropped.
    pub(super) async fn watch(&self, sessions: &SessionStore) {
        loop {
            self.look(sessions).await;
            let is_well = self.check().is_ok();
            sleep(if is_well { INTERVAL } else { DOUBT_INTERVAL }).await;
        }
    }

    /// Tries them once.
    pub(super) async fn look(&self, sessions: &SessionStore) {
        let look = self.last_look.fetch_add(1, Ordering::Relaxed) + 1;
        let state = match timeout(LIMIT, sessions.check()).await {
            Ok(checked) => checked.map_err(|error| StoreNotReady::Failed(chain(&error))),
            Err(_) => Err(StoreNotReady::Timeout),
        };
        self.turn(look, state);
    }

    /// Takes what a look has seen, and logs what is new about it. One that was begun before another
    /// that has ended already, on a link that is gone by now, says nothing of the present.
    fn turn(&self, look: u64, state: Result<(), StoreNotReady>) {
        let mut seen = self.seen();
        if look < seen.look {
            return;
        }
        let is_first = seen.look == 0;
        seen.look = look;
        if seen.state == state {
            return;
        }
        match &state {
            Err(why) => tracing::warn!(%why, "the sessions cannot be relied on"),
            // Nobody was told otherwise before the first look.
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
    fn what_an_older_look_sees_late_does_not_count() {
        let state = StoreState::unknown();
        assert!(state.check().is_err());
        state.turn(2, Ok(()));
        state.turn(1, Err(StoreNotReady::Timeout));
        assert_eq!(state.check(), Ok(()));
        let full = StoreNotReady::Failed("full".to_owned());
        state.turn(3, Err(full.clone()));
        assert_eq!(state.check(), Err(full));
    }
}
