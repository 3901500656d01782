//! The key set of tokens: kept in memory, and read again from its source by one task.
//!
//! `source` reads a document, `set` judges the keys in it. Tokens are verified with the set that was
//! read last; while the source fails, the last good set stays. A token whose key is not in the set
//! makes the task read it immediately, but at most once per [`COOL_DOWN`]: any client can make up any
//! number of key identifiers.

pub mod set;
mod source;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwapOption, Guard};
use thiserror::Error;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout_at},
};

pub use self::{
    set::{KeySet, SetError},
    source::SourceError,
};
use crate::{
    config::{self, JwksSource},
    error::chain,
    metrics::{Counter, JWKS_KEYS, JWKS_LAST_SUCCESS, JWKS_READS, JWKS_SKIPPED_KEYS, Level},
};

/// The shortest time between two reads for unknown keys: a flood of them costs the issuer 6 requests a minute per
/// node, and a key that is used before it is published waits at most 10 s.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// How soon a failed read is retried while there is a set, and while there is none.
const RETRY: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The keys that tokens with public-key algorithms are verified with.
pub struct Jwks {
    config: config::Jwks,
    set: ArcSwapOption<KeySet>,
    /// A token has come whose key is unknown.
    wanted: Notify,
    /// An operator has asked for the set to be read now.
    reload: Notify,
    progress: watch::Sender<Progress>,
}

/// The state of the reads.
#[derive(Debug, Default)]
struct Progress {
    /// When the last read for an unknown key began.
    wanted_at: Option<Instant>,
    /// How many reads have ended.
    ended: u64,
    is_reading: bool,
    /// Why the last one failed, if it did.
    failure: Option<String>,
}

/// How recent the set is that failed to verify a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It was read for an unknown key a moment ago.
    Recent,
    /// It was read again.
    Renewed,
    /// It could not be read again, or not in time.
    Unknown,
}

/// A set and how it was read, for an operator.
#[derive(Debug)]
pub struct Reading {
    pub set: KeySet,
    /// The time on the clock of the server that it came from.
    pub date: Option<SystemTime>,
}

/// Why there is no usable set.
#[derive(Debug, Error)]
pub enum JwksError {
    #[error("the key set cannot be read from {place}")]
    Source { place: String, source: SourceError },
    #[error("the key set from {place} cannot be used")]
    Set { place: String, source: SetError },
}

/// No set has been read yet.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoKeySet {
    #[error("the key set has not been read yet")]
    NotRead,
    /// Why the last read failed.
    #[error("{0}")]
    Failed(String),
}

impl JwksError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Source { source, .. } => source.remedy(),
            Self::Set { .. } => {
                "check that auth.jwks_url or auth.jwks_file leads to a key set with a usable key: RSA of 2048 bits or more, EC on P-256 or P-384, or Ed25519"
            }
        }
    }

    /// With its causes, and what to do about it.
    pub fn report(&self) -> String {
        format!("{}; {}", chain(self), self.remedy())
    }
}

impl Jwks {
    /// Does not read the set yet.
    pub fn new(config: config::Jwks) -> Self {
        let progress = Progress {
            // The task begins with a read, and early tokens wait for it.
            is_reading: true,
            ..Progress::default()
        };
        Self {
            config,
            set: ArcSwapOption::empty(),
            wanted: Notify::new(),
            reload: Notify::new(),
            progress: watch::Sender::new(progress),
        }
    }

    pub fn source(&self) -> &JwksSource {
        &self.config.source
    }

    /// Reads the set now, and again whenever it is due, until dropped.
    pub async fn run(self: Arc<Self>) {
        let meters = Meters::new();
        loop {
            self.renew(&meters).await;
            let is_wanted = self.until_due().await;
            self.progress.send_modify(|progress| {
                progress.is_reading = true;
                if is_wanted {
                    progress.wanted_at = Some(Instant::now());
                }
            });
        }
    }

    /// Makes [`Self::run`] read the set now.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Reads the set once, without using it.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub async fn read(&self) -> Result<Reading, JwksError> {
        let place = || self.config.source.to_string();
        let document = source::read(&self.config.source).await;
        let document = document.map_err(|source| JwksError::Source {
            place: place(),
            source,
        })?;
        let set = KeySet::parse(&document.bytes);
        let set = set.map_err(|source| JwksError::Set {
            place: place(),
            source,
        })?;
        let date = document.date;
        Ok(Reading { set, date })
    }

    /// Reads the set once, and uses it from now on.
    ///
    /// # Errors
    /// It cannot be read or used.
    pub async fn load(&self) -> Result<(), JwksError> {
        let Reading { set, .. } = self.read().await?;
        self.set.store(Some(Arc::new(set)));
        Ok(())
    }

    /// Whether a set has been read.
    ///
    /// # Errors
    /// None has been read yet.
    pub fn check(&self) -> Result<(), NoKeySet> {
        if self.set.load().is_some() {
            return Ok(());
        }
        let failure = self.progress.borrow().failure.clone();
        Err(failure.map_or(NoKeySet::NotRead, NoKeySet::Failed))
    }

    /// The set that was read last.
    pub(super) fn set(&self) -> Guard<Option<Arc<KeySet>>> {
        self.set.load()
    }

    /// Refreshes the set for a token whose key is not in it: waits for the read under way, or for one that
    /// begins now, unless the last such read began less than [`COOL_DOWN`] ago.
    pub(super) async fn freshen(&self, deadline: Instant) -> Freshness {
        let mut progress = self.progress.subscribe();
        let ended = {
            let progress = progress.borrow();
            if !progress.is_reading && !progress.has_cooled_down() {
                return match progress.failure {
                    None => Freshness::Recent,
                    Some(_) => Freshness::Unknown,
                };
            }
            if !progress.is_reading {
                self.wanted.notify_one();
            }
            progress.ended
        };
        let renewed = progress.wait_for(|progress| progress.ended > ended);
        match timeout_at(deadline, renewed).await {
            Ok(Ok(progress)) if progress.failure.is_none() => Freshness::Renewed,
            _ => Freshness::Unknown,
        }
    }

    /// Waits until the set has to be read again. Returns whether that is for an unknown key.
    async fn until_due(&self) -> bool {
        let pause = match &self.progress.borrow().failure {
            None => self.config.refresh_interval,
            Some(_) if self.set.load().is_none() => FIRST_RETRY,
            Some(_) => RETRY.min(self.config.refresh_interval),
        };
        let due = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(due) => return false,
                () = self.reload.notified() => return false,
                // Several callers may have asked for the last read.
                () = self.wanted.notified() => {
                    if self.progress.borrow().has_cooled_down() {
                        return true;
                    }
                }
            }
        }
    }

    async fn renew(&self, meters: &Meters) {
        let failure = match self.read().await {
            Ok(Reading { set, .. }) => {
                meters.renewed(&set);
                self.replace(set);
                None
            }
            Err(error) => {
                meters.failed.inc();
                Some(error.report())
            }
        };
        self.log_change(failure.as_deref());
        self.progress.send_modify(|progress| {
            progress.ended += 1;
            progress.is_reading = false;
            progress.failure = failure;
        });
    }

    /// Logs what has changed in the set, and uses it.
    fn replace(&self, set: KeySet) {
        let last = self.set.load();
        let keys = set.to_string();
        if last.as_ref().is_none_or(|last| last.to_string() != keys) {
            tracing::info!(source = %self.config.source, keys, "read a new key set for tokens");
        }
        let skipped = set.skipped();
        let was_skipped = last.as_ref().map_or(&[][..], |last| last.skipped());
        if !skipped.is_empty() && skipped != was_skipped {
            let skipped = set::list(skipped);
            tracing::warn!(skipped, "some keys of the key set are not used");
        }
        self.set.store(Some(Arc::new(set)));
    }

    fn log_change(&self, failure: Option<&str>) {
        let last = &self.progress.borrow().failure;
        match failure {
            Some(why) if last.as_deref() != failure => {
                let kept = self.set.load().as_ref().map_or(0, |set| set.count());
                tracing::warn!(
                    why,
                    kept_keys = kept,
                    "cannot read the key set for tokens, retrying"
                );
            }
            None if last.is_some() => tracing::info!("the key set for tokens can be read again"),
            _ => {}
        }
    }
}

impl Progress {
    fn has_cooled_down(&self) -> bool {
        self.wanted_at
            .is_none_or(|wanted_at| wanted_at.elapsed() >= COOL_DOWN)
    }
}

/// The metrics of the key set.
struct Meters {
    keys: Level,
    skipped: Level,
    /// When the set was read; its age is the time since then.
    last_success: Level,
    succeeded: Counter,
    failed: Counter,
}

impl Meters {
    fn new() -> Self {
        let reads = |result| JWKS_READS.with_label_values(&[result]);
        Self {
            keys: JWKS_KEYS.clone(),
            skipped: JWKS_SKIPPED_KEYS.clone(),
            last_success: JWKS_LAST_SUCCESS.clone(),
            succeeded: reads("ok"),
            failed: reads("failed"),
        }
    }

    fn renewed(&self, set: &KeySet) {
        self.succeeded.inc();
        self.keys.set(set.count() as i64);
        self.skipped.set(set.skipped().len() as i64);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_success
            .set(now.unwrap_or_default().as_secs() as i64);
    }
}

#[cfg(test)]
mod tests;
