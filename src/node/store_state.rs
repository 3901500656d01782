//! Whether the stored sessions can be relied on.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::{redis::chain, session::SessionStore};

/// How often it is tried whether sessions can be read and written: `/readyz` has 5 s to tell.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often while they cannot be: soon well again.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);
/// How long one try may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether the stored sessions could be read and written when that was last tried.
#[derive(Debug)]
pub(super) struct StoreState(Mutex<Result<(), String>>);

impl StoreState {
    pub(super) fn unknown() -> Self {
        Self(Mutex::new(Err(
            "the sessions were not looked at yet".to_owned()
        )))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.lock().clone()
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
        let state = match timeout(LIMIT, sessions.check()).await {
            Ok(checked) => checked.map_err(|error| chain(&error)),
            Err(_) => Err("Redis does not answer for the sessions in time".to_owned()),
        };
        self.turn(state);
    }

    /// Logs what is new about it.
    fn turn(&self, state: Result<(), String>) {
        let mut present = self.lock();
        if *present == state {
            return;
        }
        match &state {
            Err(why) => tracing::warn!(why, "the sessions cannot be relied on"),
            Ok(()) => tracing::info!("the sessions can be read and written"),
        }
        *present = state;
    }

    fn lock(&self) -> MutexGuard<'_, Result<(), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
