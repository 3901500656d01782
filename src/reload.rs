//! What a reload replaces while the server runs: one snapshot, swapped as a whole.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    auth::{AuthError, TokenVerifier},
    config::{Config, Cors, Limits, Metrics, OnExpiry},
    id::SupportedEvents,
    metrics::{Counter, EMITS},
    secret::Secret,
    wire::ReloadAnswer,
};

/// The sections and single settings of [`Reloadable`], and of the log; others need a restart.
const RELOADED: [&str; 11] = [
    "auth",
    "cors",
    "events",
    "internal.previous_secret_files",
    "internal.previous_secrets",
    "internal.secret",
    "internal.secret_file",
    "limits",
    "log.level",
    "metrics",
    "server.max_connection_age",
];

/// Whether a reload applies a setting.
pub fn is_reloaded(key: &str) -> bool {
    let section = key.split_once('.').map_or(key, |(section, _)| section);
    let is_reloaded = RELOADED.contains(&section) || RELOADED.contains(&key);
    // A key set is reread on its own schedule, and its source does not change.
    is_reloaded && !key.starts_with("auth.jwks_")
}

/// The settings that a reload replaces, ready for use.
pub struct Reloadable {
    pub verifier: TokenVerifier,
    pub on_expiry: OnExpiry,
    pub cors: Cors,
    pub events: SupportedEvents,
    /// How many events were emitted under each supported name or pattern, in their order: event names
    /// as labels would create series without bound.
    pub emits: Vec<Counter>,
    /// The secrets of the internal routes.
    pub internal: Vec<Secret>,
    pub metrics: Metrics,
    /// A connection keeps those that were in effect when it was opened.
    pub limits: Arc<Limits>,
    /// It applies to open connections as well, from their next ping on.
    pub max_connection_age: Option<Duration>,
}

impl Reloadable {
    /// # Errors
    /// A key cannot be used.
    pub fn new(config: &Config) -> Result<Self, AuthError> {
        let verifier = TokenVerifier::new(&config.auth, config.ids.clone())?;
        Ok(Self::with(config, verifier))
    }

    /// A snapshot that replaces this one, with the same formats of ids and the same key set.
    ///
    /// # Errors
    /// A key cannot be used, or no key is left.
    pub fn replaced(&self, config: &Config) -> Result<Self, AuthError> {
        let verifier = self.verifier.replaced(&config.auth)?;
        Ok(Self::with(config, verifier))
    }

    fn with(config: &Config, verifier: TokenVerifier) -> Self {
        let counter = |pattern: &str| EMITS.with_label_values(&[pattern]);
        Self {
            verifier,
            on_expiry: config.auth.on_expiry,
            cors: config.cors.clone(),
            emits: config.events.patterns().map(counter).collect(),
            events: config.events.clone(),
            internal: config.internal.secrets.clone(),
            metrics: config.metrics.clone(),
            limits: Arc::new(config.limits.clone()),
            max_connection_age: config.server.max_connection_age,
        }
    }
}

/// The current snapshot, for all who use it.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Reloadable>>);

impl Current {
    pub fn new(first: Reloadable) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// For short use, never across an `await`; takes no lock.
    pub fn load(&self) -> Guard<Arc<Reloadable>> {
        self.0.load()
    }

    /// To be kept, such as over an `await`.
    pub fn get(&self) -> Arc<Reloadable> {
        self.0.load_full()
    }

    pub fn replace(&self, next: Reloadable) {
        self.0.store(Arc::new(next));
    }
}

/// A request to reload: the channel that receives the answer.
pub type ReloadRequest = oneshot::Sender<Result<ReloadAnswer, ReloadError>>;

/// Why nothing was reloaded; the old configuration stays in effect.
#[derive(Debug, Error)]
pub enum ReloadError {
    #[error("the node is draining")]
    Draining,
    /// All mistakes in the configuration, a sentence each.
    #[error("the configuration has mistakes")]
    Mistakes(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn every_entry_of_the_reloaded_list_is_a_section_or_a_setting() {
        let rows = load(&Sources::default()).expect("settings").rows();
        for reloaded in RELOADED {
            let matches = |key: &str| is_reloaded(key) && key.starts_with(reloaded);
            assert!(rows.iter().any(|row| matches(row.key)), "{reloaded}");
        }
        let restart = rows.iter().filter(|row| !is_reloaded(row.key));
        let restart: Vec<_> = restart.map(|row| row.key).collect();
        assert!(restart.contains(&"server.port") && restart.contains(&"internal.max_body"));
        assert!(restart.contains(&"log.format") && restart.contains(&"redis.url"));
    }
}
